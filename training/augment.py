"""Petitions as people also type them: without diacritics, with slips, in capitals; letters without their heading."""

import random
import re
import unicodedata
from dataclasses import dataclass

from nlp_service.diacritics import Diacritics
from nlp_service.text import WORD, strip_diacritics

# The law classifies a letter by its content and not by its title (Circular 05/2021/TT-TTCP, Article 6.1).
# Line by line, so that "đơn khiếu nại" inside a sentence stays and blank lines cannot be matched in many ways.
_HEADING = re.compile(
    r"^(?:[^\S\n]*(?:cộng\s+h[oò][àa]\s+xã\s+hội|độc\s+lập\s*[-–])[^\n]*\n|(?:[-*_=]|[^\S\n])*\n)*"
    r"[^\S\n]*đơn\s+(khiếu nại|tố cáo|kiến nghị|đề nghị|phản ánh|phản ảnh|xin|trình bày|kêu cứu|thư|tố giác)[^\n]{0,80}(\n|$)",
    re.IGNORECASE | re.MULTILINE,
)
_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "g": "fh", "h": "gj", "i": "uo", "k": "jl", "l": "k",
    "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb",
    "x": "zc", "y": "tu",
}  # fmt: skip


def mask_heading(text: str) -> str:
    """Drop a letter's title ("ĐƠN KHIẾU NẠI …") and the lines above it; other text comes back unchanged."""
    return _HEADING.sub("", text, count=1) or text


def slip(text: str, generator: random.Random, rate: float = 0.03) -> str:
    """Typing slips: of all letters, about `rate` are doubled, dropped, swapped or replaced by a key's neighbour."""
    letters = list(text)
    index = 0
    while index < len(letters) - 1:
        if letters[index].isalpha() and generator.random() < rate:
            kind = generator.randrange(4)
            if kind == 0:
                letters[index] *= 2
            elif kind == 1:
                letters[index] = ""
            elif kind == 2:
                letters[index], letters[index + 1] = letters[index + 1], letters[index]
                index += 1
            else:
                keys = _NEIGHBOURS.get(letters[index].lower())
                letters[index] = generator.choice(keys) if keys else letters[index]
        index += 1
    return "".join(letters)


_TELEX_TONES = {"\u0301": "s", "\u0300": "f", "\u0309": "r", "\u0303": "x", "\u0323": "j"}
_TELEX_MARKS = {"\u0306": "w", "\u031b": "w"}  # breve, horn; the circumflex doubles its letter


def telex(syllable: str) -> str:
    """The keys that were pressed, as they stand when the input method was off: "đường" -> "dduwowngf"."""
    keys: list[str] = []
    tone = ""
    for character in unicodedata.normalize("NFD", syllable.replace("đ", "dd").replace("Đ", "DD")):
        if character in _TELEX_TONES:
            tone = _TELEX_TONES[character]
        elif character == "\u0302":
            keys.append(keys[-1] if keys else "")
        else:
            keys.append(_TELEX_MARKS.get(character, character))
    return "".join(keys) + tone


@dataclass(frozen=True)
class Copies:
    """Probabilities of each change, a copy.

    Attributes:
        undiacritised: all marks dropped; where a restorer serves, it guesses them again.
        misread: some marks wrong, as the restorer gets them wrong in texts that it has never seen.
        lower: all in lower case. Capitals are not here: they are calmed before the model sees them.
        slips: typing slips, sometimes telex leftovers.
        headless: a letter's heading dropped.
    """

    undiacritised: float = 0.05
    misread: float = 0.15
    lower: float = 0.1
    slips: float = 0.1
    headless: float = 0.5


def misread(text: str, generator: random.Random, restorer: Diacritics, rate: float = 0.1) -> str:
    """`text` in one case with marks as a restorer guesses them: of all syllables, about `rate` get others at random."""

    def other(match: re.Match[str]) -> str:
        if generator.random() >= rate:
            return match.group()
        return generator.choice(restorer.spellings(match.group()) or [match.group()])

    return WORD.sub(other, text.lower() if generator.random() < 0.5 else text)


def vary(text: str, generator: random.Random, copies: Copies, restorer: Diacritics | None = None) -> str:
    """One copy of `text`, each change drawn with its probability."""
    if generator.random() < copies.headless:
        text = mask_heading(text)
    if generator.random() < copies.slips:
        in_telex = generator.choice((0.0, 0.0, 0.1, 0.5))
        text = WORD.sub(lambda m: telex(m.group()) if generator.random() < in_telex else m.group(), text)
        text = slip(text, generator)
    draw = generator.random()
    if draw < copies.undiacritised:
        return strip_diacritics(text)
    draw -= copies.undiacritised
    if draw < copies.misread:
        return misread(text, generator, restorer) if restorer else strip_diacritics(text)
    draw -= copies.misread
    return text.lower() if draw < copies.lower else text
