"""Tables keep every value they take, commit once, and let two runs of one day never both win."""

# ruff: noqa: E501 - a row of the table of types is one line

import datetime as dt
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jobs import load, query, run, tables
from jobs.errors import Broken, NotYet
from jobs.tables import Change, Superseded
from tests.mini import JOB, make_workspace

DAY = "2020-01-02"
UTC = dt.UTC

# A DuckDB expression, and the value that every reader gets back.
TYPES: dict[str, tuple[str, Any]] = {
    "BOOLEAN": ("true", True),
    "TINYINT": ("(-128)::TINYINT", -128),
    "SMALLINT": ("(-32768)::SMALLINT", -32768),
    "INTEGER": ("(-2147483648)::INTEGER", -2147483648),
    "BIGINT": ("(-9223372036854775808)::BIGINT", -9223372036854775808),
    "UTINYINT": ("255::UTINYINT", 255),
    "USMALLINT": ("65535::USMALLINT", 65535),
    "UINTEGER": ("4294967295::UINTEGER", 4294967295),
    "HUGEINT": ("(-99999999999999999999999999999999999999)::HUGEINT", Decimal(-99999999999999999999999999999999999999)),
    "a sum of integers": ("(SELECT sum(x) FROM (VALUES (1), (2)) t(x))", Decimal(3)),
    "FLOAT": ("0.1::FLOAT", 0.10000000149011612),
    "FLOAT infinity": ("'-infinity'::FLOAT", float("-inf")),
    "DOUBLE": ("0.1::DOUBLE", 0.1),
    "DOUBLE smallest": ("5e-324::DOUBLE", 5e-324),
    "DECIMAL": ("1234567890123456.78::DECIMAL(18,2)", Decimal("1234567890123456.78")),
    "DECIMAL small": ("99.9::DECIMAL(3,1)", Decimal("99.9")),
    "DECIMAL large": ("1e-10::DECIMAL(38,10)", Decimal("1e-10")),
    "VARCHAR": ("'ü''\";\n\t🙂'", "ü'\";\n\t🙂"),
    "VARCHAR empty": ("''", ""),
    "BLOB": (r"'\x00\xFF'::BLOB", b"\x00\xff"),
    "UUID": ("'00000000-0000-4000-8000-000000000001'::UUID", "00000000-0000-4000-8000-000000000001"),
    "JSON": ("'{\"x\": [1]}'::JSON", '{"x": [1]}'),
    "ENUM": ("'b'::ENUM('a', 'b')", "b"),
    "DATE": ("DATE '1582-10-15'", dt.date(1582, 10, 15)),
    "TIMESTAMPTZ": ("'2020-01-02 03:04:05.678901+05:30'::TIMESTAMPTZ", dt.datetime(2020, 1, 1, 21, 34, 5, 678901, UTC)),
    "INTEGER[]": ("[1, NULL, 3]", [1, None, 3]),
    "empty list": ("[]::INTEGER[]", []),
    "VARCHAR[]": ("['a', 'ü', '']", ["a", "ü", ""]),
    "UINTEGER[]": ("[4294967295::UINTEGER]", [4294967295]),
    "INTEGER[][]": ("[[1], [], NULL]", [[1], [], None]),
    "TIMESTAMPTZ[]": ("['2020-01-02 00:00:00+00'::TIMESTAMPTZ]", [dt.datetime(2020, 1, 2, tzinfo=UTC)]),
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose decision has a column of each type, with a value in one row and a null in the other."""
    root = make_workspace(
        tmp_path_factory.mktemp("types"), rows=2, days=(DAY,), job=JOB.partition("audit:")[0]
    )
    columns = ", ".join(
        f"CASE WHEN id = 0 THEN {sql} END AS c{i}" for i, (sql, _) in enumerate(TYPES.values())
    )
    (root / "jobs/mini/top.sql").write_text(f"SELECT id, {columns} FROM scores")
    run(load("mini", root), DAY)
    return root


@pytest.mark.parametrize("name", TYPES.keys())
def test_every_type_that_is_taken_comes_back(stored: Path, name: str) -> None:
    """A value and a null of each accepted type: the same through DuckDB and through Delta's own reader."""
    column, wanted = f"c{list(TYPES).index(name)}", TYPES[name][1]
    ours = query(f"SELECT {column} FROM mini_top ORDER BY id", stored)
    theirs = DeltaTable(str(stored / "data/tables/mini_top")).to_pyarrow_table().sort_by("id")
    assert ours[column].to_pylist() == theirs[column].to_pylist() == [wanted, None]


REFUSED = {
    "UBIGINT": ("1::UBIGINT", "column 'x' is uint64, which a table can't hold; cast it to one of BIGINT, DOUBLE"),
    "TIMESTAMP": ("TIMESTAMP '2020-01-01'", "column 'x' is timestamp[us], which a table can't hold; cast it to TIMESTAMPTZ or DATE in SQL"),
    "TIMESTAMP_NS": ("'2020-01-01'::TIMESTAMP_NS", "column 'x' is timestamp[ns], which a table can't hold; cast it to TIMESTAMPTZ or DATE"),
    "TIME": ("TIME '12:30:00'", "column 'x' is time64[us], which a table can't hold; cast it to one of BIGINT, DOUBLE, DECIMAL, VARCHAR"),
    "INTERVAL": ("INTERVAL 1 DAY", "column 'x' is month_day_nano_interval, which a table can't hold; cast it to one of"),
    "STRUCT": ("{'a': 1}", "column 'x' is struct<a: int32>, which"),
    "MAP": ("MAP {'a': 1}", "column 'x' is map<string, int32>, which"),
    "ARRAY": ("[1, 2]::INTEGER[2]", "column 'x' is fixed_size_list<: int32>[2], which"),
    "a list of structs": ("[{'a': 1}]", "column 'x' is struct<a: int32>, which"),
    "NULL": ("NULL", "column 'x' is "),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_type_that_would_lose_something_is_refused(tmp_path: Path, sql: str, says: str) -> None:
    """The line of job.yaml, the column, its type, and what to cast it to; nothing is published."""
    root = make_workspace(tmp_path, rows=2, days=(DAY,), job=JOB.partition("audit:")[0])
    (root / "jobs/mini/top.sql").write_text(f"SELECT id, {sql} AS x FROM scores")
    with pytest.raises(Broken) as caught:
        run(load("mini", root), DAY)
    assert str(caught.value).startswith("jobs/mini/job.yaml:13: decide.mini_top: ")
    assert says in str(caught.value)
    assert not (root / "data/tables").exists()


# --- what a table is ---

CHECKPOINT = "00000000000000000010.checkpoint"
LOGS: dict[str, tuple[str, ...] | None] = {
    "no log": None,
    "an empty log": (),
    "the first commit": ("00000000000000000000.json",),
    "a commit whose first are gone": ("00000000000000000009.json",),
    "a checkpoint": (f"{CHECKPOINT}.parquet",),
    "a part of a checkpoint": (f"{CHECKPOINT}.0000000001.0000000002.parquet",),
    "a checkpoint with a name of its own": (f"{CHECKPOINT}.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",),
    "commits in one": ("00000000000000000000.00000000000000000004.compacted.json",),
    "a checksum": ("00000000000000000000.crc",),
    "a hint without what it names": ("_last_checkpoint",),
    "a commit that is being written": ("_commit_1.json.tmp",),
    "a commit of too few digits": ("0.json",),
    "a commit of another kind": ("00000000000000000000.txt",),
    "a commit in a folder of the log": ("_staged_commits/00000000000000000000.json",),
}


@pytest.mark.parametrize("names", LOGS.values(), ids=LOGS.keys())
def test_a_table_is_what_deltalake_takes_for_one(tmp_path: Path, names: tuple[str, ...] | None) -> None:
    """By the names in its log alone: the same answer as `is_deltatable`, which we don't call."""
    root = tmp_path / "t"
    for path in [root / "_delta_log" / name for name in names or ()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    if names is not None:
        (root / "_delta_log").mkdir(parents=True, exist_ok=True)
    assert tables.exists(root) is DeltaTable.is_deltatable(str(root))


def test_a_file_in_the_place_of_a_table_or_its_log_is_no_table(tmp_path: Path) -> None:
    """Nothing is there to read, and that is no error of a look."""
    (tmp_path / "_delta_log").write_text("x")
    assert not tables.exists(tmp_path)
    assert not tables.exists(tmp_path / "_delta_log")


# --- commits ---


def change(root: Path, day: str, number: int, rows: int = 1, run_id: str = "") -> Change:
    """A run's one file for a day, and the change that publishes it."""
    name = run_id or f"run{number}"
    path = root / f"day={day}" / f"{name}-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": pa.array([number] * rows), "run_id": [name] * rows}), path)
    return Change("job", day, name, number, (path,))


def held(root: Path) -> list[tuple[str, str, int]]:
    return [(f.day, f.run_id, f.rows) for f in tables.live(root)]


def test_a_commit_is_the_day_and_no_other(tmp_path: Path) -> None:
    """A commit replaces its day's files; the days beside it stay; each file knows its run, rows and bytes."""
    root = tmp_path / "t"
    assert (tables.live(root), tables.exists(root)) == ([], False)
    assert tables.commit(root, change(root, "2020-01-01", 1, rows=3), seen=[]) == 1
    assert tables.commit(root, change(root, "2020-01-02", 2), seen=[]) == 2
    assert tables.commit(root, change(root, "2020-01-01", 3, rows=5), seen=["run1-0.parquet"]) == 3
    assert held(root) == [("2020-01-01", "run3", 5), ("2020-01-02", "run2", 1)]
    assert all(f.bytes == f.path.stat().st_size for f in tables.live(root))
    assert [(f.day, f.run_id) for f in tables.live(root, 2)] == [
        ("2020-01-01", "run1"),
        ("2020-01-02", "run2"),
    ]
    assert [(f.day, f.run_id) for f in tables.live(root, 0)] == []
    with pytest.raises(Broken, match=r"^table t: has no version 9, or can't be read: "):
        tables.live(root, 9)


def test_a_commit_happens_once_however_often_it_is_tried(tmp_path: Path) -> None:
    """Tried again, also after others, it answers with the version where it happened and adds nothing."""
    root = tmp_path / "t"
    first = change(root, DAY, 5)
    assert tables.commit(root, first, seen=[]) == 1
    assert tables.commit(root, first, seen=[]) == 1
    for i in range(25):
        tables.commit(root, change(root, f"2019-01-{i + 1:02}", 1), seen=[])
    assert tables.commit(root, first, seen=[]) == 1
    assert tables.latest_version(root) == 26
    assert held(root).count((DAY, "run5", 1)) == 1


def test_the_version_is_right_while_others_commit(tmp_path: Path) -> None:
    """A commit of another day between a look at the table and the answer does not shift the version."""
    root = tmp_path / "t"
    first = change(root, DAY, 5)
    tables.commit(root, first, seen=[])
    looked = DeltaTable(str(root))
    for i in range(3):
        tables.commit(root, change(root, f"2019-01-{i + 1:02}", 1), seen=[])
    assert tables._version_of(looked, root, first) == 1
    assert tables._version_of(DeltaTable(str(root)), root, first) == 1


def test_a_run_that_did_not_see_what_is_there_is_superseded(tmp_path: Path) -> None:
    """Another run has published the day since: NotYet, and the day stays as that one left it."""
    root = tmp_path / "t"
    tables.commit(root, change(root, DAY, 5), seen=[])
    late = change(root, DAY, 6)
    for seen in ([], ["other-0.parquet"], ["run5-0.parquet", "other-0.parquet"]):
        with pytest.raises(Superseded, match=rf"another run has published {DAY} since run run6 began"):
            tables.commit(root, late, seen=seen)
    assert issubclass(Superseded, NotYet)
    assert held(root) == [(DAY, "run5", 1)]
    tables.commit(root, late, seen=["run5-0.parquet"])
    assert held(root) == [(DAY, "run6", 1)]


def test_an_older_run_never_replaces_a_newer(tmp_path: Path) -> None:
    """A run that wakes up late is refused by its number, even where it replaces whatever is there."""
    root = tmp_path / "t"
    tables.commit(root, change(root, DAY, 5), seen=[])
    with pytest.raises(Superseded):
        tables.commit(root, change(root, DAY, 4), seen=None)
    assert held(root) == [(DAY, "run5", 1)]


def test_two_runs_of_one_number_are_two_runs(tmp_path: Path) -> None:
    """Runs that began in the same millisecond: the second is superseded, and not taken for the first."""
    root = tmp_path / "t"
    tables.commit(root, change(root, DAY, 5, run_id="a"), seen=[])
    with pytest.raises(Superseded, match=r"under the number of run b"):
        tables.commit(root, change(root, DAY, 5, run_id="b"), seen=[])
    assert held(root) == [(DAY, "a", 1)]


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    """The table of receipts gains a file for each run and loses none."""
    root = tmp_path / "t"
    for number in (1, 2):
        tables.commit(root, replace(change(root, DAY, number), mode="append"))
    assert held(root) == [(DAY, "run1", 1), (DAY, "run2", 1)]


def test_days_that_are_spelt_alike_are_not_mixed_up(tmp_path: Path) -> None:
    """Replacing one day leaves those alone that its name is a part of."""
    root = tmp_path / "t"
    for number, day in enumerate(("2020-01-01", "2020-01-10", "2020-01-11"), 1):
        tables.commit(root, change(root, day, number), seen=[])
    tables.commit(root, change(root, "2020-01-01", 9), seen=["run1-0.parquet"])
    assert [run_id for _, run_id, _ in held(root)] == ["run9", "run2", "run3"]


def test_the_schema_of_a_table_is_kept(tmp_path: Path) -> None:
    """Another column or type than the table has is refused with the column's name; the same passes."""
    root = tmp_path / "t"
    tables.check_schema(root, pa.schema([("anything", pa.int8())]))
    tables.commit(root, change(root, DAY, 1), seen=[])
    same = pa.schema([("x", pa.int64()), ("run_id", pa.string())])
    tables.check_schema(root, same)
    for schema, says in (
        (
            same.append(pa.field("y", pa.int8())),
            "column 'y' is absent in the published table and would be int8",
        ),
        (same.remove(0), "column 'x' is int64 in the published table and would be absent"),
        (
            same.set(0, pa.field("x", pa.int32())),
            "column 'x' is int64 in the published table and would be int32",
        ),
    ):
        with pytest.raises(Broken, match=says):
            tables.check_schema(root, schema)


# --- two processes ---


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes, which import once for all tests."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def publish(root: Path, who: int, days: list[str]) -> list[str]:
    """In a process of its own: when both are ready, one commit for each day; what became of each."""
    changes = [change(root, day, who) for day in days]
    (root / f".ready-{who}").touch()
    until = time.monotonic() + 60
    while len(list(root.glob(".ready-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    return [outcome(root, one) for one in changes]


def outcome(root: Path, one: Change) -> str:
    try:
        return f"version {tables.commit(root, one, seen=[])}"
    except Superseded:
        return "superseded"


def together(pool: ProcessPoolExecutor, root: Path, days: list[list[str]]) -> list[str]:
    """What became of the commits of both processes, in order of the first one's, then the second's."""
    running = [pool.submit(publish, root, who, one) for who, one in enumerate(days, 1)]
    return [answer for process in running for answer in process.result(timeout=100)]


def test_different_days_do_not_block_each_other(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Processes that publish different days of one table at the same time all succeed, each in its version."""
    root = tmp_path / "t"
    days = [[f"2020-{month:02}-{i:02}" for i in range(1, 6)] for month in (1, 2)]
    found = together(processes, root, days)
    assert "superseded" not in found
    assert len(set(found)) == 10
    assert [day for day, _, _ in held(root)] == sorted(days[0] + days[1])


def test_of_two_runs_of_one_day_one_wins(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Processes that publish the same day at the same time: one does, the other is told; the day is one run's."""
    for attempt in range(5):
        root = tmp_path / f"t{attempt}"
        found = together(processes, root, [[DAY], [DAY]])
        assert found.count("superseded") == 1
        [(_, run_id, rows)] = held(root)
        assert (run_id, rows) == (f"run{2 - found.index('superseded')}", 1)
