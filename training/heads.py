"""The heads of a served network: taken out, learnt anew on what its encoder says, put back. No torch.

A head is linear on the pooled vector, and pooling over windows is a mean: what is learnt on a petition's pooled vector is what
the network answers. Only these few thousand numbers change; the encoder and the embedding stay bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from scipy.optimize import minimize
from scipy.special import log_softmax

from nlp_service.bundle import HEADS

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearHead:
    """One head: logits are `weight` @ pooled + `bias`.

    Attributes:
        labels: of the rows.
        weight: (labels, hidden).
        bias: (labels,).
    """

    labels: tuple[str, ...]
    weight: Doubles
    bias: Doubles

    def logits(self, pooled: Floats) -> Doubles:
        """(petitions, hidden) -> (petitions, labels)."""
        return pooled @ self.weight.T + self.bias

    def relabelled(self, labels: Sequence[str]) -> "LinearHead":
        """The head for other labels: those that it knows keep their rows, a new one begins as the mean of all rows."""
        known = {label: row for row, label in enumerate(self.labels)}
        weight, bias = self.weight.mean(axis=0), self.bias.mean()
        return LinearHead(
            tuple(labels),
            np.stack([self.weight[known[label]] if label in known else weight for label in labels]),
            np.array([self.bias[known[label]] if label in known else bias for label in labels]),
        )


def learn_head(start: LinearHead, pooled: Floats, targets: Doubles, weights: Doubles, strength: Doubles) -> LinearHead:
    """Multinomial logistic regression whose penalty pulls to `start` and not to zero: data that says nothing changes nothing.

    Args:
        pooled: (petitions, hidden).
        targets: (petitions, labels) class probabilities, in the order of `start.labels`.
        weights: (petitions,) what each petition counts.
        strength: (labels,) of the pull, in petitions: 0.5 * strength * squared distance beside the sum of the losses.
            Infinite: the label's row stays bit for bit.
    """
    free = np.isfinite(strength)
    if not free.any():
        return start
    # One column more for the bias.
    x = np.pad(pooled.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
    share = weights / len(weights)
    pull = strength[free, None] / len(weights)
    base = start.logits(pooled)

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        change = flat.reshape(len(pull), x.shape[1])
        logits = base.copy()
        logits[:, free] += x @ change.T
        log_p = log_softmax(logits, axis=1)
        gap = (np.exp(log_p) - targets) * share[:, None]
        gradient = gap[:, free].T @ x + pull * change
        value = -float((targets * log_p * share[:, None]).sum()) + 0.5 * float((pull * change**2).sum())
        return value, gradient.ravel()

    # The loss is convex: it has one minimum, whatever the way there.
    found = minimize(
        loss, np.zeros(pull.size * x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 1000}
    )
    change = found.x.reshape(len(pull), x.shape[1])
    weight, bias = start.weight.copy(), start.bias.copy()
    weight[free] += change[:, :-1]
    bias[free] += change[:, -1]
    return LinearHead(start.labels, weight, bias)


def read_heads(network: onnx.ModelProto, labels: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, LinearHead]]:
    """The name of the pooled vector, and the heads that read it, from a network in floats.

    Raises:
        ValueError: the heads are not linear, or have other sizes than `labels`.
    """
    makers = {name: node for node in network.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in network.graph.initializer}

    def values(name: str) -> Doubles:
        # Weights may be stored in fp16 and cast where they are used.
        name = makers[name].input[0] if name in makers else name
        return np.asarray(numpy_helper.to_array(stored[name]), dtype=np.float64)

    heads, sources = {}, set()
    for head in HEADS:
        node = makers.get(head)
        if node is None or node.op_type != "Gemm":
            raise ValueError(f"head '{head}' of the network is no linear layer; export the model anew")
        sources.add(node.input[0])
        weight, bias = values(node.input[1]), values(node.input[2])
        if len(weight) != len(labels[head]):
            raise ValueError(
                f"head '{head}' of the network has {len(weight)} classes, its manifest {len(labels[head])}"
            )
        heads[head] = LinearHead(tuple(labels[head]), weight, bias)
    return sources.pop(), heads


def replace_heads(network: onnx.ModelProto, pooled: str, heads: Mapping[str, LinearHead]) -> None:
    """Let the outputs be these heads of the vector `pooled`, in floats, in a network of any precision.

    Raises:
        ValueError: the network has no vector of that name.
    """
    graph = network.graph
    place = _maker(network, pooled) + 1
    gemms = []
    for name, head in heads.items():
        weight, bias = f"heads.{name}.weight", f"heads.{name}.bias"
        gemms.append(helper.make_node("Gemm", [pooled, weight, bias], [name], transB=1))
        for stale in [tensor for tensor in graph.initializer if tensor.name in (weight, bias)]:
            graph.initializer.remove(stale)
        graph.initializer.extend(
            [
                numpy_helper.from_array(head.weight.astype(np.float32), weight),
                numpy_helper.from_array(head.bias.astype(np.float32), bias),
            ]
        )
        output = next(output for output in graph.output if output.name == name)
        output.type.tensor_type.shape.dim[1].Clear()
        output.type.tensor_type.shape.dim[1].dim_value = len(head.labels)
    made = {name for node in gemms for name in (*node.output, *node.input[1:])}
    kept = [node for node in graph.node if not made & set(node.output)]
    place -= sum(bool(made & set(node.output)) for node in list(graph.node)[:place])
    nodes = [*kept[:place], *gemms, *kept[place:]]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(network)
    onnx.checker.check_model(network)


def expose(network: onnx.ModelProto, pooled: str) -> None:
    """Let `embedding` be the vector `pooled`, and nothing else of the network be kept but what makes it and the heads."""
    graph = network.graph
    place = _maker(network, pooled) + 1
    nodes = [node for node in graph.node if "embedding" not in node.output or pooled == "embedding"]
    if pooled != "embedding":
        nodes.insert(place, helper.make_node("Identity", [pooled], ["embedding"]))
    del graph.node[:]
    graph.node.extend(nodes)
    prune(network)


def prune(network: onnx.ModelProto) -> None:
    """Drop nodes and weights that no output needs."""
    graph = network.graph
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    # The shapes of what stays: without them the runtime fuses other nodes, and rounds otherwise.
    shapes = [value for value in graph.value_info if value.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
    graph.value_info.extend(shapes)


def _maker(network: onnx.ModelProto, name: str) -> int:
    for place, node in enumerate(network.graph.node):
        if name in node.output:
            return place
    raise ValueError(f"the network has no vector '{name}' for heads to read; export the model anew")
