"""scikit-learn: estimators and pipelines, by skl2onnx; LightGBM and XGBoost inside of them by onnxmltools."""

import copy
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import data_types as types
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn import ensemble, tree
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from nightscore.exporting import dates
from nightscore.exporting.conversion import MATRIX, CannotConvert, Trained, Way
from nightscore.exporting.graph import Mode, Trees, null_text
from nightscore.exporting.rows import Column, Rows, refuse_other_names

Converter = Callable[..., None]
TREES = (
    tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier,
    tree.ExtraTreeRegressor, ensemble.RandomForestClassifier, ensemble.RandomForestRegressor,
    ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor,
    ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor,
    ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor,
)  # fmt: skip

OPSETS = {"": 17, "ai.onnx.ml": 3}
ADVICE = (
    "train on float32 (X.astype('float32')), without the step that differs (an imputer before trees that see "
    "missing values, a calibration); or score the fitted object itself by a scorer of the workspace "
    "(docs/scorers.md)"
)


def read(model: Any, rows: Rows) -> Trained:
    """A fitted estimator: its probabilities, an outlier detector's decision function, or its predictions."""
    register_trees()
    _refuse_names(model, rows)
    numbers = [("float32", types.FloatTensorType), ("float64", types.DoubleTensorType)]
    if rows.is_double():
        numbers.reverse()
    ways = (
        []
        if rows.matrix or not rows.is_numeric()
        else [
            Way(f"{about}{MATRIX}", partial(convert, model, rows, number, None)) for about, number in numbers
        ]
    )  # an estimator that is no pipeline takes its columns side by side
    whole = None if rows.matrix else types.Int64TensorType
    ways += [Way(about, partial(convert, model, rows, number, whole and number)) for about, number in numbers]
    if any(_is_whole(rows, column) for column in rows.columns):
        ways += [
            Way(f"{about} and int64", partial(convert, model, rows, number, whole))
            for about, number in numbers
        ]
    classes = tuple(getattr(model, "classes_", ())) if hasattr(model, "predict_proba") else ()
    return Trained(
        f"scikit-learn {sklearn.__version__}",
        _predict(model),
        ways,
        classes,
        ADVICE,
        _known(model, rows),
    )


def _refuse_names(model: Any, rows: Rows) -> None:
    """Hold X's names to those of training; a ColumnTransformer takes them in any order."""
    names = list(getattr(model, "feature_names_in_", ()))
    if rows.matrix or set(names) != set(rows.names) or not _picks(model):
        refuse_other_names(rows, names)


def _picks(model: Any) -> bool:
    """Whether what comes first in a model is a ColumnTransformer."""
    while isinstance(model, Pipeline):
        model = model.steps[0][1]
    return isinstance(model, ColumnTransformer)


def _predict(model: Any) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba
    if getattr(model, "_estimator_type", "") == "outlier_detector" or hasattr(model, "offset_"):
        return model.decision_function
    if hasattr(model, "predict"):
        return lambda given: np.asarray(model.predict(given), np.float64)
    raise CannotConvert(
        f"a {type(model).__name__} predicts nothing; allowed: what has predict_proba or predict"
    )


def convert(model: Any, rows: Rows, number: Any, whole: Any) -> bytes:
    """The bytes of an .onnx model, whose floats and integers are of these types (None: a matrix)."""
    codes = {column.name: null_text(_texts(rows, column)) for column in rows.of_kind("text")}
    copied = copy.deepcopy(model)
    _say_missing(copied, next(iter(set(codes.values())), ""))
    if whole is None:
        inputs = [("features", number([None, len(rows.columns)]))]
    else:
        inputs = [(column.name, _type(rows, column, number, whole)) for column in rows.columns]
    with dates.tables(rows, number) as tables, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = convert_sklearn(
            copied, "model", inputs, target_opset=OPSETS,
            options={id(copied): {"zipmap": False}} if hasattr(model, "predict_proba") else None,
            custom_conversion_functions=tables.converters, custom_shape_calculators=tables.shapes,
        )  # fmt: skip
    return bytes(proto.SerializeToString(deterministic=True))


def _texts(rows: Rows, column: Column) -> Sequence[Any]:
    return column.categories or rows.frame[column.name].dropna().unique().tolist()


def _is_whole(rows: Rows, column: Column) -> bool:
    dtype = rows.frame[column.name].dtype
    return not rows.matrix and isinstance(dtype, np.dtype) and dtype.kind in "iu"


def _type(rows: Rows, column: Column, number: Any, whole: Any) -> Any:
    if column.kind == "text":
        return types.StringTensorType([None, 1])
    if column.kind == "flag":
        return types.BooleanTensorType([None, 1])
    return (whole if _is_whole(rows, column) else number)([None, 1])


def _say_missing(model: Any, code: str) -> None:
    """Have each step of a copy know null by the text that stands for it in the .onnx file."""
    for step in _steps(model):
        statistics = getattr(step, "statistics_", None)
        if isinstance(statistics, np.ndarray) and statistics.dtype.kind in "OUS":
            step.missing_values = code
        categories = getattr(step, "categories_", None)
        if isinstance(categories, list):
            step.categories_ = [_without_null(known, code) for known in categories]


def _known(model: Any, rows: Rows) -> dict[str, list[Any]]:
    """The categories of columns, of the encoders in a model: by their names, or of what holds all of X's."""
    found: dict[str, list[Any]] = {}
    for step in _steps(model):
        of = getattr(step, "categories_", None)
        if not isinstance(of, list):
            continue
        names = list(getattr(step, "feature_names_in_", ()))
        for place, known in enumerate(of):
            values = [value for value in np.asarray(known).tolist() if not pd.isna(value)]
            named = names[place] if len(names) == len(of) else ""
            for column in rows.of_kind("number", "text"):
                if column.name == named or (not names and _holds(values, rows, column)):
                    found[column.name] = values
    return found


def _holds(values: Sequence[Any], rows: Rows, column: Column) -> bool:
    """Whether categories are those of a column, as far as X shows it."""
    mine = rows.frame[column.name].dropna()
    return bool(len(mine)) and set(mine.unique().tolist()) <= set(values)


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
    """Let skl2onnx know LightGBM and XGBoost, where they are installed; and mend what it knows of trees."""
    for kind in TREES:
        known = sklearn_operator_name_map[kind]
        if not known.startswith("Nightscore"):
            _register(
                kind, _in_double(get_converter(known)), get_shape_calculator(known), is_classifier(kind())
            )
    for module in ("lightgbm", "xgboost"):
        try:
            others = importlib.import_module(f"nightscore.exporting.{module}").converters()
        except ImportError:
            continue
        for kind, convert_one, classifies in others:
            shapes = (
                calculate_linear_classifier_output_shapes
                if classifies
                else calculate_linear_regressor_output_shapes
            )
            _register(kind, convert_one, shapes, classifies)


def _register(kind: type, convert_one: Converter, shapes: Callable[[Any], None], classifies: bool) -> None:
    flags = ["decision_path", "decision_leaf"]
    flags += ["nocl", "raw_scores", "output_class_labels", "zipmap"] if classifies else []
    options = {flag: [True, False] for flag in flags}
    update_registered_converter(
        kind, f"Nightscore{kind.__name__}", _in_float(shapes), convert_one, options=options
    )


def _in_double(convert_one: Converter) -> Converter:
    """The converter of trees that the library compares in float64."""

    def converted(scope: Any, operator: Any, container: Any) -> None:
        double = isinstance(operator.inputs[0].type, types.DoubleTensorType)
        function = getattr(convert_one, "_fct", convert_one)  # what stands behind a registered converter
        # From version 3 of the operator on the converter knows which float64 sklearn's own comparison is.
        version = (
            {"op_version": 3} if double and "op_version" in inspect.signature(function).parameters else {}
        )
        mode: Mode = "double" if double else "single"
        left = _missing_go_left(operator.raw_operator)
        function(scope, operator, Trees(container, mode, left), **version)

    return converted


def _missing_go_left(model: Any) -> Sequence[Any] | None:
    """Of each tree [trees] which nodes send a missing value left, which the converter does not write."""
    trees = (
        model.estimators_ if hasattr(model, "estimators_") else [model] if hasattr(model, "tree_") else None
    )
    return None if trees is None else [one.tree_.missing_go_to_left for one in np.ravel(trees)]


def _in_float(shapes: Callable[[Any], None]) -> Callable[[Any], None]:
    """The shapes of an operator's outputs; trees give float32, whatever they compare in."""

    def calculated(operator: Any) -> None:
        shapes(operator)
        scores = operator.outputs[-1]
        scores.type = types.FloatTensorType(scores.type.shape)

    return calculated
