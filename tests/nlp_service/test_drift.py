"""The statistics on petitions drawn from known populations; seeded."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_service.drift import FALSE_SHARE, Verdict, discoveries, judge, permutation_p, psi
from nlp_service.profile import Profile, bins

LABELS = [f"category {number:02d}" for number in range(21)]
MIX = 1 / np.arange(1, 22)
MIX /= MIX.sum()
CONFIDENCE = np.array([1, 4, 5, 5, 5, 10, 10, 60, 0]) / 100


def drawn(rng: np.random.Generator, count: int, mix: npt.NDArray[np.float64] = MIX) -> Profile:
    """Petitions of a population; their other features are those of the same population."""
    return Profile(
        {
            "category": dict(zip(LABELS, rng.multinomial(count, mix).tolist(), strict=True)),
            "confidence": dict(zip(bins("confidence"), rng.multinomial(count, CONFIDENCE).tolist(), strict=True)),
        }
    )


def verdicts(now: Profile, before: Profile) -> dict[str, Verdict]:
    return {found.feature: found.verdict for found in judge({"w": (now, before)})}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("count", [30, 60, 400])
def test_without_a_change_small_p_values_are_as_rare_as_they_say(count: int, ordered: bool) -> None:
    rng = np.random.default_rng(count)
    mix = CONFIDENCE if ordered else MIX
    found = np.array(
        [permutation_p(rng.multinomial(count, mix), rng.multinomial(983, mix), ordered, rng, 999) for _ in range(400)]
    )
    # 400 draws: three standard errors about 5 % and 20 %.
    assert 0.017 <= (found <= 0.05).mean() <= 0.083
    assert 0.14 <= (found <= 0.20).mean() <= 0.26


def test_without_a_change_hardly_a_report_tells_of_one() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(20):
        pairs = {f"commune {n}": (drawn(rng, 60), drawn(rng, 983)) for n in range(20)}
        alarms += any(found.verdict is Verdict.DRIFTING for found in judge(pairs))
    assert alarms <= 1


@pytest.mark.parametrize("count", [60, 500])
def test_a_shifted_mix_is_found_and_the_category_is_named(count: int) -> None:
    rng = np.random.default_rng(2)
    shifted = MIX * 0.6
    shifted[10] += 0.4
    now, before = drawn(rng, count, shifted), drawn(rng, 983)
    found = judge({"2026-W47": (now, before)})[0]
    assert (found.group, found.feature, found.count, found.against) == ("2026-W47", "category", count, 983)
    assert found.verdict is Verdict.DRIFTING
    assert found.moved[0].bin == LABELS[10]
    assert found.moved[0].before == pytest.approx(MIX[10], abs=0.02)
    assert found.moved[0].now == pytest.approx(shifted[10], abs=0.15)
    assert verdicts(now, before)["confidence"] is Verdict.STABLE


def test_one_shifted_commune_is_found_among_a_hundred_and_sixty() -> None:
    rng = np.random.default_rng(3)
    shifted = MIX * 0.5
    shifted[8] += 0.5
    pairs = {f"commune {n}": (drawn(rng, 60), drawn(rng, 983)) for n in range(160)}
    pairs["commune 7"] = (drawn(rng, 60, shifted), drawn(rng, 983))
    told = [(found.group, found.feature) for found in judge(pairs) if found.verdict is Verdict.DRIFTING]
    assert told == [("commune 7", "category")]


def test_confidence_that_falls_is_found() -> None:
    before = Profile(
        {"confidence": dict(zip(bins("confidence"), (1000 * CONFIDENCE).astype(int).tolist(), strict=True))}
    )
    now = Profile({"confidence": {"0.4 to 0.5": 40, "0.5 to 0.6": 20, "0.9 to 0.95": 40}})
    assert verdicts(now, before)["confidence"] is Verdict.DRIFTING


@pytest.mark.parametrize(("now", "before"), [(5, 983), (983, 29), (0, 0)])
def test_few_petitions_say_nothing(now: int, before: int) -> None:
    rng = np.random.default_rng(4)
    for found in judge({"w": (drawn(rng, now), drawn(rng, before))}):
        assert (found.verdict, found.psi, found.p, found.moved) == (Verdict.TOO_FEW, None, None, ())


def test_a_change_that_is_no_chance_but_means_nothing_is_no_drift() -> None:
    slight = MIX * 0.98
    slight[3] += 0.02
    counts = [(200_000 * mix).astype(int) for mix in (slight, MIX)]
    now, before = (Profile({"category": dict(zip(LABELS, side.tolist(), strict=True))}) for side in counts)
    found = judge({"w": (now, before)})[0]
    assert found.p is not None and found.p < 0.001
    assert found.psi is not None and found.psi < 0.02
    assert found.verdict is Verdict.STABLE


def test_the_index_is_the_textbook_s_for_many_petitions_and_about_zero_without_a_change() -> None:
    many = 10_000_000
    now, before = np.array([0.3, 0.7]), np.array([0.5, 0.5])
    expected = -0.2 * np.log(0.6) + 0.2 * np.log(1.4)
    found, parts = psi((many * now).astype(np.int64), (many * before).astype(np.int64))
    assert found == pytest.approx(expected, abs=1e-5) and parts.sum() == pytest.approx(expected, abs=1e-5)
    rng = np.random.default_rng(5)
    raw = [psi(rng.multinomial(60, MIX), rng.multinomial(983, MIX)) for _ in range(100)]
    assert np.mean([parts.sum() for _, parts in raw]) > 0.2, "uncorrected, sixty petitions would always be far"
    assert np.mean([corrected for corrected, _ in raw]) < 0.05


def test_the_same_petitions_give_the_same_findings() -> None:
    pair = (drawn(np.random.default_rng(6), 100), drawn(np.random.default_rng(7), 100))
    assert judge({"w": pair}) == judge({"w": pair})


def test_both_sides_are_alike_to_the_test() -> None:
    one, other = np.array([3, 30, 7]), np.array([40, 20, 60])
    p = [permutation_p(*sides, False, np.random.default_rng(8)) for sides in ((one, other), (other, one))]
    assert p[0] == p[1] == pytest.approx(1e-4)


def test_one_filled_bin_is_no_change() -> None:
    assert permutation_p(np.array([40]), np.array([50]), False, np.random.default_rng(9)) == 1.0


@pytest.mark.parametrize(
    ("p_values", "hold"),
    [
        ([], []),
        ([0.01, 0.04, 0.03, 0.005], [True, True, True, True]),
        ([0.04, 0.5], [False, False]),
        ([0.02, 0.5, 0.001, 0.9], [True, False, True, False]),
    ],
)
def test_which_discoveries_hold(p_values: list[float], hold: list[bool]) -> None:
    assert discoveries(p_values) == hold


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_discoveries_are_the_smallest_p_values_below_their_line(p_values: list[float]) -> None:
    held = discoveries(p_values)
    kept = sorted(p for p, holds in zip(p_values, held, strict=True) if holds)
    left = [p for p, holds in zip(p_values, held, strict=True) if not holds]
    assert not kept or kept[-1] <= FALSE_SHARE * len(kept) / len(p_values)
    assert not (kept and left) or kept[-1] < min(left)
