import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.linear import LinearModel, letter_grams, word_grams
from tests.training.conftest import make_petitions
from training.calibration import best_weight
from training.linear import extend_linear, features, fit_linear

LABELS = {
    "category": [
        "transport_infrastructure",
        "environment_resources",
        "disaster_fire_rescue",
        "official_conduct",
        "site_clearance_compensation",
        "electricity_telecom_lighting",
        "other",
    ],
    "urgency": ["emergency", "urgent", "normal", "low"],
    "petition_type": ["feedback", "recommendation", "denunciation", "complaint", "other"],
}
PETITIONS = make_petitions(96)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("linear") / "linear.npz"
    fit_linear([p.text for p in PETITIONS], PETITIONS, LABELS, file, seed=1)
    return file


@given(st.text(alphabet="abcđườngàá ,.1\n_", max_size=60))
def test_features_are_scikit_learn_s(text: str) -> None:
    words, letters = features()
    assert sorted(word_grams(text.lower())) == sorted(words.build_analyzer()(text))
    assert sorted(letter_grams(text.lower())) == sorted(letters.build_analyzer()(text))


def test_margins_are_scikit_learn_s(path: Path) -> None:
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    union = make_union(*features())
    matrix = union.fit_transform([p.text for p in PETITIONS])
    truth = [LABELS["urgency"].index(p.urgency) for p in PETITIONS]
    svm = LinearSVC(C=0.5, class_weight="balanced", random_state=1).fit(matrix, truth)
    texts = [p.text for p in make_petitions(20, 300)] + ["Lũ cuốn trôi nhà!", "a"]
    expected = svm.decision_function(union.transform(texts))
    model = LinearModel.load(path)
    found = np.stack([model.margins(text)["urgency"] for text in texts])
    np.testing.assert_allclose(found[:, svm.classes_], expected, atol=0.02)  # int8 weights


def test_a_class_that_was_never_seen_is_least_likely(path: Path) -> None:
    margins = LinearModel.load(path).margins(PETITIONS[0].text)
    assert margins["category"].argmin() == LABELS["category"].index("other")
    assert LABELS["category"][int(margins["category"].argmax())] == PETITIONS[0].category


def test_a_new_label_is_learnt_as_if_it_had_been_there_and_leaves_the_others_alone(path: Path, tmp_path: Path) -> None:
    """The label is taken out of a model that knows it, and given back."""
    gone, head = "environment_resources", "category"
    column = LABELS[head].index(gone)
    known = LABELS | {head: [label for label in LABELS[head] if label != gone]}
    whole = LinearModel.load(path)
    less = LinearModel(
        list(whole.words), list(whole.letters), whole.idf, np.delete(whole.weights, column, axis=1),
        np.delete(whole.scales, column), np.delete(whole.intercepts, column), whole.sizes | {head: len(known[head])},
    )  # fmt: skip
    labels = LABELS | {head: [gone, *known[head], "never_seen"]}
    file = tmp_path / "linear.npz"
    extend_linear(less, known, [p.text for p in PETITIONS], PETITIONS, labels, file, seed=1)
    extended = LinearModel.load(file)
    for petition in make_petitions(20, 300):
        was, found = whole.margins(petition.text), extended.margins(petition.text)
        np.testing.assert_allclose(found[head][1:-1], np.delete(was[head], column), atol=1e-5)
        for other in ("urgency", "petition_type"):
            np.testing.assert_allclose(found[other], was[other], atol=1e-5)
        assert found[head][0] == pytest.approx(was[head][column], abs=0.03)
        assert found[head][-1] == found[head].min() == -2, "no petition bears it"


@pytest.mark.parametrize("text", ["", "???", "🙏", "xyzzy"])
def test_a_text_without_known_features_has_the_intercepts(path: Path, text: str) -> None:
    margins = LinearModel.load(path).margins(text)
    assert {head: len(values) for head, values in margins.items()} == {head: len(ids) for head, ids in LABELS.items()}
    assert all(np.isfinite(values).all() for values in margins.values())


def test_weights_that_do_not_fit_are_refused(path: Path, tmp_path: Path) -> None:
    with np.load(path) as arrays:
        changed: dict[str, Any] = {**arrays, "weights": arrays["weights"][1:]}
    np.savez(tmp_path / "linear.npz", **changed)
    with pytest.raises(ValueError, match="does not fit"):
        LinearModel.load(tmp_path / "linear.npz")


def test_the_better_of_two_models_gets_the_weight() -> None:
    generator = random.Random(1)
    truth = np.array([generator.randrange(4) for _ in range(400)])
    right = np.eye(4, dtype=np.float32)[truth]
    noise = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    other = np.random.default_rng(2).normal(size=(400, 4)).astype(np.float32)
    assert best_weight(right * 3 + other, noise, truth) <= 0.5
    assert best_weight(noise * 0.1, right + noise * 0.3, truth) >= 5
