from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import log_softmax

from nlp_service.bundle import HEADS, Head, Manifest, Thresholds
from nlp_service.decision import decide, softmax
from nlp_service.live import wilson
from nlp_service.taxonomy import Taxonomy
from training.calibration import (
    EMERGENCY_BOUNDS,
    EMERGENCY_RECALL,
    NEVER,
    SET_COVERAGE,
    TOP3_SHARE,
    accepted_labels,
    auto_threshold,
    calibrated,
    chance_right,
    emergency_threshold,
    expected_calibration_error,
    lowest_threshold,
    served,
    set_threshold,
    suggest_threshold,
    temperature,
)
from training.data import Petition

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def _sampled(
    count: int, classes: int, true_temperature: float, seed: int = 1, spread: float = 4
) -> tuple[Floats, Ints]:
    """Logits, and labels drawn from the probabilities that they give at `true_temperature`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (count, classes)).astype(np.float32)
    cumulative = softmax(logits, true_temperature).cumsum(axis=1)
    truth = (generator.random((count, 1)) > cumulative).sum(axis=1)
    return logits, np.minimum(truth, classes - 1).astype(np.int64)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5, 6.0])
def test_temperature_finds_the_one_that_made_the_labels(true_temperature: float) -> None:
    logits, truth = _sampled(6_000, 8, true_temperature)
    assert temperature(logits, truth) == pytest.approx(true_temperature, rel=0.06)
    assert expected_calibration_error(softmax(logits, temperature(logits, truth)), truth) < 0.025
    if true_temperature != 1:
        assert expected_calibration_error(softmax(logits, 1.0), truth) > 0.04


def test_temperature_is_the_best_of_a_grid() -> None:
    logits, truth = _sampled(700, 5, 1.7)
    grid = np.exp(np.linspace(np.log(0.2), np.log(10), 2_000))
    losses = [-log_softmax(logits / t, axis=1)[np.arange(len(truth)), truth].mean() for t in grid]
    assert temperature(logits, truth) == pytest.approx(grid[int(np.argmin(losses))], rel=0.005)


def test_temperature_agrees_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn", minversion="1.8")
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Logits(sklearn.base.ClassifierMixin, sklearn.base.BaseEstimator):  # type: ignore[misc, name-defined]
        """A classifier whose features are its logits."""

        def fit(self, features: Floats, truth: Ints) -> "Logits":
            self.classes_ = np.unique(truth)
            return self

        def decision_function(self, features: Floats) -> Floats:
            return features

        def predict(self, features: Floats) -> Ints:
            return features.argmax(axis=1)

    logits, truth = _sampled(1_500, 4, 2.2)
    model = Logits().fit(logits, truth)
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(logits, truth)
    np.testing.assert_allclose(softmax(logits, temperature(logits, truth)), calibrated.predict_proba(logits), atol=2e-3)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.62, 0.38], [0.34, 0.66]], dtype=np.float32)
    truth = np.array([0, 0, 0, 1])
    # Bin of 0.95 (twice): half right, gap 0.45; bin of 0.62 and 0.66: all right, mean 0.64, gap 0.36.
    assert expected_calibration_error(probabilities, truth, bins=10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.36, abs=1e-6)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == pytest.approx(0)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(1)


def test_lowest_threshold_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    # Precision from the top: 1, 1, 2/3, 3/4, 3/5.
    assert lowest_threshold(scores, right, 0.75, at_least=1) == pytest.approx(0.6)
    assert lowest_threshold(scores, right, 0.76, at_least=1) == pytest.approx(0.8)
    assert lowest_threshold(scores, right, 0.6, at_least=1) == pytest.approx(0.5)
    assert lowest_threshold(scores, right, 0.76, at_least=3) == NEVER
    assert lowest_threshold(scores, ~right, 0.9, at_least=1) == NEVER


def test_cases_of_one_score_stand_on_one_side() -> None:
    # A saturated network: the first in the file are right, and the rest with the same score are not.
    scores = np.array([0.99] * 100 + [0.5] * 10)
    right = np.array([True] * 60 + [False] * 40 + [True] * 10)
    assert lowest_threshold(scores, right, 0.95) == NEVER


def _one_hot(truth: Ints, classes: int) -> Bools:
    return np.eye(classes, dtype=bool)[truth]


@pytest.mark.parametrize("seed", range(8))
def test_thresholds_hold_where_they_were_chosen(seed: int) -> None:
    logits, truth = _sampled(1_200, 12, 1.5, seed)
    category, accepted = softmax(logits, 1.5), _one_hot(truth, 12)
    generator = np.random.default_rng(seed)
    is_emergency = generator.random(1_200) < 0.15
    emergency = softmax(generator.normal(np.where(is_emergency, 2.0, -3.0)[:, None] * [1, 0], 1.5), 1.0)[:, 0]
    best = np.argsort(-category, axis=1)[:, :3]
    read = np.take_along_axis(category, best, axis=1).sum(axis=1) >= suggest_threshold(category, accepted)
    assert (best == truth[:, None]).any(axis=1)[read].mean() >= TOP3_SHARE - 0.002
    threshold = emergency_threshold(emergency, is_emergency)
    called = np.round(emergency, 4) >= threshold - 1e-6
    low, high = EMERGENCY_BOUNDS
    assert low <= threshold <= high
    if threshold > low:
        assert called[is_emergency].mean() >= EMERGENCY_RECALL


def _crooked(count: int, seed: int) -> tuple[Doubles, Bools]:
    """Served probabilities that promise too much, as a network's do after its temperature: 0.97 is right nine times in ten."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(3, 2, count)
    return served(1 / (1 + np.exp(-odds))), generator.random(count) < 1 / (1 + np.exp(-0.6 * odds - 0.1))


def test_what_is_routed_keeps_the_stated_precision_on_new_petitions() -> None:
    new, hits = _crooked(200_000, 0)
    smooth, counted = [], []
    for seed in range(1, 25):
        top, right = _crooked(1_000, seed)
        smooth.append(hits[new >= auto_threshold(top, right, 0.97)].mean())
        counted.append(hits[new >= min(lowest_threshold(top, right, 0.97), 1)].mean())
    assert np.mean(smooth) == pytest.approx(0.97, abs=0.004)
    assert np.std(smooth) < 0.6 * np.std(counted), "counting hangs on the few wrong ones next to the threshold"
    trusted = lowest_threshold(new, new, 0.97)
    assert hits[new >= trusted].mean() < 0.95, "the probabilities themselves promise too much"


def test_chances_follow_the_petitions_that_are_right() -> None:
    top, right = _crooked(50_000, 1)
    chances = chance_right(top, right)
    assert chances.mean() == pytest.approx(right.mean(), abs=1e-3)
    odds = np.log(np.clip(top, 5e-5, 1 - 5e-5) / (1 - np.clip(top, 5e-5, 1 - 5e-5)))
    assert chances == pytest.approx(1 / (1 + np.exp(-0.6 * odds - 0.1)), abs=0.02)


def test_right_and_wrong_that_do_not_overlap_have_a_threshold() -> None:
    top = served(np.linspace(0.5, 1, 60))
    assert auto_threshold(top, np.ones(60, dtype=bool), 0.95) == 0.5
    assert auto_threshold(top, np.zeros(60, dtype=bool), 0.95) == NEVER
    assert 0.65 < auto_threshold(top, top > 0.7, 0.95) < 0.72


def test_probabilities_are_compared_as_served() -> None:
    # Both are served as 0.9: no threshold between them could stop the wrong ones.
    top = served(np.array([0.90004] * 60 + [0.89996] * 40, dtype=np.float32))
    assert auto_threshold(top, np.array([True] * 60 + [False] * 40), 0.95) == NEVER


def test_without_emergencies_the_threshold_is_the_highest() -> None:
    threshold = emergency_threshold(np.ones(5, np.float32), np.zeros(5, dtype=bool))
    assert threshold == pytest.approx(EMERGENCY_BOUNDS[1], abs=1e-3)


def test_emergency_threshold_keeps_to_its_bounds() -> None:
    everyone = np.ones(40, dtype=bool)
    for probability, threshold in ((0.001, 0.05), (0.2, 0.1999), (0.99, 0.25)):
        assert emergency_threshold(np.full(40, probability, np.float32), everyone) == pytest.approx(threshold)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("count", "coverage"), [(983, 0.95), (150, 0.9), (42, 0.95)])
def test_sets_are_those_of_crepes(seed: int, count: int, coverage: float) -> None:
    conformal = pytest.importorskip("crepes").ConformalClassifier()
    logits, truth = _sampled(count + 400, 21, 1.7, seed)
    probabilities = served(softmax(logits, 1.7))
    held_out, new = probabilities[:count], probabilities[count:]
    conformal.fit(1 - held_out[np.arange(count), truth[:count]])
    expected = conformal.predict_set(1 - new, confidence=coverage, smoothing=False).astype(bool)
    threshold = set_threshold(held_out.astype(np.float32), _one_hot(truth[:count], 21), coverage)
    np.testing.assert_array_equal(new >= threshold, expected)


def test_sets_cover_new_petitions_as_stated() -> None:
    covered = []
    for seed in range(40):
        logits, truth = _sampled(1_000, 12, 1.5, seed)
        probabilities = softmax(logits, 1.0)  # sharper than the labels were drawn: coverage needs no calibrated network
        threshold = set_threshold(probabilities[:500], _one_hot(truth[:500], 12), 0.9)
        covered.append((served(probabilities[500:])[np.arange(500), truth[500:]] >= threshold).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)


def test_too_few_petitions_promise_only_everything() -> None:
    probabilities = softmax(np.random.default_rng(1).normal(size=(18, 5)).astype(np.float32), 1.0)
    assert set_threshold(probabilities, _one_hot(np.zeros(18, dtype=np.int64), 5), 0.95) == 0
    probabilities = np.concatenate([probabilities, probabilities[:1]])
    assert set_threshold(probabilities, _one_hot(np.zeros(19, dtype=np.int64), 5), 0.95) > 0


def test_of_several_accepted_categories_the_likeliest_counts() -> None:
    probabilities = np.tile(np.array([[0.2, 0.7, 0.1]], np.float32), (20, 1))
    one = _one_hot(np.zeros(20, dtype=np.int64), 3)
    assert set_threshold(probabilities, one, 0.9) == pytest.approx(0.2)
    assert set_threshold(probabilities, one | _one_hot(np.ones(20, dtype=np.int64), 3), 0.9) == pytest.approx(0.7)


LOOK_ALIKE = 300
"""Petitions of the draft below that a legal doubt sends to a person, and whose category the network gets wrong."""


@pytest.fixture(scope="module")
def held_out(taxonomy: Taxonomy) -> tuple[Manifest, dict[str, Floats], list[Petition]]:
    """A draft, logits of a network that is 1.8 times too sure, and petitions: 1,500 plain ones and LOOK_ALIKE doubtful ones."""
    labels = {head: tuple(label.id for label in labels) for head, labels in taxonomy.heads.items()}
    count = 1_500 + LOOK_ALIKE
    logits, category = _sampled(count, len(labels["category"]), 1.8, 5, spread=8)
    doubtful = np.arange(count) >= 1_500
    category[doubtful] = np.argsort(-logits[doubtful], axis=1)[:, 1]
    kinds = np.where(doubtful[:, None], np.array([3.0, 0, 0, 3.1, 0]), np.array([0.0, 0, 0, 8, 0])).astype(np.float32)
    urgency = np.tile(np.array([0.0, 0, 8, 0], np.float32), (count, 1))
    petitions = [
        Petition(f"p{i}", "Đường hỏng", labels["category"][k], "normal", "feedback") for i, k in enumerate(category)
    ]
    draft = Manifest(
        format=1, version="x", created="", encoder={}, trained_on={}, text_version="", segmenter="", taxonomy_version="",
        taxonomy_sha256="", window=256, window_overlap=64, files={}, scores={},
        heads={head: Head(labels=ids, temperature=1) for head, ids in labels.items()},
        thresholds=Thresholds(auto=1, suggest=1, emergency=0.5, legal_doubt=0.2),
    )  # fmt: skip
    return draft, {"category": logits, "urgency": urgency, "petition_type": kinds}, petitions


def test_a_manifest_keeps_what_it_states(
    held_out: tuple[Manifest, dict[str, Floats], list[Petition]], taxonomy: Taxonomy
) -> None:
    draft, logits, petitions = held_out
    manifest = calibrated(draft, taxonomy, logits, {}, petitions, auto_precision=0.96)
    assert manifest.heads["category"].temperature == pytest.approx(1.8, rel=0.35)
    assert manifest.thresholds.auto_precision == 0.96
    decisions = [decide({head: rows[i] for head, rows in logits.items()}, manifest, taxonomy) for i in range(1_800)]
    right = [d.category.id in p.accepted for d, p in zip(decisions, petitions, strict=True)]
    routed = [hit for hit, decision in zip(right, decisions, strict=True) if decision.decision == "auto"]
    assert len(routed) > 300
    assert np.mean(routed) == pytest.approx(0.96, abs=0.012)
    covered = [p.category in {s.id for s in d.prediction_set} for d, p in zip(decisions, petitions, strict=True)]
    assert manifest.prediction_sets["category"].coverage == SET_COVERAGE
    assert SET_COVERAGE <= np.mean(covered) < SET_COVERAGE + 0.005


def test_what_goes_to_a_person_anyway_does_not_spoil_the_precision_of_the_rest(
    held_out: tuple[Manifest, dict[str, Floats], list[Petition]], taxonomy: Taxonomy
) -> None:
    draft, logits, petitions = held_out
    decided = calibrated(draft, taxonomy, logits, {}, petitions, auto_precision=0.96).thresholds.auto
    category = softmax(logits["category"], 1.8)
    top = served(category.max(axis=1))
    right = accepted_labels(petitions, draft.heads["category"].labels)[np.arange(1_800), category.argmax(axis=1)]
    assert not right[1_500:].any()
    assert auto_threshold(top, right, 0.96) == NEVER, "no threshold could make up for the doubtful ones"
    assert decided < 0.9


def test_an_accepted_category_is_right_in_calibration_too(
    held_out: tuple[Manifest, dict[str, Floats], list[Petition]], taxonomy: Taxonomy
) -> None:
    draft, logits, petitions = held_out
    labels = draft.heads["category"].labels
    second = np.argsort(-logits["category"], axis=1)[:, 1]
    lenient = [
        replace(petition, accept=tuple({petition.category, labels[best], labels[second[i]]}))
        for i, (petition, best) in enumerate(zip(petitions, logits["category"].argmax(axis=1), strict=True))
    ]
    strict_ = calibrated(draft, taxonomy, logits, {}, petitions, auto_precision=0.99)
    loose = calibrated(draft, taxonomy, logits, {}, lenient, auto_precision=0.99)
    assert loose.heads == strict_.heads, "the network still learns the primary category"
    assert loose.thresholds.auto < strict_.thresholds.auto
    assert loose.prediction_sets["category"].threshold > strict_.prediction_sets["category"].threshold


def test_a_linear_model_is_weighed_before_anything_else(
    held_out: tuple[Manifest, dict[str, Floats], list[Petition]], taxonomy: Taxonomy
) -> None:
    draft, logits, petitions = held_out
    network = {head: rows - 2 * np.roll(rows, 1, axis=1) for head, rows in logits.items()}
    margins = {head: np.roll(rows, 1, axis=1) for head, rows in logits.items()}
    manifest = calibrated(draft, taxonomy, network, margins, petitions)
    assert manifest.linear["category"] == 2
    assert manifest.linear.keys() == set(HEADS)
    alone = calibrated(draft, taxonomy, logits, {}, petitions)
    assert alone.linear == {}
    assert manifest.thresholds.auto == pytest.approx(alone.thresholds.auto, abs=1e-3)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3; the last two by R's prop.test(correct = FALSE)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_interval_of_known_cases(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=1e-4)


def test_wilson_interval_without_cases_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
