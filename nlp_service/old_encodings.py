"""Vietnamese in the encodings of offices before Unicode, and as programs garble it: tables, both ways.

TCVN 5712:1993 (VN3, the ABC fonts), RFC 1456 (VISCII, VIQR), VNI-Windows and VPS as Unikey writes them. Which encoding a
text is in, `legacy` finds out.
"""

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from nlp_service.syllables import LETTERS, LOWER, TONES


class Encoding(StrEnum):
    """How a text holds its Vietnamese letters. `X_AS_Y`: bytes of X that some program took for Y."""

    UNICODE = "unicode"
    DECOMPOSED = "decomposed"
    """Unicode with marks of their own ("Unicode tổ hợp", cp1258 rightly read): one letter, two or three characters."""
    TCVN3 = "tcvn3"
    """ABC fonts, .VnTime. Letters with tones have no capitals: .VnTimeH text is lower case by its codes."""
    TCVN3_AS_CP1258 = "tcvn3_as_cp1258"
    VNI = "vni"
    """VNI-Windows: a vowel and a mark after it, "ñöôøng". Not the typing method ("duong72")."""
    VNI_AS_CP1258 = "vni_as_cp1258"
    VIQR = "viqr"
    """Marks in ASCII, "ddu+o+`ng", with a backslash before a mark that is none."""
    VISCII = "viscii"
    VPS = "vps"
    UTF8_AS_CP1252 = "utf8_as_cp1252"
    """Also read as Latin-1."""
    UTF8_AS_CP1258 = "utf8_as_cp1258"
    """What Excel makes of a CSV without BOM on a Vietnamese Windows."""
    UTF8_TWICE = "utf8_twice"
    """Read as cp1252 or Latin-1, saved as UTF-8, and read so again."""
    CP1258_AS_CP1252 = "cp1258_as_cp1252"


def to_unicode(text: str, encoding: Encoding) -> str:
    """All of a text by the letter of one encoding's table, in NFC. Characters that are no codes of it stay.

    A word in capitals whose marked letters are lower case for want of codes (TCVN3, VPS) becomes
    capitals: "HãA" is HÓA.
    """
    return unicodedata.normalize("NFC", _CODECS[encoding].decode(text))


def from_unicode(text: str, encoding: Encoding) -> str:
    """The reverse of `to_unicode`, for tests and for systems that still want it.

    Marked capitals become lower case where the encoding has no code for them (TCVN3, some of VPS). Characters outside
    the encoding stay, so that one that is a code in it ("®" in TCVN3) comes back as a letter.
    """
    return _CODECS[encoding].encode(unicodedata.normalize("NFC", text))


def shown_on_windows(data: bytes) -> str:
    """Bytes as cp1252; those that it leaves out as C1 controls, which Python's codec refuses."""
    return data.decode("latin-1").translate(_LATIN1_TO_CP1252)


# Views: which character a byte is shown as. Windows shows bytes that a code page leaves out as C1 controls.


def _shown_in(code_page: str) -> str:
    return "".join(bytes([byte]).decode(code_page, "ignore") or chr(byte) for byte in range(256))


_CP1252 = _shown_in("cp1252")
_CP1258 = _shown_in("cp1258")
_LATIN1_TO_CP1252 = dict(enumerate(_CP1252))
_DIFFERENT = [(a, b) for a, b in zip(_CP1258, _CP1252, strict=True) if a != b]
_CP1258_TO_CP1252 = str.maketrans(dict(_DIFFERENT))
_CP1252_TO_CP1258 = str.maketrans({b: a for a, b in _DIFFERENT})


# Tables. Codes stand in the order of `LETTERS`, lower case first.

_TCVN3 = bytes.fromhex(
    "b5b8b7b6b9 a8bbbebdbcc6 a9c7cac9c8cb ccd0cfced1 aad2d5d4d3d6 d7dddcd8de dfe3e2e1e4 abe5e8e7e6e9 aceaedecebee"
    "eff3f2f1f4 adf5f8f7f6f9 fafdfcfbfe ae"
    "b5b8b7b6b9 a1bbbebdbcc6 a2c7cac9c8cb ccd0cfced1 a3d2d5d4d3d6 d7dddcd8de dfe3e2e1e4 a4e5e8e7e6e9 a5eaedecebee"
    "eff3f2f1f4 a6f5f8f7f6f9 fafdfcfbfe a7"
)
_VISCII = bytes.fromhex(
    "e0e1e3e4d5 e5a2a1c7c6a3 e2a5a4e7a6a7 e8e9a8eba9 eaabaaadacae ecedeeefb8 f2f3f5f6f7 f4b0afb2b1b5 bdb6bedeb7fe"
    "f9fafbfcf8 dfd7d1e6d8f1 cffddbd6dc f0"
    "c0c1c3c480 c58281050283 c28584068687 c8c988cb89 ca8b8a8d8c8e cccdce9b98 d2d3a0999a d4908f929193 b49695b39794"
    "d9da9d9c9e bfbbbaffbcb9 9fdd19141e d0"
)
_VPS = bytes.fromhex(
    "e0e1e3e4e5 e6a2a1a4a3a5 e2c0c3c5c4c6 e8e9ebc8cb ea8a89cd8b8c ecedefccce f2f3f5d586 f4d2d387b0b6 d6a9a7abaaae"
    "f9fadbfbf8 dcd8d9bbbabf ff9acf9b9c c7"
    "80c18281e5 888e8df08fa5 c28483c585c6 d7c9fedecb ca939095948c b5b4b8b7ce bcb9bebd86 d497969998b6 f79e9da69fae"
    "a8daacd1f8 d0afadbbb1bf b2ddb3fd9c f1"
)
_VNI = (
    "aø aù aõ aû aï  aê aè aé aü aú aë  aâ aà aá aã aå aä  eø eù eõ eû eï  eâ eà eá eã eå eä  ì í ó æ ò "
    "oø où oõ oû oï  oâ oà oá oã oå oä  ô ôø ôù ôõ ôû ôï  uø uù uõ uû uï  ö öø öù öõ öû öï  yø yù yõ yû î  ñ"
)

_VIQR_MARKS = dict(zip("\u0302\u0306\u031b" + TONES, "^(+`'~?.", strict=True))


def _spelled_in_viqr(letter: str) -> str:
    if letter in "đĐ":
        return {"đ": "dd", "Đ": "DD"}[letter]
    marks = sorted(unicodedata.normalize("NFD", letter)[1:], key=lambda mark: mark in TONES)  # the tone comes last
    return unicodedata.normalize("NFD", letter)[0] + "".join(_VIQR_MARKS[mark] for mark in marks)


class _Codec(NamedTuple):
    decode: Callable[[str], str]
    encode: Callable[[str], str]


def _as_is(text: str) -> str:
    return text


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _one_byte(codes: bytes) -> _Codec:
    decoded: dict[int, str] = {}
    lower, upper = codes[: len(LOWER)], codes[len(LOWER) :]
    no_capital = frozenset(letter for letter, a, b in zip(LOWER, lower, upper, strict=True) if a == b)
    # Where two letters share a code, the lower-case one, which comes first, has it.
    for letter, code in zip(LETTERS, codes, strict=True):
        for shown in (_CP1252[code], chr(code)):
            decoded.setdefault(ord(shown), letter)
    encoded = {ord(letter): _CP1252[code] for letter, code in zip(LETTERS, codes, strict=True)}
    return _Codec(
        lambda text: _restore_capitals(text.translate(decoded), no_capital), lambda text: text.translate(encoded)
    )


def _spelled(spelling: dict[str, str]) -> _Codec:
    """Letters written with several characters."""
    decoded = {code: letter for letter, code in spelling.items()}
    # A capital vowel with a lower-case mark after it happens where the shift key was let go early.
    decoded |= {code[0].upper() + code[1:]: letter.upper() for code, letter in decoded.items() if letter in LOWER}
    codes = re.compile("|".join(re.escape(code) for code in sorted(decoded, key=len, reverse=True)))
    encoded = {ord(letter): code for letter, code in spelling.items()}
    return _Codec(
        lambda text: codes.sub(lambda match: decoded[match.group()], text), lambda text: text.translate(encoded)
    )


_CAPITALS = re.compile(r"[^\W\d_]{3,}")


def _restore_capitals(text: str, no_capital: frozenset[str]) -> str:
    def whole(match: re.Match[str]) -> str:
        word = match.group()
        lower = [letter for letter in word if letter.islower()]
        return word.upper() if len(word) - len(lower) >= 2 and no_capital.issuperset(lower) else word

    return _CAPITALS.sub(whole, text)


def _through_cp1258(codec: _Codec) -> _Codec:
    return _Codec(
        lambda text: codec.decode(text.translate(_CP1258_TO_CP1252)),
        lambda text: codec.encode(text).translate(_CP1252_TO_CP1258),
    )


def _utf8(*views: str) -> _Codec:
    """UTF-8 whose bytes were shown by one of `views`; encodes by the first."""
    byte_of: dict[int, int] = {}
    for view in views:
        for byte in range(0x80, 0x100):
            byte_of.setdefault(ord(view[byte]), byte)

    def shown(first: int, last: int) -> str:
        return "".join(re.escape(chr(code)) for code, byte in byte_of.items() if first <= byte <= last)

    # A non-breaking space, the second half of à, is often a plain one by now.
    rest = f"[{shown(0x80, 0xBF)} ]"
    sequence = re.compile(
        f"[{shown(0xC2, 0xDF)}]{rest}|[{shown(0xE0, 0xEF)}]{rest}{{2}}|[{shown(0xF0, 0xF4)}]{rest}{{3}}"
    )
    byte_of[ord(" ")] = 0xA0

    def decoded(match: re.Match[str]) -> str:
        try:
            return bytes(byte_of[ord(character)] for character in match.group()).decode()
        except UnicodeDecodeError:
            return match.group()

    def encode(text: str) -> str:
        return "".join(views[0][byte] for byte in text.encode("utf-8", "surrogatepass"))

    return _Codec(lambda text: sequence.sub(decoded, text), encode)


def _twice(codec: _Codec) -> _Codec:
    return _Codec(lambda text: codec.decode(codec.decode(text)), lambda text: codec.encode(codec.encode(text)))


_VIQR_SPELLING = {letter: _spelled_in_viqr(letter) for letter in LETTERS}
_VIQR_CODES = {code: letter for letter, code in _VIQR_SPELLING.items()} | {"Dd": "Đ", "dD": "đ"}
_VIQR_CODE = re.compile(
    r"\\([dD](?=\\?[dD])|['`?~.^(+\\])|"
    + "|".join(re.escape(code) for code in sorted(_VIQR_CODES, key=len, reverse=True))
)
_VIQR_ENCODED = {ord(letter): code for letter, code in _VIQR_SPELLING.items()}
# What `from_unicode` has to mark as meant literally: marks after a vowel, a d before another.
_VIQR_LITERAL = re.compile(rf"(?<=[aeiouyAEIOUY{LETTERS}])['`?~.^(+]|[dD](?=[dDđĐ])|\\")


def _from_viqr(text: str) -> str:
    return _VIQR_CODE.sub(lambda match: match.group(1) or _VIQR_CODES[match.group()], text)


def _to_viqr(text: str) -> str:
    return _VIQR_LITERAL.sub(r"\\\g<0>", text).translate(_VIQR_ENCODED)


def _tone_apart(letter: str) -> str:
    """As Windows writes it in cp1258: ê, ơ and the like with the tone behind."""
    decomposed = unicodedata.normalize("NFD", letter)
    tone = next(mark for mark in decomposed if mark in TONES)
    return unicodedata.normalize("NFC", decomposed.replace(tone, "")) + tone


_TONES_APART = str.maketrans({letter: _tone_apart(letter) for letter in LETTERS if letter not in _CP1258})
_VNI_CODEC = _spelled(
    dict(zip(LETTERS, f"{_VNI} {_VNI.upper()}".split(), strict=True)),
)
_TCVN3_CODEC = _one_byte(_TCVN3)
_UTF8_CODEC = _utf8(_CP1252, _shown_in("latin-1"))

_CODECS = {
    Encoding.UNICODE: _Codec(_as_is, _as_is),
    Encoding.DECOMPOSED: _Codec(_as_is, _decomposed),
    Encoding.TCVN3: _TCVN3_CODEC,
    Encoding.TCVN3_AS_CP1258: _through_cp1258(_TCVN3_CODEC),
    Encoding.VNI: _VNI_CODEC,
    Encoding.VNI_AS_CP1258: _through_cp1258(_VNI_CODEC),
    Encoding.VIQR: _Codec(_from_viqr, _to_viqr),
    Encoding.VISCII: _one_byte(_VISCII),
    Encoding.VPS: _one_byte(_VPS),
    Encoding.UTF8_AS_CP1252: _UTF8_CODEC,
    Encoding.UTF8_AS_CP1258: _utf8(_CP1258),
    Encoding.UTF8_TWICE: _twice(_UTF8_CODEC),
    Encoding.CP1258_AS_CP1252: _Codec(
        lambda text: text.translate(_CP1252_TO_CP1258),
        lambda text: text.translate(_TONES_APART).translate(_CP1258_TO_CP1252),
    ),
}
