"""Learn the restorer of diacritics: how often syllables follow each other in ordinary text."""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from nlp_service.diacritics import (
    BOUNDARY,
    FIRST,
    LOG_STEP,
    LONGEST,
    NUMBER,
    OTHER,
    Diacritics,
    fold,
    one_spelling,
    tokens,
)
from nlp_service.text import normalise, strip_diacritics
from training.corpus import Source, read_lines

FEWEST = {"syllable": 20, "bigram": 2, "trigram": 4}
"""Rarer ones are dropped: they cost room, and a sequence that stands in one text only is nothing to learn."""

DISCOUNT = 0.75


def learn_diacritics(lines: Iterable[str], path: Path, fewest: dict[str, int] = FEWEST) -> None:
    """Count syllables, pairs and triples in `lines` and write `path`, a trigram model with Kneser-Ney smoothing.

    Lines that carry few marks themselves are left out: they would teach that marks are not needed.
    Interpolated, one discount (Chen and Goodman 1999, An empirical study of smoothing techniques, section 3).
    """
    run, syllables = _stream(lines, fewest["syllable"])
    size = len(syllables) + FIRST
    pairs = run[:-1] * size + run[1:]
    counts = np.maximum(np.bincount(run, minlength=size), 1)
    pair_keys, pair_counts = np.unique(pairs, return_counts=True)
    # How many different syllables stand before each: "Thanh" is frequent, but seldom new after anything but "tỉnh".
    unigrams = (np.bincount(pair_keys % size, minlength=size) + 0.5) / (len(pair_keys) + 0.5 * size)
    often = pair_counts >= fewest["bigram"]
    keys, kept = pair_keys[often], pair_counts[often]
    firsts = keys // size
    share = (kept - DISCOUNT) / counts[firsts]
    bow = 1 - np.bincount(firsts, share, size)
    bigrams = share + bow[firsts] * unigrams[keys % size]
    triple_keys, triple_counts = np.unique(pairs[:-1] * size + run[2:], return_counts=True)
    often = triple_counts >= fewest["trigram"]
    triple_keys, triple_counts = triple_keys[often], triple_counts[often]
    context = np.searchsorted(keys, triple_keys // size)
    share = (triple_counts - DISCOUNT) / kept[context]
    pair_bow = 1 - np.bincount(context, share, len(keys))
    tail = triple_keys % (size * size)
    lower = bigrams[np.searchsorted(keys, tail)]
    trigrams = share + pair_bow[context] * lower
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as file:
        np.savez_compressed(
            file,
            syllables=np.frombuffer("\n".join(syllables).encode(), np.uint8),
            unigrams=_stored(unigrams),
            unigram_backoffs=_stored(bow),
            bigram_steps=np.diff(keys, prepend=0),
            bigrams=_stored(bigrams),
            bigram_backoffs=_stored(pair_bow),
            trigram_steps=np.diff(triple_keys, prepend=0),
            trigrams=_stored(trigrams),
        )
    scratch.rename(path)


def _stream(lines: Iterable[str], fewest: int) -> tuple[npt.NDArray[np.int64], list[str]]:
    """All lines as one run of ids, a boundary between them, and the syllables behind the ids from FIRST on."""
    counts: Counter[str] = Counter()
    kept: list[list[str]] = []
    for line in lines:
        words = [sys.intern(word) for word in tokens(one_spelling(normalise(line).lower()))]
        marked = sum(word.isalpha() and word != fold(word) for word in words)
        if marked * 3 >= sum(word.isalpha() for word in words):
            kept.append(words)
            counts.update(words)
    syllables = sorted(
        word
        for word, count in counts.items()
        if word.isalpha() and len(word) <= LONGEST and count >= fewest and len(fold(word)) == len(word)
    )
    ids = {word: index for index, word in enumerate(syllables, start=FIRST)}
    stream = [BOUNDARY]
    for words in kept:
        stream.append(BOUNDARY)
        stream += [ids.get(word, NUMBER if word.isdigit() else OTHER if word.isalpha() else BOUNDARY) for word in words]
    stream += [BOUNDARY, BOUNDARY]
    return np.array(stream, dtype=np.int64), syllables


def _stored(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    logs = -np.log(np.maximum(probabilities, 1e-7))
    stored: npt.NDArray[np.uint8] = np.minimum(np.round(LOG_STEP * logs), 255).astype(np.uint8)
    return stored


def accuracy(restorer: Diacritics, texts: Iterable[str]) -> tuple[float, int]:
    """Share of syllables that come back as they were after all marks are dropped, and how many were counted."""
    right = total = 0
    for text in texts:
        text = one_spelling(normalise(text))
        bare = strip_diacritics(text)
        if len(bare) != len(text):  # stray combining marks
            continue
        for before, after in zip(tokens(text), tokens(restorer.restore(bare)), strict=True):
            if before.isalpha():
                right += before == after
                total += 1
    return right / max(total, 1), total


@dataclass(frozen=True)
class DiacriticsConfig:
    """One restorer; the TOML file has the same names.

    Attributes:
        sources: files under `corpus_root` and how many lines of each are drawn.
        petitions: JSONL of labelled petitions to read too, `repeat` times: they are few, and what people will write is like them.
        held_out: drawn lines that are measured on and not learnt from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    corpus_root: str
    sources: list[Source]
    petitions: str | None = None
    repeat: int = 6
    held_out: int = 2_000
    seed: int = 13


def make_restorer(config: DiacriticsConfig, output: Path) -> dict[str, float]:
    """Learn from the config's texts, write `output`, and return the share of held-out syllables restored."""
    generator = random.Random(config.seed)
    lines: list[str] = []
    for source in config.sources:
        drawn = list(read_lines(Path(config.corpus_root) / source.path))
        generator.shuffle(drawn)
        lines += drawn[: source.lines]
    generator.shuffle(lines)
    held, learnt = lines[: config.held_out], lines[config.held_out :]
    if config.petitions:
        with Path(config.petitions).open(encoding="utf-8") as stream:
            own = [part for row in stream for part in json.loads(row)["text"].split("\n")]
        learnt += own * config.repeat
    learn_diacritics(learnt, output)
    share, syllables = accuracy(Diacritics.load(output), held)
    return {"syllables": syllables, "restored": round(share, 4)}
