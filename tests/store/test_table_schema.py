"""What a table can't hold ends the night, with the column and the value; what it can is there as it was."""

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common.errors import Broken
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.store import catalog
from tests.support.workspace import JOB, make_workspace

DAY = "2020-01-01"
KEPT = JOB.replace("keep: [a]", "keep: [a, seen]")
SQL = KEPT.replace("features: rows", "features: features.sql")
NINES = "9" * 38


def night(root: Path, seen: str) -> list[object]:
    """The values of `seen`, an expression over the rows' ids, as DuckDB reads them from the table's files."""
    root = make_workspace(root, 3, SQL)
    (root / "jobs/mini/features.sql").write_text(f"SELECT id, a, b, {seen} AS seen FROM rows")
    run(load("mini", root), DAY)
    files = [
        str(f.path.local()) for f in catalog.read_catalog(load("mini", root).workspace).files("mini_scores")
    ]
    found = duckdb.execute("SELECT seen FROM read_parquet($1) ORDER BY id", [files]).fetchall()
    return [value for (value,) in found]


def test_a_number_of_38_digits_is_kept_and_one_of_39_ends_the_night(tmp_path: Path) -> None:
    """DuckDB's HUGEINT has 39, and leaves it as a decimal of 38: the last one would be another."""
    assert night(tmp_path / "a", f"{NINES}::HUGEINT - id") == [int(NINES) - i for i in range(3)]
    with pytest.raises(
        Broken, match=f"column 'seen' has the value {'1' + '0' * 38}.*can't hold; cast it in SQL"
    ):
        night(tmp_path / "b", f"{NINES}::HUGEINT + 1")
    assert not (tmp_path / "b/data/tables").exists()


def write_moments(root: Path, nanoseconds: list[int]) -> None:
    """The rows of the day, with a moment in nanoseconds beside each, as pandas writes them."""
    path = root / f"data/lake/rows/day={DAY}/part-0.parquet"
    rows = pq.read_table(path, partitioning=None).select(["id", "a", "b"])
    moments = pa.array(nanoseconds, pa.timestamp("ns", "UTC"))
    pq.write_table(rows.append_column("seen", moments), path, version="2.6")


def test_a_moment_within_a_microsecond_ends_the_night(tmp_path: Path) -> None:
    """A table has microseconds: those that are whole are kept, and the others are not cut without a word."""
    root = make_workspace(tmp_path / "ws", 3, KEPT, (DAY,))
    whole = 1_577_836_800_000_000_000
    write_moments(root, [whole, whole + 1_000, whole + 1])
    with pytest.raises(
        Broken, match=r"column 'seen' has the value 2020-01-01 00:00:00\.000000001.*TIMESTAMPTZ"
    ):
        run(load("mini", root), DAY)
    assert not (root / "data/tables").exists()
    write_moments(root, [whole, whole + 1_000, whole + 2_000_000])
    run(load("mini", root), DAY)
    files = [f.path.local() for f in catalog.read_catalog(load("mini", root).workspace).files("mini_scores")]
    found = pa.concat_tables(pq.read_table(f, partitioning=None) for f in files).sort_by("id")
    first = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert found["seen"].to_pylist() == [first + dt.timedelta(microseconds=n) for n in (0, 1, 2_000)]
