"""XGBoost, by onnxmltools: the scikit-learn API and Boosters; categories by their texts."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xgboost
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert_operator
from skl2onnx.common.data_types import DoubleTensorType

from nightscore.exporting.conversion import CannotConvert, Scores, Trained, Way
from nightscore.exporting.graph import Trees, with_columns
from nightscore.exporting.rows import Column, Rows, refuse_other_names

ADVICE = (
    "train with missing=nan and booster=gbtree (dart and gblinear have no converter), or keep the .ubj file "
    "and score it by a scorer of the workspace (docs/scorers.md)"
)


def converters() -> Iterator[tuple[type, Callable[..., None], bool]]:
    """Kinds of models, the converter of each, and whether it is a classifier."""
    yield from ((kind, _convert, True) for kind in (xgboost.XGBClassifier, xgboost.XGBRFClassifier))
    yield from ((kind, _convert, False) for kind in (xgboost.XGBRegressor, xgboost.XGBRFRegressor))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    convert_operator(scope, operator, Trees(container, "cast" if double else "single"))


def read(model: Any, rows: Rows) -> Trained:
    """A fitted model of XGBoost's scikit-learn API, or a Booster. Both compute in float32."""
    if texts := [c.name for c in rows.of_kind("text", "date") if not c.categories]:
        raise CannotConvert(f"column {texts[0]!r} of X is no number and no category: astype('category')")
    booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
    refuse_other_names(rows, booster.feature_names or (), r"f\d+")
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    count = _classes(booster, objective)
    classes = tuple(getattr(model, "classes_", range(count))) if count else ()
    ways = [Way("float32", lambda: _onnx(model, rows.columns))]
    predict = _predict(model, classes)

    def of_known(given: Any) -> Scores:
        for column in rows.columns:
            unknown = (
                set(given[column.name].dropna()) - set(column.categories) if column.categories else set()
            )
            if unknown:  # 3.2 raises, or gives it the score of another category, by what lies in memory
                raise CannotConvert("XGBoost has no score for a category that training has not seen")
        return predict(given)

    return Trained(f"xgboost {xgboost.__version__}", of_known, ways, classes, ADVICE)


def _classes(booster: xgboost.Booster, objective: str) -> int:
    if objective.startswith("binary:"):
        return 2
    said = json.loads(booster.save_config())["learner"]["learner_model_param"]
    return int(said["num_class"]) if objective.startswith("multi:") else 0


def _predict(model: Any, classes: Sequence[Any]) -> Callable[[Any], Scores]:
    if not isinstance(model, xgboost.Booster):
        return model.predict_proba if classes else model.predict  # type: ignore[no-any-return]

    def predict(given: Any) -> Scores:
        frame = xgboost.DMatrix(given, enable_categorical=True)
        scores = np.asarray(model.predict(frame))
        return np.column_stack([1 - scores, scores]) if classes and scores.ndim == 1 else scores

    return predict


def _onnx(model: Any, columns: Sequence[Column]) -> bytes:
    copied = copy.deepcopy(model)  # the converter knows a column by its place alone, as f0, f1, …
    booster = copied if isinstance(copied, xgboost.Booster) else copied.get_booster()
    booster.feature_names = [f"f{place}" for place in range(len(columns))]
    kinds = booster.feature_types or []  # of a boolean the dump has no threshold: 0 and 1 are numbers as well
    booster.feature_types = ["c" if kind == "c" else "float" for kind in kinds] or None
    shape = [("features", FloatTensorType([None, len(columns)]))]
    return with_columns(
        convert_xgboost(copied, initial_types=shape).SerializeToString(deterministic=True), columns
    )
