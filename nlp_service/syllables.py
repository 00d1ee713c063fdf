"""What a Vietnamese syllable can be: onset, rhyme, tone. Tells Vietnamese from the same bytes read in a wrong encoding.

The rhymes are those of the school grammar, with `ăk` for Đắk Lắk. Where the tone stands is not looked at ("hoà" and
"hòa" are both written), nor whether the syllable means anything.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

TONES = "\u0300\u0301\u0303\u0309\u0323"
"""Combining marks of huyền, sắc, ngã, hỏi, nặng."""

VOWELS = "aăâeêioôơuưy"


def _toned(vowel: str) -> list[str]:
    return [unicodedata.normalize("NFC", vowel + tone) for tone in TONES]


LOWER = "".join("".join([vowel.strip("aeiouy"), *_toned(vowel)]) for vowel in VOWELS) + "đ"
"""The 67 letters that are not ASCII: by vowel à á ã ả ạ, ă ằ ắ ẵ ẳ ặ, … ỳ ý ỹ ỷ ỵ, then đ."""

LETTERS = LOWER + LOWER.upper()
"""Those and their capitals."""

_LONGEST = 7  # nghiêng
_ONSETS = "b c ch d đ g gh gi h k kh l m n ng ngh nh p ph r s t th tr v x"
_RHYMES = (
    "a ac ach ai am an ang anh ao ap at au ay ăc ăk ăm ăn ăng ăp ăt âc âm ân âng âp ât âu ây "
    "e ec em en eng eo ep et ê êch êm ên ênh êp êt êu i ia ich im in inh ip it iu iêc iêm iên iêng iêp iêt iêu "
    "o oa oac oach oai oam oan oang oanh oao oap oat oay oăc oăm oăn oăng oăt oc oe oen oeo oet oi om on ong ooc oong "
    "op ot ô ôc ôi ôm ôn ông ôp ôt ơ ơi ơm ơn ơp ơt u ua uân uâng uât uây uc uê uêch uênh ui um un ung uôc uôi uôm uôn "
    "uông uôt uơ up ut uy uya uych uyên uyêt uyn uynh uyp uyt uyu ư ưa ưc ưi ưm ưng ươc ươi ươm ươn ương ươp ươt ươu "
    "ưt ưu y yêm yên yêng yêt yêu"
)
_STOPS = ("p", "t", "c", "ch", "k")
_TONE_OF = {letter: tone for vowel in VOWELS for letter, tone in zip(_toned(vowel), TONES, strict=True)}
_TONELESS = str.maketrans({letter: vowel for vowel in VOWELS for letter in _toned(vowel)})


@lru_cache(maxsize=50_000)
def _is_short_syllable(word: str) -> bool:
    tones = [_TONE_OF[letter] for letter in word if letter in _TONE_OF]
    if len(tones) > 1 or (word.endswith(_STOPS) and tones not in (["\u0301"], ["\u0323"])):
        return False
    return word.translate(_TONELESS) in _toneless_syllables()


def is_syllable(word: str) -> bool:
    """Whether a lower-case word in NFC is written as a Vietnamese syllable is: "nghiêng", "hoà", "kẻ"; not "nghan"."""
    return len(word) <= _LONGEST and _is_short_syllable(word)


@lru_cache(maxsize=1)
def _toneless_syllables() -> frozenset[str]:
    return frozenset(_spellings())


def _spellings() -> Iterator[str]:
    for rhyme in _RHYMES.split():
        front = rhyme[0] in "eêiy"
        if not rhyme.startswith("iê"):  # written yê at a word's start
            yield rhyme
        if rhyme[0] in "aăâeêiyơ":
            yield "qu" + rhyme
        for onset in _ONSETS.split():
            if onset in ("c", "g", "ng") and front and (onset, rhyme) not in (("g", "i"), ("g", "in")):
                continue
            if onset in ("k", "gh", "ngh") and not front:
                continue
            if rhyme.startswith("yê") or (onset == "gi" and front and rhyme[0] in "iy"):
                continue
            yield onset + rhyme
    yield from ("quôc", "quich", "quych", "quyn", "quynh", "quyt", "quyp")
    # gi before iê is written with one i.
    yield from ("gi" + rhyme[1:] for rhyme in _RHYMES.split() if rhyme.startswith("iê"))
