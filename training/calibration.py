"""Temperatures and thresholds from held-out petitions. numpy and scipy only."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from nlp_service.bundle import Thresholds
from nlp_service.decision import ALTERNATIVES, softmax

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LEGAL_DOUBT = 0.2
"""taxonomy.yaml, type_rules: if complaint or denunciation has >= 0.2 but is not top, ask a person."""

AUTO_PRECISION = 0.95
TOP3_SHARE = 0.95
EMERGENCY_RECALL = 0.97
EMERGENCY_BOUNDS = (0.05, 0.25)
"""The quantile of some seventy held-out emergencies is uncertain, and a missed one costs more than a minute of the officer on
duty: a quarter is enough to raise the alarm, however sure the network is of those seventy."""

NEVER = 1.1
"""A threshold that no probability reaches."""


def temperature(logits: Floats, truth: Ints) -> float:
    """The divisor of the logits that makes the held-out labels most likely (Guo et al. 2017)."""

    def nll(log_t: float) -> float:
        p = softmax(logits, float(np.exp(log_t)))[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(p, 1e-12)).mean())

    return float(np.exp(minimize_scalar(nll, bounds=(np.log(0.2), np.log(10)), method="bounded").x))


WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def best_weight(logits: Floats, margins: Floats, truth: Ints, weights: Sequence[float] = WEIGHTS) -> float:
    """What to multiply the linear model's margins by: the weight with which, after temperature, held-out labels are likeliest."""

    def loss(weight: float) -> float:
        joined = (logits + np.float32(weight) * margins).astype(np.float32)
        p = softmax(joined, temperature(joined, truth))[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(p, 1e-12)).mean())

    return min(weights, key=loss)


def expected_calibration_error(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """ECE of the most probable class over equal-width bins (Naeini et al. 2015)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[index == b].mean() - confidence[index == b].mean()) * (index == b).mean() for b in np.unique(index)
    ]
    return float(sum(gaps))


def lowest_threshold(scores: Floats, right: npt.NDArray[np.bool_], precision: float, at_least: int = 30) -> float:
    """The lowest score at or above which `precision` of the cases are right; NEVER if there is none.

    Args:
        at_least: cases that must lie above it, so that a lucky few do not decide.
    """
    order = np.argsort(-scores, kind="stable")
    precisions = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # A threshold takes all cases of one score or none.
    last = np.append(np.diff(scores[order]) != 0, True)
    good = [i for i in np.flatnonzero((precisions >= precision) & last) if i + 1 >= at_least]
    return float(scores[order][good[-1]]) if good else NEVER


def choose_thresholds(
    category: Floats, truth: Ints, emergency: Floats, is_emergency: npt.NDArray[np.bool_]
) -> Thresholds:
    """Thresholds on calibrated held-out probabilities.

    Args:
        category: (n, classes) probabilities, with `truth` their right classes.
        emergency: (n,) probability of emergency.
    """
    right = category.argmax(axis=1) == truth
    # Probabilities are served, and compared, with four places.
    auto = lowest_threshold(np.round(category.max(axis=1), 4), right, AUTO_PRECISION)
    best = np.argsort(-category, axis=1)[:, :ALTERNATIVES]
    mass = np.take_along_axis(category, best, axis=1).sum(axis=1)
    suggest = lowest_threshold(np.round(mass, 4), (best == truth[:, None]).any(axis=1), TOP3_SHARE)
    positives = np.sort(emergency[is_emergency])
    allowed = int(len(positives) * (1 - EMERGENCY_RECALL))
    threshold = float(positives[allowed]) if len(positives) else EMERGENCY_BOUNDS[1]
    # A hair under the petition it must catch: probabilities are rounded to four places when served.
    threshold = float(np.clip(threshold - 1e-4, *EMERGENCY_BOUNDS))
    return Thresholds(
        auto=round(auto, 4), suggest=round(suggest, 4), emergency=round(threshold, 4), legal_doubt=LEGAL_DOUBT
    )


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927)."""
    if total == 0:
        return (0.0, 1.0)
    p = hits / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return (max(0.0, float(centre - half)), min(1.0, float(centre + half)))
