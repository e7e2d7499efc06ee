"""Networks drawn by chance: as ONNX, and as NumPy computes them in float64, without our steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
from onnx import TensorProto, helper

from nightscore.scorers.contract import Options, Scorer
from nightscore.scorers.networks import open_networks
from nightscore.scorers.onnx.scorer import open_onnx
from tests.scorers.models import file, graph

Array = npt.NDArray[Any]
Truth = Callable[[Array], Array]
TINY = 1e-45
EDGES = (np.nan, np.inf, -np.inf, -0.0, 0.0, TINY, -TINY, 1e-39, 3e38, -3e38, 17.9, -17.9, 88.0, -88.0)


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


ACTIVATIONS: dict[str, Truth] = {
    "Relu": lambda x: np.maximum(x, 0), "Sigmoid": sigmoid, "Tanh": np.tanh, "Softmax": softmax
}  # fmt: skip
FORMS = ("gemm", "gemm of rows", "gemm without a bias", "matmul", "matmul and add", "add and matmul")
BETWEEN = ("nothing", "norm", "scale", "divide", "dropout", "identity", "flatten")


class Drawn:
    """A graph that grows by layers, from one matrix `X` of so many columns."""

    def __init__(self, columns: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.truths: list[Truth] = []
        self.columns = self.width = columns
        self.value = "X"

    def add(self, op: str, *constants: Array, first: bool = False, **attributes: Any) -> None:
        """A node of the last value, and of constants after it, or before."""
        names = [f"c{len(self.weights) + i}" for i in range(len(constants))]
        self.weights.update(zip(names, constants, strict=True))
        inputs = [*names, self.value] if first else [self.value, *names]
        self.value = f"v{len(self.nodes)}"
        domain = "ai.onnx.ml" if op == "Scaler" else ""
        self.nodes.append(helper.make_node(op, inputs, [self.value], domain=domain, **attributes))

    def floats(self, *shape: int) -> Array:
        return self.rng.normal(size=shape).astype(np.float32)

    def dense(self, width: int, form: str) -> None:
        """Weights, in one of the ways in which exporters write them."""
        weights = self.floats(self.width, width) / np.float32(np.sqrt(self.width))
        bias = (
            self.floats(width)
            if form not in ("gemm without a bias", "matmul")
            else np.zeros(width, np.float32)
        )
        if form == "gemm":
            self.add("Gemm", weights, bias, alpha=1.0, beta=1.0)
        elif form == "gemm of rows":
            self.add("Gemm", weights.T.copy(), bias, transB=1)
        elif form == "gemm without a bias":
            self.add("Gemm", weights)
        else:
            self.add("MatMul", weights)
            if form != "matmul":
                self.add(
                    "Add", bias[None] if form == "matmul and add" else bias, first=form == "add and matmul"
                )
        self.width = width
        self.truths.append(lambda x: x @ weights.astype(np.float64) + bias)

    def between(self, name: str) -> None:
        """What stands between layers: arithmetic, or nothing of meaning."""
        n = self.width
        if name == "norm":
            scale, bias, mean, variance = self.floats(n), self.floats(n), self.floats(n), self.floats(n) ** 2
            self.add("BatchNormalization", scale, bias, mean, variance, epsilon=1e-3)
            self.truths.append(lambda x: (x - mean) / np.sqrt(variance + 1e-3) * scale + bias)
        elif name == "scale":
            offset, factor = self.floats(n), self.floats(n)
            self.add("Scaler", offset=offset.tolist(), scale=factor.tolist())
            self.truths.append(lambda x: (x - offset) * factor)
        elif name == "divide":
            other = np.abs(self.floats(1, n)) + 1
            self.add("Sub", np.float32(0.5), first=True)
            self.add("Div", other)
            self.truths.append(lambda x: (0.5 - x) / other)
        elif name != "nothing":
            self.add({"dropout": "Dropout", "identity": "Identity", "flatten": "Flatten"}[name])

    def activate(self, name: str) -> None:
        self.add(name)
        self.truths.append(ACTIVATIONS[name])

    def chances(self) -> None:
        """Both chances of two classes, from one, as scikit-learn's exporter writes them."""
        self.dense(1, "matmul and add")
        self.activate("Sigmoid")
        chance = self.value
        self.add("Sub", np.float32(1), first=True)
        self.nodes.append(helper.make_node("Concat", [self.value, chance], ["both"], axis=1))
        self.value, self.width = "both", 2
        self.truths.append(lambda x: np.concatenate([1 - x, x], axis=1))

    def model(self, shape: Sequence[int | None] | None = None) -> onnx.ModelProto:
        """The graph, whose output is `y`."""
        nodes = [*self.nodes, helper.make_node("Identity", [self.value], ["y"])]
        given = {"X": (TensorProto.FLOAT, [None, self.columns])}
        made = graph(nodes, given, {"y": (TensorProto.FLOAT, shape or [None, self.width])}, self.weights)
        made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
        return made

    def truth(self, x: Array) -> Array:
        """What it gives for rows, in float64."""
        value = x.astype(np.float64)
        for step in self.truths:
            value = step(value)
        return value


def drawn(
    columns: int, layers: Sequence[tuple[int, str, str, str]], seed: int, chances: bool = False
) -> Drawn:
    """A network of layers: width, form, what stands after it, activation (or none)."""
    made = Drawn(columns, seed)
    for width, form, between, activation in layers:
        made.dense(width, form)
        made.between(between)
        if activation:
            made.activate(activation)
    if chances:
        made.chances()
    return made


def names(columns: int) -> list[str]:
    return [f"f{i}" for i in range(columns)]


def chunk(x: Array) -> pa.RecordBatch:
    """Rows as a chunk."""
    return pa.RecordBatch.from_arrays([pa.array(column.copy()) for column in x.T], names(x.shape[1]))


def opened(model: onnx.ModelProto, columns: int, output: str = "y[*]") -> tuple[Scorer, Scorer]:
    """Our scorer and ONNX Runtime's."""
    options, whole = Options({"y": output}, names(columns)), file(model)
    return open_networks(whole, options), open_onnx(whole, options)


def numbers(scored: pa.RecordBatch) -> Array:
    """The scores of a batch, [rows, width], as they were given."""
    column = scored.column(0)
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(scored.num_rows, -1)
