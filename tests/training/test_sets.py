import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from nlp_service.taxonomy import Taxonomy
from tests.training.conftest import make_petitions
from tests.training.test_pull import MATTERS
from training.data import Petition, write_petitions
from training.fit import FitConfig, fit
from training.groups import Text, clusters
from training.sets import read_sets
from training.sides import latest_period


def _write(directory: Path, **sides: list[str]) -> str:
    directory.mkdir()
    for side in ("train", "dev", "test"):
        rows = [
            Petition(f"p{number}", text, "other", "low", "other", group=f"p{number}")
            for number, text in enumerate(sides.get(side, []))
        ]
        rows = [dataclasses.replace(row, id=f"{side}{row.id}", group=f"{side}{row.id}") for row in rows]
        write_petitions(directory / f"{side}.jsonl", rows)
    return str(directory)


def test_two_sets_are_read_as_one_even_where_both_count_alike(tmp_path: Path, taxonomy: Taxonomy) -> None:
    first = _write(tmp_path / "a", train=[MATTERS[0]], test=[MATTERS[1]])
    second = _write(tmp_path / "b", train=[MATTERS[2]], dev=[MATTERS[3]])
    parts = read_sets([first, second], taxonomy)
    assert {side: [row.id for row in rows] for side, rows in parts.items()} == {
        "train": ["trainp0", "2/trainp0"],
        "dev": ["2/devp0"],
        "test": ["testp0"],
    }


def test_a_near_copy_on_another_side_of_another_set_is_a_leak(tmp_path: Path, taxonomy: Taxonomy) -> None:
    first = _write(tmp_path / "a", test=[MATTERS[0], MATTERS[1]])
    second = _write(tmp_path / "b", train=[MATTERS[2], f"Kính gửi ủy ban nhân dân. {MATTERS[1].lower()}"])
    with pytest.raises(ValueError, match=r"1 stories .*testp1 in test and 2/trainp1 in train") as failure:
        read_sets([first, second], taxonomy)
    assert "Kênh" not in str(failure.value) and "--beside" in str(failure.value)


def test_data_names_each_directory_once(tmp_path: Path, taxonomy: Taxonomy) -> None:
    first = _write(tmp_path / "a", train=[MATTERS[0]])
    for data in ([], [first, first + "/"]):
        with pytest.raises(ValueError, match="each once"):
            read_sets(data, taxonomy)


def test_a_run_trains_on_all_of_its_directories(
    tmp_path: Path, fit_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    monkeypatch.setattr("training.fit._train", lambda config, model, train, dev, *_: seen.update(n=len(train)) or [{}])
    extra = _write(tmp_path / "extra", train=MATTERS[:3])  # type: ignore[arg-type]
    config = FitConfig(**{**fit_values, "data": [fit_values["data"], extra], "linear": False})
    summary = fit(config, tmp_path / "run")
    assert seen["n"] == summary["data"]["train"]["count"] == len(make_petitions(96)) + 3


def test_copies_are_found_in_a_chain_and_short_texts_only_to_the_word() -> None:
    long = MATTERS[0]
    texts = [
        long,
        "Đèn đường hỏng thôn 3",
        long.upper(),
        "đèn đường hỏng thôn 3",
        "Đèn đường hỏng thôn bên",
        MATTERS[1],
    ]
    assert clusters([Text(str(i), text) for i, text in enumerate(texts)]) == [0, 1, 0, 1, 4, 5]


def test_a_tie_joins_what_no_word_does() -> None:
    texts = [Text("a", MATTERS[0], ("x",)), Text("b", MATTERS[1], ("y",)), Text("c", MATTERS[2], ("y", "x"))]
    assert clusters(texts) == [0, 0, 0]


def test_the_test_period_is_the_latest_and_never_more_than_half() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(100)]
    assert latest_period(days, 0.2, 0) == date(2026, 3, 22)
    assert latest_period(days, 0.2, 40) == days[60]
    assert latest_period(days, 0.2, 1000) == days[50]
    assert latest_period([], 0.2, 10) is None
