"""What a manifest takes from held-out petitions: temperatures, weights, thresholds, prediction sets.

Right means here what it means in evaluation: the most probable category is among the petition's accepted ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from nlp_service.bundle import HEADS, Head, Manifest, PredictionSets, Thresholds
from nlp_service.decision import ALTERNATIVES, decide, softmax
from nlp_service.taxonomy import EMERGENCY, Taxonomy
from training.data import Petition

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

LEGAL_DOUBT = 0.2
"""taxonomy.yaml, type_rules: if complaint or denunciation has >= 0.2 but is not top, ask a person."""

AUTO_PRECISION = 0.95
"""The precision that is stated for what is routed without a look. A thousand held-out petitions vouch for it within about a
point, one standard error (docs/experiments.md)."""

SET_COVERAGE = 0.95
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


def served(probabilities: Floats) -> Doubles:
    """Probabilities as they are served and compared with thresholds: with four places."""
    rounded: Doubles = np.asarray(np.round(probabilities.astype(np.float64), 4), dtype=np.float64)
    return rounded


def accepted_labels(petitions: Sequence[Petition], labels: Sequence[str]) -> Bools:
    """(petitions, labels): which categories count as right."""
    return np.array([[label in petition.accepted for label in labels] for petition in petitions], dtype=bool)


def lowest_threshold(scores: Doubles, right: Bools | Doubles, precision: float, at_least: int = 30) -> float:
    """The lowest score at or above which `precision` of the cases are right; NEVER if there is none.

    Args:
        right: whether each case is right, or its chance to be.
        at_least: cases that must lie above it, so that a lucky few do not decide.
    """
    order = np.argsort(-scores, kind="stable")
    precisions = np.cumsum(right[order].astype(np.float64)) / np.arange(1, len(order) + 1)
    # A threshold takes all cases of one score or none.
    last = np.append(np.diff(scores[order]) != 0, True)
    good = [i for i in np.flatnonzero((precisions >= precision) & last) if i + 1 >= at_least]
    return float(scores[order][good[-1]]) if good else NEVER


def chance_right(top: Doubles, right: Bools) -> Doubles:
    """How probable it is that each case is right: a logistic curve over the log-odds of its served probability (Platt 1999)."""
    if right.all() or not right.any():
        return np.full(len(right), float(right[:1].sum()))
    odds = logit(np.clip(top, 5e-5, 1 - 5e-5))[:, None]
    # The penalty is nothing beside hundreds of cases; it keeps the curve finite where wrong and right do not overlap.
    chances: Doubles = LogisticRegression(C=1e3, max_iter=1000).fit(odds, right).predict_proba(odds)[:, 1]
    return chances


def auto_threshold(top: Doubles, right: Bools, precision: float) -> float:
    """The lowest probability from which `precision` of the cases should be right; NEVER if there is none.

    By the mean of a smooth curve, not by counting: the threshold then hangs on all cases and not on the few wrong ones next
    to it, and moves less from one sample to the next (docs/experiments.md).

    Args:
        top: served probability of the best category of the petitions that no other rule sends to a person.
    """
    return round(lowest_threshold(top, chance_right(top, right), precision), 4)


def suggest_threshold(category: Floats, accepted: Bools) -> float:
    """The lowest sum of the best three probabilities from which an accepted category is among them for TOP3_SHARE."""
    best = np.argsort(-category, axis=1)[:, :ALTERNATIVES]
    mass = np.take_along_axis(category, best, axis=1).sum(axis=1)
    found = np.asarray(np.take_along_axis(accepted, best, axis=1).any(axis=1), dtype=np.bool_)
    return round(lowest_threshold(served(mass), found, TOP3_SHARE), 4)


def emergency_threshold(emergency: Floats, is_emergency: Bools) -> float:
    """The probability that EMERGENCY_RECALL of the emergencies reach, within EMERGENCY_BOUNDS."""
    positives = np.sort(emergency[is_emergency])
    allowed = int(len(positives) * (1 - EMERGENCY_RECALL))
    threshold = float(positives[allowed]) if len(positives) else EMERGENCY_BOUNDS[1]
    # A hair under the petition it must catch: probabilities are rounded to four places when served.
    return round(float(np.clip(threshold - 1e-4, *EMERGENCY_BOUNDS)), 4)


def set_threshold(category: Floats, accepted: Bools, coverage: float) -> float:
    """The probability from which a category is kept, so that a new petition's right one is kept with chance `coverage`.

    Split conformal prediction with the probability of the right category as score: it promises the coverage on average over
    petitions like these, whatever the model. Of several accepted categories the likeliest counts. 0, which keeps every
    category, if there are too few petitions to promise it.
    """
    scores = np.sort(served(np.where(accepted, category, 0).max(axis=1)))
    missed = int(np.floor((len(scores) + 1) * (1 - coverage) + 1e-9))
    return float(scores[missed - 1]) if missed else 0.0


def calibrated(
    draft: Manifest,
    taxonomy: Taxonomy,
    network: Mapping[str, Floats],
    margins: Mapping[str, Floats],
    petitions: Sequence[Petition],
    auto_precision: float = AUTO_PRECISION,
    weights: Mapping[str, float] | None = None,
) -> Manifest:
    """The draft with what held-out petitions teach about it.

    Args:
        network: (petitions, classes) logits for every head, without the linear model's part.
        margins: the linear model's, alike; empty if there is none.
        weights: what to multiply each head's margins by; chosen if not given.
    """
    truth = {
        head: np.array([draft.heads[head].labels.index(petition.label(head)) for petition in petitions], dtype=np.int64)
        for head in HEADS
    }
    linear = {
        head: weights[head] if weights else best_weight(network[head], margins[head], truth[head]) for head in margins
    }
    logits = {
        head: network[head] + np.float32(linear[head]) * margins[head] if head in linear else network[head]
        for head in HEADS
    }
    heads = {
        head: Head(labels=draft.heads[head].labels, temperature=round(temperature(logits[head], truth[head]), 4))
        for head in HEADS
    }
    category, urgency = (softmax(logits[head], heads[head].temperature) for head in ("category", "urgency"))
    accepted = accepted_labels(petitions, heads["category"].labels)
    column = heads["urgency"].labels.index(EMERGENCY)
    thresholds = Thresholds(
        auto=NEVER,
        suggest=suggest_threshold(category, accepted),
        emergency=emergency_threshold(urgency[:, column], truth["urgency"] == column),
        legal_doubt=LEGAL_DOUBT,
        auto_precision=auto_precision,
    )
    sets = PredictionSets(
        coverage=SET_COVERAGE, kind="marginal", threshold=set_threshold(category, accepted, SET_COVERAGE)
    )
    manifest = draft.model_copy(
        update={"heads": heads, "linear": linear, "thresholds": thresholds, "prediction_sets": {"category": sets}}
    )
    # What other rules send to a person is never routed: it has no part in the precision of what is.
    decisions = [
        decide({head: rows[i] for head, rows in logits.items()}, manifest, taxonomy) for i in range(len(petitions))
    ]
    routable = np.array([decision.decision != "human" for decision in decisions])
    top = served(category.max(axis=1))
    right = accepted[np.arange(len(petitions)), category.argmax(axis=1)]
    auto = auto_threshold(top[routable], right[routable], auto_precision)
    return manifest.model_copy(update={"thresholds": thresholds.model_copy(update={"auto": auto})})
