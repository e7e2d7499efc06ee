"""Readers that never stop, beside overwrites, up to fifty, of the day they read."""

import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, Schema

from nightscore.common.workspace import open_workspace
from nightscore.store.published.catalog import read_catalog
from tests.behaviour.conftest import Build
from tests.behaviour.processes import Night, night, spawn
from tests.behaviour.world import DAY, receipts

ROWS = 500
PATIENCE = 280.0  # seconds, on a machine that is busy with other things
PAUSE = 0.03  # seconds between two reads: the writer needs a core as well
# Both tables, the receipts and the parameter that tells the nights apart, in one statement.
BOTH = """
SELECT (SELECT list(DISTINCT run_id) FROM mini_scores WHERE day = $1) AS scores_runs,
       (SELECT count(*) FROM mini_scores WHERE day = $1) AS scores,
       (SELECT list(DISTINCT run_id) FROM mini_top WHERE day = $1) AS top_runs,
       (SELECT count(*) FROM mini_top WHERE day = $1) AS top,
       (SELECT max_by((receipt::JSON -> 'params' ->> 'n')::INTEGER, run_number) FROM receipts) AS n,
       (SELECT max_by(run_id, run_number) FROM receipts) AS run
"""


def overwrites(answers: Connection, root: Path, stop: Path, times: int) -> None:
    """Run the day again and again; each night asks for another number of rows in `mini_top`."""
    from nightscore import load, run

    job = load("mini", root)
    try:
        done = [run(job, DAY, force=True, params={"n": 1 + i}).run_id for i in range(times)]
        answers.send({"status": str(len(set(done)))})
    finally:
        stop.touch()


def read_by_receipts(answers: Connection, root: Path, stop: Path) -> None:
    """Loop over `query`: one statement must see one night in all tables."""
    from nightscore import query

    seen, wrong, reads = set(), [], 0
    while not stop.exists() or reads == 0:
        [row] = query(BOTH, root, values=[DAY]).to_pylist()
        whole = row["scores_runs"] == row["top_runs"] == [row["run"]]
        if not whole or (row["scores"], row["top"]) != (ROWS, row["n"]):
            wrong.append(row)
        seen.add(row["run"])
        reads += 1
        time.sleep(PAUSE)
    answers.send({"status": f"{reads} {len(seen)}", "message": repr(wrong[:3]) if wrong else ""})


def read_plainly(answers: Connection, root: Path, stop: Path) -> None:
    """Loop over one table with deltalake and with DuckDB: the day must be of one run, and whole."""
    seen, wrong, reads = set(), [], 0
    table = str(root / "data/tables/mini_scores")
    while not stop.exists() or reads == 0:
        for day in (_with_delta(table), _with_duckdb(table)):
            if len(day[0]) != 1 or day[1] != ROWS:
                wrong.append(day)
            seen |= day[0]
            reads += 1
        time.sleep(PAUSE)
    answers.send({"status": f"{reads} {len(seen)}", "message": repr(wrong[:3]) if wrong else ""})


def _with_delta(table: str) -> tuple[set[str], int]:
    found = DeltaTable(table).to_pyarrow_table(columns=["id", "run_id"])
    return set(found.column("run_id").to_pylist()), pc.count_distinct(found.column("id")).as_py()


def _with_duckdb(table: str) -> tuple[set[str], int]:
    with duckdb.connect() as connection:
        sql = "SELECT list(DISTINCT run_id), count(*) FROM read_parquet($1)"
        [(runs, rows)] = connection.execute(sql, [DeltaTable(table).file_uris()]).fetchall()
    return set(runs), rows


def looped(root: Path, times: int, *readers: Any) -> list[Night]:
    stop = root / "stop"
    nights = [spawn(reader, root, stop) for reader in readers]
    time.sleep(0.2)
    return [spawn(overwrites, root, stop, times), *nights]


@pytest.fixture
def small(fresh: Build) -> Path:
    root = fresh(rows=ROWS, days=(DAY,))
    answers = spawn(overwrites, root, root / "first", 1).wait()
    assert answers.status == "1"
    return root


@pytest.mark.disk_only(reason="its plain reader looks at a folder while the night goes on")
@pytest.mark.slow
@pytest.mark.parametrize("times", [12, pytest.param(50, marks=pytest.mark.rest)])
def test_readers_see_no_error_and_no_mixed_day_while_overwrites_go_on(small: Path, times: int) -> None:
    """Every read is one whole night: of one table with foreign readers, of all tables with ours."""
    writer, *readers = [n.wait(PATIENCE) for n in looped(small, times, read_by_receipts, read_plainly)]
    assert writer.status == str(times), writer
    for reader in readers:
        assert (reader.code, reader.message) == (0, ""), reader
        reads, nights = map(int, reader.status.split())
        assert reads > 20
        assert nights > 5, "the reader was beside the writer all the time"
    assert len(receipts(small)) == times + 1


def test_readers_between_the_making_of_receipts_and_its_first_row_see_nothing_published(fresh: Build) -> None:
    """The table `receipts` is made in one commit and filled in the next; a reader may come between them."""
    root = fresh(days=(DAY,))
    schema = pa.schema([("job", pa.string()), ("day", pa.date32())])
    DeltaTable.create(str(root / "data/tables/receipts"), Schema.from_arrow(schema), partition_by=["day"])
    state = read_catalog(open_workspace(root))
    assert (state.version, state.history, state.views()) == (0, (), [])
    assert night(root, DAY).status == "published"
