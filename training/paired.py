"""Scores of two models on the same petitions, and intervals of their differences: a paired bootstrap over groups. numpy only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RESAMPLES = 2_000
BINS = 15
_AT_ONCE = 250
"""Resamples held in memory: 100 MB for 50,000 petitions."""


@dataclass(frozen=True)
class Answers:
    """What one model said of petitions, (petitions,) each, in terms of the labels that both models know.

    Attributes:
        classes: how many labels both know; this number stands for any other.
        truth: the category that counts as right: the answer, where it is among the accepted ones.
        guess: the category answered.
        right: whether an accepted category was answered.
        judged: whether the petition's category is one that both know; the others have no part in scores of the category.
        confidence: probability of the category answered.
        emergency: labelled an emergency.
        called: called an emergency.
    """

    classes: int
    truth: Ints
    guess: Ints
    right: Bools
    judged: Bools
    confidence: Doubles
    emergency: Bools
    called: Bools

    def of(self, rows: Bools) -> "Answers":
        """The answers to some of the petitions."""
        parts = (self.truth, self.guess, self.right, self.judged, self.confidence, self.emergency, self.called)
        return Answers(self.classes, *(part[rows] for part in parts))  # type: ignore[arg-type]


def scores(answers: Answers, counts: Doubles) -> dict[str, Doubles]:
    """Scores of many resamples at once.

    Args:
        counts: (resamples, petitions), how often each petition was drawn.

    Returns:
        (resamples,) for `macro_f1`, `top1`, `ece`, `emergency_recall`, `emergency_precision`, and (resamples, classes) for `f1`;
        nan where there is no case.
    """
    judged = counts * answers.judged
    classes = np.arange(answers.classes)
    labelled, answered = (answers.truth[:, None] == classes), (answers.guess[:, None] == classes)
    cases = judged @ labelled
    f1 = _share(2 * (judged @ (labelled & answered)), cases + judged @ answered)
    f1 = np.where(cases > 0, f1, np.nan)
    found = counts @ (answers.emergency & answers.called)
    return {
        "macro_f1": _share(np.nansum(f1, axis=1), (cases > 0).sum(axis=1)),
        "top1": _share(judged @ answers.right, judged.sum(axis=1)),
        "ece": _calibration_error(answers, judged),
        "emergency_recall": _share(found, counts @ answers.emergency),
        "emergency_precision": _share(found, counts @ answers.called),
        "f1": f1,
    }


def compare(
    candidate: Answers, current: Answers, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = 13
) -> dict[str, Any]:
    """Every score of both, and the difference with its 95 % interval; petitions of one group are drawn together.

    Returns:
        `candidate`, `current`, `difference`, `interval` for each score of `scores`, floats, or lists by class for `f1`; None
        where there is no case.
    """
    every = np.ones((1, len(groups)))
    exact = scores(candidate, every), scores(current, every)
    drawn: dict[str, list[Doubles]] = {name: [] for name in exact[0]}
    for counts in _resampled(groups, resamples, seed):
        one, other = scores(candidate, counts), scores(current, counts)
        for name, rows in drawn.items():
            rows.append(one[name] - other[name])
    found = {}
    for name, parts in drawn.items():
        first, second = exact[0][name][0], exact[1][name][0]
        low, high = _bounds(np.concatenate(parts))
        columns = {"candidate": first, "current": second, "difference": first - second, "low": low, "high": high}
        found[name] = _rows(columns) if name == "f1" else _row(columns)
    return found


def _resampled(groups: Sequence[str], resamples: int, seed: int) -> Iterator[Doubles]:
    _, member = np.unique(np.array(groups), return_inverse=True)
    size = int(member.max()) + 1
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _AT_ONCE):
        draws = generator.multinomial(size, np.full(size, 1 / size), min(_AT_ONCE, resamples - start))
        yield draws[:, member].astype(np.float64)


def _bounds(differences: Doubles) -> tuple[Doubles, Doubles]:
    """2.5th and 97.5th percentile of the resamples that have a case; nan where none has."""
    known = ~np.isnan(differences)
    low, high = (np.full(differences.shape[1:], np.nan) for _ in range(2))
    for place in np.ndindex(differences.shape[1:]):
        values = differences[(slice(None), *place)][known[(slice(None), *place)]]
        if len(values):
            low[place], high[place] = np.percentile(values, (2.5, 97.5))
    return low, high


def _calibration_error(answers: Answers, judged: Doubles) -> Doubles:
    """As `training.calibration.expected_calibration_error`, of many resamples."""
    # Right is the answer that counts as right: a model is not told off for being sure of an accepted category.
    index = np.minimum((answers.confidence * BINS).astype(int), BINS - 1)
    bins = index[:, None] == np.arange(BINS)
    gaps = np.abs(judged @ (bins * answers.right[:, None]) - judged @ (bins * answers.confidence[:, None]))
    return _share(gaps.sum(axis=1), judged.sum(axis=1))


def _share(part: Doubles, whole: Doubles) -> Doubles:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _row(columns: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: None if np.isnan(value) else round(float(value), 4) for name, value in columns.items()}
    return {
        "candidate": told["candidate"],
        "current": told["current"],
        "difference": told["difference"],
        "interval": None if told["low"] is None else [told["low"], told["high"]],
    }


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    count = len(columns["candidate"])
    return [_row({name: values[place] for name, values in columns.items()}) for place in range(count)]
