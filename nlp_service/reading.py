"""What the network reads of a petition: its text calmed, marks restored, cut into words, then into windows of ids.

Serving, training and evaluation go through here, so that a model is asked as it was taught.
"""

from dataclasses import dataclass
from pathlib import Path

from nlp_service.diacritics import DIACRITICS_FILE, Diacritics
from nlp_service.segment import Segmenter
from nlp_service.text import unshout
from nlp_service.tokens import PhobertTokens, windows

_JOINTS = frozenset(" _")
"""What the segmenter puts between words and between the syllables of one."""


@dataclass(frozen=True)
class Word:
    """One word of a wording, "rác thải" or a mark.

    Attributes:
        ids: what the network reads for it.
        start, end: where it stands in the text.
    """

    ids: list[int]
    start: int
    end: int


@dataclass(frozen=True)
class Reader:
    """Turns normalised text into windows of ids.

    Attributes:
        diacritics: restores marks in sentences typed without; None for a model that was taught without it.
        window, overlap: positions of a window, `<s>` and `</s>` included, and ids that neighbours share.
    """

    segmenter: Segmenter
    tokens: PhobertTokens
    diacritics: Diacritics | None
    window: int = 256
    overlap: int = 64

    def wording(self, text: str) -> str:
        """Normalised text as the model should see it: capitals calmed, missing marks restored."""
        text = unshout(text)
        return self.diacritics.restore(text) if self.diacritics else text

    def windows(self, wording: str) -> list[list[int]]:
        """Windows of ids of a wording, at least one."""
        ids = self.tokens.encode(self.segmenter.segment(wording))
        return windows(ids, self.window, self.overlap)

    def words(self, wording: str) -> tuple[list[Word], str]:
        """The words whose ids, one after the other, `windows` cuts, and the text they stand in.

        That is the wording: the segmenter moves spaces and respells, but keeps the number of letters and marks, which
        are counted. Should it ever not, the words stand in what it made of the wording, spaces for underscores.
        """
        cut = self.segmenter.segment(wording).split()
        lengths = [sum(character not in _JOINTS for character in word) for word in cut]
        places = _places(wording)
        if len(places) != sum(lengths):
            wording = " ".join(cut).replace("_", " ")
            places = _places(wording)
        words = []
        end = passed = 0
        for word, length in zip(cut, lengths, strict=True):
            start = places[passed] if length else end  # a word of underscores alone has no place of its own
            passed += length
            end = places[passed - 1] + 1 if length else end
            words.append(Word(self.tokens.encode(word), start, end))
        return words, wording


def _places(text: str) -> list[int]:
    return [place for place, character in enumerate(text) if character not in _JOINTS]


def load_reader(directory: Path, segmenter: Segmenter, window: int, overlap: int, diacritics: bool) -> Reader:
    """With the vocabulary of `directory`, and its restorer of marks if `diacritics` says that it has one.

    Raises:
        OSError, ValueError: a file is missing or not in its format.
    """
    return Reader(
        segmenter,
        PhobertTokens.load(directory),
        Diacritics.load(directory / DIACRITICS_FILE) if diacritics else None,
        window,
        overlap,
    )
