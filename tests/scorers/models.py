"""Real ONNX models, made on the spot."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as LgbFloat
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nightscore.scorers.files.model_file import ModelFile

COLUMNS = ("a", "b", "c")
Shape = Sequence[int | str | None]


def file(model: onnx.ModelProto | bytes, columns: Sequence[str] | None = None) -> ModelFile:
    """The model as a scorer takes it, with the names of its columns in the metadata."""
    if isinstance(model, bytes):
        return ModelFile("m.onnx", "0" * 64, model)
    if columns is not None:
        helper.set_model_props(model, {"columns": json.dumps(list(columns))})
    return ModelFile("m.onnx", "0" * 64, model.SerializeToString())


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    weights: Mapping[str, npt.NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A model of some nodes; inputs and outputs are name -> (element type, shape)."""
    tensors = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    given = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()]
    found = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in outputs.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, found, tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    return model


def mlp(kind: int = TensorProto.FLOAT, width: int = 3, outputs: int = 2) -> onnx.ModelProto:
    """relu(x @ first) @ second: a matrix in, `outputs` columns out as y."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.normal(size=(width, 8)).astype(dtype),
        "second": rng.normal(size=(8, outputs)).astype(dtype),
    }
    nodes = [
        helper.make_node("MatMul", ["X", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "second"], ["y"]),
    ]
    return graph(nodes, {"X": (kind, [None, width])}, {"y": (kind, [None, outputs])}, weights)


def one_op(
    op: str, kind: int, out: int | None = None, shape: Shape = (None,), **attributes: Any
) -> onnx.ModelProto:
    """One input `x`, one operator, one output `y` of the same shape."""
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    return graph([node], {"x": (kind, shape)}, {"y": (kind if out is None else out, shape)})


@cache
def trees(zipmap: bool = False) -> tuple[lgb.LGBMClassifier, onnx.ModelProto]:
    """A LightGBM classifier over three columns, some of whose values are missing."""
    rng = np.random.default_rng(2)
    x = rng.random((400, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = (np.nansum(x, axis=1) > 1.5).astype(int)
    model = lgb.LGBMClassifier(n_estimators=15, num_leaves=7, verbose=-1, n_jobs=1).fit(x, y)
    shape = [("X", LgbFloat([None, 3]))]
    return model, convert_lightgbm(model, initial_types=shape, zipmap=zipmap, target_opset=15)


@cache
def pipeline() -> tuple[Any, onnx.ModelProto]:
    """A scikit-learn pipeline with one input per column: a text, a float, an integer."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "city": rng.choice(["Ulm", "Köln", ""], 300),
            "x": rng.random(300).astype(np.float32),
            "n": rng.integers(0, 5, 300),
        }
    )
    target = ((rows["city"] == "Ulm") ^ (rows["x"] > 0.5)).astype(int)
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), (StandardScaler(), ["x", "n"])
    )
    fitted = make_pipeline(encode, LogisticRegression()).fit(rows, target)
    kinds = [
        ("city", StringTensorType([None, 1])),
        ("x", FloatTensorType([None, 1])),
        ("n", Int64TensorType([None, 1])),
    ]
    options = {id(fitted): {"zipmap": False}}
    return fitted, convert_sklearn(fitted, initial_types=kinds, options=options, target_opset=15)


def floats(rows: int, columns: Sequence[str] = COLUMNS, dtype: Any = np.float32) -> pa.RecordBatch:
    """Rows of random numbers, the same at each call."""
    rng = np.random.default_rng(4)
    return pa.RecordBatch.from_pydict({name: rng.random(rows).astype(dtype) for name in columns})


def mixed(rows: int) -> pa.RecordBatch:
    """Rows for the pipeline."""
    rng = np.random.default_rng(5)
    return pa.RecordBatch.from_pydict(
        {
            "n": rng.integers(0, 5, rows),
            "city": rng.choice(["Ulm", "Köln", "", "elsewhere"], rows).tolist(),
            "x": rng.random(rows).astype(np.float32),
        }
    )
