"""Petitions as people also type them: without diacritics, with slips, in capitals; letters without their heading."""

import random
import re

from nlp_service.text import strip_diacritics

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


def vary(
    text: str, generator: random.Random, undiacritised: float, recased: float, slips: float, headless: float
) -> str:
    """One copy of `text`, each change drawn with its probability."""
    if generator.random() < headless:
        text = mask_heading(text)
    if generator.random() < slips:
        text = slip(text, generator)
    draw = generator.random()
    if draw < undiacritised:
        return strip_diacritics(text)
    if draw < undiacritised + recased:
        return text.lower() if generator.random() < 0.7 else text.upper()
    return text
