"""`model: none`: SQL in, published tables out, with the plan, proof, audits and receipt of any other job."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, Restate, load, query, run
from nightscore.cli.main import call
from nightscore.common.units import as_day
from nightscore.evaluation.bakeoff.runner import run_bakeoff
from nightscore.evaluation.judge import judge_challengers
from nightscore.evaluation.promote import promote_model
from nightscore.pipeline.executors import LOCAL_THREADS, InOrder
from nightscore.pipeline.publish.hold import Held, release_day
from nightscore.pipeline.replay import replay_rejects
from nightscore.pipeline.steps import check_job, plan_day, publish_day
from nightscore.review.explain import explain_row
from nightscore.review.late_data import find_late_days
from nightscore.review.recheck.days import recheck_days
from nightscore.review.report.html import report
from nightscore.review.verify import verify_days
from nightscore.store.published.catalog import read_catalog
from nightscore.store.published.receipt_rows import CatalogEntry
from tests.behaviour.conftest import MANY, ROWS, Build, copied
from tests.behaviour.world import DAY, copy, staged
from tests.support.workspace import DAYS, make_workspace, rows_of, write_day

FIRST, SECOND, THIRD = DAYS
TOTALS = """\
job: totals
about: What the rows of a day add up to, by group
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: features.sql
key: [id]
keep: [part, units]
model: none
decide:
  totals: totals.sql
audit:
  - name: every row is counted
    sql: SELECT sum(rows) = (SELECT count(*) FROM scores) FROM totals
  - rows: {between: [0.5, 2]}
"""
ROWS_SQL = (
    "SELECT id, id % 7 AS part, floor(a * 1024)::BIGINT AS units FROM rows WHERE day = getvariable('day')"
)
TOTALS_SQL = "SELECT part, count(*) AS rows, sum(units)::BIGINT AS units FROM scores GROUP BY part"
NOTED = Restate("late rows", "Ada")


def add_totals(root: Path, text: str = TOTALS, sql: str = ROWS_SQL) -> Path:
    folder = root / "jobs/totals"
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(text)
    (folder / "features.sql").write_text(sql)
    (folder / "totals.sql").write_text(TOTALS_SQL)
    return root


def truth(rows: int, day: str = DAY) -> list[dict[str, int]]:
    """The totals by NumPy."""
    found = rows_of(day, rows)
    part, a = found["id"].to_numpy() % 7, found["a"].to_numpy()
    units = np.floor(a * np.float32(1024)).astype(np.int64)  # exact: a power of two
    return [
        {"part": int(p), "rows": int((part == p).sum()), "units": int(units[part == p].sum())}
        for p in np.unique(part)
    ]


def published(root: Path, day: str = DAY, **options: Any) -> list[dict[str, int]]:
    sql = "SELECT part, rows, units FROM totals WHERE day = $1 ORDER BY part"
    return query(sql, root, values=[day], **options).to_pylist()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sql") / "w")


def make(root: Path) -> Path:
    add_totals(make_workspace(root, ROWS))
    (root / "data/models/linear.onnx").unlink()
    for day in (FIRST, SECOND):
        assert run(load("totals", root), day).status == "published"
    return root


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Path:
    """A workspace without a model file, with two days of the job `totals` published."""
    return copied(request, "template", make)


def test_what_sql_makes_is_published_and_proven(root: Path) -> None:
    """The tables are NumPy's; rows and key hash are those of the source; and the receipt names no model."""
    assert published(root) == truth(ROWS)
    (receipt,) = [entry.read_receipt() for entry in catalog_of(root) if entry.day == DAY]
    assert (receipt.rows.read, receipt.rows.scored, receipt.rows.rejected) == (ROWS, ROWS, 0)
    assert receipt.key_hash.in_ == receipt.key_hash.out != ""
    assert receipt.model is receipt.variant is receipt.score_sample is None
    assert (receipt.device, receipt.tried, receipt.challengers) == ("", (), ())
    assert [audit.passed for audit in receipt.audits] == [True, True]
    assert not [day for day in verify_days(load("totals", root).workspace) if day.differences]


def test_the_scores_are_the_rows_of_the_features(root: Path) -> None:
    """Key and kept columns, under the name that every other job's rows have."""
    rows = query(
        "SELECT * EXCLUDE (day, run_id) FROM totals_scores WHERE day = $1 ORDER BY id", root, values=[DAY]
    )
    source = rows_of(DAY, ROWS)
    assert rows.column_names == ["id", "part", "units"]
    assert rows["id"].to_pylist() == source["id"].to_pylist()
    assert rows["part"].to_pylist() == (source["id"].to_numpy() % 7).tolist()


@pytest.mark.slow
def test_a_day_is_unchanged_or_restated_as_any_other(root: Path) -> None:
    """The same causes: nothing to do. Another input: late, and restated with what moved."""
    job = load("totals", root)
    assert run(job, DAY).status == "unchanged"
    write_day(root, DAY, ROWS + 70)
    (late,) = find_late_days(job, as_day(FIRST))
    assert late.causes.others == [] and late.tables and late.tables["totals_scores"].added == 70
    again = run(job, DAY, restate=NOTED)
    assert again.restatement and again.restatement.tables["totals"].moved["rows"] == "70"
    assert published(root) == truth(ROWS + 70) and published(root, as_reported=True) == truth(ROWS)


def test_a_failed_audit_holds_the_day_and_a_person_releases_it(root: Path) -> None:
    """A tenth of the rows is too few; nothing is published until somebody says so."""
    write_day(root, THIRD, ROWS // 10)
    with pytest.raises(Held):
        run(load("totals", root), THIRD)
    assert published(root, THIRD) == []
    job = load("totals", root)
    assert release_day(job.workspace, job.name, as_day(THIRD), by="Ada", because="a holiday").released
    assert published(root, THIRD) == truth(ROWS // 10, THIRD)


@pytest.mark.slow
def test_bad_rows_are_set_aside_and_replayed(root: Path) -> None:
    """Rows outside their domain go to the rejects; mended, the day is merged, and it is NumPy's again."""
    domain = "policy: {bad_row: reject, max_rejected: 60%}\ndomain: {units: {min: 0, max: 499}}\n"
    job = load(
        "totals",
        add_totals(root, TOTALS.replace("rows: {between: [0.5, 2]}", "rows: {between: [0.1, 9]}") + domain),
    )
    units = np.floor(rows_of(DAY, ROWS)["a"].to_numpy() * np.float32(1024))
    assert run(job, DAY).rows.rejected == int((units > 499).sum())
    assert sum(row["rows"] for row in published(root)) == int((units <= 499).sum())
    add_totals(root, job.file.read_text().replace("max: 499", "max: 1023"))
    mended = replay_rejects(load("totals", root), as_day(DAY))
    assert mended.rows.rejected == 0 and mended.replayed
    assert published(root) == truth(ROWS)


def test_its_features_may_be_a_table_as_it_is(root: Path) -> None:
    """The rows that another job published are streamed, and of a day that was restated the first ones."""
    other = TOTALS.replace("job: totals", "job: parts").replace("  totals: totals.sql", "  parts: totals.sql")
    other = other.replace(
        "{path: data/lake/rows, partition: day}", "{table: totals_scores, as_reported: true}"
    )
    other = other.replace("features: features.sql", "features: rows").replace("FROM totals", "FROM parts")
    folder = root / "jobs/parts"
    folder.mkdir()
    (folder / "job.yaml").write_text(other)
    (folder / "totals.sql").write_text(TOTALS_SQL)
    write_day(root, DAY, ROWS + 70)
    run(load("totals", root), DAY, restate=NOTED)
    receipt = run(load("parts", root), DAY)
    assert receipt.rows.read == ROWS and receipt.as_reported == {"rows": (DAY,)}
    rows = query("SELECT part, rows, units FROM parts ORDER BY part", root).to_pylist()
    assert rows == truth(ROWS)
    shown = explain_row(load("parts", root), as_day(DAY), {"id": "5"})
    assert shown.scores and shown.features and shown.scores["units"] == shown.features["units"]


@pytest.mark.slow
def test_a_large_day_is_cut_into_pieces_that_lose_nothing(fresh: Build, tmp_path: Path) -> None:
    """Several pieces, one after the other or side by side: all rows, and the same ones."""
    left = add_totals(fresh(MANY, days=(DAY,)))
    right = copy(left, tmp_path / "right")
    for root, executor in ((left, InOrder()), (right, LOCAL_THREADS)):
        job = load("totals", root)
        plan = plan_day(job, as_day(DAY))
        assert len(plan.pieces) > 2
        publish_day(job, plan, executor.map(job, plan, plan.pieces, lambda *_: None))
        assert published(root) == truth(MANY)
    tables = [pa.concat_tables([pq.read_table(f) for f in staged(root)]) for root in (left, right)]
    first, second = (table.drop(["run_id"]).sort_by("id").combine_chunks() for table in tables)
    assert first.equals(second) and first["id"].to_pylist() == list(range(MANY))


@pytest.mark.slow
def test_reviewers_see_it_whole(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """check, plan, run, report, why and recheck say that there is no model, or nothing of one."""
    job = load("totals", root)
    assert check_job(job) == "ok: 3 feature columns; publishes totals_scores, totals"
    at = ["--workspace", str(root)]
    assert call(["plan", "totals", "--day", THIRD, *at]) == 0
    assert "model     none\n" in capfd.readouterr().out
    assert call(["run", "totals", "--day", THIRD, *at]) == 0
    out = capfd.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("model")] == [["model", "none"]]
    assert not any("score sample" in line or " on cpu" in line for line in out.splitlines())
    row = explain_row(job, as_day(DAY), {"id": "5"})
    assert row.model is None and row.scores == row.features
    html = report("totals", DAY, root)
    assert "totals_scores" in html and "None" not in html
    assert [
        day.findings for day in recheck_days(job.workspace, as_day(FIRST), "totals") if day.findings
    ] == []


def test_what_needs_a_model_says_that_there_is_none(root: Path) -> None:
    """judge, bakeoff, promote, and a run with a model or a device of its own: one line each, and why."""
    job = load("totals", root)
    said = "jobs/totals/job.yaml:9: model: is none: the job has no model"
    for ask in (
        lambda: judge_challengers(job),
        lambda: run_bakeoff(job, as_day(DAY)),
        lambda: promote_model(job, "data/models/other.onnx", by="Ada"),
        lambda: run(job, DAY, model="data/models/other.onnx"),
        lambda: run(job, DAY, device="cuda"),
    ):
        with pytest.raises(Broken) as found:
            ask()
        assert str(found.value).startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model: none", "model: nothing", "9: model: 'nothing' is not allowed"),
        ("model: none", "model: {kind: none, path: a.onnx, outputs: {}}", "the word alone"),
        ("model: none", "model: none\nscoring: {device: cuda}", "10: scoring.device: is about"),
        ("model: none", "model: none\nscoring: {tolerance: 0.1}", "10: scoring.tolerance: is about"),
        ("model: none", "model: none\nscoring: {nan_output: reject}", "10: scoring.nan_output: is about"),
        ("model: none", "model: none\nscoring: {features_null: {a: 0}}", "scoring.features_null: is about"),
        ("model: none", "model: none\npolicy: {value_lost: reject}", "10: policy.value_lost: is about"),
        ("model: none", "model: none\nbudget: {max_abs: 1}", "10: budget: is about"),
        ("model: none", "model: none\njudge: {days: 3}", "10: judge: is about"),
        ("rows: {between: [0.5, 2]}", "scores: {column: y, min: 0}", "'y' is no column of the scores"),
    ],
)  # fmt: skip
def test_what_says_something_of_a_model_is_refused(root: Path, old: str, new: str, said: str) -> None:
    """At check, with the line and what is allowed."""
    with pytest.raises(Broken) as found:
        load("totals", add_totals(root, TOTALS.replace(old, new)))
    assert said in str(found.value)


def test_a_domain_of_what_no_column_gives_is_refused(root: Path) -> None:
    """Without a model there are no outputs: a domain is one of the features."""
    add_totals(root, TOTALS + "domain: {score: {min: 0}}\n")
    with pytest.raises(Broken, match=r"domain\.score: neither the features nor the outputs have this column"):
        check_job(load("totals", root))


def test_features_that_are_a_table_of_the_job_itself_are_refused(root: Path) -> None:
    """It has no rows of the day before the day is run."""
    text = TOTALS.replace("{path: data/lake/rows, partition: day}", "{table: totals}")
    with pytest.raises(Broken, match="6: features: input 'rows' is a table of this job"):
        load("totals", add_totals(root, text.replace("features: features.sql", "features: rows")))


def catalog_of(root: Path) -> tuple[CatalogEntry, ...]:
    return read_catalog(load("totals", root).workspace).history
