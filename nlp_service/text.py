"""Petition text before any model sees it: one form of Unicode, single spaces, bounded length. Pure functions."""

import re
import unicodedata

from nlp_service.errors import ErrorKind, PetitionError

VERSION = "2"
"""Goes into the manifest of every model: a model is only as good as the text form it was trained on."""

MAX_CHARS = 50_000
"""Default limit for one petition; about 11,000 syllables, twenty typed pages."""

CHUNK_CHARS = 1_000
"""The segmenter's cost grows with the square of odd input (`"a." * 10_000` takes seconds), so it gets such pieces."""

# Format characters that carry no meaning in Vietnamese (zero-width spaces and joiners, direction marks, soft hyphen,
# byte-order mark), lone surrogates and private-use glyphs of old office fonts.
_INVISIBLE_CATEGORIES = frozenset({"Cf", "Cs", "Co", "Cn"})
_SHOUTED_WORDS = 5
_ASCII_PRINTABLE = re.compile(r"[ -~]*")
WORD = re.compile(r"[^\W\d_]+")
"""A run of letters."""

_SPACES = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"[.!?;…]\s|,\s")


def normalise(text: str) -> str:
    """One canonical form: NFC, no invisible or control characters, runs of white space as one space, trimmed.

    Idempotent. Line breaks become spaces: the segmenter drops them, and PhoBERT's tokenizer glues them to words.
    """
    if not _ASCII_PRINTABLE.fullmatch(text):
        kept = []
        for character in text:
            category = unicodedata.category(character)
            if category in _INVISIBLE_CATEGORIES:
                continue
            kept.append(" " if category in {"Cc", "Zs", "Zl", "Zp"} else character)
        text = unicodedata.normalize("NFC", "".join(kept))
    return _SPACES.sub(" ", text).strip()


def unshout(text: str) -> str:
    """Runs of five or more words in capitals become ordinary writing: "ĐƯỜNG HỎNG NẶNG QUÁ RỒI" -> "Đường hỏng nặng quá rồi".

    Fewer are left alone: they may be abbreviations ("UBND TP HCM"). As long as before, but for the few letters whose
    lower case is longer.
    """
    if text.islower():
        return text
    run: list[re.Match[str]] = []
    shouts: list[tuple[int, int]] = []
    for match in [*WORD.finditer(text), None]:
        if match and match.group().isupper():
            run.append(match)
            continue
        if len(run) >= _SHOUTED_WORDS:
            shouts.append((run[0].start() + 1, run[-1].end()))
        run = []
    parts: list[str] = []
    end = 0
    for start, stop in shouts:
        parts += [text[end:start], text[start:stop].lower()]
        end = stop
    return "".join([*parts, text[end:]])


def check(text: object, max_chars: int = MAX_CHARS) -> str:
    """Normalise what a caller sent, or say why it cannot be read.

    Raises:
        PetitionError: INVALID_REQUEST if it is no text, TEXT_TOO_LONG beyond `max_chars` characters,
            EMPTY_TEXT if no letter or digit is in it.
    """
    if not isinstance(text, str):
        raise PetitionError(
            ErrorKind.INVALID_REQUEST, f"text is {type(text).__name__}, expected a string", field="text"
        )
    if len(text) > max_chars:
        raise PetitionError(
            ErrorKind.TEXT_TOO_LONG,
            f"text has {len(text):,} characters, limit {max_chars:,}; split it or raise PETITIONS_MAX_CHARS",
            characters=len(text),
            limit=max_chars,
        )
    clean = normalise(text)
    if not any(character.isalnum() for character in clean):
        raise PetitionError(
            ErrorKind.EMPTY_TEXT, "text holds no letter or digit; send the petition's words", characters=len(text)
        )
    return clean


def chunks(text: str, size: int = CHUNK_CHARS) -> list[str]:
    """Cut normalised text into pieces of at most `size` characters, at a sentence's end if there is one, else at a space.

    Joined with spaces (or with nothing where one "word" is longer than `size`) the pieces give the text again.
    """
    pieces = []
    while len(text) > size:
        window = text[: size + 1]
        ends = [match.end() for match in _SENTENCE_END.finditer(window, size // 2)]
        cut = ends[-1] if ends else window.rfind(" ") + 1
        cut = cut if cut > 1 else size
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    pieces.append(text)
    return [piece for piece in pieces if piece]


def strip_diacritics(text: str) -> str:
    """Vietnamese as typed without tone and vowel marks: "Đường hỏng" -> "Duong hong"."""
    decomposed = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if not unicodedata.combining(c)))


def fold(text: str) -> str:
    """Lower case, no marks: what all spellings of a word have in common."""
    return strip_diacritics(text.lower())
