"""A petition read again with words left out, at the price of the windows that lose one.

Everything that answers does so anew: the network for those windows, the linear model and the emergency lexicon for the
text. Words are not cut anew, which would give the network other words than those it read before.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nlp_service.decision import Decision, decide, softmax
from nlp_service.emergency import Sign
from nlp_service.encoder import OUTPUTS
from nlp_service.pipeline import PetitionClassifier
from nlp_service.tokens import BOS, EOS, windows

Floats = npt.NDArray[np.float32]

Place = tuple[int, int]
"""Start and end in a text."""

Drop = tuple[int, ...]
"""Words that are left out together, by number, in order."""


@dataclass(frozen=True)
class Answer:
    """What the service answers with some words left out, or none.

    Attributes:
        logits, probabilities: of every head; probabilities are calibrated.
    """

    logits: dict[str, Floats]
    probabilities: dict[str, Floats]
    decision: Decision

    def probability(self, head: str, label: int) -> float:
        """Of the label with this number."""
        return float(self.probabilities[head][label])


class Occlusion:
    """One petition, read whole at once, and then with words left out.

    Args:
        shown: the normalised text (`nlp_service.text.check`).

    Attributes:
        words: as the model sees them, marks restored and capitals calmed, in order.
        sign, whole: what the emergency lexicon finds, and the answer, for the whole text.
        positions: what the network has read so far.
    """

    def __init__(self, classifier: PetitionClassifier, shown: str) -> None:
        self._classifier = classifier
        reader = classifier.reader
        wording = reader.wording(shown)
        words, self._text = reader.words(wording)
        self._starts, self._ends = [word.start for word in words], [word.end for word in words]
        self.words = [self._text[word.start : word.end] for word in words]
        self._exact = self._text == wording and len(wording) == len(shown)
        self._written = shown if self._exact else self._text
        self._ids = [identity for word in words for identity in word.ids]
        ends = np.cumsum([len(word.ids) for word in words]).tolist()
        self._ids_of = [range(end - len(word.ids), end) for end, word in zip(ends, words, strict=True)]
        # Cut as the classifier cuts, but the places of ids in their stead.
        self._windows = [
            range(window[1], window[-2] + 1)
            for window in windows(list(range(len(self._ids))), reader.window, reader.overlap)
        ]
        self.positions = 0
        self._rows = self._run([[self._ids[i] for i in window] for window in self._windows])
        read = classifier.combine(self._rows, self._text)
        self.sign = read.sign
        self.whole = self.answer(read.logits, read.sign)

    def answer(self, logits: dict[str, Floats], sign: Sign | None = None) -> Answer:
        """What the service makes of these logits."""
        bundle = self._classifier.bundle
        return Answer(
            logits=logits,
            probabilities={
                head: softmax(logits[head], spec.temperature) for head, spec in bundle.manifest.heads.items()
            },
            decision=decide(logits, bundle.manifest, bundle.taxonomy, sign),
        )

    def cost(self, drop: Drop) -> int:
        """Positions that reading without these words takes, or a few less."""
        return sum(len(self._windows[number]) + 2 for number in self._touched(drop))

    def affordable(self, drops: Iterable[Drop], budget: int) -> list[Drop]:
        """The first of `drops` that can be read before `positions` comes to `budget`; dear ones are passed over."""
        left = budget - self.positions
        chosen = []
        for drop in drops:
            cost = self.cost(drop)
            if cost <= left:
                chosen.append(drop)
                left -= cost
        return chosen

    def without(self, drops: Sequence[Drop]) -> list[Answer]:
        """The answer without each of `drops`; only windows that lose a word are read again."""
        touched = [self._touched(drop) for drop in drops]
        pieces = []
        for drop, numbers in zip(drops, touched, strict=True):
            out = {i for word in drop for i in self._ids_of[word]}
            pieces += [[self._ids[i] for i in self._windows[number] if i not in out] for number in numbers]
        again = self._run(pieces)
        answers = []
        start = 0
        for drop, numbers in zip(drops, touched, strict=True):
            rows = {name: values.copy() for name, values in self._rows.items()}
            for name in OUTPUTS:
                rows[name][numbers] = again[name][start : start + len(numbers)]
            start += len(numbers)
            read = self._classifier.combine(rows, self.rest(drop))
            answers.append(self.answer(read.logits, read.sign))
        return answers

    def rest(self, drop: Drop) -> str:
        """The text without these words."""
        parts = []
        end = 0
        for word in drop:
            parts.append(self._text[end : self._starts[word]])
            end = self._ends[word]
        return " ".join("".join([*parts, self._text[end:]]).split())

    def phrases(self, drop: Drop) -> list[tuple[str, Place]]:
        """Neighbours among these words joined, without marks at their ends, and where they stand in the written text."""
        runs: list[list[int]] = []
        for word in drop:
            if runs and runs[-1][1] == word - 1:
                runs[-1][1] = word
            else:
                runs.append([word, word])
        phrases = []
        for first, last in runs:
            places = range(self._starts[first], self._ends[last])
            heard = [place for place in places if self._written[place].isalnum()]
            if heard:
                phrases.append((self._written[heard[0] : heard[-1] + 1], (heard[0], heard[-1] + 1)))
        return phrases

    def places(self, phrases: Iterable[tuple[str, Place]]) -> tuple[Place, ...]:
        """Where they stand in what is shown to the clerk; nothing where that cannot be told."""
        return tuple(place for _, place in phrases) if self._exact else ()

    @cached_property
    def alarm(self) -> Drop:
        """Few words without which the emergency lexicon finds nothing; none if it finds nothing anyway."""
        lexicon, lower = self._classifier.lexicon, self._text.lower()
        if lexicon is None or len(lower) != len(self._text):
            return ()
        drop: Drop = ()
        # A text may show several signs: one after the other is taken out.
        while sign := lexicon.find(self.rest(drop)):
            found = [{word for match in p.finditer(lower) for word in self._words_at(*match.span())} for p in sign.all]
            fewest = min(found, key=len)
            if fewest <= set(drop):
                return ()
            drop = tuple(sorted({*drop, *fewest}))
        return drop

    def labels(self) -> dict[str, tuple[str, int, str]]:
        """Head, number and name of every category and urgency level."""
        bundle = self._classifier.bundle
        return {
            label.id: (head, bundle.manifest.heads[head].labels.index(label.id), label.name)
            for head in ("urgency", "category")
            for label in bundle.taxonomy.heads[head]
        }

    def _words_at(self, start: int, end: int) -> range:
        return range(bisect_right(self._ends, start), bisect_left(self._starts, end))

    def _touched(self, drop: Drop) -> list[int]:
        gone = [self._ids_of[word] for word in drop]
        return [
            number
            for number, window in enumerate(self._windows)
            if any(ids.start < window.stop and window.start < ids.stop for ids in gone)
        ]

    def _run(self, pieces: Sequence[Sequence[int]]) -> dict[str, Floats]:
        if not pieces:
            return {name: np.empty(0, np.float32) for name in OUTPUTS}
        self.positions += sum(len(piece) + 2 for piece in pieces)
        return self._classifier.encoder.run([[BOS, *piece, EOS] for piece in pieces])
