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


WIDE = {  # over s, a sum of integers (a HUGEINT): 9,900 and 10,000; what is right, as Python has it
    "s // 16": [9_900 // 16, 10_000 // 16],
    "CASE WHEN g = 0 THEN s ELSE 0.5 END": [9_900, 0.5],
    "least(s, 0.75)": [0.75, 0.75],
    "list_sum([s, 0.5])": [9_900.5, 10_000.5],
    "s + 0.25": [9_900.25, 10_000.25],
}


@pytest.mark.parametrize("says", WIDE)
@pytest.mark.parametrize("kept", [True, False], ids=["from the scores", "from a decision"])
def test_a_sum_of_integers_is_one_for_the_sql_that_reads_it(tmp_path: Path, says: str, kept: bool) -> None:
    """It is stored as a decimal of 38 digits, in which DuckDB has no room for a half."""
    sums = "SELECT id % 2 AS g, sum(id) AS s FROM rows GROUP BY g"
    job = f"""\
job: wide
about: sums
owner: tests
inputs:
  rows: {{path: data/lake/rows, partition: day}}
features: features.sql
key: [{"g" if kept else "id"}]
{"keep: [s]" if kept else ""}
model: none
decide:
  wide_sums: sums.sql
  wide_halves: halves.sql
"""
    root = make_workspace(tmp_path, rows=200)
    folder = root / "jobs/wide"
    folder.mkdir()
    (folder / "job.yaml").write_text(job)
    (folder / "features.sql").write_text(sums if kept else "SELECT id FROM rows")
    (folder / "sums.sql").write_text("SELECT g, s FROM scores" if kept else sums.replace("rows", "scores"))
    (folder / "halves.sql").write_text(f"SELECT g, {says} AS h FROM {'scores' if kept else 'wide_sums'}")
    run(load("wide", root), DAY)
    found = query("SELECT h FROM wide_halves ORDER BY g", root)["h"].to_pylist()
    assert [float(h) for h in found] == WIDE[says]


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
