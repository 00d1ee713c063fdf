import numpy as np

from training.new_labels import TAKEN, raise_new

GENERATOR = np.random.default_rng(4)
TRUTH = GENERATOR.integers(0, 3, 1000)
LOGITS = GENERATOR.normal(size=(1000, 5)) + 3 * np.eye(5)[TRUTH]


def _taken(logits: np.ndarray, label: int) -> int:
    return int((logits.argmax(axis=1)[label != TRUTH] == label).sum())


def test_a_shy_label_is_raised_until_it_takes_its_share_and_no_more() -> None:
    shy = LOGITS - np.array([0, 0, 0, 6, 0])
    added = raise_new(shy, TRUTH, [3])
    assert _taken(shy, 3) == 0
    assert _taken(shy + added, 3) == int(TAKEN * 1000)
    np.testing.assert_array_equal(added[[0, 1, 2, 4]], 0)


def test_a_bold_label_is_not_lowered() -> None:
    bold = LOGITS + np.array([0, 0, 0, 2, 0])
    assert _taken(bold, 3) > TAKEN * 1000
    np.testing.assert_array_equal(raise_new(bold, TRUTH, [3]), 0)


def test_petitions_of_the_label_itself_are_not_counted() -> None:
    logits, truth = np.array([[5.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    added = raise_new(logits, truth, [1])
    assert (logits + added)[1].argmax() == 1 and (logits + added)[0].argmax() == 0
    np.testing.assert_array_equal(raise_new(logits[1:], truth[1:], [1]), 0)
