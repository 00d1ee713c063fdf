"""A linear model over words and letters beside the network: TF-IDF features, one row of margins a head. numpy only.

The network reads meaning, the linear model remembers exact words ("mương tiêu", "hụi"); together they are right more
often than either (docs/experiments.md). Features are those of scikit-learn's TfidfVectorizer, computed here because
scikit-learn and scipy would double the serving install; a test holds the two together.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

LINEAR_FILE = "linear.npz"
WORD_GRAMS = (1, 2)
LETTER_GRAMS = (2, 5)

Floats = npt.NDArray[np.float32]

_REMEMBERED = 20
"""Longer words are not remembered: one could be a megabyte."""

_WORD = re.compile(r"\b\w\w+\b")


def word_grams(text: str) -> Iterator[str]:
    """Words of two letters or more, and pairs of neighbours: `TfidfVectorizer(ngram_range=(1, 2))`."""
    words = _WORD.findall(text)
    yield from words
    yield from (f"{first} {second}" for first, second in pairwise(words))


def letter_grams(text: str) -> Iterator[str]:
    """Runs of 2 to 5 letters inside words padded with a space: `TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))`."""
    shortest, longest = LETTER_GRAMS
    for word in text.split():
        padded = f" {word} "
        for length in range(shortest, longest + 1):
            if length >= len(padded):
                yield padded
                break
            for start in range(len(padded) - length + 1):
                yield padded[start : start + length]


class LinearModel:
    """Margins of one-against-rest linear classifiers; immutable, safe to share between threads.

    Attributes:
        words, letters: the row of every feature of each kind, words first.
        idf: (features,) inverse document frequency.
        weights: (features, classes of all heads one after the other), int8, to be multiplied by `scales`.
        scales, intercepts: (classes,).
        sizes: number of classes of every head, in the order of the columns.
    """

    def __init__(
        self,
        words: list[str],
        letters: list[str],
        idf: Floats,
        weights: npt.NDArray[np.int8],
        scales: Floats,
        intercepts: Floats,
        heads: dict[str, int],
    ) -> None:
        self.words = {feature: row for row, feature in enumerate(words)}
        self.letters = {feature: row for row, feature in enumerate(letters, start=len(words))}
        self.idf = idf
        self.weights, self.scales, self.intercepts = weights, scales, intercepts
        self.sizes = heads
        # Most syllables of a petition were in the one before it: their runs of letters are looked up once.
        self._remembered_rows = lru_cache(maxsize=20_000)(self._rows_of_letters)
        if weights.shape != (len(words) + len(letters), sum(heads.values())) or len(idf) != len(weights):
            raise ValueError(f"{LINEAR_FILE}: weights are {weights.shape}, which does not fit features and classes")

    @classmethod
    def load(cls, path: Path) -> "LinearModel":
        """Read `linear.npz`. Raises OSError or ValueError for a file that is none."""
        with np.load(path, allow_pickle=False) as arrays:
            words, letters, heads = (
                bytes(arrays[name]).decode("utf-8").split("\n") for name in ("words", "letters", "heads")
            )
            return cls(
                words,
                letters,
                arrays["idf"].astype(np.float32),
                arrays["weights"],
                arrays["scales"].astype(np.float32),
                arrays["intercepts"].astype(np.float32),
                dict(zip(heads, arrays["sizes"].tolist(), strict=True)),
            )

    def knows(self, word: str) -> bool:
        """Whether a lower-case word is one that the training petitions have at least twice."""
        return word in self.words

    def letter_rows(self, syllable: str) -> tuple[int, ...]:
        """Rows of the runs of letters of a lower-case syllable, as often as they stand in it."""
        return self._remembered_rows(syllable) if len(syllable) <= _REMEMBERED else self._rows_of_letters(syllable)

    def _rows_of_letters(self, text: str) -> tuple[int, ...]:
        return tuple(self.letters[gram] for gram in letter_grams(text) if gram in self.letters)

    def margins(self, wording: str) -> dict[str, Floats]:
        """(classes,) for every head."""
        text = wording.lower()
        rows: list[int] = []
        values: list[Floats] = []
        letters: Counter[int] = Counter()
        for word in text.split():
            letters.update(self.letter_rows(word))
        words = Counter(self.words[gram] for gram in word_grams(text) if gram in self.words)
        for counts in (words, letters):
            if not counts:
                continue
            chosen = list(counts)
            weighted = (1 + np.log(np.array(list(counts.values()), np.float32))) * self.idf[chosen]
            rows += chosen
            values.append(weighted / np.linalg.norm(weighted))
        total = self.intercepts
        if rows:
            total = total + (np.concatenate(values) @ self.weights[rows].astype(np.float32)) * self.scales
        ends = np.cumsum(list(self.sizes.values()))
        return dict(zip(self.sizes, np.split(total.astype(np.float32), ends[:-1]), strict=True))
