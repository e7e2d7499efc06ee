"""A night by a model in the file of the library that trained it, categories and gaps in SQL."""

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from nightscore import Broken, load, run
from tests.behaviour.conftest import Build
from tests.behaviour.world import DAY, ours
from tests.support.workspace import JOB, rows_of

ROWS = 400
SQL = """\
SELECT id, CASE WHEN id % 7 = 0 THEN NULL ELSE a END AS a,
    ['basic', 'plus', 'pro', NULL][id % 4 + 1] AS plan, b
FROM rows
"""
KINDS = {"lightgbm": "m.txt", "xgboost": "m.ubj"}
PLANS = ["basic", "plus", "pro"]


def features() -> pd.DataFrame:
    """What SQL gives, by pandas."""
    rows = rows_of(DAY, ROWS).to_pandas()
    plan = [[*PLANS, None][i % 4] for i in rows["id"]]
    return pd.DataFrame(
        {
            "a": rows["a"].where(rows["id"] % 7 != 0, np.nan),
            "plan": pd.Categorical(plan, categories=PLANS),
            "b": rows["b"],
        }
    )


def train(kind: str, root: Path, columns: list[str]) -> Any:
    """A model of the columns, in its library's own file."""
    given = features()
    y = given["b"] + given["plan"].cat.codes + given["a"].fillna(2)
    path = root / "data/models" / KINDS[kind]
    if kind == "lightgbm":
        model = lgb.LGBMRegressor(n_estimators=8, min_child_samples=5, verbose=-1).fit(given[columns], y)
        model.booster_.save_model(path)
        return model
    model = xgb.XGBRegressor(n_estimators=8, enable_categorical=True).fit(given[columns], y)
    model.save_model(path)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_night_is_what_the_library_predicts(fresh: Build, kind: str) -> None:
    """Whatever the order of the features; its version is in the receipt, another file is another day."""
    model_lines = f"kind: {kind}\n  path: data/models/{KINDS[kind]}"
    job = JOB.replace("features: rows", "features: features.sql").replace(
        "path: data/models/linear.onnx", model_lines
    )
    root = fresh(rows=ROWS, job=job.replace("{score: y}", "{score: score}"))
    (root / "jobs/mini/features.sql").write_text(SQL)
    for columns in (["a", "plan", "b"], ["plan", "b"]):
        model = train(kind, root, columns)
        receipt = run(load("mini", root), DAY)
        assert receipt.status == "published"
        found = ours(root, "mini_scores").rows.column("score").to_numpy()
        np.testing.assert_array_equal(found, model.predict(features()[columns]))
        assert kind in {name.removesuffix("-cpu") for name in receipt.versions}
    (root / "jobs/mini/features.sql").write_text(SQL.replace("NULL]", "'gold']"))
    if kind == "lightgbm":  # takes what was not seen for a missing value
        assert run(load("mini", root), DAY).status == "published"
        return
    with pytest.raises(Broken, match=r"'plan' holds 'gold' in row . of the chunk, which is none of the"):
        run(load("mini", root), DAY)
