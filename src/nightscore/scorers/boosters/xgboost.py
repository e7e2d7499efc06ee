"""Kind `xgboost`: a model in XGBoost's own JSON or UBJ, scored by XGBoost.

Categories are in the file since XGBoost 3.1. A value that is none of its column's can't be scored: XGBoost
refuses it, too; a null is a missing value.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.scorers.boosted import MARGIN, PROBABILITIES, SCORE, two_classes
from nightscore.scorers.boosters.booster import (
    Array,
    Booster,
    BoosterScorer,
    also_by_trees,
    find_library,
    not_of,
    refuse_device,
    width_of,
)
from nightscore.scorers.coded import CodedColumns
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import matrix_columns
from nightscore.scorers.variant import Variant

FLOAT = np.dtype(np.float32)
CLASSIFIERS = ("binary:logistic", "multi:softprob")
WITHOUT_VALUES = (
    "{model}: column {column!r} is a category, and the file does not hold its values: XGBoost writes them "
    "since 3.1, of columns that pandas or Arrow call categories; train on such a column and save the model "
    "again with XGBoost 3.1 or later"
)


def open_xgboost(model: ModelFile, options: Options) -> BoosterScorer:
    """A scorer for a model file of XGBoost.

    Raises:
        ModelError: it is none, or linear; its columns or categories can't be told; it was stopped early, and
            which of its trees are meant is not said; it has no such output; or XGBoost is not installed.
    """
    refuse_device("xgboost", model, options)
    library = find_library("xgboost")
    opened = library.Booster({"nthread": options.threads, "verbosity": 0})
    try:
        opened.load_model(bytearray(model.data))
    except Exception as error:  # XGBoost's own, of many kinds
        raise not_of("xgboost", model, error) from error
    opened.set_param({"nthread": options.threads, "verbosity": 0})
    learner = json.loads(opened.save_config())["learner"]
    if learner["gradient_booster"]["name"] == "gblinear":
        raise ModelError(f"{model.name}: kind xgboost runs trees, and this is linear (gblinear); allowed: "
                         "gbtree, dart")  # fmt: skip
    objective = learner["objective"]["name"]
    binary = objective == "binary:logistic"
    columns = _columns(model.name, opened, options)
    predict = functools.partial(_predicted, opened, _rounds(model.name, opened), binary)
    zeros = np.zeros((2, len(columns.names)), FLOAT)  # the first call configures it, before threads share it
    main = PROBABILITIES if objective in CLASSIFIERS else SCORE
    widths = {output: width_of(predict(zeros, output)) for output in (main, MARGIN)}
    return BoosterScorer(model.name, Booster(columns.schema, widths, FLOAT, predict, columns.matrix), options)


def variants(device: str) -> list[Variant]:
    """What a model may be computed by."""
    return also_by_trees("xgboost", device)


def _predicted(opened: Any, rounds: tuple[int, int], binary: bool, matrix: Array, source: str) -> Array:
    kind = "margin" if source == MARGIN else "value"
    values: Array = opened.inplace_predict(matrix, iteration_range=rounds, predict_type=kind)
    return two_classes(values) if binary and source == PROBABILITIES else values


def _rounds(model: str, opened: Any) -> tuple[int, int]:
    """The rounds of trees that count: of scikit-learn's classes up to the best one, as these predict."""
    best, rounds = opened.attr("best_iteration"), opened.num_boosted_rounds()
    if best is None or int(best) + 1 == rounds:
        return (0, 0)
    if opened.attr("scikit_learn") is not None:
        return (0, int(best) + 1)
    raise ModelError(
        f"{model}: was stopped early, after {rounds} rounds of which number {int(best) + 1} was the best; "
        "Booster.predict takes them all, XGBClassifier and XGBRegressor the best ones. Say which: save with "
        "the class's own model.save_model(), or booster[: booster.best_iteration + 1], or all of them after "
        "booster.set_attr(best_iteration=None)"
    )


def _columns(model: str, opened: Any, options: Options) -> CodedColumns:
    own = opened.feature_names
    names = matrix_columns(model, options, own, opened.num_features(), "in its file")
    kinds = opened.feature_types or []
    values = _categories(opened) if "c" in kinds else {}
    for place in (i for i, kind in enumerate(kinds) if kind == "c" and i not in values):
        raise ModelError(WITHOUT_VALUES.format(model=model, column=names[place]))
    return CodedColumns(names, FLOAT, values, "fail")


def _categories(opened: Any) -> Mapping[int, pa.Array]:
    try:
        listed = opened.get_categories(export_to_arrow=True).to_arrow()
    except (AttributeError, ValueError):  # an older XGBoost, or a model without
        return {}
    return {i: values for i, (_, values) in enumerate(listed or ()) if values is not None}
