"""scikit-learn: estimators and pipelines, by skl2onnx; LightGBM and XGBoost inside of them by onnxmltools."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common import data_types as types
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator

from nightscore.exporting import dates
from nightscore.exporting.conversion import CannotConvert, Trained, Way
from nightscore.exporting.graph import null_text
from nightscore.exporting.rows import Column, Rows

OPSETS = {"": 17, "ai.onnx.ml": 3}
ADVICE = (
    "train on float32 (X.astype('float32')), without the step that differs (an imputer before trees that see "
    "missing values, a calibration); or score the fitted object itself by a scorer of the workspace "
    "(docs/scorers.md)"
)


def read(model: Any, rows: Rows) -> Trained:
    """A fitted estimator: its probabilities, its decision function for an outlier detector, or its predictions."""
    register_trees()
    ways = [Way("float32", lambda: convert(model, rows, types.FloatTensorType))]
    if rows.is_double():
        ways.insert(0, Way("float64", lambda: convert(model, rows, types.DoubleTensorType)))
    classes = tuple(getattr(model, "classes_", ())) if hasattr(model, "predict_proba") else ()
    return Trained(f"scikit-learn {sklearn.__version__}", _predict(model), ways, classes, ADVICE)


def _predict(model: Any) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba
    if getattr(model, "_estimator_type", "") == "outlier_detector" or hasattr(model, "offset_"):
        return model.decision_function
    if hasattr(model, "predict"):
        return lambda given: np.asarray(model.predict(given), np.float64)
    raise CannotConvert(f"a {type(model).__name__} predicts nothing; allowed: what has predict_proba or predict")


def convert(model: Any, rows: Rows, number: Any) -> bytes:
    """The bytes of an .onnx model, whose floats are of one type."""
    codes = {column.name: null_text(_texts(rows, column)) for column in rows.of_kind("text")}
    copied = copy.deepcopy(model)
    _say_missing(copied, next(iter(set(codes.values())), ""))
    if rows.matrix:
        inputs = [("features", number([None, len(rows.columns)]))]
    else:
        inputs = [(column.name, _type(rows, column, number)) for column in rows.columns]
    with dates.tables(rows, number) as tables, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = convert_sklearn(
            copied, "model", inputs, target_opset=OPSETS,
            custom_conversion_functions=tables.converters, custom_shape_calculators=tables.shapes,
        )  # fmt: skip
    return bytes(proto.SerializeToString(deterministic=True))


def _texts(rows: Rows, column: Column) -> Sequence[Any]:
    return column.categories or rows.frame[column.name].dropna().unique().tolist()


def _type(rows: Rows, column: Column, number: Any) -> Any:
    if column.kind == "text":
        return types.StringTensorType([None, 1])
    if column.kind == "flag":
        return types.BooleanTensorType([None, 1])
    if column.kind == "date":
        return types.DoubleTensorType([None, 1])
    dtype = rows.frame[column.name].dtype
    whole = isinstance(dtype, np.dtype) and dtype.kind in "iu"
    return types.Int64TensorType([None, 1]) if whole else number([None, 1])


def _say_missing(model: Any, code: str) -> None:
    """Have each step of a copy know null by the text that stands for it, as the .onnx file will be given it."""
    for step in _steps(model):
        statistics = getattr(step, "statistics_", None)
        if isinstance(statistics, np.ndarray) and statistics.dtype.kind in "OUS":
            step.missing_values = code
        categories = getattr(step, "categories_", None)
        if isinstance(categories, list):
            step.categories_ = [_without_null(known, code) for known in categories]


def _without_null(known: Any, code: str) -> Any:
    known = np.asarray(known)
    if known.dtype.kind != "O":
        return known
    return np.array([code if pd.isna(value) else value for value in known], object)


def _steps(model: Any) -> Iterator[Any]:
    """An estimator and those inside of it, however deep."""
    yield model
    for value in vars(model).values():
        for one in _estimators(value):
            yield from _steps(one)


def _estimators(value: Any) -> Iterator[Any]:
    if isinstance(value, BaseEstimator):
        yield value
    elif isinstance(value, (list, tuple)) and len(value) < 1000:
        for one in value:
            yield from _estimators(one)


def register_trees() -> None:
    """Let skl2onnx know LightGBM and XGBoost, as far as they are installed."""
    for module in ("lightgbm", "xgboost"):
        try:
            known = __import__(f"nightscore.exporting.{module}", fromlist=["converters"]).converters()
        except ImportError:
            continue
        for kind, convert_one, is_classifier in known:
            shapes = (
                calculate_linear_classifier_output_shapes
                if is_classifier
                else calculate_linear_regressor_output_shapes
            )
            options = {"zipmap": [True, False, "columns"], "nocl": [True, False]} if is_classifier else None
            update_registered_converter(kind, f"Nightscore{kind.__name__}", shapes, convert_one, options=options)
