"""The statistics in the log of `receipts` are its rows; what they don't tell is read.

Truth is what deltalake and pyarrow read of the table, and of a workspace of before what it held.
"""

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import Restate, load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.workspace import open_workspace
from nightscore.store import catalog, delta, delta_commit
from nightscore.store.published.gc import collect_garbage
from nightscore.store.published.receipt_rows import LOGGED
from nightscore.store.tables.snapshots import KeptSnapshots
from tests.faults.marks import mostly_slow
from tests.support.places import place
from tests.support.workspace import JOB, TOP, make_workspace

DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")
LONG = "a_name_of_thirty_two_characters_" + "x" * 28  # and not one more is kept by some writers


def receipts_of(root: Path) -> Path:
    return root / "data/tables/receipts"


def rows_by_deltalake(root: Path, version: int | None = None) -> list[dict[str, Any]]:
    """The rows of the table `receipts`, read from its files by deltalake and pyarrow."""
    table = DeltaTable(str(receipts_of(root)), version=version).to_pyarrow_table()
    return sorted(table.to_pylist(), key=lambda row: row["run_number"])


def seen(root: Path, as_of: catalog.AsOf = None) -> list[tuple[Any, ...]]:
    """The same by our catalogue, in a process that has read nothing yet."""
    delta.SNAPSHOTS = KeptSnapshots()
    history = catalog.read_catalog(open_workspace(root), as_of).history
    return [(e.job, e.day, e.run_id, e.run_number, e.published_at, dict(e.versions)) for e in history]


def expected(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (r["job"], str(r["day"]), r["run_id"], r["run_number"], r["published_at"], json.loads(r["tables"]))
        for r in rows
    ]


def no_file_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a receipt's file was opened")

    monkeypatch.setattr("nightscore.store.published.receipt_rows.pq.ParquetFile", refuse)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three published days and one of them again, of a job whose name is long."""
    root = make_workspace(tmp_path / "w", rows=20)
    more = "".join(f"  {LONG}_{i}: top.sql\n" for i in range(12))
    spec = JOB.replace("job: mini\n", f"job: {LONG}\n").replace(
        "  mini_top: top.sql\n", f"  mini_top: top.sql\n{more}"
    )
    folder = (root / "jobs/mini").rename(root / f"jobs/{LONG}")
    (folder / "job.yaml").write_text(spec.partition("audit:")[0])
    (folder / "top.sql").write_text(TOP)
    job = load(LONG, root)
    for day in (*DAYS, DAYS[0]):
        assert run(job, day, force=True).status == "published"
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two published days."""
    root = make_workspace(tmp_path / "w", rows=20)
    for day in DAYS[:2]:
        run(load("mini", root), day)
    return root


@pytest.mark.slow
def test_the_statistics_in_the_log_are_the_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each file the least and the greatest value are its row's, to the microsecond; no file is opened."""
    adds = pa.table(DeltaTable(str(receipts_of(root))).get_add_actions(flatten=True)).to_pylist()
    assert len(adds) == 4
    for add in adds:
        [row] = pq.read_table(receipts_of(root) / add["path"], partitioning=None).to_pylist()
        for name in LOGGED:
            assert add[f"min.{name}"] == add[f"max.{name}"] == row[name], name
            assert add[f"null_count.{name}"] == 0
    rows = rows_by_deltalake(root)
    assert len(rows[0]["tables"]) > 600 and rows[0]["job"] == LONG
    no_file_is_opened(monkeypatch)
    assert seen(root) == expected(rows)


@pytest.mark.slow
def test_other_readers_prune_by_these_statistics_and_lose_nothing(root: Path) -> None:
    """A filter on a column whose statistics are there gives what it gives on all rows."""
    everything = DeltaTable(str(receipts_of(root))).to_pyarrow_table()
    data = DeltaTable(str(receipts_of(root))).to_pyarrow_dataset()
    for name in LOGGED:
        for value in everything[name].unique():
            wanted = everything.filter(pc.equal(everything[name], value)).num_rows
            assert data.to_table(filter=pc.field(name) == value).num_rows == wanted, (name, value)


def without_statistics(root: Path) -> None:
    """As versions before wrote it."""
    for commit in (receipts_of(root) / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in actions:
            if "add" in action:
                action["add"]["stats"] = json.dumps({"numRecords": 1})
        commit.write_text("\n".join(map(json.dumps, actions)))


def cut(bounds: dict[str, Any]) -> dict[str, Any]:
    return {n: v[:32] if isinstance(v, str) and n != "published_at" else v for n, v in bounds.items()}


def cut_texts(root: Path) -> None:
    """As a writer that keeps 32 characters of a text, in both bounds."""
    for commit in (receipts_of(root) / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for add in [action["add"] for action in actions if "add" in action]:
            stats = json.loads(add["stats"])
            stats |= {bound: cut(stats[bound]) for bound in ("minValues", "maxValues")}
            add["stats"] = json.dumps(stats)
        commit.write_text("\n".join(map(json.dumps, actions)))


def checkpoint_without_statistics(root: Path) -> None:
    """A checkpoint whose table says that it holds none."""
    table = DeltaTable(str(receipts_of(root)))
    table.alter.set_table_properties({"delta.checkpoint.writeStatsAsJson": "false"})
    DeltaTable(str(receipts_of(root))).create_checkpoint()


def optimize(root: Path) -> None:
    DeltaTable(str(receipts_of(root))).optimize.compact()


def optimize_and_vacuum(root: Path) -> None:
    optimize(root)
    DeltaTable(str(receipts_of(root))).vacuum(dry_run=False)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "no statistics": without_statistics,
    "a checkpoint without them": checkpoint_without_statistics,
    "OPTIMIZE": optimize,
    "OPTIMIZE and VACUUM": optimize_and_vacuum,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", mostly_slow(FOREIGN, ["OPTIMIZE"]))
def test_what_the_log_does_not_tell_is_read(root: Path, what: str) -> None:
    """After another engine, or written by an older version: the same rows, receipts and states of before."""
    rows, before = rows_by_deltalake(root), [seen(root, version) for version in range(1, 5)]
    FOREIGN[what](root)
    assert seen(root) == expected(rows)
    assert [seen(root, version) for version in range(1, 5)] == before
    state = catalog.read_catalog(open_workspace(root))
    assert [e.read_receipt().run_id for e in state.history] == [r["run_id"] for r in rows]
    collect_garbage(open_workspace(root), 0.0)
    assert seen(root) == expected(rows)
    assert [seen(root, version) for version in range(1, 5)] == before
    assert run(load(LONG, root), DAYS[1]).status == "unchanged"
    assert run(load(LONG, root), DAYS[1], force=True).status == "published"
    assert len(seen(root)) == 5


@pytest.mark.slow
def test_texts_that_a_writer_has_cut_are_never_taken_for_the_row(root: Path) -> None:
    """Bounds that are equal and cut: the file is read, with the whole name of the job and all its tables."""
    rows = rows_by_deltalake(root)
    cut_texts(root)
    assert seen(root) == expected(rows)
    receipts = [entry.read_receipt() for entry in catalog.read_catalog(open_workspace(root)).history]
    assert [(one.job, one.run_id) for one in receipts] == [(LONG, row["run_id"]) for row in rows]


def test_statistics_that_lie_are_named_with_the_receipt(small: Path) -> None:
    """A receipt is held to what readers went by."""
    commit = max((receipts_of(small) / "_delta_log").glob("*.json"))
    text = commit.read_text().replace('\\"job\\":\\"mini\\"', '\\"job\\":\\"none\\"')
    text = text.replace('\\"job\\": \\"mini\\"', '\\"job\\": \\"none\\"')
    assert text != commit.read_text()
    commit.write_text(text)
    delta.SNAPSHOTS = KeptSnapshots()
    entry = catalog.read_catalog(open_workspace(small)).history[-1]
    with pytest.raises(Broken, match="its job is 'mini', and the log of the table says 'none'"):
        entry.read_receipt()


def test_gc_lets_the_log_tell_receipts_of_before(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit that changes no row; no file of receipts comes or goes; then no file is opened."""
    without_statistics(small)
    rows, old = rows_by_deltalake(small), [seen(small, version) for version in (1, 2)]
    files = sorted(receipts_of(small).glob("day=*/*"))
    collect_garbage(open_workspace(small), dry_run=True)
    assert DeltaTable(str(receipts_of(small))).version() == 2
    for _ in range(2):
        collect_garbage(open_workspace(small))
        assert DeltaTable(str(receipts_of(small))).version() == 3, "once"
    assert sorted(receipts_of(small).glob("day=*/*")) == files
    assert rows_by_deltalake(small) == rows
    assert [seen(small, version) for version in (1, 2)] == old
    no_file_is_opened(monkeypatch)
    assert seen(small) == expected(rows)


@pytest.mark.slow
def test_gc_keeps_the_receipts_that_older_versions_have(small: Path) -> None:
    """After another engine's OPTIMIZE, and however old: as of each version the same as before."""
    before = [query("SELECT * FROM receipts ORDER BY run_number", small, version) for version in (1, 2)]
    run(load("mini", small), DAYS[0], force=True)
    optimize(small)
    lost = receipts_of(small) / f"day={DAYS[0]}/20200101T000000-00000000-000000-0123abcd.parquet"
    lost.write_bytes(b"of a process that was killed before its commit")
    for path in small.rglob("data/**/*"):
        os.utime(path, (1, 1))
    collect_garbage(open_workspace(small))
    assert not lost.exists()
    delta.SNAPSHOTS = KeptSnapshots()
    assert [query("SELECT * FROM receipts ORDER BY run_number", small, v) for v in (1, 2)] == before


@pytest.mark.slow
def test_a_long_process_sees_what_others_publish_and_what_is_put_back(small: Path, tmp_path: Path) -> None:
    """New versions, a workspace that was put back from a copy, one that begins anew: never what was kept."""
    shutil.copytree(small, tmp_path / "copy")
    other, workspace = tmp_path / "copy", open_workspace(small)
    assert len(catalog.read_catalog(workspace).history) == 2
    assert call(["run", "mini", "--day", DAYS[2], "--workspace", str(other)]) == 0
    assert len(catalog.read_catalog(workspace).history) == 2, "another workspace"
    subprocess.run(
        [str(Path(sys.executable).with_name("nightscore")), "run", "mini", "--day", DAYS[2], "--force"],
        check=True, cwd=small,
    )  # fmt: skip
    mine = rows_by_deltalake(small)
    assert [e.run_id for e in catalog.read_catalog(workspace).history] == [r["run_id"] for r in mine]
    shutil.rmtree(small / "data/tables")
    assert catalog.read_catalog(workspace).history == ()
    shutil.copytree(other / "data/tables", small / "data/tables")
    theirs = rows_by_deltalake(other)
    assert [e.run_id for e in catalog.read_catalog(workspace).history] == [r["run_id"] for r in theirs]
    assert theirs[-1]["run_id"] != mine[-1]["run_id"]


def test_a_query_sees_the_tables_that_it_names_and_can_list_all(small: Path) -> None:
    """In any case and in quotes; the message of a table that is not there lists every one."""
    for name in ("MINI_SCORES", '"mini_scores"', "Mini_Top"):
        assert query(f"SELECT count(*) > 0 AS there FROM {name}", small).to_pylist() == [{"there": True}]
    with pytest.raises(Broken, match="tables: mini_scores, mini_top, receipts"):
        query("SELECT * FROM nothing", small)


@pytest.mark.slow
def test_books_are_the_same_after_another_engine_has_merged_their_files(small: Path) -> None:
    """One row a receipt and a restatement, as before, now and of a version before."""
    day = DAYS[0]
    run(load("mini", small), day, restate=Restate("once more", "tests"), force=True)
    run(load("mini", small), day, restate=Restate("and again", "tests"), force=True)
    asked = [
        f"SELECT {columns} FROM {table} ORDER BY ALL"
        for table, columns in (("receipts", "run_id"), ("restatements", "run_id, table_name"))
    ]
    before = [query(sql, small).to_pylist() for sql in asked]
    assert all(before)
    for table in ("receipts", "restatements"):
        DeltaTable(str(small / "data/tables" / table)).optimize.compact()
    assert [query(sql, small).to_pylist() for sql in asked] == before


# --- checkpoints ---


@pytest.mark.slow
def test_checkpoints_come_every_ten_commits_and_spare_ones_go(tmp_path: Path) -> None:
    """All versions stay readable, by deltalake, and with commits gone that only a checkpoint stands for."""
    root = tmp_path / "data/tables/t"
    (tmp_path / "jobs").mkdir()
    for number in range(1, 241):
        path = root / f"day=2020-01-01/run{number}-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"x": [number]}), path)
        commit = delta_commit.TableCommit("job", "2020-01-01", f"run{number}", number, (place(path),))
        assert delta_commit.commit_files(place(root), commit) == number
    log = root / "_delta_log"

    def checkpoints() -> list[int]:
        return sorted(int(p.name[:20]) for p in log.glob("*.checkpoint.parquet"))

    assert checkpoints() == list(range(9, 240, 10))
    for version in range(40):  # as an operator's shorter retention of the log leaves it
        (log / f"{version:020}.json").unlink()
    (log / "00000000000000000009.checkpoint.parquet").unlink()
    (log / "00000000000000000019.checkpoint.parquet").unlink()
    (log / "00000000000000000029.checkpoint.parquet").unlink()
    collect_garbage(open_workspace(tmp_path), 0.0)
    assert checkpoints() == [39, 139, *range(149, 240, 10)]
    for version in range(39, 241):
        [uri] = DeltaTable(str(root), version=version).file_uris()
        assert Path(uri).name == f"run{version}-0.parquet"


# --- kill -9 ---

GC = """
import sys
from nightscore.common.workspace import open_workspace
from nightscore.store import collect_garbage
print("ready", flush=True)
collect_garbage(open_workspace(sys.argv[1]))
"""


@pytest.mark.slow
def test_gc_that_is_killed_beside_nights_loses_no_receipt(small: Path) -> None:
    """Receipts of before, nights in one process, gc killed at any moment in others: each receipt once."""
    nights = 12
    again = f"run(load('mini', '{small}'), '{DAYS[0]}', force=True)"
    script = f"from nightscore import load, run\nfor _ in range({nights}): {again}"
    first = [row["run_id"] for row in rows_by_deltalake(small)]
    without_statistics(small)
    with subprocess.Popen([sys.executable, "-c", script]) as night:
        kills = 0
        while night.poll() is None:
            with subprocess.Popen([sys.executable, "-c", GC, str(small)], stdout=subprocess.PIPE) as gc:
                assert gc.stdout is not None and gc.stdout.readline()
                time.sleep(0.01 * kills)
                gc.send_signal(signal.SIGKILL)
                kills += 1
    assert night.returncode == 0 and kills
    collect_garbage(open_workspace(small))
    rows = rows_by_deltalake(small)
    assert len({row["run_id"] for row in rows}) == len(rows) == len(first) + nights
    assert [row["run_id"] for row in rows[:2]] == first
    assert seen(small) == expected(rows)
    moment = dt.datetime.max.replace(tzinfo=dt.UTC)
    assert seen(small, moment) == expected(rows)
