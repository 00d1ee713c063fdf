"""Batches of rows of like length, and the rate of a step: what all three trainings share."""

import math
import random
from collections.abc import Sequence


def batches(
    lengths: Sequence[int], size: int, generator: random.Random, pool: int = 40, first: int = 0
) -> list[list[int]]:
    """Shuffled batches of indices from `first` on; of every `pool` batches the rows are sorted by length, so little is padded."""
    order = list(range(first, len(lengths)))
    generator.shuffle(order)
    made: list[list[int]] = []
    for start in range(0, len(order), size * pool):
        chunk = sorted(order[start : start + size * pool], key=lambda i: lengths[i])
        made += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    generator.shuffle(made)
    return made


def linear(done: float, warmup: float) -> float:
    """Share of the full rate after `done` of all steps: up over `warmup`, then straight down."""
    return done / warmup if done < warmup else max(1 - (done - warmup) / (1 - warmup), 0.02)


def one_cycle(done: float, warmup: float) -> float:
    """Share of the full rate after `done` of all steps: up over `warmup`, then down a half cosine."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return max(0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))), 0.01)
