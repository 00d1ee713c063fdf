"""Which labels an annotator uses more or less often than the petitions that came to him or her would have one expect.

Expected is the sum of the model's out-of-sample probabilities over the annotator's own petitions, so whoever was given the
land petitions is not said to over-use land. It is no proof of a mistake: it says where to look. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from training.suspects import Labelled

FALSE_DISCOVERIES = 0.05
"""Share of what is told that may be chance (Benjamini and Hochberg 1995), over all annotators and labels."""

_LEAST_PETITIONS = 50
_LEAST_EXPECTED = 5.0
"""Below, the normal approximation of a sum of unequal chances is poor."""


@dataclass(frozen=True)
class Usage:
    """One annotator and label.

    Attributes:
        expected: how often; `interval` is its 95 % range by chance.
        p: two-sided, before the correction.
    """

    annotator: str
    label: str
    used: int
    expected: float
    interval: tuple[float, float]
    p: float

    @property
    def sentence(self) -> str:
        """For the terminal."""
        word = "more" if self.used > self.expected else "less"
        low, high = self.interval
        return (
            f"{self.annotator} uses {self.label} {word} often than expected: {self.used} times, "
            f"expected {self.expected:.1f} ({low:.1f} to {high:.1f}), p {self.p:.1g}"
        )


def usage(labelled: Labelled, head: str, probabilities: npt.NDArray[np.float64]) -> list[Usage]:
    """What stands out after the correction, the surest first; annotators with few petitions and rare labels are not judged."""
    given = labelled.given(head)
    classes = labelled.classes[head]
    names = np.array(labelled.annotators)
    # What the model gives too much or too little to over everybody is no annotator's doing.
    offset = np.array([(given == label).mean() for label in range(len(classes))]) / probabilities.mean(axis=0)
    adjusted = probabilities * offset
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    tested = []
    for name in sorted(set(labelled.annotators) - {""}):
        own = names == name
        if own.sum() < _LEAST_PETITIONS:
            continue
        chances = adjusted[own]
        expected, spread = chances.sum(axis=0), np.sqrt((chances * (1 - chances)).sum(axis=0))
        for label, identity in enumerate(classes):
            if expected[label] >= _LEAST_EXPECTED:
                tested.append(_tested(name, identity, int((given[own] == label).sum()), expected[label], spread[label]))
    return _standing_out(tested)


def _tested(name: str, label: str, used: int, expected: float, spread: float) -> Usage:
    distance = max(abs(used - expected) - 0.5, 0.0) / max(spread, 1e-9)
    interval = (max(0.0, expected - 1.96 * spread), expected + 1.96 * spread)
    return Usage(name, label, used, float(expected), interval, float(2 * norm.sf(distance)))


def _standing_out(tested: Sequence[Usage]) -> list[Usage]:
    ordered = sorted(tested, key=lambda row: row.p)
    passed = [rank for rank, row in enumerate(ordered, 1) if row.p <= FALSE_DISCOVERIES * rank / len(ordered)]
    return ordered[: max(passed, default=0)]
