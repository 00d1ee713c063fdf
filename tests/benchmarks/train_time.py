"""How long retraining takes: the quick path measured, the full one extrapolated from a few hundred steps.

    nice python -m tests.benchmarks.train_time --count 5000 50000 --read 1000 --steps 200

More petitions than the train split has are its petitions with typing slips: other texts of the same length. What the encoder
says is measured on `--read` texts and scaled, as it takes them one after the other; heads and linear model are learnt on all
`--count`. Beside the seconds on the clock stand those of CPU time: on a machine that does other work, CPU time divided by the
cores is what it would take alone, at best.
"""

import argparse
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from nlp_service.taxonomy import Taxonomy, load_taxonomy
from nlp_service.text import normalise
from training.augment import slip
from training.data import Petition, read_petitions, write_petitions
from training.fit import FitConfig, fit
from training.frozen import FrozenEncoder
from training.linear import fit_linear
from training.quick import QuickConfig, learn_heads
from training.toml_config import read_config

ROOT = Path(__file__).resolve().parents[2]
PETITIONS = ROOT / "datasets" / "petitions"


class Clock:
    """Seconds by the clock and of CPU time, by name."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[float, float]] = {}

    @contextmanager
    def measure(self, name: str, times: float = 1.0) -> Iterator[None]:
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.taken[name] = ((time.monotonic() - wall) * times, (time.process_time() - cpu) * times)

    def show(self, title: str) -> None:
        cores = len(os.sched_getaffinity(0))
        print(f"\n{title}")
        total = [sum(taken[i] for taken in self.taken.values()) for i in (0, 1)]
        for name, (wall, cpu) in {**self.taken, "all": (total[0], total[1])}.items():
            print(
                f"  {name:34} {wall:8.0f} s by the clock, {cpu:8.0f} s CPU, {cpu / cores:8.0f} s on {cores} cores alone"
            )


class Sampled:
    """Vectors of texts read before, with noise: stands for the encoder where only what follows is timed."""

    def __init__(self, encoder: FrozenEncoder, vectors: np.ndarray) -> None:
        self.heads = encoder.heads
        self._vectors = vectors

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        generator = np.random.default_rng(13)
        rows = self._vectors[np.arange(len(texts)) % len(self._vectors)]
        return (rows + generator.normal(0, 0.05, rows.shape)).astype(np.float32)


def varied(petitions: Sequence[Petition], count: int) -> list[Petition]:
    """`count` petitions, each text another."""
    generator = random.Random(13)
    return [
        petition if number < len(petitions) else replace(petition, text=slip(petition.text, generator))
        for number in range(count)
        for petition in [petitions[number % len(petitions)]]
    ]


def quick_path(petitions: list[Petition], taxonomy: Taxonomy, count: int, read: int, dev: int) -> None:
    clock = Clock()
    rows = varied(petitions, count)
    generator = random.Random(count)
    with tempfile.TemporaryDirectory() as temporary:
        encoder = FrozenEncoder(ROOT / "models" / "current", Path(temporary))
        sample = [slip(petition.text, generator) for petition in generator.sample(rows, read)]
        with clock.measure(f"encoder, scaled from {read} texts", count / read):
            vectors = encoder.vectors(sample)
        with clock.measure(f"calibration, scaled from {read} texts", dev / read):
            FrozenEncoder(ROOT / "models" / "current", Path(temporary) / "dev").vectors(sample)
        with clock.measure("heads"):
            config = QuickConfig(data=str(PETITIONS), taxonomy=str(ROOT / "datasets" / "taxonomy.yaml"))
            learn_heads(config, Sampled(encoder, vectors), rows, taxonomy)  # type: ignore[arg-type]
        with clock.measure("linear model"):
            labels = {head: [label.id for label in known] for head, known in taxonomy.heads.items()}
            wordings = encoder.wordings([normalise(petition.text) for petition in rows])
            fit_linear(wordings, rows, labels, Path(temporary) / "linear.npz", 13)
    clock.show(f"quick path, {count} petitions")


def full_path(petitions: list[Petition], counts: Sequence[int], steps: int) -> None:
    """One epoch of `steps` steps; other numbers of petitions and epochs follow by proportion."""
    config = read_config(ROOT / "training" / "configs" / "petition.toml", FitConfig)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        data.mkdir()
        taken = random.Random(13).sample(petitions, min(steps * config.batch_size, len(petitions)))
        write_petitions(data / "train.jsonl", taken)
        write_petitions(data / "dev.jsonl", petitions[:16])
        once = replace(config, data=str(data), epochs=1, linear=False)
        measured = Clock()
        with measured.measure("epoch"):
            fit(once, Path(temporary) / "run")
    for count in counts:
        clock = Clock()
        factor = count / len(taken) * config.epochs
        clock.taken["encoder and heads, extrapolated"] = (
            measured.taken["epoch"][0] * factor,
            measured.taken["epoch"][1] * factor,
        )
        done = math.ceil(len(taken) / config.batch_size)
        clock.show(
            f"full fit, {count} petitions, {config.epochs} epochs, EXTRAPOLATED from {done} steps (no linear model)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--read", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=200, help="0 leaves the full fit out")
    options = parser.parse_args()
    os.chdir(ROOT)
    taxonomy = load_taxonomy(ROOT / "datasets" / "taxonomy.yaml")
    petitions = [
        petition
        for petition in read_petitions(PETITIONS / "train.jsonl", taxonomy)
        if any(character.isalnum() for character in petition.text)
    ]
    dev = len(read_petitions(PETITIONS / "dev.jsonl", taxonomy))
    print(f"load before: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    for count in options.count:
        quick_path(petitions, taxonomy, count, options.read, dev)
    if options.steps:
        full_path(petitions, options.count, options.steps)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
