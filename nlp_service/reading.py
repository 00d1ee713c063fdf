"""What the network reads of a petition: its text calmed, marks restored, cut into words, then into windows of ids.

Serving, training and evaluation go through here, so that a model is asked as it was taught.
"""

from dataclasses import dataclass
from pathlib import Path

from nlp_service.diacritics import DIACRITICS_FILE, Diacritics
from nlp_service.segment import Segmenter
from nlp_service.text import unshout
from nlp_service.tokens import PhobertTokens, windows


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
