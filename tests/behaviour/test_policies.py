"""What a job says about missing days, previews, other models, audits; and looking back in time."""

import datetime as dt
import hashlib
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, NotYet, backfill, load, query, run
from nightscore.cli.main import call
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, staged, tree
from tests.support.workspace import DAYS, JOB, linear_model, rows_of

ABSENT = "2020-02-01"


def with_policy(text: str) -> str:
    return JOB.replace("params:", f"policy: {{{text}}}\nparams:")


def audited(severity: str) -> str:
    audit = f'  - {{name: never, sql: "SELECT count(*) < 0 FROM scores", severity: {severity}}}\n'
    return JOB.rstrip("\n") + "\n" + audit


def test_a_missing_day_is_broken_by_default(fresh: Build) -> None:
    """The message names the input and what else the policy may be."""
    with pytest.raises(Broken, match="rows"):
        run(load("mini", fresh()), ABSENT)


def test_a_missing_day_can_be_waited_for(fresh: Build) -> None:
    """`wait` is NotYet until the partition is there, and then the day is published."""
    root = fresh(job=with_policy("missing: wait"), days=(DAYS[0],))
    with pytest.raises(NotYet):
        run(load("mini", root), DAY)
    assert not (root / "data/runs").exists() or not staged(root)
    from tests.support.workspace import write_day

    write_day(root, DAY, ROWS)
    assert run(load("mini", root), DAY).status == "published"


def test_a_missing_day_can_be_skipped(fresh: Build) -> None:
    """`skip` gives a receipt that says so, writes nothing, and runs once the day is there."""
    root = fresh(job=with_policy("missing: skip"))
    receipt = run(load("mini", root), ABSENT)
    assert receipt.status == "skipped"
    assert "rows" in receipt.reason
    assert not (root / "data/tables").exists()


def test_the_plan_of_a_skipped_day_says_so_and_names_no_model(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """None was looked at: a line `model (sha256 …)` without a name and a hash would be one."""
    root = fresh(job=with_policy("missing: skip"))
    assert call(["--workspace", str(root), "plan", "mini", "--day", ABSENT]) == 0
    assert capsys.readouterr().out == f"mini {ABSENT}: skipped: job mini: no partition of {ABSENT} in rows\n"


@pytest.mark.parametrize("rows", [1, 25, 40_000, 10**9])
@pytest.mark.sample(2)
def test_a_limit_is_a_preview_that_publishes_nothing(large: Path, rows: int) -> None:
    """It scores just the first rows of the full run; tables and receipts are as they were."""
    before = tree(large / "data/tables")
    receipt = run(load("mini", large), DAY, limit=rows)
    assert receipt.status == "preview"
    assert receipt.rows.scored == receipt.rows.read == min(rows, MANY)
    assert receipt.rows.published == 0
    first = Truth(MANY).table("mini_scores").slice(0, min(rows, 20)).to_pylist()
    assert [dict(row) for row in receipt.preview] == first
    files = sorted((large / f"data/runs/mini/{DAY}/{receipt.run_id}/scores").glob("*.parquet"))
    rows_scored = pa.concat_tables(pq.read_table(f, partitioning=None) for f in files).drop(["run_id"])
    assert rows_scored.sort_by("id").combine_chunks().equals(Truth(MANY).table("mini_scores").slice(0, rows))
    assert tree(large / "data/tables") == before
    assert run(load("mini", large), DAY).status == "unchanged"


def test_a_preview_before_the_first_run_is_not_taken_for_it(fresh: Build) -> None:
    """After a preview the day is still to be published, with all of its rows."""
    root = fresh(days=(DAY,))
    run(load("mini", root), DAY, limit=5)
    assert not (root / "data/tables").exists()
    assert run(load("mini", root), DAY).rows.published == ROWS


def test_no_limit_below_one(published: Path) -> None:
    """A preview has at least one row."""
    with pytest.raises(Broken, match="limit 0"):
        run(load("mini", published), DAY, limit=0)


def test_another_model_can_be_run_without_editing_the_job(published: Path) -> None:
    """`model` scores with that file, the receipt names it, and the next plain run goes back."""
    linear_model(published / "data/models/other.onnx", (4.0, 1.0))
    receipt = run(load("mini", published), DAY, model="data/models/other.onnx")
    assert receipt.model is not None
    assert receipt.model.path == "data/models/other.onnx"
    assert (
        receipt.model.sha256
        == hashlib.sha256((published / "data/models/other.onnx").read_bytes()).hexdigest()
    )
    assert all(ours(published, name).is_(Truth(ROWS, (4.0, 1.0)), name) for name in TABLES)
    assert run(load("mini", published), DAY).status == "published"
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/passwd", "data/models/absent.onnx"])
def test_a_model_outside_the_workspace_or_absent_is_broken(published: Path, path: str) -> None:
    """Whatever the path, nothing outside is read and nothing is published."""
    linear_model(published.parent / "outside.onnx")
    with pytest.raises(Broken, match="model"):
        run(load("mini", published), DAY, model=path)


def test_a_model_that_is_not_the_pinned_one_is_broken(published: Path) -> None:
    """The pin holds for the job's model and for another; without publishing it may be looked at."""
    sha = hashlib.sha256((published / "data/models/linear.onnx").read_bytes()).hexdigest()
    file = published / "jobs/mini/job.yaml"
    file.write_text(JOB.replace("model:\n", f"model:\n  sha256: {sha}\n"))
    assert run(load("mini", published), DAY).status == "published"
    linear_model(published / "data/models/linear.onnx", (4.0, 1.0))
    with pytest.raises(Broken, match=f"pins {sha}"):
        run(load("mini", published), DAY)
    assert run(load("mini", published), DAY, limit=3).status == "preview"
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.sample(1)
def test_a_failed_audit_publishes_nothing(fresh: Build, first: bool) -> None:
    """The day's and the other days' tables stay as they were, or absent; the message says which audit."""
    root = fresh()
    if not first:
        run(load("mini", root), DAYS[0])
        run(load("mini", root), DAY)
    before = tree(root / "data/tables")
    (root / "jobs/mini/job.yaml").write_text(audited("fail"))
    for _ in range(2):  # and again: the staged pieces change nothing about it
        with pytest.raises(Broken, match=r"job\.yaml:\d+: audit 'never' failed"):
            run(load("mini", root), DAY)
    assert tree(root / "data/tables") == before
    (root / "jobs/mini/job.yaml").write_text(JOB)
    assert run(load("mini", root), DAY).status == ("published" if first else "unchanged")


def test_a_failed_audit_that_only_warns_is_recorded(fresh: Build) -> None:
    """The day is published; receipt and table say that the audit failed."""
    root = fresh(job=audited("warn"), days=(DAY,))
    receipt = run(load("mini", root), DAY)
    found = [(a.name, a.passed, a.severity) for a in receipt.audits]
    assert found == [("as many as asked for", True, "fail"), ("never", False, "warn")]
    assert query("SELECT audits_failed AS n FROM receipts", root).to_pylist() == [{"n": 1}]


@pytest.mark.slow
def test_looking_back_by_version_and_by_time_shows_the_tables_as_they_were(fresh: Build) -> None:
    """`as_of` a version of `receipts`, or a time: all tables of that state, in every table alike."""
    root = fresh(days=(DAY,))
    job, moments = load("mini", root), []
    for n in (3, 5, 7):
        run(job, DAY, params={"n": n})
        moments.append(dt.datetime.now(dt.UTC))
        time.sleep(0.01)
    for i, n in enumerate((3, 5, 7)):
        for as_of in (i + 1, moments[i]):
            sql = "SELECT (SELECT count(*) FROM mini_top) AS n, (SELECT count(*) FROM receipts) AS r"
            assert query(sql, root, as_of=as_of).to_pylist() == [{"n": n, "r": i + 1}], as_of
    with pytest.raises(Broken, match="no version 9"):
        query("SELECT 1", root, as_of=9)
    with pytest.raises(Broken, match="none published yet"):
        query("SELECT * FROM mini_top", root, as_of=moments[0] - dt.timedelta(days=1))


def test_a_backfill_runs_the_newest_day_first_and_goes_on_after_a_failure(fresh: Build) -> None:
    """Each day gives its receipt or its error; days that are published stay unchanged."""
    root = fresh(days=(DAYS[0], DAYS[2]))
    job = load("mini", root)
    run(job, DAYS[0])
    found = list(backfill(job, DAYS[0], DAYS[2]))
    assert [day.isoformat() for day, _ in found] == list(reversed(DAYS))
    assert [getattr(end, "status", type(end).__name__) for _, end in found] == [
        "published",
        "Broken",
        "unchanged",
    ]
    assert sorted(day for _, day, _ in receipts(root)) == [DAYS[0], DAYS[2]]


def test_a_query_reads_published_tables_and_nothing_else(published: Path) -> None:
    """No file by path, no second statement, no write; the message lists the tables that there are."""
    for sql in (
        f"SELECT * FROM read_parquet('{published}/data/lake/rows/day={DAY}/part-0.parquet')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '/tmp/pwned.csv'",
        "SELECT * FROM nowhere",
    ):
        with pytest.raises(Broken, match="tables: mini_scores, mini_top, receipts"):
            query(sql, published)
    assert rows_of(DAY, 1).num_rows == 1
