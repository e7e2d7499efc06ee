"""Operators that draw by chance or compute as in training: refused by name, wherever they stand."""

import json
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import open_onnx

node = helper.make_node
ROWS = np.random.default_rng(0).random((50, 2), dtype=np.float32)


def model(
    nodes: list[onnx.NodeProto], constants: dict[str, object] | None = None, opset: int = 17,
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> bytes:  # fmt: skip
    """A matrix X of two columns in, y of two columns out."""
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in (constants or {}).items()]
    x, y = (helper.make_tensor_value_info(name, T.FLOAT, [None, 2]) for name in ("X", "y"))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=imports, functions=functions
    )
    proto.ir_version = 8
    helper.set_model_props(proto, {"columns": json.dumps(["a", "b"])})
    return proto.SerializeToString()


def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, T.FLOAT, None)])


def function(*nodes: onnx.NodeProto) -> onnx.FunctionProto:
    return helper.make_function("own", "f", ["x"], ["y"], list(nodes), [helper.make_opsetid("", 17)])


def constant(name: str, value: object) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(np.array(value), name))


HALF = np.float32(0.5)
NORM = {name: np.ones(2, np.float32) for name in ("scale", "bias", "mean", "var")}
NOISE = [node("RandomNormalLike", ["X"], ["r"], name="noise"), node("Add", ["X", "r"], ["y"])]
CALL = node("f", ["X"], ["y"], domain="own")

CHANCE: dict[str, Callable[[], bytes]] = {
    "RandomNormalLike": lambda: model(NOISE),
    "RandomUniformLike": lambda: model([node("RandomUniformLike", ["X"], ["y"])]),
    "RandomNormal": lambda: model(
        [node("RandomNormal", [], ["r"], shape=[2], seed=1.0), node("Add", ["X", "r"], ["y"])]
    ),
    "RandomUniform": lambda: model(
        [node("RandomUniform", [], ["r"], shape=[2]), node("Add", ["X", "r"], ["y"])]
    ),
    "Bernoulli": lambda: model([node("Bernoulli", ["X"], ["y"])]),
    "Multinomial": lambda: model(
        [
            node("Multinomial", ["X"], ["m"], sample_size=2, dtype=T.INT32),
            node("Cast", ["m"], ["y"], to=T.FLOAT),
        ]
    ),
    "Dropout": lambda: model(
        [node("Dropout", ["X", "ratio", "train"], ["y"])], {"ratio": HALF, "train": True}
    ),
    "BatchNormalization": lambda: model(
        [node("BatchNormalization", ["X", "scale", "bias", "mean", "var"], ["y", "m", "v"], training_mode=1)],
        NORM,
    ),
}
HIDDEN: dict[str, Callable[[], bytes]] = {
    "a constant node": lambda: model(
        [
            *(constant("ratio", HALF), constant("on", True), node("Identity", ["on"], ["train"])),
            node("Dropout", ["X", "ratio", "train"], ["y"]),
        ]
    ),
    "a branch of If": lambda: model(
        [
            node(
                "If", ["c"], ["y"],
                then_branch=branch("then", [node("RandomNormalLike", ["X"], ["t"])], "t"),
                else_branch=branch("else", [node("Identity", ["X"], ["e"])], "e"),
            )
        ],
        {"c": True},
    ),
    "Dropout in a branch, its mode outside": lambda: model(
        [
            node(
                "If", ["c"], ["y"],
                then_branch=branch("then", [node("Dropout", ["X", "ratio", "c"], ["t"])], "t"),
                else_branch=branch("else", [node("Identity", ["X"], ["e"])], "e"),
            )
        ],
        {"c": True, "ratio": HALF},
    ),
    "a function": lambda: model([CALL], functions=(function(node("RandomNormalLike", ["x"], ["y"])),)),
    "Dropout in a function": lambda: model(
        [CALL],
        functions=(
            function(
                constant("ratio", HALF), constant("on", True), node("Dropout", ["x", "ratio", "on"], ["y"])
            ),
        ),
    ),
    "BatchNormalization of opset 9 with saved outputs": lambda: model(
        [node("BatchNormalization", ["X", "scale", "bias", "mean", "var"], ["y", "a", "b", "c", "d"])],
        NORM, 9,
    ),
    "Dropout of opset 6 without is_test": lambda: model([node("Dropout", ["X"], ["y"])], opset=6),
}  # fmt: skip
STEADY: dict[str, Callable[[], bytes]] = {
    "Dropout without a mode": lambda: model([node("Dropout", ["X", "ratio"], ["y"])], {"ratio": HALF}),
    "Dropout that is off": lambda: model(
        [node("Dropout", ["X", "ratio", "train"], ["y"])], {"ratio": HALF, "train": False}
    ),
    "BatchNormalization": lambda: model(
        [node("BatchNormalization", ["X", "scale", "bias", "mean", "var"], ["y"])], NORM
    ),
    "a function that nobody calls": lambda: model(
        [node("Identity", ["X"], ["y"])], functions=(function(node("RandomNormalLike", ["x"], ["y"])),)
    ),
    "a node of that name": lambda: model([node("Identity", ["X"], ["y"], name="RandomNormal_Dropout")]),
}


def opened(data: bytes) -> pa.RecordBatch:
    scorer = open_onnx(ModelFile("data/m.onnx", "0" * 64, data), Options({"score": "y[0]"}))
    return scorer.score(pa.RecordBatch.from_arrays(list(map(pa.array, ROWS.T)), ["a", "b"]))


@pytest.mark.parametrize("operator", CHANCE)
def test_an_operator_of_chance_or_training_is_refused_by_name(operator: str) -> None:
    """The message names the model, the operator, and the way on."""
    with pytest.raises(ModelError, match=rf"^data/m\.onnx: node .* \({operator}\) .*eval\(\)"):
        opened(CHANCE[operator]())


@pytest.mark.parametrize("place", HIDDEN)
def test_it_is_found_where_it_hides(place: str) -> None:
    """In constants, subgraphs, functions and older opsets."""
    with pytest.raises(ModelError, match=r"eval\(\)"):
        opened(HIDDEN[place]())


@pytest.mark.parametrize("name", STEADY)
def test_what_computes_as_at_inference_is_left_alone(name: str) -> None:
    """ONNX Runtime by itself gives the same, twice."""
    data = STEADY[name]()
    session = ort.InferenceSession(data)
    first, second = (session.run(["y"], {"X": ROWS})[0][:, 0] for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(opened(data).column("score").to_numpy(), first)
