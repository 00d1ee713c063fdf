"""Whether petitions have changed: how far two profiles are apart, whether chance could do that, and a verdict. Pure.

*How far* is the population stability index (PSI), less what two samples of one population would show on average, which is
(bins - 1)(1/n + 1/m) (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(4)); so it means the same for 30 petitions and
for 30,000. 0.2 is a convention between those authors' "moderate" 0.1 and "significant" 0.25.

*Chance* is a permutation test: petitions change sides at random. Pearson's chi-square for categories, Kolmogorov and Smirnov's
largest distance for what has an order. Conditional on the margins it is exact for rare bins, ties and few petitions, where
chi-square tables and KS tables are not. It takes petitions to be independent, so repeats are left out before (stored_profiles.py).

With thousands of petitions chance is excluded for a change that means nothing, with hundreds of tests something is always
unlikely: drifting is what is far *and* no chance, of all that is told at most 5 % false (Benjamini and Hochberg 1995).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from nlp_service.profile import FEATURES, Profile, bins

LEAST = 30
"""Petitions on either side, below which nothing is said."""

FAR = 0.2
FALSE_SHARE = 0.05
"""Of what is told to drift, the share that may be chance."""

DRAWS = 9_999
ENOUGH = 100
"""Draws as far apart as what was seen, after which no more are made: the p-value is then known to a tenth of itself."""

MOVED = 3
"""Bins that a finding names."""

_CHUNK = 1_000
Counts = npt.NDArray[np.int64]


class Verdict(StrEnum):
    """What is said of one feature of one group."""

    STABLE = "stable"
    DRIFTING = "drifting"
    TOO_FEW = "too few"


@dataclass(frozen=True)
class Move:
    """The share of a bin, before and now."""

    bin: str
    before: float
    now: float


@dataclass(frozen=True)
class Finding:
    """One feature of one group of petitions beside the petitions it is compared with.

    Attributes:
        group: a week, a commune.
        count, against: petitions on both sides.
        psi: less what chance alone would give, at least 0; None for too few.
        p: of the permutation test; None for too few.
        moved: the bins that make the most of the PSI, the largest first.
    """

    group: str
    feature: str
    count: int
    against: int
    psi: float | None
    p: float | None
    verdict: Verdict
    moved: tuple[Move, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{name: getattr(self, name) for name in ("group", "feature", "count", "against", "psi", "p")},
            "verdict": self.verdict.value,
            "moved": [{"bin": move.bin, "before": move.before, "now": move.now} for move in self.moved],
        }


def judge(pairs: Mapping[str, tuple[Profile, Profile]]) -> list[Finding]:
    """Every feature of every group, in order; the same profiles give the same findings.

    Args:
        pairs: group -> its petitions, and those they are compared with; no petition in both.
    """
    cells = {(group, feature): _Cell.of(feature, *pair) for group, pair in pairs.items() for feature in FEATURES}
    tested = {place: cell for place, cell in cells.items() if min(cell.now.sum(), cell.before.sum()) >= LEAST}
    rng = np.random.default_rng(0)
    # The smallest p-value must be able to pass however many are tested.
    draws = max(DRAWS, math.ceil(2 * len(tested) / FALSE_SHARE))
    p_values = {
        place: permutation_p(cell.now, cell.before, place[1] != "category", rng, draws)
        for place, cell in tested.items()
    }
    unlikely = dict(zip(p_values, discoveries(list(p_values.values())), strict=True))
    return [cell.finding(*place, p_values.get(place), unlikely.get(place, False)) for place, cell in cells.items()]


def psi(now: Counts, before: Counts) -> tuple[float, npt.NDArray[np.float64]]:
    """PSI less its mean under no change, and what each bin adds to the PSI. Half a petition is added to every bin: none is empty."""
    shares, shares_before = ((side + 0.5) / (side + 0.5).sum() for side in (now, before))
    parts = (shares - shares_before) * np.log(shares / shares_before)
    by_chance = (len(parts) - 1) * (1 / now.sum() + 1 / before.sum())
    return max(0.0, float(parts.sum() - by_chance)), parts


def permutation_p(one: Counts, other: Counts, ordered: bool, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """p-value of "both are samples of one population", at least 1/(draws + 1) (Phipson and Smyth 2010).

    Args:
        one, other: (bins,) petitions.
        ordered: whether the bins have an order.
    """
    small, pooled = min(one, other, key=lambda side: int(side.sum())), one + other
    expected = pooled * (small.sum() / pooled.sum())

    def apart(samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        # Up to factors that the margins fix: KS's distance, Pearson's chi-square.
        gaps = samples - expected
        found: npt.NDArray[np.float64] = (
            np.abs(gaps.cumsum(axis=-1)).max(axis=-1) if ordered else (gaps**2 / expected).sum(axis=-1)
        )
        return found

    seen = float(apart(small)) * (1 - 1e-9)
    as_far = drawn = 0
    while drawn < draws:
        samples = rng.multivariate_hypergeometric(pooled, int(small.sum()), min(_CHUNK, draws - drawn), "marginals")
        places = np.flatnonzero(apart(samples) >= seen)
        if as_far + len(places) >= ENOUGH:  # Besag and Clifford 1991
            return ENOUGH / (drawn + int(places[ENOUGH - as_far - 1]) + 1)
        as_far, drawn = as_far + len(places), drawn + len(samples)
    return (as_far + 1) / (draws + 1)


def discoveries(p_values: Sequence[float]) -> list[bool]:
    """Which of them hold so that at most FALSE_SHARE of those are expected to be false (Benjamini and Hochberg 1995)."""
    ordered = sorted(p_values)
    passing = [p for rank, p in enumerate(ordered, start=1) if p <= FALSE_SHARE * rank / len(ordered)]
    return [bool(passing) and p <= passing[-1] for p in p_values]


@dataclass(frozen=True)
class _Cell:
    """(bins,) petitions on both sides, in bins that are not empty on both."""

    names: tuple[str, ...]
    now: Counts
    before: Counts

    @classmethod
    def of(cls, feature: str, now: Profile, before: Profile) -> "_Cell":
        one, other = now.counts[feature], before.counts[feature]
        order = sorted({*one, *other}) if feature == "category" else bins(feature)
        names = tuple(name for name in order if one[name] + other[name] > 0)
        counts = (np.array([side[name] for name in names], np.int64) for side in (one, other))
        return cls(names, *counts)

    def finding(self, group: str, feature: str, p: float | None, unlikely: bool) -> Finding:
        count, against = int(self.now.sum()), int(self.before.sum())
        if p is None:
            return Finding(group, feature, count, against, None, None, Verdict.TOO_FEW)
        distance, parts = psi(self.now, self.before)
        moved = tuple(
            Move(self.names[place], float(self.before[place] / against), float(self.now[place] / count))
            for place in np.argsort(-parts, kind="stable")[:MOVED]
        )
        verdict = Verdict.DRIFTING if unlikely and distance >= FAR else Verdict.STABLE
        return Finding(group, feature, count, against, distance, p, verdict, moved)
