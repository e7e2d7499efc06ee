"""Several decision tables of one job: each sees those that stand before it in job.yaml."""

from pathlib import Path

import pytest

from nightscore import query
from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.evaluation.decision_changes import compare_challenger_decisions
from nightscore.job.loader import load
from nightscore.pipeline.binding import check_sql
from nightscore.pipeline.context import Day
from nightscore.pipeline.executors import run
from nightscore.pipeline.steps import draft_plan
from tests.support.workspace import JOB, linear_model, make_workspace, rows_of

DAY = "2020-01-02"
DECIDE = "decide:\n  mini_top: top.sql\n"
COUNTED = DECIDE + "  mini_count: count.sql\n"
COUNT = """\
SELECT count(*) AS chosen, CAST(sum(rank) AS BIGINT) AS ranks, (SELECT count(*) FROM scores) AS scored
FROM mini_top
"""
BESIDE = "  champion: data/models/linear.onnx\n  challengers: [data/models/turned.onnx]\n  outputs"


def make(root: Path, job: str) -> Path:
    make_workspace(root, rows=200, job=job)
    (root / "jobs/mini/count.sql").write_text(COUNT)
    return root


def test_a_decision_reads_the_one_before_it(tmp_path: Path) -> None:
    """What it sees is what is published, without the run's column; both tables go out with one receipt."""
    root = make(tmp_path, JOB.replace(DECIDE, COUNTED))
    receipt = run(load("mini", root), DAY, params={"n": 7})
    assert receipt.status == "published"
    found = query(f"SELECT chosen, ranks, scored FROM mini_count WHERE day = DATE '{DAY}'", root)
    assert found.to_pylist() == [{"chosen": 7, "ranks": 28, "scored": 200}]


def test_a_decision_that_reads_a_later_one_is_refused(tmp_path: Path) -> None:
    """Nor itself; `check` says so, with the file."""
    turned = "decide:\n  mini_count: count.sql\n  mini_top: top.sql\n"
    root = make(tmp_path, JOB.replace(DECIDE, turned))
    with pytest.raises(Broken, match=r"jobs/mini/count\.sql: Catalog Error.*mini_top"):
        run(load("mini", root), DAY)
    check_sql(load("mini", make(tmp_path / "w", JOB.replace(DECIDE, COUNTED))))


def test_the_judge_decides_in_the_same_order(tmp_path: Path) -> None:
    """A challenger's ten are counted from the challenger's, not from the champion's: here the ten worst."""
    job = JOB.replace(DECIDE, COUNTED).replace("  path: data/models/linear.onnx\n  outputs", BESIDE)
    job += "judge: {days: 1, max_flips: 0%}\n"
    root = make(tmp_path, job)
    sums = "SELECT CAST(sum(id) AS BIGINT) AS ids FROM mini_top"
    (root / "jobs/mini/count.sql").write_text(sums)
    linear_model(root / "data/models/turned.onnx", (-1.0, -2.0))
    run(load("mini", root), DAY)
    day = Day(load("mini", root), draft_plan(load("mini", root), as_day(DAY)))
    scores = sorted((root / "data/tables/mini_scores").rglob("*.parquet"))
    changes = {
        one.table: (one.changed, one.rows) for one in compare_challenger_decisions(day, scores, "turned")
    }
    rows = rows_of(DAY, 200).to_pandas()
    ranked = rows.assign(y=rows["a"] + 2 * rows["b"]).sort_values("y")["id"]
    assert ranked.head(10).sum() != ranked.tail(10).sum()
    assert changes == {"mini_top": (10, 10), "mini_count": (1, 1)}
