"""Which old encoding a column or document is in, and its texts in Unicode.

Old office fonts (.VnTime, VNI-Times) show Vietnamese where the text holds other characters: "Hµ Néi" is Hà Nội. Wrong
imports do the same to good text: "HÃ  Ná»™i". `detect` looks at the texts of a column or document together, `recover`
turns each of them, and leaves alone whatever might be right already. Both judge by one question: are the words with
marks Vietnamese syllables before, and after?
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Self

from nlp_service.old_encodings import Encoding, from_unicode, to_unicode
from nlp_service.syllables import LETTERS, TONES, is_syllable

__all__ = ["Encoding", "Guess", "detect", "from_unicode", "recover", "to_unicode"]


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
_USUAL = 5  # texts that speak for an encoding before it is tried alone
_VIQR_SHARE = 0.3  # of a text's words; in Vietnamese about 0.75 carry marks


def detect(texts: Sequence[str], fewest_words: int = _FEWEST_WORDS) -> Guess:
    """Judge the texts of one column, or the paragraphs of one document, together. Up to 200 are looked at.

    A legacy encoding is claimed when at least `fewest_words` different words become Vietnamese syllables by it (one
    less, if nothing contradicts) and three quarters of the words with marks are syllables then. Otherwise the answer is UNICODE, or
    DECOMPOSED where a text is not in NFC.
    """
    sample = _sample(texts)
    as_it_is = {index: _weigh(_WORD.findall(unicodedata.normalize("NFC", text))) for index, text in sample.items()}
    popular: Counter[Encoding] = Counter()
    read: dict[int, list[_Reading]] = {}
    best: dict[int, list[_Reading]] = {}
    for index, text in sample.items():
        read[index] = _readings(text, as_it_is[index], popular)
        best[index] = _best(read[index])
        popular.update(reading.encoding for reading in best[index])
    # Texts that several encodings read equally well go to the one that more texts speak for.
    votes: defaultdict[Encoding, _Votes] = defaultdict(_Votes)
    for index, readings in best.items():
        if readings:
            reading = max(readings, key=lambda reading: popular[reading.encoding])
            votes[reading.encoding].add(index, reading)

    most = max((vote.texts for vote in votes.values()), default=0)
    found = sorted(
        (encoding for encoding, vote in votes.items() if vote.enough(fewest_words, _WORTH_TURNING * most)),
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


def recover(text: str, guess: Guess) -> str:
    """One text in Unicode, NFC. Left as it is where its own words do not speak for one of the guessed encodings.

    A text that says nothing either way ("c¸" may be cá, "cá" may be cỏ) follows its column only if next to
    none of that is in Unicode already. Internet addresses stay.
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
        return _by_words(text, _evident_viqr_word)
    return _beside_units(text, encoding)


@lru_cache(maxsize=20_000)
def _evident_viqr_word(word: str) -> str:
    return to_unicode(_VIQR_FINAL.sub(r"\1\\\2", word), Encoding.VIQR)


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
        # A run this long is no word; and the caches keep what they are given.
        usual = len(word) <= _LONGEST_WORD and _VIQR_ANY.search(word) and not _ADDRESS.search(word)
        return turn(word) if usual else word

    return _RUN.sub(turned, text)


@lru_cache(maxsize=20_000)
def _viqr_word(word: str) -> str:
    """ "ddo'." -> "đó.", "mua." as it is (the tone would stand on the u), "address" as it is."""
    turned = to_unicode(_VIQR_FINAL.sub(_kept_or_escaped, word), Encoding.VIQR)
    weight = _weigh(_WORD.findall(turned))
    sure = re.search(r"[\^~`]|[oOuU]\+", word)
    return turned if sure or not weight.bad else word


def _kept_or_escaped(match: re.Match[str]) -> str:
    base = to_unicode(match.group(1), Encoding.VIQR).lower()
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


def _readings(text: str, as_it_is: _Weight, popular: Counter[Encoding]) -> list[_Reading]:
    """In every encoding that might make the text better; in one alone, if a column's usual one makes all of it right."""
    candidates = _CANDIDATES
    if not as_it_is.bad:
        candidates = [encoding for encoding in (Encoding.VIQR, Encoding.DECOMPOSED) if _worth(text, encoding)]
    readings = []
    for encoding in sorted(candidates, key=lambda encoding: -popular[encoding]):
        if not (reading := _read(text, encoding)):
            continue
        if popular[encoding] >= _USUAL and reading.gain >= 2 and not reading.after.bad and reading.possible:
            return [reading]
        readings.append(reading)
    return readings


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
