"""Vietnamese as offices wrote it before Unicode, and as programs garbled it since: recognised and turned into Unicode.

Old office fonts (.VnTime, VNI-Times) show Vietnamese where the text holds other characters: "Hµ Néi" is Hà Nội. Wrong
imports do the same to good text: "HÃ  Ná»™i". `detect` looks at the texts of a column or document together, `recover`
turns each of them, and leaves alone whatever might be right already. Both judge by one question: are the words with
marks Vietnamese syllables before, and after?

Tables: TCVN 5712:1993 (VN3, the ABC fonts), RFC 1456 (VISCII, VIQR), VNI-Windows and VPS as Unikey writes them.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.syllables import LETTERS, LOWER, TONES, is_syllable


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


@dataclass(frozen=True)
class Guess:
    """What a column's or document's texts are written in.

    Attributes:
        encoding: what most texts that need turning are in; UNICODE if none does.
        confidence: 0 to 1; of UNICODE, the share of marked words that are Vietnamese syllables.
        share: of the texts that say anything, the share in `encodings`; 1 - share are Unicode already.
        encodings: every encoding found that needs turning, the most common first; a column may be pasted together.
        example: index of the text that speaks most clearly, to be shown before and after; None for UNICODE.
        told: a person said so; `recover` then needs no evidence, only no evidence against it.
    """

    encoding: Encoding
    confidence: float
    share: float = 1.0
    encodings: tuple[Encoding, ...] = ()
    example: int | None = None
    told: bool = False

    @classmethod
    def by_a_person(cls, encoding: Encoding) -> Self:
        """Override: what the texts are in, whatever `detect` says. UNICODE: nothing is touched."""
        found = () if encoding is Encoding.UNICODE else (encoding,)
        return cls(encoding, 1.0, encodings=found, told=True)


_SAMPLED = 200
_LOOKED_AT = 1_000  # characters of one text
_FEWEST_WORDS = 3
_ALL_BUT_ALL = 0.98  # of a column's texts: the others follow them
_WORTH_TURNING = 0.05  # of the texts in the most common encoding, for one more to be believed
_VIQR_SHARE = 0.3  # of a text's words; in Vietnamese about 0.75 carry marks


def detect(texts: Sequence[str]) -> Guess:
    """Judge the texts of one column, or the paragraphs of one document, together. Up to 200 are looked at.

    A legacy encoding is claimed when at least three different words become Vietnamese syllables by it (two, if nothing
    contradicts) and three quarters of the words with marks are syllables then. Otherwise the answer is UNICODE, or
    DECOMPOSED where a text is not in NFC.
    """
    return _detect(texts, _FEWEST_WORDS)


def recover(text: str, guess: Guess) -> str:
    """One text in Unicode, NFC. Left as it is where its own words do not speak for one of the guessed encodings.

    A text that says nothing either way ("c¸" may be cá, "cá" may be cỏ) follows its column only if no other text of
    that is in Unicode already. Internet addresses stay.
    """
    if not guess.encodings:
        return text
    read = [reading for encoding in guess.encodings if (reading := _read(text, encoding))]
    best = max(read, key=lambda reading: reading.gain, default=None)
    if best is None or not _convincing(best, text, guess):
        return unicodedata.normalize("NFC", text)
    if not best.possible:
        # Unicode and old letters in one text: word by word.
        return "".join(_recover_word(word, best.encoding) for word in _SPACES.split(text))
    return _careful(text, best.encoding)


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


# Views: which character a byte is shown as. Windows shows bytes that a code page leaves out as C1 controls.


def _shown_in(code_page: str) -> str:
    return "".join(bytes([byte]).decode(code_page, "ignore") or chr(byte) for byte in range(256))


_CP1252 = _shown_in("cp1252")
_CP1258 = _shown_in("cp1258")
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
    r"\\([dD](?=[dD])|['`?~.^(+\\])|" + "|".join(re.escape(code) for code in sorted(_VIQR_CODES, key=len, reverse=True))
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


# How Vietnamese a text is.

# Whatever may be part of a word in some encoding: anything but ASCII that is no letter, and spaces.
_WORD = re.compile(r"[^\x00-\x40\x5b-\x60\x7b-\x7f\xa0\u2000-\u200f\u2028-\u202f\u3000\ufeff]+")
_SPACES = re.compile(r"([ \t\r\n]+)")
_OPENING = "“‘«„‹‚(–—•…¡¿"
_CLOSING = "”’»›…™®©°²³¹ªº·–—•"
_ABBREVIATED = re.compile(r"[A-ZĐ]+|[b-df-hj-np-tv-xzđ]+")
_VIETNAMESE = re.compile(rf"[A-Za-z{LETTERS}]+")
_LONGEST_WORD = 40
_MARK = re.compile("[\u0300-\u0303\u0306\u0309\u031b\u0323]")


class _Weight(NamedTuple):
    good: int
    """Words with marks that are Vietnamese syllables."""
    bad: int
    """Words with marks that are none."""


@lru_cache(maxsize=50_000)
def _short_verdict(word: str) -> int:
    word = word.lstrip(_OPENING).rstrip(_CLOSING)
    if word.isascii() or not any(character.isalpha() for character in word):
        return 0
    if not _VIETNAMESE.fullmatch(word) or not (word.islower() or word.isupper() or word[1:].islower()):
        return -1
    if is_syllable(word.lower()):
        return 1
    return 0 if _ABBREVIATED.fullmatch(word) else -1  # HĐND, đc


def _verdict(word: str) -> int:
    """1 for a syllable with marks, -1 for what cannot be one, 0 for what says nothing."""
    if word.isascii():
        return 0
    return _short_verdict(word) if len(word) <= _LONGEST_WORD else -1


def _weigh(words: Iterable[str]) -> _Weight:
    verdicts = Counter(map(_verdict, words))
    return _Weight(verdicts[1], verdicts[-1])


class _Reading(NamedTuple):
    """A text read in one encoding, against the text as it is."""

    encoding: Encoding
    gain: int
    """How many more words are right, and fewer wrong."""
    before: _Weight
    after: _Weight
    words: frozenset[str]
    """Syllables of two letters or more that are there only after."""
    possible: bool
    """The text holds no letter that one wholly in this encoding could not."""


def _read(text: str, encoding: Encoding) -> _Reading | None:
    """None where the encoding changes nothing."""
    changed = _evident(text, encoding)
    composed = unicodedata.normalize("NFC", text)
    if encoding is not Encoding.DECOMPOSED and changed == composed:
        if encoding is not Encoding.VIQR or _careful(text, encoding) == composed:
            return None
    elif encoding is Encoding.DECOMPOSED and (changed == text or not _MARK.search(text)):
        return None
    original = _WORD.findall(text if encoding is Encoding.DECOMPOSED else composed)
    words = _WORD.findall(changed)
    before, after = _weigh(original), _weigh(words)
    gain = (after.good - after.bad) - (before.good - before.bad)
    if encoding is Encoding.VIQR and after.good < _VIQR_SHARE * len(words):
        gain = min(gain, 0)
    new = frozenset(word.lower() for word in set(words).difference(original) if len(word) > 1 and _verdict(word) > 0)
    return _Reading(encoding, gain, before, after, new, not _cannot_hold(text, encoding))


def _mostly_right(good: int, bad: int) -> bool:
    return 3 * bad <= good


def _convincing(reading: _Reading, text: str, guess: Guess) -> bool:
    if guess.told:
        return reading.gain >= 0
    if reading.gain >= 1:
        return reading.after.bad <= reading.before.bad or _mostly_right(*reading.after)
    if reading.encoding is Encoding.VIQR and reading.gain == 0 and _VIQR_ESCAPED.search(text):
        return True
    alone = guess.share >= _ALL_BUT_ALL and set(guess.encodings) <= {reading.encoding, Encoding.DECOMPOSED}
    if not alone or reading.gain < 0:
        return False
    turned = _weigh(_WORD.findall(_careful(text, reading.encoding)))
    return turned.good > 0 and turned.bad == 0


_VIQR_ESCAPED = re.compile(r"[aeiouy]\\['`?~.^(+](?![^\W\d_])")


# VIQR in earnest: ASCII marks are also punctuation.

_ADDRESS = re.compile(r"://|@|www\.|\.(?:com|vn|net|org)\b", re.IGNORECASE)
_RUN = re.compile(r"\S+")
_VIQR_ANY = re.compile(r"[aeiouyAEIOUY][\^(+'`?~.]|[dD][dD]|\\")
_VIQR_FINAL = re.compile(r"([A-Za-z'`?~^(+]{0,12}[aeiouyAEIOUY][\^(+]?)([.?'])(?![A-Za-z\\^(+'`?~.])")
_TONE_MAY_END = re.compile(r"(?:^|[^aeiouy]|^qu|^gi|[^aăâeêioôơuưy])[aăâeêioôơuưy]$|o[ae]$|u[yêơ]$")


def _evident(text: str, encoding: Encoding) -> str:
    """What counts for evidence: of VIQR only marks that cannot be punctuation."""
    if encoding is Encoding.VIQR:
        return _by_words(text, lambda word: _from_viqr(_VIQR_FINAL.sub(r"\1\\\2", word)))
    return _beside_units(text, encoding)


def _careful(text: str, encoding: Encoding) -> str:
    turned = _by_words(text, _viqr_word) if encoding is Encoding.VIQR else _beside_units(text, encoding)
    return unicodedata.normalize("NFC", turned)


# "12 m²" is no "12 mỗ" (VISCII), "5 µm" no "5 àm" (TCVN3).
_UNIT = re.compile(r"(?<![^\s\d(])([kcdm]?m[²³]|µ[mgls])(?!\w)")


def _beside_units(text: str, encoding: Encoding) -> str:
    parts = _UNIT.split(text)
    parts[::2] = [to_unicode(part, encoding) for part in parts[::2]]
    return "".join(parts)


def _by_words(text: str, turn: Callable[[str], str]) -> str:
    def turned(match: re.Match[str]) -> str:
        word = match.group()
        return turn(word) if _VIQR_ANY.search(word) and not _ADDRESS.search(word) else word

    return _RUN.sub(turned, text)


def _viqr_word(word: str) -> str:
    """ "ddo'." -> "đó.", "mua." as it is (the tone would stand on the u), "address" as it is."""
    turned = _from_viqr(_VIQR_FINAL.sub(_kept_or_escaped, word))
    weight = _weigh(_WORD.findall(turned))
    sure = re.search(r"[\^~`]|[oOuU]\+", word)
    return turned if sure or not weight.bad else word


def _kept_or_escaped(match: re.Match[str]) -> str:
    base = _from_viqr(match.group(1)).lower()
    letters = _WORD.findall(base)
    syllable = letters[-1] if letters else ""
    tone = {".": "\u0323", "?": "\u0309", "'": "\u0301"}[match.group(2)]
    carries = _TONE_MAY_END.search(syllable) and is_syllable(unicodedata.normalize("NFC", syllable + tone))
    return match.group() if carries else f"{match.group(1)}\\{match.group(2)}"


# Letters that a text wholly in one encoding cannot hold.
_NOT_IN_CP1252 = re.compile(f"[ĂăĐđĨĩŨũƠơƯưẠ-ỹ{TONES}]")
_NOT_IN_CP1258 = re.compile("[ĨĩŨũẠ-ỹ]")
_IMPOSSIBLE = {
    Encoding.TCVN3: _NOT_IN_CP1252,
    Encoding.VNI: _NOT_IN_CP1252,
    Encoding.VISCII: _NOT_IN_CP1252,
    Encoding.VPS: _NOT_IN_CP1252,
    Encoding.CP1258_AS_CP1252: _NOT_IN_CP1252,
    Encoding.TCVN3_AS_CP1258: _NOT_IN_CP1258,
    Encoding.VNI_AS_CP1258: _NOT_IN_CP1258,
}


def _cannot_hold(text: str, encoding: Encoding) -> bool:
    return encoding in _IMPOSSIBLE and _IMPOSSIBLE[encoding].search(text) is not None


def _recover_word(word: str, encoding: Encoding) -> str:
    reading = _read(word, encoding)
    return _careful(word, encoding) if reading and reading.gain >= 1 else word


# Detection.


@dataclass
class _Votes:
    """What speaks for one encoding."""

    texts: int = 0
    good: int = 0
    bad: int = 0
    words: set[str] = field(default_factory=set)
    best: tuple[int, int] = (0, 0)
    """Gain and negated index of the clearest text."""

    def add(self, index: int, reading: _Reading) -> None:
        self.texts += 1
        self.good += reading.after.good
        self.bad += reading.after.bad
        self.words |= reading.words
        self.best = max(self.best, (reading.gain, -index))

    def enough(self, fewest_words: int, fewest_texts: float) -> bool:
        if self.texts < fewest_texts:
            return False
        return len(self.words) >= fewest_words - (not self.bad) and _mostly_right(self.good, self.bad)


_CANDIDATES: list[Encoding] = [encoding for encoding in Encoding if encoding is not Encoding.UNICODE]


def _detect(texts: Sequence[str], fewest: int) -> Guess:
    sample = _sample(texts)
    as_it_is = {index: _weigh(_WORD.findall(unicodedata.normalize("NFC", text))) for index, text in sample.items()}
    read = {index: _readings(text, as_it_is[index]) for index, text in sample.items()}
    best = {index: _best(readings) for index, readings in read.items()}
    # Texts that several encodings read equally well go to the one that more texts speak for.
    popular = Counter(reading.encoding for readings in best.values() for reading in readings)
    votes: defaultdict[Encoding, _Votes] = defaultdict(_Votes)
    for index, readings in best.items():
        if readings:
            reading = max(readings, key=lambda reading: popular[reading.encoding])
            votes[reading.encoding].add(index, reading)

    most = max((vote.texts for vote in votes.values()), default=0)
    found = sorted(
        (encoding for encoding, vote in votes.items() if vote.enough(fewest, _WORTH_TURNING * most)),
        key=lambda encoding: -votes[encoding].texts,
    )
    if not found:
        good = sum(weight.good for weight in as_it_is.values())
        bad = sum(weight.bad for weight in as_it_is.values())
        return Guess(Encoding.UNICODE, (good + 1) / (good + bad + 1))
    first = votes[found[0]]
    turned = sum(votes[encoding].texts for encoding in found)
    unicode_already = sum(
        weight.good > 0 and _must_be_unicode(sample[index], read[index], found) for index, weight in as_it_is.items()
    )
    return Guess(
        encoding=found[0],
        confidence=first.good / (first.good + first.bad + 1),
        share=turned / (turned + unicode_already),
        encodings=tuple(found),
        example=-first.best[1],
    )


def _sample(texts: Sequence[str]) -> dict[int, str]:
    """Evenly spread texts that are not blank, by their index."""
    filled = [index for index, text in enumerate(texts) if text and not text.isspace()]
    step = max(1.0, len(filled) / _SAMPLED)
    chosen = (filled[int(number * step)] for number in range(min(len(filled), _SAMPLED)))
    return {index: texts[index][:_LOOKED_AT] for index in chosen}


def _must_be_unicode(text: str, readings: list[_Reading], found: list[Encoding]) -> bool:
    """Of a text with Vietnamese letters: in none of the encodings found."""
    gains = {reading.encoding: reading.gain for reading in readings}
    return all(
        gains.get(encoding, 0) < 0
        or (_cannot_hold(text, encoding) if encoding in _IMPOSSIBLE else encoding not in gains)
        for encoding in found
    )


def _readings(text: str, as_it_is: _Weight) -> list[_Reading]:
    """In every encoding that might make the text better."""
    if not as_it_is.bad:
        candidates = [encoding for encoding in (Encoding.VIQR, Encoding.DECOMPOSED) if _worth(text, encoding)]
    else:
        candidates = _CANDIDATES
    return [reading for encoding in candidates if (reading := _read(text, encoding))]


_VIQR_SURE = re.compile(r"[aeo]\^|[aA]\(|[ouOU]\+|[aeiouyAEIOUY][`~]|[aeiouyAEIOUY]['?.][a-zA-Z]|dd|DD")


def _worth(text: str, encoding: Encoding) -> bool:
    return bool((_VIQR_SURE if encoding is Encoding.VIQR else _MARK).search(text))


def _best(readings: list[_Reading]) -> list[_Reading]:
    """Those that speak for their encoding, and none better."""
    clear = [
        reading
        for reading in readings
        if reading.encoding is Encoding.DECOMPOSED
        or (reading.gain >= 2 and _mostly_right(reading.after.good, reading.after.bad))
    ]
    most = max((reading.gain for reading in clear), default=0)
    clear = [reading for reading in clear if reading.gain == most]
    return [reading for reading in clear if reading.possible] or clear


# Files.

OWN_CHARSETS = {"tcvn3": Encoding.TCVN3, "viscii": Encoding.VISCII, "vni": Encoding.VNI, "vps": Encoding.VPS}
"""Names that `detect_bytes` gives and Python has no codec for; `decode` knows them."""

_SNIFFED = 65_536
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def detect_bytes(data: bytes) -> str:
    """The charset of a text file, by its first 64 KiB: a name for `decode`, one of Python's or of `OWN_CHARSETS`."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    head = data[:_SNIFFED]
    if wide := _without_bom(head):
        return wide
    if _is_utf8(head, whole=len(head) == len(data)):
        return "utf-8"
    guess = _detect(_shown(head).splitlines(), fewest=1)
    if guess.encoding is Encoding.CP1258_AS_CP1252:
        return "cp1258"
    return next((name for name, encoding in OWN_CHARSETS.items() if encoding is guess.encoding), "cp1252")


def decode(data: bytes, charset: str) -> str:
    """A text file's text in NFC. Bytes that cp1252 leaves out become C1 controls, as on Windows.

    Read a table as "cp1252" rather than in one of `OWN_CHARSETS`, and let `detect` look at its columns one by one.

    Raises:
        PetitionError: INVALID_FILE if a byte does not fit or no such charset is known.
    """
    if charset == "cp1252":
        return _shown(data)
    if charset in OWN_CHARSETS:
        return to_unicode(_shown(data), OWN_CHARSETS[charset])
    try:
        return unicodedata.normalize("NFC", data.decode(charset))
    except UnicodeDecodeError as error:
        message = f"byte {error.start:,} (0x{data[error.start]:02x}) is no {charset}; save the file as UTF-8"
        raise PetitionError(ErrorKind.INVALID_FILE, message, byte=error.start, charset=charset) from error
    except LookupError as error:
        message = f"no charset {charset!r} is known; use utf-8, utf-16, cp1258, cp1252 or {', '.join(OWN_CHARSETS)}"
        raise PetitionError(ErrorKind.INVALID_FILE, message, charset=charset) from error


def _shown(data: bytes) -> str:
    return data.decode("latin-1").translate(_LATIN1_TO_CP1252)


_LATIN1_TO_CP1252 = {byte: character for byte, character in enumerate(_CP1252) if ord(character) != byte}


def _without_bom(data: bytes) -> str | None:
    """UTF-16 shows by its NULs: the high half of an ASCII or Latin-1 character is one, the low half never."""
    units = len(data) // 2
    if not units:
        return None
    first, second = data[: 2 * units : 2].count(0), data[1 : 2 * units : 2].count(0)
    if max(first, second) < 0.3 * units or min(first, second) > 0.01 * units:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _is_utf8(data: bytes, whole: bool) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return not whole and error.start >= len(data) - 3 and error.reason == "unexpected end of data"
    return True
