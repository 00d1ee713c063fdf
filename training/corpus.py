"""Unlabelled lines for the encoder: sampled from text files, read by the teacher as they are, by the student roughed up."""

import io
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import zstandard
from pydantic import ConfigDict

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import strip_diacritics
from training.augment import slip, telex

Span = tuple[int, int]

_SENTENCE_END = re.compile(r"(?<=[.!?…;])\s+|\n+")
_UNIT = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Source:
    """One text file (`.txt` or `.txt.zst`, a sentence or short paragraph a line) and how many lines to draw from it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    path: str
    lines: int


@dataclass(frozen=True)
class Noise:
    """Shares of lines that the student reads otherwise than the teacher.

    Attributes:
        undiacritised: all marks dropped.
        restored: all marks dropped and guessed again by the restorer, as serving does it.
        slips: typing slips and telex leftovers in some words.
        lower: all in lower case.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    undiacritised: float = 0.08
    restored: float = 0.12
    slips: float = 0.1
    lower: float = 0.1


@dataclass(frozen=True)
class Reading:
    """A line as the student reads it.

    Attributes:
        words: segmented words.
        units: for every word the first unit of the clean line it stands for and the one after the last; None where
            the segmenter rewrote the text so that words and units cannot be told from each other.
    """

    words: list[str]
    units: list[Span] | None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a plain or zstd-compressed UTF-8 file."""
    if path.suffix == ".zst":
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            yield from io.TextIOWrapper(stream, encoding="utf-8")
    else:
        with path.open(encoding="utf-8") as stream:
            yield from stream


def sample(sources: list[Source], root: Path, max_words: int, long_share: float, seed: int) -> list[str]:
    """Draw lines without replacement; at most `long_share` of them have more than `max_words` words."""
    generator = random.Random(seed)
    drawn: list[str] = []
    for source in sources:
        lines = [line.strip() for line in read_lines(root / source.path)]
        generator.shuffle(lines)
        chosen: list[str] = []
        long_left = int(source.lines * long_share)
        for line in lines:
            if len(chosen) == source.lines:
                break
            words = len(line.split())
            if words < 3:
                continue
            if words > max_words:
                if long_left == 0:
                    continue
                long_left -= 1
            chosen.append(line)
        drawn += chosen
    generator.shuffle(drawn)
    return drawn


def petition_lines(path: Path, most_words: int = 100) -> list[str]:
    """The texts of a JSONL of petitions as lines: whole where they are short, long ones in runs of sentences."""
    lines = []
    for row in path.read_text(encoding="utf-8").splitlines():
        run: list[str] = []
        for sentence in _SENTENCE_END.split(json.loads(row)["text"]):
            words = sentence.split()[:most_words]
            if len(run) + len(words) > most_words:
                lines.append(" ".join(run))
                run = []
            run += words
        lines.append(" ".join(run))
    return [line for line in lines if len(line.split()) >= 3]


def units(text: str) -> list[Span]:
    """Where the runs of letters or digits and the single marks of a text stand: what teacher and student agree on."""
    return [match.span() for match in _UNIT.finditer(text)]


def roughen(text: str, generator: random.Random, noise: Noise, restore: Callable[[str], str] | None = None) -> str:
    """`text` as it is or with one kind of noise; units may change their letters, never their number."""
    draw = generator.random()
    if draw < noise.undiacritised:
        text = strip_diacritics(text)
        return text.lower() if generator.random() < 0.5 else text
    draw -= noise.undiacritised
    if draw < noise.restored:
        bare = strip_diacritics(text)
        bare = bare.lower() if generator.random() < 0.5 else bare
        return restore(bare) if restore else bare
    draw -= noise.restored
    if draw < noise.slips:
        left_in_telex = generator.choice((0.0, 0.0, 0.15, 1.0))
        return _UNIT.sub(lambda match: _mistype(match.group(), generator, left_in_telex), text)
    draw -= noise.slips
    return text.lower() if draw < noise.lower else text


def _mistype(unit: str, generator: random.Random, left_in_telex: float) -> str:
    if generator.random() < left_in_telex:
        return telex(unit)
    return re.sub(r"\W", "", slip(unit, generator, 0.06)) or unit if unit.isalnum() else unit


def align(words: Sequence[str], texts: Sequence[str]) -> list[Span] | None:
    """Which of the units `texts` every word covers, by counting letters; None if they do not add up."""
    ends = [0]
    for unit in texts:
        ends.append(ends[-1] + len(unit.replace("_", "")))
    spans: list[Span] = []
    position = first = 0
    for word in words:
        length = len(word.replace("_", ""))
        if not length:
            return None
        while first + 1 < len(ends) and ends[first + 1] <= position:
            first += 1
        position += length
        last = first
        while last < len(ends) - 1 and ends[last] < position:
            last += 1
        spans.append((first, last))
    return spans if position == ends[-1] else None


@cache
def _segmenter() -> UndertheseaSegmenter:
    return UndertheseaSegmenter()


def _segment(texts: list[str]) -> list[str]:
    segmenter = _segmenter()
    return [segmenter.segment(text) for text in texts]


def segment_all(texts: list[str], processes: int, block: int = 512) -> list[str]:
    """Segment in `processes` processes, since the segmenter holds the interpreter's lock."""
    blocks = [texts[i : i + block] for i in range(0, len(texts), block)]
    with ProcessPoolExecutor(processes) as pool:
        return [line for part in pool.map(_segment, blocks) for line in part]


def readings(texts: list[str], processes: int) -> list[Reading]:
    """Segment lines and tell which unit every word stands for."""
    result = []
    for text, segmented in zip(texts, segment_all(texts, processes), strict=True):
        words = segmented.split()
        result.append(Reading(words, align(words, [text[start:end] for start, end in units(text)])))
    return result
