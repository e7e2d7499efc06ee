"""LightGBM, by onnxmltools: thresholds in float64, as the library compares; categories by their texts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightgbm
import numpy as np
import onnxmltools  # noqa: F401  registers what its operator converters need
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn
from skl2onnx.common import data_types as types
from sklearn.base import ClassifierMixin, RegressorMixin

from nightscore.exporting.conversion import CannotConvert, Scores, Trained, Way
from nightscore.exporting.graph import Trees, with_columns
from nightscore.exporting.rows import Column, Rows, refuse_other_names

OPSETS = {"": 17, "ai.onnx.ml": 3}
ADVICE = (
    "train without what the converter does not write (zero_as_missing; linear_tree; an objective of your "
    "own; boosting_type rf, for which it divides by 100 trees whatever there are: n_estimators=100), or keep "
    "the .txt file and score it by a scorer of the workspace (docs/scorers.md)"
)


class _Booster:
    """A Booster as the converter wants it: what scikit-learn calls a classifier or a regressor."""

    def __init__(self, booster: lightgbm.Booster, kind: str, classes: Sequence[int]) -> None:
        self.booster_, self.boosting_type = booster, kind
        self.classes_ = np.array(classes)


class _Classifier(_Booster, ClassifierMixin):  # type: ignore[misc]
    pass


class _Regressor(_Booster, RegressorMixin):  # type: ignore[misc]
    pass


def converters() -> Iterator[tuple[type, Callable[..., None], bool]]:
    """Kinds of models, the converter of each, and whether it is a classifier."""
    yield from ((kind, _convert, True) for kind in (lightgbm.LGBMClassifier, _Classifier))
    yield from ((kind, _convert, False) for kind in (lightgbm.LGBMRegressor, lightgbm.LGBMRanker, _Regressor))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    double = isinstance(operator.inputs[0].type, types.DoubleTensorType)
    convert_lightgbm(scope, operator, Trees(container, "double" if double else "single"))


def read(model: Any, rows: Rows) -> Trained:
    """A fitted model of LightGBM's scikit-learn API, or a Booster."""
    from nightscore.exporting.sklearn import register_trees

    register_trees()
    booster = model if isinstance(model, lightgbm.Booster) else model.booster_
    spaced = {name.replace(" ", "_"): name for name in rows.names}  # LightGBM has no spaces in names
    refuse_other_names(rows, [spaced.get(name, name) for name in booster.feature_name()], r"Column_\d+")
    columns = _with_categories(rows, booster.pandas_categorical or [])
    wrapped = _wrapped(model) if isinstance(model, lightgbm.Booster) else model
    ways = [
        Way("float32", lambda: _onnx(wrapped, columns, types.FloatTensorType)),
        Way("float64", lambda: _onnx(wrapped, columns, types.DoubleTensorType)),
    ]
    if rows.is_double():
        ways.reverse()
    classes = tuple(wrapped.classes_) if isinstance(wrapped, ClassifierMixin) else ()
    return Trained(
        f"lightgbm {lightgbm.__version__}", _predict(model, classes), ways, classes, ADVICE,
        {c.name: list(c.categories) for c in columns if c.categories} | _codes(booster, rows),
    )  # fmt: skip


def _predict(model: Any, classes: Sequence[Any]) -> Callable[[Any], Scores]:
    if not isinstance(model, lightgbm.Booster):
        return model.predict_proba if classes else model.predict  # type: ignore[no-any-return]

    def predict(given: Any) -> Scores:
        scores = np.asarray(model.predict(given))
        return np.column_stack([1 - scores, scores]) if classes and scores.ndim == 1 else scores

    return predict


def _wrapped(booster: lightgbm.Booster) -> Any:
    dumped = booster.dump_model(num_iteration=1)
    objective, count = str(dumped.get("objective", "")), max(2, int(dumped["num_class"]))
    kind = "rf" if dumped.get("average_output") else "gbdt"
    if objective.startswith(("binary", "multiclass")):
        return _Classifier(booster, kind, range(count))
    return _Regressor(booster, kind, ())


def _with_categories(rows: Rows, known: Sequence[Sequence[Any]]) -> list[Column]:
    """The columns with the categories that the model was trained with, which it keeps in their order."""
    ours = [column.name for column in rows.columns if column.categories]
    if texts := [c.name for c in rows.of_kind("text", "date") if not c.categories]:
        raise CannotConvert(f"column {texts[0]!r} of X is no number and no category: astype('category')")
    if len(ours) != len(known):
        raise CannotConvert(f"the model knows {len(known)} columns of categories, and X has {len(ours)}")
    trained = dict(zip(ours, known, strict=True))
    return [
        Column(c.name, c.kind, tuple(trained[c.name]), c.nullable) if c.name in trained else c
        for c in rows.columns
    ]


def _codes(booster: lightgbm.Booster, rows: Rows) -> dict[str, list[Any]]:
    """The categories of columns of numbers (`categorical_feature`), as the model has seen them."""
    names = [c.name for c in rows.columns]
    infos = dict(zip(booster.feature_name(), names, strict=False))
    seen = booster.dump_model(num_iteration=1).get("feature_infos", {})
    plain = {c.name for c in rows.of_kind("number") if not c.categories}
    return {
        infos[name]: [value for value in said["values"] if value >= 0]
        for name, said in seen.items()
        if said.get("values") and infos.get(name) in plain
    }


def _onnx(model: Any, columns: Sequence[Column], number: Any) -> bytes:
    proto = convert_sklearn(model, "model", [("features", number([None, len(columns)]))], target_opset=OPSETS)
    return with_columns(proto.SerializeToString(deterministic=True), columns)
