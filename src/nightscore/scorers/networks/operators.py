"""What an operator of ONNX makes of a network's columns; a refusal where that is not known to the letter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from nightscore.scorers.networks import network
from nightscore.scorers.networks.network import Floats, NotNetwork, Step

STANDARD, MACHINE_LEARNING = ("", "ai.onnx"), "ai.onnx.ml"
ACTIVATIONS = {"Relu": network.RELU, "Sigmoid": network.SIGMOID, "Tanh": network.TANH}
ARITHMETIC = {
    "Add": network.ADD, "Sub": network.SUBTRACT, "Mul": network.MULTIPLY, "Div": network.DIVIDE
}  # fmt: skip
REVERSED = {"Add": network.ADD, "Sub": network.SUBTRACT_FROM, "Mul": network.MULTIPLY}  # a constant first

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A column that goes in, of a dtype, and whether it was cast to float32.

    `column` is None where it is the next one of the only matrix.
    """

    column: str | None
    dtype: np.dtype[Any]
    cast: bool = False


@dataclass(frozen=True)
class Network:
    """What comes of columns by steps: [rows, width], or [rows] where `rank` is 1."""

    sources: tuple[Source, ...]
    steps: tuple[Step, ...] = ()
    rank: int = 2

    @property
    def width(self) -> int:
        """The columns that come out."""
        return self.steps[-1].width if self.steps else len(self.sources)

    def then(self, operation: int, numbers: Floats | None = None) -> "Network":
        """The same with one more step."""
        return replace(self, steps=(*self.steps, Step(operation, self.width, numbers)))


class Node:
    """A node with one value that goes in; its other inputs are constants."""

    def __init__(self, node: onnx.NodeProto, constants: Mapping[int, Array]) -> None:
        self.name, self.constants = node.op_type, constants
        self.outputs = sum(map(bool, node.output))
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self._attributes.get(name, default)

    def hold(self, **allowed: Any) -> None:
        """Raise NotNetwork unless each attribute is left out or is what is allowed; there are no others."""
        for name, value in self._attributes.items():
            if name not in allowed or (allowed[name] is not None and value not in allowed[name]):
                raise NotNetwork(f"{self.name} with {name} {value}")

    def floats(self, place: int) -> Floats:
        """The constant at an input's place."""
        found = self.constants.get(place)
        if found is None or found.dtype != np.float32:
            kind = "no constant" if found is None else f"of {found.dtype}"
            raise NotNetwork(f"{self.name} whose input {place + 1} is {kind}")
        return found

    def for_columns(self, place: int, width: int) -> Floats:
        """The same as a number for each of `width` columns."""
        found = self.floats(place)
        if found.ndim > 2 or found.shape[:-1] not in ((), (1,)) or found.size not in (1, width):
            raise NotNetwork(f"{self.name} with a constant of shape {list(found.shape)} for {width} columns")
        return np.broadcast_to(found.reshape(-1), width).astype(np.float32)


def made_by(node: onnx.NodeProto, inputs: Sequence[Network], constants: Mapping[int, Array]) -> Network:
    """What a node makes of the values that go in, and of constants by their places.

    Raises:
        NotNetwork: an operator, an attribute or a shape that the kernel does not run.
    """
    domain = "" if node.domain in STANDARD else node.domain
    if (domain, node.op_type) == ("", "Concat"):
        return _concat(node, inputs)
    reader = READERS.get((domain, node.op_type))
    if reader is None:
        raise NotNetwork(f"{node.op_type}, which the kernel does not run")
    if len(inputs) != 1 or len(inputs) + len(constants) != sum(map(bool, node.input)):
        raise NotNetwork(f"{node.op_type} of several values")
    if inputs[0].rank != 2 and node.op_type != "Identity":
        raise NotNetwork(f"{node.op_type} after the columns have become a list")
    if node.op_type != "Cast":
        _refuse_others(inputs[0])
    return reader(Node(node, constants), inputs[0])


def _refuse_others(value: Network) -> None:
    """Raise NotNetwork where something is computed in another type than float32."""
    for source in value.sources:
        if source.dtype != np.float32 and not source.cast:
            raise NotNetwork(f"it computes in {source.dtype}")


def _concat(node: onnx.NodeProto, inputs: Sequence[Network]) -> Network:
    """Columns side by side, before any step; or c - p beside p, of one column p."""
    axis = {a.name: helper.get_attribute_value(a) for a in node.attribute}.get("axis")
    if axis not in (1, -1) or len(inputs) != len(node.input) or any(value.rank != 2 for value in inputs):
        raise NotNetwork("Concat of other things than columns")
    sources = tuple(source for value in inputs for source in value.sources)
    if not any(value.steps for value in inputs):
        if len(inputs) > 1 and any(source.column is None for source in sources):
            raise NotNetwork("Concat of a matrix with itself")
        return Network(sources)
    if len(inputs) == 2 and _is_complement(*inputs):
        complement, chance = inputs
        return replace(
            chance, steps=(*chance.steps, Step(network.COMPLEMENT, 2, complement.steps[-1].numbers))
        )
    raise NotNetwork("Concat after the first layer")


def _is_complement(complement: Network, chance: Network) -> bool:
    """Whether the first is a number less the second, which is one column."""
    *before, last = complement.steps or (None,)
    same = len(before) == len(chance.steps) and all(a is b for a, b in zip(before, chance.steps, strict=True))
    return same and chance.width == 1 and last is not None and last.operation == network.SUBTRACT_FROM


def _gemm(node: Node, value: Network) -> Network:
    node.hold(alpha=(1.0,), beta=(1.0,), transA=(0,), transB=(0, 1))
    weights = node.floats(1)
    return _dense(value, weights.T if node.get("transB", 0) else weights, node, 2)


def _matmul(node: Node, value: Network) -> Network:
    node.hold()
    return _dense(value, node.floats(1), node, None)


def _dense(value: Network, weights: Floats, node: Node, bias: int | None) -> Network:
    if weights.ndim != 2 or weights.shape[0] != value.width or not weights.size:
        raise NotNetwork(f"{node.name} of {value.width} columns with weights of shape {list(weights.shape)}")
    width = weights.shape[1]
    numbers = node.for_columns(bias, width) if bias is not None and bias in node.constants else None
    return replace(value, steps=(*value.steps, Step(network.DENSE, width, numbers, weights)))


def _arithmetic(node: Node, value: Network) -> Network:
    """With a constant; what is added right after weights without a bias is their bias."""
    node.hold()
    place = next(iter(node.constants), 0)
    operation = (ARITHMETIC if place == 1 else REVERSED).get(node.name)
    if operation is None:
        raise NotNetwork(f"{node.name} of a constant by columns")
    numbers = node.for_columns(place, value.width)
    last = value.steps[-1] if value.steps else None
    if operation == network.ADD and last and last.operation == network.DENSE and last.numbers is None:
        return replace(value, steps=(*value.steps[:-1], replace(last, numbers=numbers)))
    return value.then(operation, numbers)


def _activation(node: Node, value: Network) -> Network:
    node.hold()
    return value.then(ACTIVATIONS[node.name])


def _softmax(node: Node, value: Network) -> Network:
    node.hold(axis=(1, -1))
    return value.then(network.SOFTMAX)


def _normalization(node: Node, value: Network) -> Network:
    """By what it was trained on: two numbers for each column, computed as ONNX Runtime computes them."""
    node.hold(epsilon=None, momentum=None, training_mode=(0,))
    if node.outputs != 1:
        raise NotNetwork("BatchNormalization as in training")
    scale, bias, mean, variance = (node.for_columns(place, value.width) for place in (1, 2, 3, 4))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + np.float32(node.get("epsilon", 1e-5)))
        return value.then(network.MULTIPLY, factor).then(network.ADD, bias - mean * factor)


def _scaler(node: Node, value: Network) -> Network:
    node.hold(offset=None, scale=None)
    for name, operation in (("offset", network.SUBTRACT), ("scale", network.MULTIPLY)):
        numbers = np.array(node.get(name, ()), np.float32)
        if len(numbers) not in (1, value.width):
            raise NotNetwork(f"Scaler with {len(numbers)} numbers for {value.width} columns")
        value = value.then(operation, np.broadcast_to(numbers, value.width).astype(np.float32))
    return value


def _cast(node: Node, value: Network) -> Network:
    node.hold(to=(TensorProto.FLOAT,), saturate=None)
    if value.steps:
        return value
    return replace(value, sources=tuple(replace(source, cast=True) for source in value.sources))


def _dropout(node: Node, value: Network) -> Network:
    node.hold(ratio=None, seed=None)
    if 2 in node.constants:
        raise NotNetwork("Dropout that may be told to train")
    return value


def _same(node: Node, value: Network) -> Network:
    node.hold()
    return value


def _flatten(node: Node, value: Network) -> Network:
    node.hold(axis=(1, -1))
    return value


def _reshape(node: Node, value: Network) -> Network:
    node.hold(allowzero=(0,))
    shape = node.constants.get(1, np.empty(0)).tolist()
    if shape in ([-1, value.width], [0, value.width], [0, -1]):
        return value
    return _listed("Reshape", shape, value, shape == [-1])


def _squeeze(node: Node, value: Network) -> Network:
    node.hold(axes=None)
    axes = node.constants[1].tolist() if 1 in node.constants else list(node.get("axes", ()))
    return _listed("Squeeze", axes, value, axes in ([1], [-1]))


def _listed(name: str, of: Any, value: Network, is_list: bool) -> Network:
    if not is_list or value.width != 1:
        raise NotNetwork(f"{name} to {of} of {value.width} columns")
    return replace(value, rank=1)


READERS: Mapping[tuple[str, str], Callable[[Node, Network], Network] | None] = {
    ("", "Gemm"): _gemm, ("", "MatMul"): _matmul, ("", "Softmax"): _softmax, ("", "Identity"): _same,
    ("", "BatchNormalization"): _normalization, (MACHINE_LEARNING, "Scaler"): _scaler,
    ("", "Cast"): _cast, ("", "Dropout"): _dropout, ("", "Flatten"): _flatten, ("", "Reshape"): _reshape,
    ("", "Squeeze"): _squeeze,
    **{("", name): _arithmetic for name in ARITHMETIC}, **{("", name): _activation for name in ACTIVATIONS},
}  # fmt: skip
