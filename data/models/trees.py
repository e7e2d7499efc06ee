"""What all of our LightGBM models have in common: training that repeats itself, and their ONNX."""

import json
from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import onnx
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

REPEATABLE: dict[str, Any] = {  # by which the same rows give the same trees, beside a seed
    "deterministic": True,
    "force_row_wise": True,  # or LightGBM times both layouts and picks one, which may differ
    "num_threads": 1,
    "verbose": -1,
}


def classifier_to_onnx(booster: lgb.Booster, name: str, columns: Sequence[str], about: str) -> bytes:
    """A model of two classes as ONNX: `features` float32 [N, columns] -> `probabilities` float32 [N, 2].

    The names of the columns are in its metadata; `about` is its text, for people.
    """
    inputs = [("features", FloatTensorType([None, len(columns)]))]
    model = convert_lightgbm(booster, name, inputs, zipmap=False, target_opset=15)
    model.doc_string = about
    onnx.helper.set_model_props(model, {"columns": json.dumps(list(columns))})
    model.opset_import.sort(key=lambda one: one.domain)  # the converter's order varies from run to run
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized
