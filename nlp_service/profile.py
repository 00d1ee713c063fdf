"""What petitions are like, counted in bins: category, confidence, length, unknown words. What drift.py compares.

Nobody has to label anything for it, and counts hold no words.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from nlp_service.text import WORD, normalise

FEATURES = ("category", "confidence", "length", "unknown")
"""The model's category and its probability; the text's length in syllables; its share of unknown words."""

EDGES: dict[str, tuple[float, ...]] = {
    "confidence": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    "length": (10, 20, 30, 45, 60, 80, 120, 200, 400),
    "unknown": (0.01, 0.03, 0.05, 0.1, 0.2, 0.4),
}
"""Where a feature's next bin begins. Categories are bins by themselves."""

Knows = Callable[[str], bool]
"""Whether a lower-case word was among the training petitions: `LinearModel.knows`."""


def bins(feature: str) -> tuple[str, ...]:
    """Names of a measured feature's bins, in order: "below 0.3", "0.3 to 0.4", …, "0.95 or more"."""
    edges = EDGES[feature]
    between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} or more")


def length(text: str) -> int:
    """Syllables of a normalised text: what spaces part."""
    return len(text.split())


def unknown_share(text: str, knows: Knows) -> float | None:
    """Share of a normalised text's words of two letters or more that are unknown; None without such words.

    As typed but for capitals: words without marks are unknown, although the reader restores some.
    """
    words = [word for word in WORD.findall(text.lower()) if len(word) > 1]
    return sum(not knows(word) for word in words) / len(words) if words else None


class Profile:
    """Petitions by feature and bin.

    Attributes:
        counts: for every one of FEATURES bin -> petitions. Sums may differ: of a masked petition the text is not counted.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self.counts = {feature: Counter((counts or {}).get(feature, {})) for feature in FEATURES}

    def add(self, category: str, confidence: float, text: str | None, knows: Knows | None) -> None:
        """One petition.

        Args:
            text: raw; None if it is not what its sender wrote.
            knows: None for a model that keeps no words.
        """
        self.counts["category"][category] += 1
        self._measure("confidence", confidence)
        if text is None:
            return
        text = normalise(text)
        self._measure("length", length(text))
        if knows is not None and (share := unknown_share(text, knows)) is not None:
            self._measure("unknown", share)

    def _measure(self, feature: str, value: float) -> None:
        self.counts[feature][_BINS[feature][bisect_right(EDGES[feature], value)]] += 1

    def __sub__(self, other: "Profile") -> "Profile":
        return Profile({feature: self.counts[feature] - other.counts[feature] for feature in FEATURES})


def joined(profiles: Iterable[Profile]) -> Profile:
    """All their petitions."""
    total = Profile()
    for profile in profiles:
        for feature in FEATURES:
            total.counts[feature].update(profile.counts[feature])
    return total


_BINS = {feature: bins(feature) for feature in EDGES}
