"""Word segmentation ("rác thải" -> "rác_thải"): PhoBERT reads words, and Vietnamese writes syllables."""

from functools import lru_cache
from pathlib import Path
from typing import Protocol

from nlp_service.text import chunks
from nlp_service.word_crf import WordCrf


class Segmenter(Protocol):
    """Turns normalised text into words joined by spaces, the syllables of a word joined by underscores."""

    version: str

    def segment(self, text: str) -> str:
        """See the class."""
        ...


class UndertheseaSegmenter:
    """underthesea's `word_tokenize(text, format="text")`, token for token (but for exact ties, see word_crf.py), several times faster.

    Its tokenising rules, its character and token normalisation and its trained CRF are used as they are, with their
    default options; only the evaluation of the CRF is ours (see word_crf.py). Texts are cut into pieces first, because
    the tokenising rules take quadratic time on odd input.
    """

    MODEL = "ws_crf_vlsp2013_20230727"

    def __init__(self) -> None:
        import joblib
        import underthesea
        from underthesea.pipeline import word_tokenize as package
        from underthesea.pipeline.text_normalize import token_normalize
        from underthesea.pipeline.text_normalize.character_normalize import normalize_characters_in_text
        from underthesea.pipeline.word_tokenize.regex_tokenize import patterns
        from underthesea_core import CRFFeaturizer

        self.version = f"underthesea {underthesea.__version__}"
        self._patterns = patterns
        self._normalise_characters = normalize_characters_in_text
        self._normalise_token = lru_cache(maxsize=50_000)(token_normalize)
        files = Path(package.__file__).parent / "models" / self.MODEL
        dictionary = joblib.load(files / "dictionary.bin")
        featurizer = CRFFeaturizer(["T[0].isdigit", "T[0].istitle", "T[0].is_in_dict"], dictionary)

        def flags(syllable: str) -> tuple[bool, bool, bool]:
            digit, title, known = (value.endswith("=True") for value in featurizer.process([[[syllable]]])[0][0])
            return digit, title, known

        self._crf = WordCrf(files / "models.bin", dictionary, flags)

    def segment(self, text: str) -> str:
        """Words joined by spaces, syllables of a word by underscores."""
        return " ".join(self._segment(piece) for piece in chunks(text))

    def _segment(self, text: str) -> str:
        text = self._normalise_characters(text)
        # Every alternative of the pattern is one named group around the whole match.
        syllables = [self._normalise_token(match.group()) for match in self._patterns.finditer(text)]
        words: list[str] = []
        for syllable, begins in zip(syllables, self._crf.begins(syllables), strict=True):
            piece = syllable.replace(" ", "_")
            if begins or not words:
                words.append(piece)
            else:
                words[-1] += "_" + piece
        return " ".join(words)
