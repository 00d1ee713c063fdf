"""Where a petition comes from: one of today's 166 communes and wards of Thanh Hóa, found by its name or by an older one.

Since 1 July 2025 there are no districts, but people go on writing "xã Hoằng Quang, TP Thanh Hóa". A name alone often belongs
to several places; nothing is guessed: what the words do not decide is AMBIGUOUS, with the units that it may be.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from nlp_service.text import normalise

PLACES_FILE = "places.yaml"

_UNIT_KINDS = ("xã", "phường", "thị trấn")
_DISTRICT_KINDS = ("huyện", "thị xã", "thành phố", "quận")
_HOME = "Thanh Hóa"
_REFORM = 2025

_TONES = "\u0300\u0301\u0303\u0309\u0323"
_FOLD = {
    code: "d" if chr(code) in "đĐðÐ" else base
    for code in (*range(0x41, 0x5B), *range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if (base := unicodedata.normalize("NFD", chr(code))[0].lower()).isascii() or chr(code) in "đĐðÐ"
}
"""One character for one: places found in the folded text are places in the text."""
_WORD = re.compile(r"[^\W_]+")
_MARK = re.compile(r"[À-ɏ̀-ͯḀ-ỿ]")
_LONE_Y = re.compile(r"(?<=[bcdghklmnprstvx])y\b|(?<=qu)y\b")  # Quí Lộc = Quý Lộc
_INSIDE_NAME = re.compile(r"\s+|\s*[-–]\s*")
_AFTER_KIND = re.compile(r"[\s.:/()\"'“”-]*")
_BETWEEN = re.compile(r"[\s,.;:()/|–-]*(?:(?:thuoc|cua|cu|nay la|nay thuoc)\b[\s,.;:()/|–-]*)?")
_AND = re.compile(r"\s+va\s+")

_KIND_WORDS = {
    ("thi", "tran"): "thị trấn",
    ("thi", "xa"): "thị xã",
    ("thanh", "pho"): "thành phố",
    ("t", "p"): "thành phố",
    ("tt",): "thị trấn",
    ("tx",): "thị xã",
    ("tp",): "thành phố",
    ("xa",): "xã",
    ("x",): "xã",
    ("phuong",): "phường",
    ("p",): "phường",
    ("huyen",): "huyện",
    ("h",): "huyện",
    ("quan",): "quận",
    ("q",): "quận",
    ("tinh",): "tỉnh",
}
_KIND_STARTS = frozenset(words[0] for words in _KIND_WORDS)
# A bare name after one of these is a road's, a village's, a school's, a person's.
_OTHER_THINGS = frozenset(
    [
        "duong",
        "pho",
        "thon",
        "lang",
        "ban",
        "xom",
        "khu",
        "to",
        "ngo",
        "ngach",
        "hem",
        "cau",
        "song",
        "nui",
        "truong",
        "cho",
        "chua",
        "den",
        "dinh",
        "ho",
        "ga",
        "cum",
        "doi",
        "ong",
        "ba",
        "ty",
        "htx",
        "xa",
    ]
)
_AT = frozenset(["tai", "o", "thuoc", "tru", "ngu", "chi", "ban", "song"])
_LIVING = frozenset(["song", "tru", "ngu", "chi"])
_SMALLER = frozenset(["thon", "lang", "ban", "xom", "khu", "to", "pho", "duong", "nha", "ngo", "doi"])
_BESIDE = frozenset(["giap", "ranh", "sang", "qua", "gan", "canh", "den", "di", "nhu", "voi"])


class PlaceStatus(StrEnum):
    """How sure a place is."""

    FOUND = "found"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Unit:
    """One of today's communes and wards.

    Attributes:
        code: official, five digits.
        kind: "xã" or "phường".
        zones: of "mountain", "border", "nghi_son", "nghi_son_part", "urban"; what they cover stands in the data file.
    """

    code: str
    kind: str
    name: str
    zones: frozenset[str]

    @property
    def full_name(self) -> str:
        """ "Phường Hạc Thành"."""
        return f"{self.kind.capitalize()} {self.name}"


@dataclass(frozen=True)
class Place:
    """What a field or a text says about the place.

    Attributes:
        unit: when FOUND.
        candidates: when AMBIGUOUS, the units it may be, by code.
        evidence: the words that say so, as typed.
        former: the older unit that led there, "xã Hoằng Quang, thành phố Thanh Hóa"; None if today's name was used.
        province: when OUTSIDE, today's name of the province or city; None if the words do not decide which.
    """

    status: PlaceStatus
    unit: Unit | None = None
    candidates: tuple[Unit, ...] = ()
    evidence: str = ""
    former: str | None = None
    province: str | None = None


class _Level(IntEnum):
    UNIT = 0
    DISTRICT = 1
    OUTSIDE = 2
    HOME = 3


@dataclass(frozen=True)
class _Sense:
    """One thing a name may stand for.

    Attributes:
        key: the name with its marks, in one spelling.
        codes: of today's units: itself, or those an older unit or a district went into.
        districts: of a unit, the former districts it lay in or was made of; of a district, itself.
        today: exists since 1 July 2025.
        province: of what is outside Thanh Hóa.
    """

    level: _Level
    kind: str
    name: str
    key: str
    codes: tuple[str, ...] = ()
    districts: frozenset[str] = frozenset()
    today: bool = False
    province: str = ""


@dataclass(frozen=True)
class _Mention:
    """A name in a text.

    Attributes:
        kind: the word before it, in full ("P." is "phường"); empty for a bare name.
        first: position of its first word, with that for the kind.
        start: in characters, as is `end`.
        capitals: every word begins with one.
        senses: what it may stand for.
    """

    kind: str
    first: int
    start: int
    end: int
    capitals: bool
    senses: tuple[_Sense, ...]

    def of(self, level: _Level) -> tuple[_Sense, ...]:
        return tuple(sense for sense in self.senses if sense.level is level)

    @property
    def only_unit(self) -> bool:
        return all(sense.level is _Level.UNIT for sense in self.senses)


@dataclass(frozen=True)
class _Reading:
    """One address in a text.

    Attributes:
        level: UNIT if it names a commune, DISTRICT if only a district, OUTSIDE if another province.
        sure: nothing in the address contradicts the codes.
        score: how much it looks like the place that the text is about.
    """

    level: _Level
    evidence: str
    codes: frozenset[str] = frozenset()
    sure: bool = False
    former: str | None = None
    score: int = 0
    province: str | None = None


@dataclass(frozen=True)
class _Words:
    """A text, its words without marks, and where they stand."""

    text: str
    folded: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    marked: bool
    """Typed with marks, so that a word without any has none."""

    @classmethod
    def of(cls, text: str) -> "_Words":
        text = text if text.isascii() else unicodedata.normalize("NFC", text)
        folded = _LONE_Y.sub("i", text.translate(_FOLD))
        spans = tuple(match.span() for match in _WORD.finditer(folded))
        marked = not text.isascii() and 50 * len(_MARK.findall(text)) > len(text)
        return cls(text, folded, tuple(_WORD.findall(folded)), spans, marked)


class Gazetteer:
    """The units of Thanh Hóa and the names that lead to them.

    Attributes:
        units: today's units by code.
        version: of the data.
        sha256: of the data file.
    """

    def __init__(self, units: dict[str, Unit], version: str, sha256: str, senses: Iterable[_Sense]) -> None:
        self.units = units
        self.version = version
        self.sha256 = sha256
        self._names: dict[str, list[_Sense]] = {}
        for sense in senses:
            self._names.setdefault(_fold(sense.name), []).append(sense)
        self._longest: dict[str, int] = {}
        for name in self._names:
            first = name.split(" ", 1)[0]
            self._longest[first] = max(self._longest.get(first, 0), name.count(" ") + 1)

    def resolve(self, field: str, year: int | None = None) -> Place:
        """The place in a field that holds nothing else: a name with or without its kind and former district, or a code.

        Args:
            year: when the petition was received. Up to 2024 only the older units count; from 2026 today's unit wins
                where an older one elsewhere had the same kind and name; 2025 saw both, so it decides as little as None.
        """
        if (unit := self.units.get(field.strip())) is not None:
            return Place(PlaceStatus.FOUND, unit, evidence=unit.code)
        return self._decide(_Words.of(normalise(field)), year, strict=False)

    def find(self, text: str, year: int | None = None) -> Place:
        """The place named in a petition's text.

        A name counts with its kind before it ("xã …"), or in capitals with its former district or "Thanh Hóa" beside it.
        Of several, the one told most like an address; AMBIGUOUS when two are told alike. `year` as in `resolve`.
        """
        return self._decide(_Words.of(text), year, strict=True)

    def _decide(self, words: _Words, year: int | None, strict: bool) -> Place:
        mentions = list(self._mentions(words))
        named = _districts(mention for mention in mentions if mention.kind)
        readings = [r for chain in _chains(words, mentions) for r in _read(words, chain, named, year, strict)]
        for level in (_Level.UNIT, _Level.DISTRICT):
            if told := [reading for reading in readings if reading.level is level]:
                return self._place(told)
        if readings and not any(mention.of(_Level.HOME) for mention in mentions):
            return Place(PlaceStatus.OUTSIDE, evidence=readings[0].evidence, province=readings[0].province)
        return Place(PlaceStatus.UNKNOWN)

    def _place(self, readings: Sequence[_Reading]) -> Place:
        best = max(reading.score for reading in readings)
        top = [reading for reading in readings if reading.score == best]
        codes = frozenset.union(*(reading.codes for reading in top))
        sure = all(reading.sure for reading in top)
        if len(codes) > 1:
            # A divided or common name, and elsewhere in the text the very unit: "phường An Hưng, nay là phường Hạc Thành".
            common = frozenset.intersection(*(reading.codes for reading in top))
            told = {r.codes for r in readings if r.sure and len(r.codes) == 1 and r.codes <= common}
            if len(told) == 1:
                codes, sure = told.pop(), True
                top = [reading for reading in readings if reading.codes == codes]
        units = tuple(self.units[code] for code in sorted(codes))
        former = top[0].former if len({reading.former for reading in top}) == 1 else None
        if len(units) == 1 and sure:
            return Place(PlaceStatus.FOUND, units[0], evidence=top[0].evidence, former=former)
        return Place(PlaceStatus.AMBIGUOUS, None, units, top[0].evidence, former)

    def _mentions(self, words: _Words) -> Iterator[_Mention]:
        """Names of places from left to right, none inside another."""
        position, known, count = 0, 0, len(words.words)
        while position < count:
            word = words.words[position]
            kind, size = _kind_at(words, position) if word in _KIND_STARTS else ("", 0)
            found = self._name_at(words, position, size, kind) if kind or word in self._longest else None
            if found:
                mention, after = found
                if kind or position == known or not _of_another_thing(words, position):
                    yield mention
                    known = after
                position = after
            elif kind in _DISTRICT_KINDS and (skipped := self._name_at(words, position + size, 0, "")):
                position = skipped[1]  # "quận Ba Đình" names no commune
            else:
                position += size or 1

    def _name_at(self, words: _Words, first: int, size: int, kind: str) -> tuple[_Mention, int] | None:
        """The longest name after a word for its kind (of `size` words from `first`; 0 if bare), and the position after it."""
        position = first + size
        if position >= len(words.words):
            return None
        start = words.spans[position][0]
        if kind and not _AFTER_KIND.fullmatch(words.text, words.spans[position - 1][1], start):
            return None
        for length in range(min(self._longest.get(words.words[position], 0), len(words.words) - position), 0, -1):
            last = position + length - 1
            senses = self._names.get(" ".join(words.words[position : last + 1]))
            if senses is None or (length == 1 and not kind and senses[0].level is _Level.UNIT):
                continue
            spans = words.spans[position : last + 1]
            if any(not _INSIDE_NAME.fullmatch(words.text, left[1], right[0]) for left, right in pairwise(spans)):
                continue
            end = words.spans[last][1]
            typed = words.text[start:end]
            exact = words.marked or _MARK.search(typed)
            key = _key(typed)
            fitting = tuple(s for s in senses if _follows(kind, s) and (not exact or s.key == key))
            if not kind and any(s.level is _Level.HOME for s in fitting):
                fitting = tuple(s for s in fitting if s.level is _Level.HOME)  # the city is called a city
            if fitting:
                capitals = all(words.text[span[0]].isupper() for span in spans)
                return _Mention(kind, first, words.spans[first][0], end, capitals, fitting), last + 1
        return None


def load_gazetteer(path: Path) -> Gazetteer:
    """Read datasets/places.yaml.

    Raises:
        ValueError: naming the entry that is not in the format.
    """
    raw = path.read_bytes()
    try:
        document: dict[str, Any] = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        version, entries = str(document["version"]), document["units"]
        earlier, provinces = document["earlier"], document["provinces"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: needs version, units, earlier and provinces: {error}") from error
    units: dict[str, Unit] = {}
    went: dict[tuple[str, str], tuple[str, ...]] = {}
    try:
        for entry, fields in entries.items():
            kind, name = _split(fields["unit"])
            if not re.fullmatch(r"\d{5}", str(entry)):
                raise ValueError("a code has five digits, in quotes")
            units[entry] = Unit(entry, kind, name, frozenset(fields["zones"]))
            for district, names in fields["from"].items():
                for old in names.split(", "):
                    went[old, district] = (*went.get((old, district), ()), entry)
        for district, names in earlier.items():
            for entry, into in names.items():
                old, _, other = into.partition(", ")
                went[entry, district] = went[old, other or district]
        return Gazetteer(units, version, hashlib.sha256(raw).hexdigest(), list(_senses(units, went, provinces)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: entry '{entry}' is not in the format: {type(error).__name__} {error}") from error


def _senses(
    units: dict[str, Unit], went: dict[tuple[str, str], tuple[str, ...]], provinces: dict[str, dict[str, Any]]
) -> Iterator[_Sense]:
    made_of: dict[str, set[str]] = {}
    codes_of: dict[str, set[str]] = {}
    for (_, district), codes in went.items():
        for code in codes:
            made_of.setdefault(code, set()).add(district)
            codes_of.setdefault(district, set()).add(code)
    for code, unit in units.items():
        districts = frozenset(made_of[code])
        yield _Sense(_Level.UNIT, unit.kind, unit.name, _key(unit.name), (code,), districts, today=True)
    for (old, district), codes in went.items():
        kind, name = _split(old)
        yield _Sense(_Level.UNIT, kind, name, _key(name), codes, frozenset({district}))
    for district, into in codes_of.items():
        kind, name = _split(district)
        yield _Sense(_Level.DISTRICT, kind, name, _key(name), tuple(sorted(into)), frozenset({district}))
    yield _Sense(_Level.HOME, "tỉnh", _HOME, _key(_HOME))
    for province, fields in provinces.items():
        for name in (province, *fields.get("also", ())):
            yield _Sense(_Level.OUTSIDE, "tỉnh", name, _key(name), province=fields["now"])
        for name in fields["districts"].split(", "):
            yield _Sense(_Level.OUTSIDE, "huyện", name, _key(name), province=fields["now"])


def _split(full_name: str) -> tuple[str, str]:
    """ "thị trấn Bút Sơn" -> ("thị trấn", "Bút Sơn")."""
    for kind in (*_UNIT_KINDS, *_DISTRICT_KINDS):
        if full_name.startswith(f"{kind} "):
            return kind, full_name.removeprefix(f"{kind} ")
    raise ValueError(f"'{full_name}' begins with no kind of unit")


def _fold(name: str) -> str:
    return " ".join(_WORD.findall(_LONE_Y.sub("i", name.translate(_FOLD))))


def _key(name: str) -> str:
    """A name's letters and marks in one spelling: the tone after its syllable ("Hoá" = "Hóa"), one i ("Quí" = "Quý")."""
    syllables = []
    for word in _WORD.findall(unicodedata.normalize("NFC", name).lower().replace("ð", "đ")):
        letters = unicodedata.normalize("NFD", word)
        plain = unicodedata.normalize("NFC", "".join(c for c in letters if c not in _TONES))
        syllables.append(_LONE_Y.sub("i", plain) + "".join(c for c in letters if c in _TONES))
    return " ".join(syllables)


def _kind_at(words: _Words, position: int) -> tuple[str, int]:
    """The kind of unit that a word (or two) names, in full, and how many words it takes; ("", 0) if none."""
    for size in (2, 1):
        found = words.words[position : position + size]
        kind = _KIND_WORDS.get(found)
        if kind is None or len(found) < size:
            continue
        start, end = words.spans[position][0], words.spans[position + size - 1][1]
        typed = words.text[start:end]
        if found == ("xa",) and position and words.words[position - 1] == "tac":
            return "", 0  # hợp tác xã
        if len(found[0]) == 1 and not (typed[0].isupper() or words.text[end : end + 1] == "."):
            continue
        in_full = "".join(found) == kind.translate(_FOLD).replace(" ", "")
        # "xả" for "xã" is how many in Thanh Hóa say and write it.
        if in_full and (words.marked or _MARK.search(typed)) and _key(typed) not in (_key(kind), _key("xả")):
            continue
        return kind, size
    return "", 0


def _follows(kind: str, sense: _Sense) -> bool:
    """May the thing be named after this word? Kinds of one level are mixed up, levels are not."""
    if not kind:
        return True
    if kind in _UNIT_KINDS:
        return sense.level is _Level.UNIT
    if kind == "tỉnh":
        return sense.level is _Level.HOME or (sense.level is _Level.OUTSIDE and sense.kind == "tỉnh")
    if kind == "thành phố":
        return sense.level in (_Level.DISTRICT, _Level.OUTSIDE)
    return sense.level is _Level.DISTRICT or (sense.level is _Level.OUTSIDE and sense.kind == "huyện")


def _chains(words: _Words, mentions: Sequence[_Mention]) -> Iterator[list[_Mention]]:
    """Mentions that follow each other as in an address, without other words between."""
    chain: list[_Mention] = []
    for mention in mentions:
        if chain:
            gap = (chain[-1].end, mention.start)
            listed = not mention.kind and mention.capitals and mention.only_unit and _AND.fullmatch(words.folded, *gap)
            if not listed and not _BETWEEN.fullmatch(words.folded, *gap):
                yield chain
                chain = []
        chain.append(mention)
    if chain:
        yield chain


def _units_of(chain: Sequence[_Mention], strict: bool) -> list[_Mention]:
    """Which names of an address are its communes: those called so, else bare names that can be nothing else, else the first."""
    bare = [m for m in chain if not m.kind and m.of(_Level.UNIT) and (m.capitals or not strict)]
    units = [m for m in chain if m.kind in _UNIT_KINDS or (m in bare and m.only_unit)]
    if units:  # "các xã Ngọc Lặc, Thọ Xuân": no commune of the one name was in the district of the other
        return units + [
            m
            for m in bare
            if m.capitals and m.start > units[0].start and not _may_lie_in(units[0], m) and m not in units
        ]
    if not bare or (bare[0].of(_Level.OUTSIDE) and bare[0] is not chain[0]):  # "…, Hạ Long, Quảng Ninh"
        return []
    districts = [m for m in chain if m is not bare[0] and m.of(_Level.DISTRICT)]
    return [] if districts and not any(_may_lie_in(bare[0], m) for m in districts) else bare[:1]


def _may_lie_in(unit: _Mention, district: _Mention) -> bool:
    """Was a unit of the one name ever in a district of the other? True also where the other names none."""
    inside = _districts([district])
    return not inside or any(sense.districts & inside for sense in unit.of(_Level.UNIT))


def _of_another_thing(words: _Words, position: int) -> bool:
    """Is a bare name a road's, a village's, a person's?"""
    if position == 0 or words.words[position - 1] not in _OTHER_THINGS:
        return False
    return words.text[words.spans[position - 1][1] : words.spans[position][0]].isspace()


def _read(
    words: _Words, chain: Sequence[_Mention], named: frozenset[str], year: int | None, strict: bool
) -> Iterator[_Reading]:
    """Sort out one address: which of its names is the commune, which the district, which the province.

    Args:
        named: districts called so anywhere in the text.
        strict: bare names need something beside them.
    """
    units = _units_of(chain, strict)
    around = [mention for mention in chain if mention not in units]
    districts = [mention for mention in around if mention.of(_Level.DISTRICT)]
    home = any(mention.of(_Level.HOME) for mention in around)
    called = any(unit.kind for unit in units)
    whole = words.text[chain[0].start : chain[-1].end]
    if not districts and not home and any(_is_abroad(m, called and m is not chain[0], strict) for m in around):
        if not strict or len(chain) > 1 or chain[0].kind or _lives_at(words, chain[0]):
            yield _Reading(_Level.OUTSIDE, whole, province=_province(around))
        return
    if strict and not called and not (districts and (len(chain) > 1 or chain[0].kind)) and not (units and home):
        return
    for unit in units:
        allowed = [d for d in districts if d.kind or _may_lie_in(unit, d)]
        near = [d for d in allowed if d.start > unit.start][:1] or [d for d in allowed if d.end <= unit.start][-1:]
        senses, fits = _choose(unit, _districts(near), year)
        if not near and named and len(_codes(senses)) > 1:
            narrowed, inside = _choose(unit, named, year)
            senses = narrowed if inside else senses
        parts = (unit, *near)
        evidence = words.text[min(part.start for part in parts) : max(part.end for part in parts)]
        other = unit.of(_Level.DISTRICT) or (unit.of(_Level.OUTSIDE) and not home)
        if other and not called and not near:  # "Hậu Lộc": the commune, the town or the district?
            yield _Reading(_Level.DISTRICT, evidence, _codes((*senses, *unit.of(_Level.DISTRICT))))
        elif senses:
            score = (2 if called else 1) + bool(near) + _address_like(words, units[0])
            yield _Reading(_Level.UNIT, evidence, _codes(senses), fits, _former(senses), score)
    if districts and not units:
        yield _Reading(_Level.DISTRICT, whole, _codes(sense for d in districts for sense in d.of(_Level.DISTRICT)))


def _codes(senses: Iterable[_Sense]) -> frozenset[str]:
    return frozenset(code for sense in senses for code in sense.codes)


def _districts(mentions: Iterable[_Mention]) -> frozenset[str]:
    return frozenset(d for mention in mentions for sense in mention.of(_Level.DISTRICT) for d in sense.districts)


def _former(senses: Sequence[_Sense]) -> str | None:
    """The older unit, if the words name one: the only one, or the latest of those that became one unit of today."""
    if any(sense.today for sense in senses) or (len(senses) > 1 and len(_codes(senses)) > 1):
        return None
    return f"{senses[0].kind} {senses[0].name}, {', '.join(senses[0].districts)}"


def _choose(mention: _Mention, districts: frozenset[str], year: int | None) -> tuple[tuple[_Sense, ...], bool]:
    """The units a mention may stand for, and whether the districts allow any (if not, all units of the name are given)."""
    senses = mention.of(_Level.UNIT)
    if year is not None and year < _REFORM:
        senses = tuple(sense for sense in senses if not sense.today)
    inside = tuple(sense for sense in senses if sense.districts & districts) if districts else senses
    fits = bool(inside)
    senses = inside or senses
    exact = tuple(sense for sense in senses if sense.kind == mention.kind)
    senses = exact or senses
    if not mention.kind:
        return senses, fits
    # A district is an older unit's; without one, a petition of our day means the unit of our day.
    recent = year is not None and year > _REFORM
    if districts and not recent:
        senses = tuple(sense for sense in senses if not sense.today) or senses
    elif recent and not districts:
        senses = tuple(sense for sense in senses if sense.today) or senses
    return senses, fits


def _address_like(words: _Words, mention: _Mention) -> int:
    """How much the words before a unit look like an address."""
    before = words.words[max(0, mention.first - 6) : mention.first]
    if before and before[-1] in _BESIDE:
        return -2
    return 2 * any(word in _AT for word in before) + any(word in _SMALLER for word in before)


def _lives_at(words: _Words, mention: _Mention) -> bool:
    """Does somebody live at a place, and not only come from it, work or travel there?"""
    before = words.words[max(0, mention.first - 5) : mention.first]
    return before[-1:] in (("tai",), ("o",)) and any(word in _LIVING for word in before)


def _is_abroad(mention: _Mention, after_unit: bool, strict: bool) -> bool:
    """Does a name mean a place outside the province? A bare district's does only after a commune's."""
    if not mention.of(_Level.OUTSIDE):
        return False
    if mention.kind or (after_unit and mention.capitals):
        return True
    return _is_province(mention) and (mention.capitals or not strict)


def _is_province(mention: _Mention) -> bool:
    return any(sense.kind == "tỉnh" for sense in mention.of(_Level.OUTSIDE))


def _province(mentions: Sequence[_Mention]) -> str | None:
    senses = [sense for mention in mentions for sense in mention.of(_Level.OUTSIDE)]
    provinces = {s.province for s in senses if s.kind == "tỉnh"} or {s.province for s in senses}
    return provinces.pop() if len(provinces) == 1 else None
