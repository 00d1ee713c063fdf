"""What the linear model would say without some of a petition's words, for many of them at once. numpy only.

Reading a letter of a thousand words again without each would take seconds; here the few features that a word bears are
taken out of the sums. Words that would become neighbours are not paired, and marks glued to a word are read apart, so
the margins are near, not equal, to those of the shorter text: good for choosing which words to try.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nlp_service.linear import LinearModel, word_grams

Floats = npt.NDArray[np.float32]
_Borne = list[tuple[int, int]]
"""Group and feature of every occurrence."""


def margins_without(linear: LinearModel, words: Sequence[str], groups: Sequence[Sequence[int]]) -> dict[str, Floats]:
    """(1 + groups, classes) for every head: margins of the whole text, then of the text without each group's words.

    Args:
        words: all words of the text in order; one may hold several syllables.
        groups: numbers of words; no word is in two.
    """
    group_of = {word: number for number, group in enumerate(groups) for word in group}
    syllables: list[tuple[int, str]] = []
    letters: _Borne = []
    for number, word in enumerate(words):
        group = group_of.get(number, -1)
        grams = list(word_grams(word.lower()))
        syllables += [(group, gram) for gram in grams[: (len(grams) + 1) // 2]]  # behind the words stand their pairs
        for syllable in word.lower().split():
            letters += [(group, row) for row in linear.letter_rows(syllable)]
    rows = linear.words
    borne = [(group, rows[word]) for group, word in syllables if word in rows]
    shared: _Borne = []  # a pair falls with either of its words
    for (first, one), (second, two) in pairwise(syllables):
        pair = rows.get(f"{one} {two}")
        if pair is not None:
            borne.append((first, pair))
            if second != first:
                shared.append((second, pair))
    total = _sums(linear, borne, shared, len(groups)) + _sums(linear, letters, [], len(groups))
    margins = (linear.intercepts + total * linear.scales).astype(np.float32)
    ends = np.cumsum(list(linear.sizes.values()))
    return dict(zip(linear.sizes, np.split(margins, ends[:-1], axis=1), strict=True))


def _sums(linear: LinearModel, borne: _Borne, shared: _Borne, groups: int) -> Floats:
    """(1 + groups, classes) for features of one kind: weights times values of length one; `shared` is borne elsewhere."""
    sums = np.zeros((1 + groups, linear.weights.shape[1]), np.float32)
    if not borne:
        return sums
    features, counts = np.unique([feature for _, feature in borne], return_counts=True)
    idf, weights = linear.idf[features], linear.weights[features].astype(np.float32)
    values = (1 + np.log(counts)) * idf
    group, feature = np.array([*borne, *shared]).T
    places = np.searchsorted(features, feature)
    key, fewer = np.unique((group * len(features) + places)[group >= 0], return_counts=True)
    group, places = np.divmod(key, len(features))
    left = counts[places] - fewer
    rest = np.where(left > 0, 1 + np.log(np.maximum(left, 1)), 0) * idf[places]
    losses = (rest - values[places])[:, None] * weights[places]
    squares = np.full(1 + groups, values @ values)
    np.add.at(squares, group + 1, rest**2 - values[places] ** 2)
    sums[:] = values @ weights
    present, starts = np.unique(group, return_index=True)
    if len(present):
        sums[present + 1] += np.add.reduceat(losses, starts, axis=0)
    result: Floats = sums / np.sqrt(np.maximum(squares, 1e-6))[:, None]
    return result
