"""What the linear model says without some words, against reading the shorter text."""

from pathlib import Path

import numpy as np
import pytest

from nlp_service.bundle import resolve
from nlp_service.erasure import margins_without
from nlp_service.linear import LINEAR_FILE, LinearModel

ROOT = Path(__file__).resolve().parents[2]
WORDS = [
    "Bãi",
    "rác",
    "đầu",
    "thôn",
    "đốt",
    "cả",
    "ngày",
    "khói",
    "bay",
    "vào",
    "trường",
    "mầm non",
    "đốt",
    "rác",
    "thải",
]
REPEATED = {"rác", "đốt"}


@pytest.fixture(scope="module")
def linear() -> LinearModel:
    return LinearModel.load(resolve(ROOT / "models" / "current") / LINEAR_FILE)


def test_the_first_row_is_the_whole_text(linear: LinearModel) -> None:
    whole = linear.margins(" ".join(WORDS))
    rows = margins_without(linear, WORDS, [[0], [1]])
    for head, margins in whole.items():
        assert rows[head].shape == (3, len(margins))
        assert np.allclose(rows[head][0], margins, atol=1e-5)


def test_words_at_an_end_are_taken_out_exactly(linear: LinearModel) -> None:
    # No words become neighbours there.
    groups = [[0, 1], [len(WORDS) - 1]]
    rows = margins_without(linear, WORDS, groups)
    for row, rest in enumerate((WORDS[2:], WORDS[:-1]), start=1):
        assert np.allclose(rows["category"][row], linear.margins(" ".join(rest))["category"], atol=1e-5)


def test_words_in_the_middle_are_taken_out_nearly(linear: LinearModel) -> None:
    groups = [[number] for number, word in enumerate(WORDS) if word not in REPEATED]
    groups += [[number for number, other in enumerate(WORDS) if other == word] for word in REPEATED]
    near = margins_without(linear, WORDS, groups)["category"]
    true = np.array(
        [
            linear.margins(" ".join(word for number, word in enumerate(WORDS) if number not in group))["category"]
            for group in groups
        ]
    )
    assert np.corrcoef((near[1:] - near[0]).ravel(), (true - near[0]).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("words", [["…"], ["zzzqqq"], ["a" * 50_000]])
def test_without_everything_the_intercepts_are_left(linear: LinearModel, words: list[str]) -> None:
    rows = margins_without(linear, words, [[0]])
    nothing = linear.margins("")
    assert all(np.allclose(rows[head][1], nothing[head], atol=1e-3) for head in nothing)
