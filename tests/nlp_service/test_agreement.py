import random

import pytest
from sklearn.metrics import cohen_kappa_score

from nlp_service.agreement import agreement


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = random.Random(7)
    pairs = [(generator.choice("abc"), generator.choice("abc")) for _ in range(50)] + [("a", "a")] * 40
    found = agreement(pairs)
    assert found.kappa == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    assert found.count == 90
    assert found.interval is not None and found.interval[0] < (found.kappa or 0) < found.interval[1]


def test_readers_who_always_agree_have_a_kappa_of_one() -> None:
    assert agreement([("a", "a"), ("b", "b")]).kappa == 1


def test_no_readings_and_one_label_alone_have_none() -> None:
    assert agreement([]).kappa is None
    assert agreement([("a", "a")] * 5).kappa is None and agreement([("a", "a")] * 5).agreed == 1
