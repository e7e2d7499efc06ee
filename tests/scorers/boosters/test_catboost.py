"""Kind `catboost`, held to CatBoost's own predictions; skipped where it is not there (100 MB)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.scorers import MissingValueError, ModelError, Options, check_scorer
from nightscore.scorers.boosters.catboost import open_catboost
from tests.scorers.boosters.training import NUMBERS, chunk, edges, file, frame, target

cb = pytest.importorskip("catboost", reason="catboost is not installed: pip install 'nightscore[catboost]'")

KINDS = {"Logloss": 2, "MultiClass": 3, "RMSE": 0, "Poisson": 0}
ABSENT = "(none)"


def features(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    """The same features without gaps in categories, as CatBoost wants them."""
    given = frame(rows, seed)
    given["plan"] = given["plan"].astype(object).fillna(ABSENT)
    given["store"] = given["store"].astype(str)
    return given


def trained(loss: str, columns: list[str]) -> Any:
    kind = cb.CatBoostClassifier if KINDS[loss] else cb.CatBoostRegressor
    model = kind(iterations=20, depth=4, loss_function=loss, verbose=0, random_seed=0, thread_count=1)
    y = target(frame(), KINDS[loss])
    categories = [name for name in columns if name not in NUMBERS]
    return model.fit(features()[columns], np.abs(y) if loss == "Poisson" else y, cat_features=categories)


def bytes_of(model: Any, folder: Path) -> bytes:
    model.save_model(str(folder / "m.cbm"))
    return (folder / "m.cbm").read_bytes()


def texts(given: pd.DataFrame) -> pa.RecordBatch:
    kinds = {name: pa.float32() if name in NUMBERS else pa.string() for name in given.columns}
    return pa.RecordBatch.from_pandas(given, pa.schema(list(kinds.items())), preserve_index=False)


@pytest.mark.parametrize("columns", [NUMBERS, ["balance", "plan", "age", "store"]], ids=["numbers", "mixed"])
@pytest.mark.parametrize("loss", KINDS)
def test_scores_are_catboosts_own(loss: str, columns: list[str], tmp_path: Path) -> None:
    """To the bit: gaps, extremes, and categories that no training row had."""
    model = trained(loss, columns)
    given = edges(frame(200, 5)).assign(plan=lambda f: f["plan"].astype(object).fillna("never seen"))
    given["store"] = [["7", "41", "12345"][i % 3] for i in range(len(given))]
    name = "probabilities[*]" if KINDS[loss] else "score"
    margin = "margin[*]" if KINDS[loss] > 2 else "margin"
    scorer = open_catboost(file(bytes_of(model, tmp_path)), Options({"main": name, "margin": margin}))
    ours, theirs = scorer.score(texts(given)), given[columns]
    expected = model.predict_proba(theirs) if KINDS[loss] else model.predict(theirs)
    np.testing.assert_array_equal(np.array(ours.column("main").to_pylist()), expected)
    np.testing.assert_array_equal(
        np.array(ours.column("margin").to_pylist()), model.predict(theirs, prediction_type="RawFormulaVal")
    )
    check_scorer(scorer, texts(given).slice(0, 60))


def test_what_is_refused_says_what_to_do(tmp_path: Path) -> None:
    """A null category, which CatBoost takes none of; other columns; an output that there is not."""
    data = bytes_of(trained("Logloss", ["balance", "plan"]), tmp_path)
    scorer = open_catboost(file(data), Options({"p": "probabilities[1]"}))
    with pytest.raises(
        MissingValueError, match=r"'plan' is a category, and has .* null values; CatBoost takes"
    ):
        scorer.score(chunk(edges(frame(50))))
    with pytest.raises(
        ModelError, match=r"model's own \(in its file\) are \[balance, plan\]; .* balance$|leave"
    ):
        open_catboost(file(data), Options({"p": "probabilities[1]"}, ["plan", "balance"]))
    with pytest.raises(
        ModelError, match=r"no output 'score'; its outputs: probabilities \(2 numbers a row\)"
    ):
        open_catboost(file(data), Options({"p": "score"}))
    with pytest.raises(ModelError, match="no model of catboost: it looks like a pointer of Git LFS"):
        open_catboost(file("version https://git-lfs.github.com/spec/v1"), Options({"p": "score"}))
