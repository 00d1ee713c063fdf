"""Which texts tell one story: near copies of each other, or tied by what is known of them.

Copies are found as batch labelling finds them (`nlp_service.repeats.signature`): by the words, without the formulas that
every letter has. There a row joins an earlier leader; here every pair counts, since one of them on each side is a leak.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nlp_service.repeats import LIKENESS, signature

_BAND = 4
"""Bytes of a signature that must be equal for two texts to be compared."""

_COMPARED = 32
"""Texts of one band that a text is compared with, the earliest: a form that thousands share stays affordable."""


@dataclass(frozen=True)
class Text:
    """A text to be grouped.

    Attributes:
        ties: names that it shares with texts of the same story, whatever their words.
        signature: instead of `text` where the words are no longer held.
    """

    id: str
    text: str = ""
    ties: tuple[str, ...] = ()
    signature: bytes | None = None

    @property
    def sketch(self) -> bytes | None:
        """What its words are compared by; None if they are too few to tell."""
        return self.signature if self.signature is not None else signature(self.text)


def clusters(texts: Sequence[Text]) -> list[int]:
    """For every text the number of the first one of its story, in order."""
    first = list(range(len(texts)))
    _join_ties(first, texts)
    _join_copies(first, [text.sketch for text in texts])
    return [_root(first, number) for number in range(len(texts))]


def _join_ties(first: list[int], texts: Sequence[Text]) -> None:
    holders: dict[str, int] = {}
    for number, text in enumerate(texts):
        for tie in text.ties:
            _join(first, holders.setdefault(tie, number), number)


def _join_copies(first: list[int], sketches: Iterable[bytes | None]) -> None:
    bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    rows: dict[int, np.ndarray] = {}
    for number, sketch in enumerate(sketches):
        if sketch is None:
            continue
        rows[number] = own = np.frombuffer(sketch, np.uint8)
        # A short text's digest is one band: it repeats another only to the word.
        width = _BAND if len(sketch) > 16 else len(sketch)
        places = [bands[start, sketch[start : start + width]] for start in range(0, len(sketch), width)]
        near = {other for place in places for other in place[:_COMPARED] if len(rows[other]) == len(own)}
        for other in sorted(near):
            if _root(first, other) != _root(first, number) and np.mean(rows[other] == own) >= LIKENESS:
                _join(first, other, number)
        for place in places:
            place.append(number)


def _root(first: list[int], number: int) -> int:
    while first[number] != number:
        first[number] = first[first[number]]
        number = first[number]
    return number


def _join(first: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(first, one), _root(first, other)))
    first[high] = low
