"""Where a network can be made narrower: hidden neurons between two layers, and heads of attention."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from nightscore.evaluation.recipes.network import Array, Wiring, attribute, constants

ELEMENTWISE = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Clip", "Identity", "Relu", "LeakyRelu", "PRelu", "Elu",
    "Selu", "Celu", "ThresholdedRelu", "Tanh", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign",
    "Mish", "Erf", "Exp", "Abs", "Neg", "Sqrt", "Gelu", "FastGelu", "BiasGelu", "QuickGelu",
})  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A constant among a node's inputs, and the axis that gets shorter."""

    node: str
    input: int
    axis: int


@dataclass(frozen=True)
class Narrowing:
    """A tensor whose last axis can be made shorter, group by group.

    Attributes:
        source: the tensor, [rows …, groups * size].
        size: numbers in a group.
        groups: how many there are.
        takers: the layers that take it, whose weights are fitted again: nodes by name.
        cuts: what is made shorter with it, to the numbers that stay.
        counts: elements of shapes that are the number of groups (the axis is the element's place).
        widths: elements of shapes that are the number of numbers.
    """

    source: str
    size: int
    groups: int
    takers: tuple[str, ...]
    cuts: tuple[Place, ...]
    counts: tuple[Place, ...] = ()
    widths: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Dense:
    """A linear layer: weights [in, out] of the input `weight`, [out, in] if transposed."""

    node: onnx.NodeProto
    width: int
    rows: int
    transposed: bool


def dense(node: onnx.NodeProto, arrays: Mapping[str, Array]) -> Dense | None:
    """The node as a linear layer of float32 weights, if it is one."""
    if node.op_type not in ("MatMul", "Gemm") or len(node.input) < 2 or node.input[1] not in arrays:
        return None
    weight = arrays[node.input[1]]
    plain = [
        attribute(node, name, usual) == usual
        for name, usual in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
    ]
    if weight.ndim != 2 or weight.dtype != np.float32 or not all(plain):
        return None
    transposed = bool(attribute(node, "transB", 0))
    rows, width = weight.shape[::-1] if transposed else weight.shape
    return Dense(node, width, rows, transposed)


@dataclass
class _Walk:
    """What carries a layer's neurons in its last axis, followed through elementwise operators."""

    width: int
    carriers: set[str]
    cuts: list[Place]
    takers: list[Dense] = field(default_factory=list)
    lost: bool = False

    def visit(self, node: onnx.NodeProto, arrays: Mapping[str, Array]) -> None:
        carried = [i for i, name in enumerate(node.input) if name in self.carriers]
        if not carried:
            return
        taker = dense(node, arrays)
        if taker and carried == [0] and taker.rows == self.width:
            self.takers.append(taker)
        elif node.op_type in ELEMENTWISE and all(
            self._beside(node, i, arrays) for i in range(len(node.input))
        ):
            self.carriers.add(node.output[0])
        else:
            self.lost = True

    def _beside(self, node: onnx.NodeProto, i: int, arrays: Mapping[str, Array]) -> bool:
        """Whether an operand goes with the neurons: one of them, a number for all, or one for each."""
        name = node.input[i]
        if name in self.carriers or not name:
            return True
        if name not in arrays:
            return False
        if arrays[name].shape[-1:] == (self.width,) and arrays[name].size == self.width:
            self.cuts.append(Place(node.name, i, -1))
            return True
        return bool(arrays[name].size == 1)


def neurons(proto: onnx.ModelProto) -> Iterator[Narrowing]:
    """Hidden neurons that only other linear layers see, after any elementwise functions."""
    arrays, outputs = constants(proto), {output.name for output in proto.graph.output}
    for i, node in enumerate(proto.graph.node):
        if (layer := dense(node, arrays)) is None:
            continue
        walk = _Walk(layer.width, {node.output[0]}, _of(layer, arrays))
        for later in proto.graph.node[i + 1 :]:
            walk.visit(later, arrays)
        sources = {taker.node.input[0] for taker in walk.takers}
        if len(sources) == 1 and not walk.lost and not walk.carriers & outputs and layer.width > 1:
            takers = tuple(taker.node.name for taker in walk.takers)
            yield Narrowing(sources.pop(), 1, layer.width, takers, tuple(walk.cuts))


def _of(layer: Dense, arrays: Mapping[str, Array]) -> list[Place]:
    """The weights of a layer, and its bias if they have one, by output."""
    places = [Place(layer.node.name, 1, 0 if layer.transposed else 1)]
    bias = layer.node.input[2] if len(layer.node.input) > 2 else ""
    if bias in arrays and arrays[bias].size == layer.width:
        places.append(Place(layer.node.name, 2, -1))
    return places


def bias_of(layer: Dense, arrays: Mapping[str, Array], wires: Wiring) -> Place | None:
    """Where the bias of a layer is: its own, or that of an Add right after it."""
    own = [place for place in _of(layer, arrays) if place.input == 2]
    if own:
        return own[0]
    takers = wires.takers.get(layer.node.output[0], ())
    if len(takers) != 1 or takers[0].op_type != "Add" or layer.node.output[0] in wires.outputs:
        return None
    for i, name in enumerate(takers[0].input):
        if name in arrays and arrays[name].size == layer.width and arrays[name].shape[-1] == layer.width:
            return Place(takers[0].name, i, -1)
    return None
