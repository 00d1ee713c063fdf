from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from training.calibration import expected_calibration_error
from training.evaluate import macro_f1
from training.paired import Answers, compare, scores


def _answers(seed: int, count: int = 200, quality: float = 0.8) -> Answers:
    # One truth for all seeds: answers of several models to the same petitions.
    fixed = np.random.default_rng(0)
    truth, emergency = fixed.integers(0, 4, count), fixed.random(count) < 0.2
    generator = np.random.default_rng(seed)
    right = generator.random(count) < quality
    guess = np.where(right, truth, (truth + 1 + generator.integers(0, 3, count)) % 4)
    return Answers(
        classes=4,
        truth=truth,
        guess=guess,
        right=right,
        judged=np.ones(count, dtype=bool),
        confidence=np.clip(generator.normal(0.8, 0.1, count), 0, 0.999),
        emergency=emergency,
        called=np.where(generator.random(count) < 0.9, emergency, ~emergency),
    )


def _exact(answers: Answers) -> dict[str, np.ndarray]:
    return {name: rows[0] for name, rows in scores(answers, np.ones((1, len(answers.truth)))).items()}


def test_scores_are_those_of_the_evaluation() -> None:
    answers = _answers(1)
    found = _exact(answers)
    assert found["macro_f1"] == pytest.approx(macro_f1(answers.guess, answers.truth))
    np.testing.assert_allclose(found["f1"], f1_score(answers.truth, answers.guess, average=None))
    probabilities = np.zeros((200, 4), dtype=np.float32)
    probabilities[np.arange(200), answers.guess] = answers.confidence
    assert found["ece"] == pytest.approx(expected_calibration_error(probabilities, answers.truth), abs=1e-6)
    both = (answers.emergency & answers.called).sum()
    assert found["emergency_recall"] == pytest.approx(both / answers.emergency.sum())
    assert found["emergency_precision"] == pytest.approx(both / answers.called.sum())


def test_a_petition_drawn_twice_counts_twice() -> None:
    answers = _answers(1, 40)
    drawn = np.random.default_rng(5).integers(0, 3, 40)
    repeated = np.repeat(np.arange(40), drawn)
    copied = answers.of(repeated)  # type: ignore[arg-type]
    weighted = scores(answers, drawn[None].astype(float))
    for name, value in _exact(copied).items():
        np.testing.assert_allclose(weighted[name][0], value, err_msg=name)


def test_a_model_does_not_differ_from_itself() -> None:
    found = compare(_answers(1), _answers(1), [str(i) for i in range(200)])
    for name in ("macro_f1", "top1", "ece", "emergency_recall", "emergency_precision"):
        assert found[name]["difference"] == 0
        assert found[name]["interval"] == [0, 0]


def test_interval_holds_the_difference_and_tells_a_better_model_from_chance() -> None:
    better = compare(_answers(1, 400, 0.95), _answers(2, 400, 0.7), [str(i) for i in range(400)])
    assert better["top1"]["interval"][0] > 0.15
    assert better["top1"]["interval"][0] < better["top1"]["difference"] < better["top1"]["interval"][1]
    worse = compare(_answers(2, 400, 0.7), _answers(1, 400, 0.95), [str(i) for i in range(400)])
    assert worse["macro_f1"]["interval"][1] < 0
    one = _answers(3, 400)
    moved = one.right.copy()
    moved[np.flatnonzero(one.right)[:12]], moved[np.flatnonzero(~one.right)[:10]] = False, True
    alike = compare(one, replace(one, right=moved), [str(i) for i in range(400)])
    assert alike["top1"]["interval"][0] < 0 < alike["top1"]["interval"][1]


def test_paired_interval_is_that_of_the_textbook() -> None:
    """Of a mean of differences: 1.96 standard errors."""
    one, other = _answers(1, 1000), _answers(2, 1000)
    found = compare(one, other, [str(i) for i in range(1000)])["top1"]
    gaps = one.right.astype(float) - other.right
    error = 1.96 * gaps.std() / np.sqrt(1000)
    low, high = found["interval"]
    assert low == pytest.approx(gaps.mean() - error, abs=0.004)
    assert high == pytest.approx(gaps.mean() + error, abs=0.004)


def test_copies_of_one_story_are_no_more_evidence_than_the_story() -> None:
    one, other = _answers(1), _answers(2)
    alone = compare(one, other, [str(i) for i in range(200)])["top1"]["interval"]
    copies = np.tile(np.arange(200), 4)
    copied = one.of(copies), other.of(copies)  # type: ignore[arg-type]
    together = compare(*copied, [str(i) for i in copies])["top1"]["interval"]
    apart = compare(*copied, [str(i) for i in range(800)])["top1"]["interval"]
    assert together == pytest.approx(alone, abs=0.01)
    assert apart[1] - apart[0] < 0.6 * (together[1] - together[0])


def test_petitions_of_categories_that_not_both_know_have_no_part_in_the_category() -> None:
    answers = _answers(1)
    judged = np.arange(200) < 150
    outside = replace(answers, truth=np.where(judged, answers.truth, 4), judged=judged)
    found, kept = _exact(outside), _exact(answers.of(judged))
    for name in ("macro_f1", "top1", "ece"):
        assert found[name] == pytest.approx(kept[name]), name
    assert found["emergency_recall"] == _exact(answers)["emergency_recall"], "urgency is judged on all"


def test_no_case_is_none_and_not_zero() -> None:
    answers = replace(_answers(1), emergency=np.zeros(200, dtype=bool), called=np.zeros(200, dtype=bool))
    found = compare(answers, answers, [str(i) for i in range(200)])
    assert found["emergency_recall"] == {"candidate": None, "current": None, "difference": None, "interval": None}
    absent = replace(_answers(1), classes=5)
    rows = compare(absent, absent, [str(i) for i in range(200)])["f1"]
    assert rows[4]["candidate"] is None and rows[0]["candidate"] is not None
