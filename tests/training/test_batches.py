import random
from collections.abc import Callable

import pytest

from training.batches import batches, linear, one_cycle


def test_every_row_once_and_none_before_the_first() -> None:
    made = batches(list(range(100)), 8, random.Random(1), pool=50, first=30)
    seen = [row for batch in made for row in batch]
    assert sorted(seen) == list(range(30, 100))
    assert made == batches(list(range(100)), 8, random.Random(1), pool=50, first=30)
    assert made != batches(list(range(100)), 8, random.Random(2), pool=50, first=30)
    assert all(max(batch) - min(batch) < 12 for batch in made), "rows of like length together"


@pytest.mark.parametrize("rate", [linear, one_cycle])
def test_rates_rise_then_fall(rate: Callable[[float, float], float]) -> None:
    values = [rate(step / 100, 0.1) for step in range(101)]
    assert max(values) == values[10] == 1
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert 0 < values[-1] < 0.05
