"""LightGBM's and XGBoost's models: their kinds and our kernel for trees, held to what the libraries predict.

To the bit: gaps, zeros and what is next to them, extremes, categories of texts and of integers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.scorers import ModelFile, Options, Scorer, Variant, check_scorer, variants_of_kind
from nightscore.scorers.boosters.lightgbm import open_lightgbm
from nightscore.scorers.boosters.xgboost import open_xgboost
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.trees import open_trees
from tests.scorers.boosters.training import (
    COLUMNS,
    NUMBERS,
    chunk,
    edges,
    file,
    frame,
    of_lightgbm,
    of_xgboost,
    target,
)
from tests.scorers.models import file as onnx_file

OF_LIGHTGBM: dict[str, tuple[str, dict[str, Any]]] = {
    "binary": ("binary", {}),
    "multiclass": ("multiclass", {}),
    "multiclassova": ("multiclassova", {}),
    "regression": ("regression", {}),
    "squared": ("regression", {"reg_sqrt": True}),
    "poisson": ("poisson", {}),
    "cross_entropy": ("cross_entropy", {}),
    "cross_entropy_lambda": ("cross_entropy_lambda", {}),
    "random forest": ("regression", {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
    "dart": ("regression", {"boosting_type": "dart"}),
    "nothing is missing": ("regression", {"use_missing": False}),
}
OF_XGBOOST = ("binary:logistic", "multi:softprob", "reg:squarederror", "count:poisson", "reg:absoluteerror")
MANY = ("multiclass", "multiclassova", "multi:softprob")
TELLING = (*MANY, "binary", "binary:logistic")

Opens = Callable[[ModelFile, Options], Scorer]


def hold(  # noqa: PLR0917
    model: Any, data: ModelFile, opens: Opens, objective: str, rows: pd.DataFrame, raw: Any
) -> None:
    """Hold a scorer to a model's own predictions, and to its contract."""
    main = "probabilities[*]" if objective in TELLING else "score"
    margin = "margin[*]" if objective in MANY else "margin"
    scorer = opens(data, Options({"main": main, "margin": margin}))
    ours = scorer.score(chunk(rows))
    expected = model.predict_proba(rows) if objective in TELLING else model.predict(rows)
    for name, truth in (("main", expected), ("margin", raw)):
        np.testing.assert_array_equal(np.array(ours.column(name).to_pylist(), truth.dtype), truth, name)
    assert len(np.unique(expected)) > 5
    check_scorer(scorer, chunk(rows).slice(0, 40))


@pytest.mark.sample(6)
@pytest.mark.parametrize("columns", [NUMBERS, COLUMNS], ids=["numbers", "categories"])
@pytest.mark.parametrize("opens", [open_lightgbm, open_trees])
@pytest.mark.parametrize("case", OF_LIGHTGBM)
def test_scores_are_lightgbms_own(case: str, opens: Opens, columns: list[str]) -> None:
    """With the library, and without it by our kernel, which reads the same file."""
    objective, options = OF_LIGHTGBM[case]
    model = of_lightgbm(objective, columns == NUMBERS, **options)
    rows = edges(frame(300, 5))[columns]
    raw = model.predict(rows, raw_score=True)
    hold(model, file(model.booster_.model_to_string()), opens, objective, rows, raw)


@pytest.mark.sample(6)
@pytest.mark.parametrize("columns", [NUMBERS, COLUMNS], ids=["numbers", "categories"])
@pytest.mark.parametrize("opens", [open_xgboost, open_trees])
@pytest.mark.parametrize("raw_format", ["ubj", "json"])
@pytest.mark.parametrize("objective", OF_XGBOOST)
def test_scores_are_xgboosts_own(objective: str, raw_format: str, opens: Opens, columns: list[str]) -> None:
    model = of_xgboost(objective, columns == NUMBERS)
    rows = edges(frame(300, 5))[columns]
    data = file(bytes(model.get_booster().save_raw(raw_format)))
    hold(model, data, opens, objective, rows, model.predict(rows, output_margin=True))


def test_an_objective_of_ones_own_gives_the_sums() -> None:
    """LightGBM's file then names none."""
    given = frame()[NUMBERS].fillna(0)
    data = lgb.Dataset(given, target(frame()))
    options = {"objective": lambda p, seen: (p - seen.get_label(), np.ones_like(p)), "verbose": -1}
    model = lgb.train(options, data, 4)
    for opens in (open_lightgbm, open_trees):
        ours = opens(file(model.model_to_string()), Options({"y": "score"})).score(chunk(given))
        np.testing.assert_array_equal(ours.column("y").to_numpy(), model.predict(given))


def test_the_kernel_is_a_way_to_compute_a_librarys_file() -> None:
    """Where `device: auto` may choose; it is held to the library, and measured, as every variant."""
    for kind in ("lightgbm", "xgboost"):
        assert variants_of_kind(kind, "auto") == [Variant(kind), Variant("trees")]
    assert variants_of_kind("catboost", "auto") == [Variant("catboost")]


def test_lightgbm_takes_a_category_that_was_not_seen_for_a_missing_one() -> None:
    """As LightGBM does with a column of other categories."""
    model = of_lightgbm("regression")
    rows = frame(200, 3)
    rows["plan"] = pd.Categorical(np.where(np.arange(200) % 2, "gold", rows["plan"].astype(object)))
    for opens in (open_lightgbm, open_trees):
        scorer = opens(file(model.booster_.model_to_string()), Options({"y": "score"}))
        np.testing.assert_array_equal(scorer.score(chunk(rows)).column("y").to_numpy(), model.predict(rows))


def test_a_model_stopped_early_is_what_scikit_learns_class_predicts(tmp_path: Path) -> None:
    """The best rounds of XGBoost's, in both ways to compute it."""
    features = frame()[NUMBERS]
    model = of_xgboost(
        "reg:squarederror", True, early_stopping_rounds=2, learning_rate=1.5, reg_lambda=0.0, n_estimators=40
    )
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    model.save_model(tmp_path / "m.ubj")
    data = file((tmp_path / "m.ubj").read_bytes())
    for opens in (open_xgboost, open_trees):
        ours = opens(data, Options({"y": "score"})).score(chunk(features)).column("y").to_numpy()
        np.testing.assert_array_equal(ours, model.predict(features))
        assert (
            ours != model.predict(features, iteration_range=(0, model.get_booster().num_boosted_rounds()))
        ).any()


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_the_export_to_onnx_gives_nearly_the_same(library: str) -> None:
    """Of numbers alone, which float32 holds: the file's kind, and ONNX Runtime with onnxmltools' export."""
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    matrix = [("X", FloatTensorType([None, 2]))]
    if library == "lightgbm":
        model = of_lightgbm("binary", True)
        opens, data = open_lightgbm, file(model.booster_.model_to_string())
        graph = convert_lightgbm(model, initial_types=matrix, zipmap=False)
    else:
        booster = of_xgboost("binary:logistic", True).get_booster()
        opens, data = open_xgboost, file(bytes(booster.save_raw("json")))
        model = of_xgboost("binary:logistic", True)
        booster.feature_names = None
        graph = convert_xgboost(model, initial_types=matrix)
    rows = chunk(frame(500, 8)[NUMBERS])
    wanted = Options({"y": "probabilities[1]"})
    [native, exported] = (
        scorer.score(rows).column("y").to_numpy()
        for scorer in (opens(data, wanted), open_onnx(onnx_file(graph, NUMBERS), wanted))
    )
    np.testing.assert_allclose(native, exported, rtol=0, atol=1e-6)
    assert np.ptp(native) > 0.5


def test_a_null_among_integers_is_refused_as_everywhere() -> None:
    """A feature of whole numbers that has a null: no number stands for it."""
    rows = chunk(frame(20)[NUMBERS])
    ages = pa.array([None, *range(19)], pa.int32())
    given = rows.set_column(1, "age", ages)
    for opens, model in (
        (open_lightgbm, of_lightgbm("regression", True)),
        (open_trees, of_lightgbm("regression", True)),
    ):
        scorer = opens(file(model.booster_.model_to_string()), Options({"y": "score"}))
        with pytest.raises(Exception, match=r"column 'age' .int32. has 1 null values; give it a value"):
            scorer.score(given)
