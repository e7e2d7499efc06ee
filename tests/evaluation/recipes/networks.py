"""Real networks for the recipes: trained on digits, and a small BERT; and what recipes make models from."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from nightscore.evaluation.recipes.network import constants, parse_model, run_model
from nightscore.evaluation.recipes.recipe import Feeds, Material, NoCandidate, Recipe
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import OnnxScorer
from tests.scorers.models import COLUMNS, file, graph

Array = npt.NDArray[Any]
F, I64 = TensorProto.FLOAT, TensorProto.INT64
PIXELS = tuple(f"p{i}" for i in range(64))
TRAINED = 1200  # of 1,797 images; the others are held out
HEADS, SIZE, WIDTH, INNER, WORDS = 4, 4, 16, 32, 50


@cache
def digits() -> tuple[Array, npt.NDArray[np.int64]]:
    """scikit-learn's images, shuffled: float32 [1797, 64] from 0 to 1, and which digit each is."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype(np.float32), y[order]


@cache
def digits_file(activation: str = "relu", opset: int = 17) -> ModelFile:
    """A network 64-128-64-10 trained on digits; outputs `label` and `probabilities`."""
    x, y = digits()
    model = MLPClassifier((128, 64), activation=activation, tol=0.05, n_iter_no_change=3, random_state=0)
    with threadpool_limits(1):
        model.fit(x[:TRAINED], y[:TRAINED])
    proto = convert_sklearn(
        model,
        initial_types=[("X", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": opset, "ai.onnx.ml": 1},
    )
    return file(proto, PIXELS)


DIGITS = Options({f"p{i}": f"probabilities[{i}]" for i in range(10)})


def accuracy(data: bytes) -> float:
    """Of a candidate for the network on digits, on the images that were held out."""
    x, y = digits()
    scorer = OnnxScorer(ModelFile("m", "0" * 64, data), DIGITS)
    found = scorer.score(pixels(x[TRAINED:]))
    probabilities = np.stack([column.to_numpy() for column in found.columns], axis=1)
    return float(np.mean(probabilities.argmax(axis=1) == y[TRAINED:]))


def pixels(x: Array) -> pa.RecordBatch:
    """Images as a chunk."""
    return pa.RecordBatch.from_arrays([pa.array(column) for column in x.T], list(PIXELS))


class _Bert:
    """Nodes and weights as they come."""

    def __init__(self, seed: int) -> None:
        self.rng, self.nodes = np.random.default_rng(seed), list[onnx.NodeProto]()
        self.weights: dict[str, Array] = {"words": self.random(WORDS, WIDTH)}

    def random(self, *shape: int) -> Array:
        return self.rng.normal(size=shape).astype(np.float32)

    def add(self, op: str, *inputs: str | Array | float, **attributes: Any) -> str:
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        i = len(self.nodes)
        self.nodes.append(helper.make_node(op, names, [f"t{i}"], f"n{i}", **attributes))
        return f"t{i}"

    def constant(self, value: Array | float) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.array(value, np.float32) if isinstance(value, float) else value
        return name

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        product = self.add("MatMul", x, self.random(inputs, outputs) / np.float32(inputs**0.5))
        return self.add("Add", self.random(outputs) / 4, product)

    def norm(self, *terms: str) -> str:
        ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
        return self.add("LayerNormalization", self.add("Add", *terms), ones, zeros, axis=-1)

    def split(self, x: str, order: list[int]) -> str:
        cut = self.add("Reshape", self.dense(x, WIDTH, WIDTH), np.array([0, 0, HEADS, SIZE]))
        return self.add("Transpose", cut, perm=order)

    def layer(self, x: str) -> str:
        query, key, value = (self.split(x, [0, *order]) for order in ([2, 1, 3], [2, 3, 1], [2, 1, 3]))
        shares = self.add("Softmax", self.add("Div", self.add("MatMul", query, key), SIZE**0.5), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = self.add("Reshape", mixed, np.array([0, 0, WIDTH]))
        x = self.norm(self.dense(joined, WIDTH, WIDTH), x)
        inner = self.dense(x, WIDTH, INNER)
        erf = self.add("Add", self.add("Erf", self.add("Div", inner, 2**0.5)), 1.0)
        gelu = self.add("Mul", self.add("Mul", inner, erf), 0.5)
        return self.norm(self.dense(gelu, INNER, WIDTH), x)


def bert(gemm: bool = False) -> onnx.ModelProto:
    """A BERT of two layers with 4 heads of 4 numbers and 32 inner neurons; tokens in, one score out.

    Written as PyTorch's exporter writes it: projections, Reshape and Transpose for heads, GELU by Erf.
    """
    made = _Bert(0)
    last = made.layer(made.layer(made.add("Gather", "words", "tokens")))
    mean = made.add("ReduceMean", last, axes=[1], keepdims=0)
    weight = made.constant(made.random(WIDTH, 1))
    inputs = [mean, weight, made.constant(np.zeros(1, np.float32))] if gemm else [mean, weight]
    made.nodes.append(helper.make_node("Gemm" if gemm else "MatMul", inputs, ["score"], "head"))
    found = graph(made.nodes, {"tokens": (I64, ["n", 12])}, {"score": (F, ["n", 1])}, made.weights)
    helper.set_model_props(found, {"columns": json.dumps(["tokens"]), "tokenizer": "words"})
    return found


def tokens(rows: int, seed: int = 1) -> Array:
    """Texts of 12 tokens."""
    return np.random.default_rng(seed).integers(0, WORDS, (rows, 12))


def texts(rows: int) -> pa.RecordBatch:
    """The same as a chunk."""
    return pa.RecordBatch.from_pydict({"tokens": pa.array(list(tokens(rows)), pa.list_(pa.int64()))})


SCORE = Options({"score": "score"})


def material(
    model: ModelFile,
    options: Options,
    feeds: tuple[Feeds, ...],
    keeps: Callable[[bytes], bool] = lambda _: True,
) -> Material:
    """What recipes for networks look at: no table of theirs is needed."""
    empty = pa.table({})
    return Material(model, options, empty, empty, feeds, keeps)


def of_digits(model: ModelFile | None = None, **changes: Any) -> Material:
    """The network on digits, with its training images in three batches, the last one shorter."""
    x = digits()[0][:TRAINED]
    feeds = tuple({"X": part} for part in (x[:500], x[500:1000], x[1000:]))
    return dataclasses.replace(material(model or digits_file(), DIGITS, feeds), **changes)


def of_bert(proto: onnx.ModelProto | None = None, **changes: Any) -> Material:
    """The small BERT, with 300 texts in two batches."""
    feeds = ({"tokens": tokens(200, 2)}, {"tokens": tokens(100, 3)})
    return dataclasses.replace(material(file(proto or bert()), SCORE, feeds), **changes)


def named(recipes: list[Recipe]) -> Mapping[str, Recipe]:
    """Recipes by name; no name twice."""
    found = {one.name: one for one in recipes}
    assert len(found) == len(recipes)
    return found


def made(recipes: list[Recipe], given: Material) -> Iterator[tuple[str, bytes]]:
    """The candidates of those recipes that have one to offer."""
    for one in recipes:
        with suppress(NoCandidate):
            yield one.name, one.make(given)


def difference(data: bytes, other: Material) -> float:
    """The largest difference of an output to a reference's, over all feeds."""
    pairs = zip(run_model(data, other.feeds), run_model(other.model.data, other.feeds), strict=True)
    return max(float(np.abs(found - wanted).max()) for found, wanted in pairs)


def of_mlp(proto: onnx.ModelProto, feeds: Array, keeps: Callable[[bytes], bool] = lambda _: True) -> Material:
    """A network of three features and two scores."""
    return material(file(proto, COLUMNS), Options({"low": "y[0]", "high": "y[1]"}), ({"X": feeds},), keeps)


def rows(count: int) -> Array:
    """Features for it."""
    return np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)


def loaded(data: bytes) -> onnx.ModelProto:
    """The graph of a candidate."""
    return parse_model(ModelFile("m", "0" * 64, data))


def matrices(data: bytes) -> list[tuple[int, ...]]:
    """The shapes of the weights, in the order of the layers."""
    proto = loaded(data)
    known = constants(proto)
    return [
        known[node.input[1]].shape
        for node in proto.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in known
    ]


def node(op: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """A node; its output is named last."""
    return helper.make_node(op, names[:-1], names[-1:], **attributes)
