"""Vietnamese typed without marks, read with them: "duong hong nang" -> "đường hỏng nặng". numpy only.

A third of chat messages come without diacritics, and neither the segmenter nor the encoder was made for them. A trigram
model of syllables picks, for every bare syllable, the spelling that fits its neighbours best (beam search).
Only the reading of the model changes: what the citizen wrote is what is stored and shown.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nlp_service.text import WORD
from nlp_service.text import fold as plain_fold

DIACRITICS_FILE = "diacritics.npz"

BOUNDARY, NUMBER, OTHER, FIRST = 0, 1, 2, 3
"""Ids of what is no known syllable: a mark or the text's edge, a number, any other word; then the first syllable."""

LONGEST = 7
"""Letters of the longest Vietnamese syllable, "nghiêng"."""

LOG_STEP = 15.5
"""Probabilities are stored as round(-15.5 ln p) in one byte: down to 1e-7, each right within 3 %."""

Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_SENTENCE = re.compile(r"[^.!?;]*[.!?;]+\s*|[^.!?;]+")
_CHUNK = re.compile(r"\S+")
_ADDRESS = re.compile(r"://|@|\.(?:com|vn|net|org)\b", re.IGNORECASE)
_BARE_SHARE = 0.15
"""A sentence is taken for bare when fewer of its syllables carry a mark; in ordinary Vietnamese about 0.75 do."""

_FEWEST_WORDS = 5
"""Shorter sentences say too little to judge by; they follow the text as a whole."""

_BEAM = 8
# "hoà", "thuý" as schools once taught it and "hòa", "thúy" as most keyboards write it are one spelling, the latter.
_TONES = "\u0300\u0301\u0303\u0309\u0323"
_OLD_STYLE = {
    unicodedata.normalize("NFC", f"{first}{second}{tone}"): unicodedata.normalize("NFC", f"{first}{tone}{second}")
    for first, second in ("oa", "oe", "uy")
    for tone in _TONES
}
_OLD = re.compile(rf"(?<![qQ])(?:{'|'.join(_OLD_STYLE)})(?![^\W\d_])")


def fold(word: str) -> str:
    """Lower case, no marks: what all spellings of a syllable have in common."""
    return _fold_short(word) if len(word) <= LONGEST else plain_fold(word)


_fold_short = lru_cache(maxsize=50_000)(plain_fold)  # of short words only: a long one could be a megabyte


def one_spelling(text: str) -> str:
    """Lower-case text with the tone of open oa, oe and uy on the first vowel: "hoà" -> "hòa", "quý" as it is."""
    return _OLD.sub(lambda match: _OLD_STYLE[match.group()], text)


def tokens(text: str) -> list[str]:
    """Words, numbers and single marks."""
    return _TOKEN.findall(text)


def _parts(text: str) -> list[str]:
    """Sentences and internet addresses; joined they give the text again."""
    parts: list[str] = []
    end = 0
    for match in _CHUNK.finditer(text):
        if _ADDRESS.search(match.group()):
            parts += [*_SENTENCE.findall(text[end : match.start()]), match.group()]
            end = match.end()
    return parts + _SENTENCE.findall(text[end:])


class Diacritics:
    """Restores marks; immutable, safe to share between threads.

    Args:
        syllables: the spellings behind the ids from FIRST on, lower case.
        unigrams: log probability of every id.
        bigrams, trigrams: sorted keys, the ids as digits in base `len(unigrams)`, and the log probability of the last
            id after those before it.
        backoffs: what the log probability of a shorter sequence loses where the longer one is unknown, for every id
            and for every bigram.
    """

    def __init__(
        self,
        syllables: list[str],
        unigrams: Floats,
        bigrams: tuple[Keys, Floats],
        trigrams: tuple[Keys, Floats],
        backoffs: tuple[Floats, Floats],
    ) -> None:
        self._spelling = [""] * FIRST + syllables
        self._unigrams, self._bigrams, self._trigrams = unigrams, bigrams, trigrams
        self._backoffs = backoffs
        grouped: dict[str, list[int]] = {}
        for identity, syllable in enumerate(syllables, start=FIRST):
            grouped.setdefault(fold(syllable), []).append(identity)
        self._candidates = {bare: np.array(ids, dtype=np.int64) for bare, ids in grouped.items()}

    @classmethod
    def load(cls, path: Path) -> "Diacritics":
        """Read `diacritics.npz`. Raises OSError or ValueError for a file that is none."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                bytes(arrays["syllables"]).decode("utf-8").split("\n"),
                _logs(arrays["unigrams"]),
                (np.cumsum(arrays["bigram_steps"], dtype=np.int64), _logs(arrays["bigrams"])),
                (np.cumsum(arrays["trigram_steps"], dtype=np.int64), _logs(arrays["trigrams"])),
                (_logs(arrays["unigram_backoffs"]), _logs(arrays["bigram_backoffs"])),
            )

    def restore(self, text: str) -> str:
        """`text` with marks where they were left out; as long as before, sentences that have theirs unchanged."""
        words = WORD.findall(text)
        if not words:
            return text
        whole = self._is_bare(words)
        parts = []
        for part in _parts(text):
            if _ADDRESS.search(part):
                parts.append(part)
                continue
            own = WORD.findall(part)
            bare = (whole or len(own) >= _FEWEST_WORDS) and self._is_bare(own)
            parts.append(self._restore(part) if bare else part)
        return "".join(parts)

    def spellings(self, word: str) -> list[str]:
        """Every way to put marks on a syllable, lower case; none for a word that is no known syllable."""
        return [self._spelling[i] for i in self._candidates.get(fold(word), ())]

    def _is_bare(self, words: list[str]) -> bool:
        """Few syllables with marks, and mostly such that could have some: English is left alone."""
        marked = sum(word.lower() != fold(word) for word in words)
        known = sum(fold(word) in self._candidates for word in words)
        return marked < _BARE_SHARE * len(words) and known >= 0.6 * len(words)

    def _restore(self, text: str) -> str:
        matches = list(_TOKEN.finditer(text))
        options = [self._options(match.group()) for match in matches]
        chosen = self._search(options)
        letters = list(text)
        for match, identity in zip(matches, chosen, strict=True):
            if identity > OTHER:
                spelling = self._spelling[identity]
                for offset, (old, new) in enumerate(zip(match.group(), spelling, strict=True)):
                    letters[match.start() + offset] = new.upper() if old.isupper() else new
        return "".join(letters)

    def _options(self, token: str) -> Keys:
        if token.isdigit():
            return np.array([NUMBER])
        if not token.isalpha():
            return np.array([BOUNDARY])
        lower = token.lower()
        candidates = self._candidates.get(fold(token))
        if candidates is None or len(lower) != len(token):
            return np.array([OTHER])
        if lower != fold(token):  # it has marks already: keep them
            kept = np.array([i for i in candidates if self._spelling[i] == lower], dtype=np.int64)
            return kept if len(kept) else np.array([OTHER])
        return candidates

    def _search(self, options: list[Keys]) -> list[int]:
        """The most probable ids, one a position."""
        scores = np.zeros(1, np.float32)
        before = np.array([BOUNDARY], dtype=np.int64)  # last but one and last id of every path in the beam
        last = np.array([BOUNDARY], dtype=np.int64)
        trail: list[tuple[Keys, npt.NDArray[np.intp]]] = []
        for ids in options:
            if len(ids) == 1 and len(scores) == 1:
                trail.append((ids, np.zeros(1, np.intp)))
                before, last = last, ids
                continue
            step = scores[:, None] + self._log_probability(before[:, None], last[:, None], ids[None, :])
            flat = step.ravel()
            best = np.argsort(-flat, kind="stable")[:_BEAM]
            parents, picks = np.divmod(best, len(ids))
            trail.append((ids[picks], parents))
            before, last, scores = last[parents], ids[picks], flat[best]
        path: list[int] = []
        position = 0
        for picked, parents in reversed(trail):
            path.append(int(picked[position]))
            position = int(parents[position])
        return path[::-1]

    def _log_probability(self, first: Keys, second: Keys, third: Keys) -> Floats:
        size = len(self._unigrams)
        place, known = _find(self._bigrams[0], second * size + third)
        backoff = self._unigrams[third] + self._backoffs[0][second]
        scores = np.where(known, self._bigrams[1][place], backoff)
        context, has_context = _find(self._bigrams[0], first * size + second)
        scores = scores + np.where(has_context, self._backoffs[1][context], 0)
        place, known = _find(self._trigrams[0], (first * size + second) * size + third)
        result: Floats = np.where(known, self._trigrams[1][place], scores).astype(np.float32)
        return result


def _find(known: Keys, keys: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each key would stand among the sorted ones, and whether it does."""
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return places, known[places] == keys


def _logs(stored: npt.NDArray[np.uint8]) -> Floats:
    return stored.astype(np.float32) / np.float32(-LOG_STEP)
