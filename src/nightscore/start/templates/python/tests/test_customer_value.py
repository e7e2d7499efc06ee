"""The scorer keeps to the contract of scorers, and the job publishes what its formula gives by hand."""

import math
from pathlib import Path

import pyarrow as pa
import pytest

import nightscore
from nightscore.scorers import Options, check_scorer, open_scorer

DAY = "2026-01-07"


def expected(spend: float, days: int) -> float:
    """Euros of twelve months, one after another."""
    stays = math.exp(-(20 + days) / 400)
    return sum(0.3 * spend * stays**month for month in range(1, 13))


def test_the_scorer_keeps_to_the_contract(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    scorer = open_scorer("scorers/customer_value.py", None, Options({"value": "value", "months": "months"}))
    people = {"spend_month": [0.0, 20.0, 300.0], "days_since_order": [0.0, 30.0, 400.0]}
    check_scorer(scorer, pa.RecordBatch.from_pydict(people))


def test_what_is_published(workspace: Path) -> None:
    job = nightscore.load("customer_value", workspace)
    rows = nightscore.features(job, DAY).to_pylist()
    assert nightscore.run(job, DAY).status == "published"
    published = nightscore.query("SELECT customer_id, value FROM customer_value_scores ORDER BY 1", workspace)
    assert [row["customer_id"] for row in rows] == published["customer_id"].to_pylist()
    for row, value in zip(rows, published["value"].to_pylist(), strict=True):
        assert math.isclose(value, expected(row["spend_month"], row["days_since_order"]), rel_tol=1e-9)
