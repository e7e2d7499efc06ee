"""A table that was evolved, retained and repaired, as readers find it that know nothing of us.

pandas, pyarrow, DuckDB and DataFusion through deltalake, Polars where it is installed; the truth is NumPy.
"""

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable, QueryBuilder

from nightscore import load, query, run
from nightscore.common.workspace import open_workspace
from nightscore.job import load_all
from nightscore.lifecycle import apply_retention
from nightscore.pipeline.publish.repair import repair_table
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import Build
from tests.behaviour.world import NO_GRACE
from tests.support.workspace import JOB, rows_of

TODAY = dt.datetime.now(dt.UTC).date()
OLD, FIRST, LAST = ((TODAY - dt.timedelta(days=age)).isoformat() for age in (100, 10, 1))
ROWS = 300
SQL = "SELECT CAST(day AS VARCHAR) AS day, id, a, b FROM t ORDER BY day, id"
Rows = list[tuple[Any, ...]]


def by_pandas(folder: str) -> Rows:
    frame = DeltaTable(folder).to_pandas().astype({"day": str}).sort_values(["day", "id"])
    return [
        (day, i, a, None if math.isnan(b) else b)
        for day, i, a, b in frame[["day", "id", "a", "b"]].itertuples(index=False)
    ]


def by_pyarrow(folder: str) -> Rows:
    rows = DeltaTable(folder).to_pyarrow_dataset().to_table(columns=["day", "id", "a", "b"]).to_pylist()
    return sorted((str(row["day"]), row["id"], row["a"], row["b"]) for row in rows)


def by_duckdb(folder: str) -> Rows:
    with duckdb.connect() as connection:
        connection.register("t", DeltaTable(folder).to_pyarrow_dataset())
        return connection.execute(SQL).fetchall()


def by_datafusion(folder: str) -> Rows:
    found = QueryBuilder().register("t", DeltaTable(folder)).execute(SQL).read_all()
    return [tuple(row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def by_polars(folder: str) -> Rows:
    polars = pytest.importorskip("polars", reason="NOT TESTED: Polars is not installed (requirements/bench)")
    frame = polars.scan_delta(folder).select("day", "id", "a", "b").collect().sort("day", "id")
    return [(str(day), *row) for day, *row in frame.iter_rows()]


READERS: list[Callable[[str], Rows]] = [by_pandas, by_pyarrow, by_duckdb, by_datafusion, by_polars]


@pytest.fixture
def folder(fresh: Build) -> Path:
    """Three days: one is gone, one was deleted from and put back, and the last has a column more."""
    job = JOB + "on_schema_change: evolve\nretain: 90 days\n"
    root = fresh(rows=ROWS, job=job, days=(OLD, FIRST, LAST))
    for day in (OLD, FIRST):
        run(load("mini", root), day)
    (root / "jobs/mini/job.yaml").write_text(job.replace("keep: [a]", "keep: [a, b]"))
    run(load("mini", root), LAST)
    DeltaTable(str(root / "data/tables/mini_scores")).delete(f"id < 100 AND day = '{FIRST}'")
    repair_table(open_workspace(root), "mini_scores", by="Ada", because="a slip")
    workspace = open_workspace(root)
    apply_retention(workspace, load_all(workspace)[0])
    collect_garbage(workspace, NO_GRACE)
    return root


def test_each_reads_what_is_kept_and_null_where_a_day_has_no_such_column(folder: Path) -> None:
    """Whoever reads the folder, and our own query; the day that is retained no more is gone."""
    first, last = (rows_of(day, ROWS).to_pydict() for day in (FIRST, LAST))
    truth = [(FIRST, i, first["a"][i], None) for i in range(ROWS)]
    truth += [(LAST, i, last["a"][i], last["b"][i]) for i in range(ROWS)]
    table = str(folder / "data/tables/mini_scores")
    ours = query(SQL.replace("FROM t", "FROM mini_scores"), folder)
    assert list(zip(*(column.to_pylist() for column in ours.columns), strict=True)) == truth
    for reader in READERS[:4]:
        assert reader(table) == truth, reader.__name__


@pytest.mark.disk_only(reason="Polars reads the folder")
def test_so_does_polars(folder: Path) -> None:
    """Where it is installed."""
    found = by_polars(str(folder / "data/tables/mini_scores"))
    assert [day for day, *_ in found] == [FIRST] * ROWS + [LAST] * ROWS
    assert [b is None for *_, b in found] == [True] * ROWS + [False] * ROWS
