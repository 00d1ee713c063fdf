import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nlp_service.errors import PetitionError
from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import make_petitions
from training.annotators import usage
from training.data import write_petitions
from training.suspects import (
    Labelled,
    confident_learning,
    find_suspects,
    out_of_sample,
    read_labelled,
    write_suspects,
)


@pytest.fixture
def labelled(tmp_path: Path, taxonomy: Taxonomy) -> Labelled:
    """120 petitions, six of them with another one's category."""
    rows = make_petitions(120)
    for place in range(0, 120, 20):
        rows[place] = dataclasses.replace(rows[place], category=rows[place + 1].category)
    write_petitions(tmp_path / "train.jsonl", rows)
    return read_labelled(tmp_path, taxonomy)


def test_wrong_labels_come_first_with_the_right_one_beside_them(labelled: Labelled, tmp_path: Path) -> None:
    ranked = find_suspects(labelled, "category", out_of_sample(labelled, "category"))
    truth = {row.id: row.category for row in make_petitions(120)}
    assert {suspect.id for suspect in ranked[:6]} == {f"p{place}" for place in range(0, 120, 20)}
    assert all(suspect.suggested == truth[suspect.id] and suspect.likely for suspect in ranked[:6])
    assert not any(suspect.likely for suspect in ranked[6:])
    write_suspects(tmp_path / "s.csv", ranked[:6])
    with (tmp_path / "s.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [suspect.id for suspect in ranked[:6]]
    assert "Ở " not in (tmp_path / "s.csv").read_text(encoding="utf-8")  # no texts


def test_no_model_has_seen_the_group_that_it_judges(labelled: Labelled) -> None:
    """Copies with one wrong label would confirm each other."""
    wrong = dataclasses.replace(labelled.petitions[0], group="one")
    copies = [dataclasses.replace(wrong, id=f"c{n}") for n in range(30)]
    more = Labelled([*labelled.petitions[1:], *copies], [""] * 149, labelled.classes)
    probabilities = out_of_sample(more, "category")
    own = more.given("category")[-1]
    assert (probabilities[-30:, own] < 0.5).all()


def test_a_class_the_model_is_never_sure_of_has_a_lower_bar() -> None:
    given = np.array([0, 0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.56, 0.44]])
    _, suggested, likely = confident_learning(given, probabilities)
    assert likely.tolist() == [False, False, False, False, True] and suggested[4] == 1


def test_too_few_groups_are_told_not_tried(labelled: Labelled) -> None:
    few = Labelled(labelled.petitions[:3], [""] * 3, labelled.classes)
    with pytest.raises(PetitionError, match="3 groups"):
        out_of_sample(few, "category")
    with pytest.raises(PetitionError, match="'tone' is no head"):
        out_of_sample(labelled, "tone")


def _drawn(seed: int, biased: bool) -> tuple[Labelled, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(6, 0.2), 900)
    chosen = np.array([generator.choice(6, p=row) for row in probabilities])
    names = [f"r-{n % 6}" for n in range(900)]
    if biased:  # one of six says the first category for two thirds of the second
        for n in range(0, 900, 6):
            if chosen[n] == 1 and n % 18:
                chosen[n] = 0
    rows = make_petitions(6)
    classes = [row.category for row in rows]
    petitions = [dataclasses.replace(rows[0], id=str(n), category=classes[c]) for n, c in enumerate(chosen)]
    return Labelled(petitions, names, {"category": classes}), probabilities


def test_an_annotator_who_overuses_a_category_is_named_and_others_are_not() -> None:
    labelled, probabilities = _drawn(4, biased=True)
    found = usage(labelled, "category", probabilities)
    assert {row.annotator for row in found} == {"r-0"}
    over = next(row for row in found if row.label == labelled.classes["category"][0])
    assert over.used > over.interval[1] > over.expected and "more often" in over.sentence


def test_annotators_who_differ_by_chance_are_seldom_named() -> None:
    assert (
        sum(bool(usage(*_drawn(seed, biased=False)[:1], "category", _drawn(seed, False)[1])) for seed in range(40)) <= 5
    )
