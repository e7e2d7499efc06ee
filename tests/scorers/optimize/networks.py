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

from scorers.contract import Options
from scorers.model import ModelFile
from scorers.onnx import OnnxScorer
from scorers.optimize.recipe import Feeds, Material, NoCandidate, Recipe
from tests.scorers.models import file, graph

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


def bert(gemm: bool = False, seed: int = 0) -> onnx.ModelProto:
    """A BERT of two layers with 4 heads of 4 numbers and 32 inner neurons; tokens in, one score out.

    Written as PyTorch's exporter writes it: projections, Reshape and Transpose for heads, GELU by Erf.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, Array] = {"words": rng.normal(size=(WORDS, WIDTH)).astype(np.float32)}
    nodes: list[onnx.NodeProto] = []

    def add(op: str, *inputs: str | Array, **attributes: Any) -> str:
        names = []
        for one in inputs:
            if not isinstance(one, str):
                weights[f"c{len(weights)}"] = one
                one = f"c{len(weights) - 1}"
            names.append(one)
        nodes.append(helper.make_node(op, names, [f"t{len(nodes)}"], f"n{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    def dense(x: str, rows: int, columns: int) -> str:
        weight = rng.normal(size=(rows, columns)) / np.sqrt(rows)
        product = add("MatMul", x, weight.astype(np.float32))
        return add("Add", rng.normal(size=columns).astype(np.float32) / 4, product)

    def number(value: float) -> Array:
        return np.array(value, np.float32)

    def norm(x: str) -> str:
        return add("LayerNormalization", x, np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32), axis=-1)

    def heads(x: str, order: list[int]) -> str:
        shape = np.array([0, 0, HEADS, SIZE])
        return add("Transpose", add("Reshape", dense(x, WIDTH, WIDTH), shape), perm=order)

    def layer(x: str) -> str:
        query, key, value = heads(x, [0, 2, 1, 3]), heads(x, [0, 2, 3, 1]), heads(x, [0, 2, 1, 3])
        scores = add("Div", add("MatMul", query, key), number(SIZE**0.5))
        mixed = add("MatMul", add("Softmax", scores, axis=-1), value)
        joined = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), np.array([0, 0, WIDTH]))
        x = norm(add("Add", dense(joined, WIDTH, WIDTH), x))
        inner = dense(x, WIDTH, INNER)
        erf = add("Add", add("Erf", add("Div", inner, number(2**0.5))), number(1))
        inner = add("Mul", add("Mul", inner, erf), number(0.5))
        return norm(add("Add", dense(inner, INNER, WIDTH), x))

    last = layer(layer(add("Gather", "words", "tokens")))
    mean = add("ReduceMean", last, axes=[1], keepdims=0)
    if gemm:
        nodes.append(helper.make_node("Gemm", [mean, "out", "bias"], ["score"], "head"))
        weights["bias"] = np.zeros(1, np.float32)
    else:
        nodes.append(helper.make_node("MatMul", [mean, "out"], ["score"], "head"))
    weights["out"] = rng.normal(size=(WIDTH, 1)).astype(np.float32)
    made = graph(nodes, {"tokens": (I64, ["n", 12])}, {"score": (F, ["n", 1])}, weights)
    helper.set_model_props(made, {"columns": json.dumps(["tokens"]), "tokenizer": "words"})
    return made


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
