"""Demand: what the model is told of a category, what is published, and the figures of the committed model."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import yaml

from nightscore import load, query, run
from tests.support.own_jobs import copy_model
from tests.workspace.retail.world import MODEL, REPOSITORY, SLICE, Sql

JOB = "demand"
FOLDER = Path("jobs/retail/demand")
SPEC: dict[str, Any] = yaml.safe_load((REPOSITORY / FOLDER / "job.yaml").read_text())
CATEGORIES, DEMAND = ((REPOSITORY / FOLDER / name).read_text() for name in ("categories.sql", "demand.sql"))
METRICS: dict[str, Any] = json.loads((MODEL / "demand_metrics.json").read_text())
DAY = "2017-11-01"
# Some baskets are moved back, so that the months before hold something too.
MOVED = "UPDATE transactions SET day = day - CASE basket_id % 5 WHEN 0 THEN 30 WHEN 1 THEN 62 ELSE 0 END"


def world() -> Sql:
    """The slice as the job sees it on the day."""
    sql = Sql.over(SLICE, DAY)
    sql.connection.execute(MOVED)
    return sql


def recount(lines: pd.DataFrame, category: str) -> dict[str, float]:
    """Every feature of a category, as one would tell it; NaN where there is none."""
    own = lines[lines["category"] == category]
    month = own[own["ago"] < 28]

    def between(some: pd.DataFrame, first: int, last: int) -> int:
        return int(some["ago"].between(first, last).sum())

    def discount(some: pd.DataFrame) -> float:
        full = float((some["sales_value"] + some["retail_disc"]).sum())
        return float(some["retail_disc"].sum()) / full if full else np.nan

    sold, all_sold = len(month), between(lines, 0, 27)
    return {
        "lines_28_days": sold,
        "level": sold,
        **{f"week_{n + 1}": 4 * between(own, 7 * n, 7 * n + 6) / sold for n in range(4)},
        "month_2": min(10.0, between(own, 28, 55) / sold),
        "month_3": min(10.0, between(own, 56, 83) / sold),
        "lines_a_buyer": sold / month["household_id"].nunique(),
        "discount_week": discount(own[own["ago"] < 7]),
        "discount_month": discount(month),
        "chain_week_1": 4 * between(lines, 0, 6) / all_sold,
        "chain_week_2": 4 * between(lines, 7, 13) / all_sold,
        "chain_month_2": between(lines, 28, 55) / all_sold,
    }


def test_every_feature_of_the_slice_equals_a_recount_in_pandas() -> None:
    """Every category that sold in 28 days, and no other; its features to the last digits of a float."""
    sql = world()
    lines = sql.table(
        "SELECT * REPLACE (sales_value::DOUBLE AS sales_value, retail_disc::DOUBLE AS retail_disc) "
        "FROM transactions"
    ).to_pandas()
    products = sql.table("FROM products").to_pandas()
    products["category"] = products["product_category"].fillna(products["department"])
    lines = lines.merge(products[["product_id", "category"]])
    lines["ago"] = (pd.Timestamp(DAY) - pd.to_datetime(lines["day"])).dt.days
    rows = sql.table(CATEGORIES).to_pylist()
    assert sorted(row["category"] for row in rows) == sorted(set(lines.loc[lines["ago"] < 28, "category"]))
    for row in rows:
        for name, value in recount(lines, row.pop("category")).items():
            ours = row.pop(name)
            ours = math.nan if ours is None else float(ours)
            assert (
                math.isclose(ours, value, rel_tol=1e-6, abs_tol=1e-6)
                or math.isnan(ours) == math.isnan(value) == 1
            )
        assert not row  # no feature that was not counted


def decided(scores: dict[str, tuple[float, float, float]] | None = None) -> Sql:
    """The world with bounds for each category, and the decisions."""
    sql = world()
    sql.put("rows", sql.table(CATEGORIES))
    sql.connection.execute(
        "CREATE TABLE scores AS SELECT *, 0.5::FLOAT AS low, 1::FLOAT AS mid, 1.5::FLOAT AS high FROM rows"
    )
    for category, values in (scores or {}).items():
        sql.connection.execute(
            "UPDATE scores SET low = $1, mid = $2, high = $3 WHERE category = $4", [*values, category]
        )
    sql.put(JOB, sql.table(DEMAND))
    return sql


def audits(sql: Sql) -> list[str]:
    """Those that do not pass."""
    return [a["name"] for a in SPEC["audit"] if not sql.table(a["sql"]).column(0)[0].as_py()]


def test_bounds_never_cross_and_are_never_negative() -> None:
    """Whatever the three sets of trees say of a category."""
    first, second, third = sorted(row["category"] for row in world().table(CATEGORIES).to_pylist())[:3]
    sql = decided({first: (1.25, 1.0, 0.5), second: (-1.0, -0.5, 0.5), third: (0.25, 2.0, 3.0)})
    found = {row["category"]: row for row in sql.table(f"FROM {JOB}").to_pylist()}
    before = {category: row["as_before"] for category, row in found.items()}
    expected = {first: (1, 1, 1), second: (0, 0, 0.5), third: (0.25, 2, 3)}
    for category, times in expected.items():
        bounds = [float(found[category][name]) for name in ("low", "mid", "high")]
        assert bounds == [math.floor(10 * float(before[category]) * n + 0.5) / 10 for n in times]
    assert {str(found[first]["from_day"]), str(found[first]["until_day"])} == {"2017-11-02", "2017-11-15"}
    assert audits(sql) == []


def test_each_audit_breaks_when_it_should() -> None:
    """One wrong row each: the audit that is about it is the one that fails."""
    bounds, complete, far = (a["name"] for a in SPEC["audit"])
    one = f"category = (SELECT min(category) FROM {JOB})"
    for name, statement in (
        (bounds, f"UPDATE {JOB} SET low = mid + 1 WHERE {one}"),
        (bounds, f"UPDATE {JOB} SET low = -1 WHERE {one}"),
        (complete, f"DELETE FROM {JOB} WHERE {one}"),
        (complete, f"INSERT INTO {JOB} FROM {JOB} WHERE {one}"),
        (complete, f"UPDATE {JOB} SET category = 'NO SUCH' WHERE {one}"),
        (far, f"UPDATE {JOB} SET as_before = 50, mid = 201, high = 300 WHERE {one}"),
    ):
        sql = decided()
        assert audits(sql) == []
        sql.connection.execute(statement)
        assert audits(sql) == [name]


def test_a_night_on_the_slice_is_published(tmp_path: Path) -> None:
    """Through the framework with the real model."""
    workspace = tmp_path / "w"
    shutil.copytree(SLICE, workspace / "data/lake/retail")
    shutil.copytree(REPOSITORY / FOLDER, workspace / FOLDER)
    copy_model(workspace, SPEC)
    receipt = run(load(JOB, workspace=workspace), DAY)
    assert receipt.status == "published"
    assert all(audit.passed for audit in receipt.audits if audit.severity == "fail")
    assert query(f"SELECT count(*) AS n FROM {JOB}", workspace).to_pydict()["n"][0] > 50


def test_the_model_names_the_columns_that_the_features_have() -> None:
    """Same names, same order as in categories.sql; three outputs, small enough for a repository."""
    file = REPOSITORY / SPEC["model"]["path"]
    assert file.stat().st_size < 1_000_000
    session = ort.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    found = world().table(CATEGORIES)
    assert columns == [n for n in found.column_names if n not in (*SPEC["key"], *SPEC["keep"])]
    assert [one.name for one in session.get_outputs()] == ["low", "mid", "high"]


def test_the_figures_are_of_days_that_training_did_not_see_and_beat_the_mean_of_28_days() -> None:
    """Labels of training end on 30 September; the model has less error on all days together."""
    last = pd.Timestamp(METRICS["training"]["last_day"]) + pd.Timedelta(14, "D")
    assert last <= pd.Timestamp("2017-09-30") < pd.Timestamp(min(METRICS["days"]))
    assert METRICS["all"]["wape"] < METRICS["all"]["wape_as_before"]
