import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import log_softmax

from nlp_service.decision import softmax
from training.calibration import (
    AUTO_PRECISION,
    EMERGENCY_BOUNDS,
    EMERGENCY_RECALL,
    NEVER,
    TOP3_SHARE,
    choose_thresholds,
    expected_calibration_error,
    lowest_threshold,
    temperature,
    wilson,
)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def _sampled(count: int, classes: int, true_temperature: float, seed: int = 1) -> tuple[Floats, Ints]:
    """Logits, and labels drawn from the probabilities that they give at `true_temperature`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (count, classes)).astype(np.float32)
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
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5], dtype=np.float32)
    right = np.array([True, True, False, True, False])
    # Precision from the top: 1, 1, 2/3, 3/4, 3/5.
    assert lowest_threshold(scores, right, 0.75, at_least=1) == pytest.approx(0.6)
    assert lowest_threshold(scores, right, 0.76, at_least=1) == pytest.approx(0.8)
    assert lowest_threshold(scores, right, 0.6, at_least=1) == pytest.approx(0.5)
    assert lowest_threshold(scores, right, 0.76, at_least=3) == NEVER
    assert lowest_threshold(scores, ~right, 0.9, at_least=1) == NEVER


def test_cases_of_one_score_stand_on_one_side() -> None:
    # A saturated network: the first in the file are right, and the rest with the same score are not.
    scores = np.array([0.99] * 100 + [0.5] * 10, dtype=np.float32)
    right = np.array([True] * 60 + [False] * 40 + [True] * 10)
    assert lowest_threshold(scores, right, 0.95) == NEVER


@pytest.mark.parametrize("seed", range(8))
def test_thresholds_hold_where_they_were_chosen(seed: int) -> None:
    logits, truth = _sampled(1_200, 12, 1.5, seed)
    category = softmax(logits, 1.5)
    generator = np.random.default_rng(seed)
    is_emergency = generator.random(1_200) < 0.15
    emergency = softmax(generator.normal(np.where(is_emergency, 2.0, -3.0)[:, None] * [1, 0], 1.5), 1.0)[:, 0]
    thresholds = choose_thresholds(category, truth, emergency, is_emergency)

    served = np.round(category, 4)
    right = category.argmax(axis=1) == truth
    auto = served.max(axis=1) >= thresholds.auto - 1e-6
    assert auto.sum() >= 30
    assert right[auto].mean() >= AUTO_PRECISION
    best = np.argsort(-category, axis=1)[:, :3]
    read = np.take_along_axis(category, best, axis=1).sum(axis=1) >= thresholds.suggest
    assert (best == truth[:, None]).any(axis=1)[read].mean() >= TOP3_SHARE - 0.002
    called = np.round(emergency, 4) >= thresholds.emergency - 1e-6
    low, high = EMERGENCY_BOUNDS
    assert low <= thresholds.emergency <= high
    if thresholds.emergency > low:
        assert called[is_emergency].mean() >= EMERGENCY_RECALL


def test_probabilities_are_compared_as_served() -> None:
    # Both are served as 0.9: no threshold between them could stop the wrong ones.
    top = np.array([0.90004] * 60 + [0.89996] * 40)
    truth = np.array([0] * 60 + [1] * 40)
    category = np.stack([top, *[(1 - top) / 3] * 3], axis=1).astype(np.float32)
    assert choose_thresholds(category, truth, np.full(100, 0.1, np.float32), np.zeros(100, dtype=bool)).auto == NEVER


def test_without_emergencies_the_threshold_is_the_highest() -> None:
    category = softmax(np.zeros((5, 4), dtype=np.float32), 1.0)
    none = np.zeros(5, dtype=bool)
    chosen = choose_thresholds(category, np.zeros(5, dtype=np.int64), np.ones(5, np.float32), none)
    assert chosen.emergency == pytest.approx(EMERGENCY_BOUNDS[1], abs=1e-3)


def test_emergency_threshold_keeps_to_its_bounds() -> None:
    category, truth = softmax(np.zeros((40, 4), dtype=np.float32), 1.0), np.zeros(40, dtype=np.int64)
    everyone = np.ones(40, dtype=bool)
    for probability, threshold in ((0.001, 0.05), (0.2, 0.1999), (0.99, 0.25)):
        chosen = choose_thresholds(category, truth, np.full(40, probability, np.float32), everyone)
        assert chosen.emergency == pytest.approx(threshold)


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
