"""Unlabelled lines for the encoder: sampled from text files, segmented, a share of them roughed up as people type."""

import io
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zstandard

from nlp_service.segment import UndertheseaSegmenter
from nlp_service.text import normalise, strip_diacritics


@dataclass(frozen=True)
class Source:
    """One text file (`.txt` or `.txt.zst`, a sentence or short paragraph a line) and how many lines to draw from it."""

    path: str
    lines: int


@dataclass(frozen=True)
class Line:
    """What the teacher reads (`clean`) and what the student reads (`segmented`, perhaps written carelessly)."""

    clean: str
    segmented: str


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


def roughen(text: str, generator: random.Random, undiacritised: float, recased: float) -> str:
    """With the given probabilities, drop all diacritics, or write all in lower or upper case."""
    draw = generator.random()
    if draw < undiacritised:
        text = strip_diacritics(text)
        return text.lower() if generator.random() < 0.5 else text
    if draw < undiacritised + recased:
        return text.lower() if generator.random() < 0.7 else text.upper()
    return text


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


def prepare(lines: list[str], undiacritised: float, recased: float, processes: int, seed: int) -> list[Line]:
    """Normalise, roughen and segment every line; the order stays."""
    generator = random.Random(seed)
    clean = [normalise(line) for line in lines]
    rough = [roughen(line, generator, undiacritised, recased) for line in clean]
    return [Line(c, s) for c, s in zip(clean, segment_all(rough, processes), strict=True)]
