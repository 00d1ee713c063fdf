from pathlib import Path

import numpy as np
import onnx
import pytest

from nlp_service.bundle import HEADS, load_bundle
from nlp_service.encoder import FLOAT_FILE, INT8_FILE, OnnxEncoder
from training.heads import LinearHead, expose, learn_head, read_heads, replace_heads


def _labels(model: Path) -> dict[str, tuple[str, ...]]:
    return {head: spec.labels for head, spec in load_bundle(model).manifest.heads.items()}


def _random(labels: tuple[str, ...], width: int = 32) -> LinearHead:
    generator = np.random.default_rng(len(labels))
    return LinearHead(labels, generator.normal(size=(len(labels), width)), generator.normal(size=len(labels)))


WINDOWS = [[0, 9, 30, 31, 2], [0, 12, 44, 45, 7, 2]]


def _pooled(model: Path, name: str, scratch: Path) -> tuple[str, np.ndarray]:
    pooled, _ = read_heads(onnx.load(model / FLOAT_FILE), _labels(model))
    network = onnx.load(model / name)
    expose(network, pooled)
    onnx.save(network, scratch / name)
    return pooled, OnnxEncoder(scratch / name, 1).run(WINDOWS)["embedding"]


def test_what_is_read_is_what_the_network_answers_with(tmp_path: Path, model_dir: Path) -> None:
    _, heads = read_heads(onnx.load(model_dir / FLOAT_FILE), _labels(model_dir))
    _, vectors = _pooled(model_dir, FLOAT_FILE, tmp_path)
    served = OnnxEncoder(model_dir / FLOAT_FILE, 1).run(WINDOWS)
    for head in HEADS:
        np.testing.assert_allclose(heads[head].logits(vectors), served[head], atol=1e-4)


@pytest.mark.parametrize("name", [INT8_FILE, FLOAT_FILE])
def test_new_heads_answer_and_the_rest_stays(tmp_path: Path, model_dir: Path, name: str) -> None:
    pooled, vectors = _pooled(model_dir, name, tmp_path)
    heads = {head: _random((*labels, "new")) for head, labels in _labels(model_dir).items()}
    network = onnx.load(model_dir / name)
    replace_heads(network, pooled, heads)
    onnx.save(network, tmp_path / "new.onnx")
    served = OnnxEncoder(tmp_path / "new.onnx", 1).run(WINDOWS)
    for head in HEADS:
        assert served[head].shape == (2, len(heads[head].labels))
        np.testing.assert_allclose(served[head], heads[head].logits(vectors), atol=1e-4)
    before = OnnxEncoder(model_dir / name, 1).run(WINDOWS)["embedding"]
    # Another graph may add in another order: equal but for the last bits.
    np.testing.assert_allclose(served["embedding"], before, atol=1e-4)


def test_heads_can_be_replaced_again(tmp_path: Path, model_dir: Path) -> None:
    network = onnx.load(model_dir / INT8_FILE)
    pooled, _ = read_heads(onnx.load(model_dir / FLOAT_FILE), _labels(model_dir))
    first = {head: _random((*labels, "new")) for head, labels in _labels(model_dir).items()}
    second = {head: _random(labels) for head, labels in _labels(model_dir).items()}
    replace_heads(network, pooled, first)
    size = len(network.SerializeToString())
    replace_heads(network, pooled, second)
    assert len(network.SerializeToString()) < size, "the first heads' weights are gone"
    _, found = read_heads(network, {head: spec.labels for head, spec in second.items()})
    for head in HEADS:
        np.testing.assert_allclose(found[head].weight, second[head].weight, rtol=1e-6)


def test_a_network_that_does_not_fit_its_manifest_is_refused(model_dir: Path) -> None:
    network, labels = onnx.load(model_dir / FLOAT_FILE), _labels(model_dir)
    with pytest.raises(ValueError, match=r"'urgency'.* 4 classes.* 3"):
        read_heads(network, labels | {"urgency": labels["urgency"][:3]})
    with pytest.raises(ValueError, match="no linear layer"):
        read_heads(onnx.load(model_dir / INT8_FILE), labels)
    with pytest.raises(ValueError, match="no vector 'elsewhere'"):
        replace_heads(network, "elsewhere", {})


def test_labels_keep_their_rows_and_a_new_one_begins_in_the_middle() -> None:
    head = LinearHead(("a", "b", "c"), np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), np.array([0.0, 3.0, 6.0]))
    other = head.relabelled(["c", "new", "a"])
    assert other.labels == ("c", "new", "a")
    np.testing.assert_array_equal(other.weight, [[2, 2], [1, 1], [1, 0]])
    np.testing.assert_array_equal(other.bias, [6, 3, 0])


def test_learning_moves_towards_the_labels_and_is_held_by_the_start() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 300)
    pooled = (generator.normal(size=(300, 8)) + 3 * np.eye(8)[truth]).astype(np.float32)
    targets, weights = np.eye(3)[truth], np.ones(300)
    start = LinearHead(
        ("a", "b", "c"), np.roll(np.eye(3, 8), 1, axis=0), np.zeros(3)
    )  # each label mistaken for the next

    def right(head: LinearHead) -> float:
        return float((head.logits(pooled).argmax(axis=1) == truth).mean())

    learnt = learn_head(start, pooled, targets, weights, np.full(len(start.labels), 1.0))
    assert right(start) < 0.9 and right(learnt) > 0.95
    held = learn_head(start, pooled, targets, weights, np.full(len(start.labels), 1e9))
    np.testing.assert_allclose(held.weight, start.weight, atol=1e-4)
    # Where it stops, nothing pulls any more: the gradient of the loss balances the pull.
    p = np.exp(learnt.logits(pooled))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose((p - targets).T @ pooled + (learnt.weight - start.weight), 0, atol=0.05)


def test_each_label_is_held_as_firmly_as_it_is_said() -> None:
    truth = np.repeat([0, 1, 2], 20)
    pooled = np.eye(3, dtype=np.float32)[truth]
    start = LinearHead(("a", "b", "new"), 4 * np.eye(3)[[0, 1, 1]], np.zeros(3))
    learnt = learn_head(start, pooled, np.eye(3)[truth], np.ones(60), np.array([1e9, 1e9, 0.1]))
    np.testing.assert_allclose(learnt.weight[:2], start.weight[:2], atol=1e-4)
    assert (learnt.logits(pooled).argmax(axis=1) == truth).all()


def test_a_label_held_without_end_stays_bit_for_bit_and_the_others_are_learnt_beside_it() -> None:
    truth = np.repeat([0, 1, 2], 20)
    pooled = np.eye(3, dtype=np.float32)[truth]
    start = LinearHead(("a", "b", "new"), 4 * np.eye(3)[[0, 1, 1]], np.zeros(3))
    targets, weights = np.eye(3)[truth], np.ones(60)
    held = learn_head(start, pooled, targets, weights, np.array([np.inf, np.inf, 0.1]))
    np.testing.assert_array_equal(held.weight[:2], start.weight[:2])
    np.testing.assert_array_equal(held.bias[:2], start.bias[:2])
    p = np.exp(held.logits(pooled))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose((p - targets)[:, 2] @ pooled + 0.1 * (held.weight - start.weight)[2], 0, atol=0.01)
    assert (held.logits(pooled).argmax(axis=1) == truth).all()
    still = learn_head(start, pooled, targets, weights, np.full(3, np.inf))
    np.testing.assert_array_equal(still.weight, start.weight)


def test_petitions_that_weigh_nothing_teach_nothing() -> None:
    pooled = np.eye(4, dtype=np.float32)
    start = LinearHead(("a", "b"), np.zeros((2, 4)), np.zeros(2))
    weights = np.array([1.0, 1.0, 0.0, 0.0])
    one = learn_head(start, pooled, np.eye(2)[[0, 1, 0, 0]], weights, np.full(len(start.labels), 1.0))
    other = learn_head(start, pooled, np.eye(2)[[0, 1, 1, 1]], weights, np.full(len(start.labels), 1.0))
    np.testing.assert_array_equal(one.weight, other.weight)
    assert one.logits(pooled)[:2].argmax(axis=1).tolist() == [0, 1]
