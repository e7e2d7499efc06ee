"""Tables keep every value they take, commit once, and let two runs of one day never both win."""

# ruff: noqa: E501 - a row of the table of types is one line

import datetime as dt
import json
import multiprocessing
import os
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
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from nightscore import load, query, run
from nightscore.common.errors import Broken, NotYet
from nightscore.store import delta, delta_commit, table_schema
from nightscore.store.tables.delta_commit import Superseded, TableCommit
from tests.support.places import place
from tests.support.workspace import JOB, make_workspace

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
    assert delta.table_exists(place(root)) is DeltaTable.is_deltatable(str(root))


def test_a_file_in_the_place_of_a_table_or_its_log_is_no_table(tmp_path: Path) -> None:
    """Nothing is there to read, and that is no error of a look."""
    (tmp_path / "_delta_log").write_text("x")
    assert not delta.table_exists(place(tmp_path))
    assert not delta.table_exists(place(tmp_path) / "_delta_log")


# --- commits ---


def change(root: Path, day: str, number: int, rows: int = 1, run_id: str = "") -> TableCommit:
    """A run's one file for a day, and the change that publishes it."""
    name = run_id or f"run{number}"
    path = root / f"day={day}" / f"{name}-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": pa.array([number] * rows), "run_id": [name] * rows}), path)
    return TableCommit("job", day, name, number, (place(path),))


def held(root: Path) -> list[tuple[str, str, int]]:
    return [(f.day, f.run_id, f.rows) for f in delta.list_live_files(place(root))]


def test_a_commit_is_the_day_and_no_other(tmp_path: Path) -> None:
    """A commit replaces its day's files; the days beside it stay; each file knows its run, rows and bytes."""
    root = tmp_path / "t"
    assert (delta.list_live_files(place(root)), delta.table_exists(place(root))) == ([], False)
    assert delta_commit.commit_files(place(root), change(root, "2020-01-01", 1, rows=3), seen=[]) == 1
    assert delta_commit.commit_files(place(root), change(root, "2020-01-02", 2), seen=[]) == 2
    assert (
        delta_commit.commit_files(place(root), change(root, "2020-01-01", 3, rows=5), seen=["run1-0.parquet"])
        == 3
    )
    assert held(root) == [("2020-01-01", "run3", 5), ("2020-01-02", "run2", 1)]
    assert all(f.bytes == f.path.local().stat().st_size for f in delta.list_live_files(place(root)))
    assert [(f.day, f.run_id) for f in delta.list_live_files(place(root), 2)] == [
        ("2020-01-01", "run1"),
        ("2020-01-02", "run2"),
    ]
    assert [(f.day, f.run_id) for f in delta.list_live_files(place(root), 0)] == []
    with pytest.raises(Broken, match=r"^table t: has no version 9, or can't be read: "):
        delta.list_live_files(place(root), 9)


def test_a_commit_happens_once_however_often_it_is_tried(tmp_path: Path) -> None:
    """Tried again, also after others, it answers with the version where it happened and adds nothing."""
    root = tmp_path / "t"
    first = change(root, DAY, 5)
    assert delta_commit.commit_files(place(root), first, seen=[]) == 1
    assert delta_commit.commit_files(place(root), first, seen=[]) == 1
    for i in range(25):
        delta_commit.commit_files(place(root), change(root, f"2019-01-{i + 1:02}", 1), seen=[])
    assert delta_commit.commit_files(place(root), first, seen=[]) == 1
    assert DeltaTable(str(root)).version() == 26
    assert held(root).count((DAY, "run5", 1)) == 1


def test_the_version_is_right_while_others_commit(tmp_path: Path) -> None:
    """A commit of another day between a look at the table and the answer does not shift the version."""
    root = tmp_path / "t"
    first = change(root, DAY, 5)
    delta_commit.commit_files(place(root), first, seen=[])
    looked = DeltaTable(str(root))
    for i in range(3):
        delta_commit.commit_files(place(root), change(root, f"2019-01-{i + 1:02}", 1), seen=[])
    assert delta_commit._version_of(looked, place(root), first) == 1
    assert delta_commit._version_of(DeltaTable(str(root)), place(root), first) == 1


def test_a_run_that_did_not_see_what_is_there_is_superseded(tmp_path: Path) -> None:
    """Another run has published the day since: NotYet, and the day stays as that one left it."""
    root = tmp_path / "t"
    delta_commit.commit_files(place(root), change(root, DAY, 5), seen=[])
    late = change(root, DAY, 6)
    for seen in ([], ["other-0.parquet"], ["run5-0.parquet", "other-0.parquet"]):
        with pytest.raises(Superseded, match=rf"another run has published {DAY} since run run6 began"):
            delta_commit.commit_files(place(root), late, seen=seen)
    assert issubclass(Superseded, NotYet)
    assert held(root) == [(DAY, "run5", 1)]
    delta_commit.commit_files(place(root), late, seen=["run5-0.parquet"])
    assert held(root) == [(DAY, "run6", 1)]


def test_an_older_run_never_replaces_a_newer(tmp_path: Path) -> None:
    """A run that wakes up late is refused by its number, even where it replaces whatever is there."""
    root = tmp_path / "t"
    delta_commit.commit_files(place(root), change(root, DAY, 5), seen=[])
    with pytest.raises(Superseded):
        delta_commit.commit_files(place(root), change(root, DAY, 4), seen=None)
    assert held(root) == [(DAY, "run5", 1)]


def test_two_runs_of_one_number_are_two_runs(tmp_path: Path) -> None:
    """Runs that began in the same millisecond: the second is superseded, and not taken for the first."""
    root = tmp_path / "t"
    delta_commit.commit_files(place(root), change(root, DAY, 5, run_id="a"), seen=[])
    with pytest.raises(Superseded, match=r"under the number of run b"):
        delta_commit.commit_files(place(root), change(root, DAY, 5, run_id="b"), seen=[])
    assert held(root) == [(DAY, "a", 1)]


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    """The table of receipts gains a file for each run and loses none."""
    root = tmp_path / "t"
    for number in (1, 2):
        delta_commit.commit_files(place(root), replace(change(root, DAY, number), mode="append"))
    assert held(root) == [(DAY, "run1", 1), (DAY, "run2", 1)]


def test_days_that_are_spelt_alike_are_not_mixed_up(tmp_path: Path) -> None:
    """Replacing one day leaves those alone that its name is a part of."""
    root = tmp_path / "t"
    for number, day in enumerate(("2020-01-01", "2020-01-10", "2020-01-11"), 1):
        delta_commit.commit_files(place(root), change(root, day, number), seen=[])
    delta_commit.commit_files(place(root), change(root, "2020-01-01", 9), seen=["run1-0.parquet"])
    assert [run_id for _, run_id, _ in held(root)] == ["run9", "run2", "run3"]


def test_the_schema_of_a_table_is_kept(tmp_path: Path) -> None:
    """Another column or type than the table has is refused with the column's name; the same passes."""
    root = tmp_path / "t"
    delta.check_table_schema(place(root), pa.schema([("anything", pa.int8())]))
    delta_commit.commit_files(place(root), change(root, DAY, 1), seen=[])
    same = pa.schema([("x", pa.int64()), ("run_id", pa.string())])
    delta.check_table_schema(place(root), same)
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
            delta.check_table_schema(place(root), schema)


# --- what other engines' VACUUM leaves ---

DELETED = "delta.deletedFileRetentionDuration"
LOG = "delta.logRetentionDuration"
CHECKPOINTS = "delta.checkpointInterval"


def made_before(root: Path, configuration: dict[str, str] | None = None) -> None:
    """A table as it was made before tables kept what was replaced, or by somebody else."""
    schema = Schema.from_arrow(table_schema.with_day(pa.schema([("x", pa.int64()), ("run_id", pa.string())])))
    DeltaTable.create(str(root), schema, partition_by=["day"], configuration=configuration)


def log(root: Path) -> list[list[dict[str, Any]]]:
    """The actions of each version, read as text."""
    files = sorted((root / "_delta_log").glob("*.json"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def metadata_at(root: Path) -> list[int]:
    """The versions that have set the table's metadata."""
    return [version for version, actions in enumerate(log(root)) if any("metaData" in a for a in actions)]


def age(root: Path, days: int = 30) -> None:
    """Let all that was replaced have been replaced so long ago, and every file be so old."""
    back = days * 86_400
    for file in (root / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for remove in [action["remove"] for action in actions if "remove" in action]:
            remove["deletionTimestamp"] -= back * 1000
        file.write_text("\n".join(map(json.dumps, actions)))
    for path in root.rglob("*.parquet"):
        moment = path.stat().st_mtime - back
        os.utime(path, (moment, moment))


def vacuumed(root: Path, **options: Any) -> set[str]:
    """What a usual VACUUM would remove, by deltalake itself."""
    return {Path(path).name for path in DeltaTable(str(root)).vacuum(dry_run=True, **options)}


@pytest.mark.parametrize(
    "configuration", [None, {LOG: "interval 3650 days"}], ids=["bare", "the log's alone"]
)
def test_a_table_that_was_made_without_it_keeps_what_was_replaced(
    tmp_path: Path, configuration: dict[str, str] | None
) -> None:
    """A file that was replaced a month ago is safe from the next publish on, and so is one not committed yet."""
    root = tmp_path / "t"
    made_before(root, configuration)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta_commit, "KEPT", {})
        delta_commit.commit_files(place(root), change(root, DAY, 1))
        delta_commit.commit_files(place(root), change(root, DAY, 2))
    change(root, DAY, 9)  # is published by nobody
    age(root)
    assert vacuumed(root) == {"run1-0.parquet"}, "as it was"
    assert vacuumed(root, full=True) == {"run1-0.parquet", "run9-0.parquet"}
    assert delta_commit.commit_files(place(root), change(root, "2020-01-03", 3), seen=[]) == 4
    assert metadata_at(root) == [0, 3]
    assert vacuumed(root) == vacuumed(root, full=True) == set()
    with pytest.raises(DeltaError, match="minimum retention for vacuum"):
        vacuumed(root, retention_hours=168)
    assert delta_commit.commit_files(place(root), change(root, DAY, 4), seen=["run2-0.parquet"]) == 5
    assert metadata_at(root) == [0, 3], "once"
    assert [held_at(root, version) for version in range(6)] == [
        [], ["run1"], ["run2"], ["run2"], ["run2", "run3"], ["run3", "run4"]
    ]  # fmt: skip
    set_ = DeltaTable(str(root)).metadata().configuration
    assert set_[DELETED] == set_[LOG] == "interval 3650 days"


def held_at(root: Path, version: int) -> list[str]:
    """The runs whose files a version has, by deltalake alone."""
    return sorted(Path(uri).name.split("-")[0] for uri in DeltaTable(str(root), version=version).file_uris())


def test_a_new_table_keeps_what_was_replaced_from_its_first_version_on(tmp_path: Path) -> None:
    """No commit is spent on it: the first publish is version 1, and a month later nothing of it may go."""
    root = tmp_path / "t"
    assert delta_commit.commit_files(place(root), change(root, DAY, 1), seen=[]) == 1
    assert delta_commit.commit_files(place(root), change(root, DAY, 2), seen=["run1-0.parquet"]) == 2
    age(root)
    assert metadata_at(root) == [0] and vacuumed(root, full=True) == set()


def test_what_an_operator_has_set_stays(tmp_path: Path) -> None:
    """Another time than ours is somebody's decision: no commit changes it."""
    root = tmp_path / "t"
    theirs = {DELETED: "interval 90 days", LOG: "interval 90 days", CHECKPOINTS: "25"}
    made_before(root, theirs)
    delta_commit.commit_files(place(root), change(root, DAY, 1), seen=[])
    assert metadata_at(root) == [0]
    assert DeltaTable(str(root)).metadata().configuration == theirs


def test_a_column_that_comes_later_leaves_the_properties(tmp_path: Path) -> None:
    """A commit that widens the schema sets the metadata again, and all that is kept with it."""
    root = tmp_path / "t"
    delta_commit.commit_files(place(root), change(root, DAY, 1), seen=[])
    wider = change(root, DAY, 2)
    schema = pa.schema(
        [("x", pa.int64()), ("run_id", pa.string()), table_schema.optional_field("y", pa.int64())]
    )
    pq.write_table(pa.table([[1], ["run2"], [2]], schema=schema), wider.files[0].local())
    delta_commit.commit_files(place(root), wider)
    assert metadata_at(root) == [0, 2]
    assert DeltaTable(str(root)).metadata().configuration == delta_commit.KEPT


def test_a_commit_between_a_look_and_the_properties_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run publishes the day in that moment: the properties are refused, and then this run is."""
    root = tmp_path / "t"
    made_before(root)
    keep = delta_commit._keep

    def late(table: DeltaTable) -> None:
        monkeypatch.setattr(delta_commit, "_keep", keep)
        delta_commit.commit_files(place(root), change(root, DAY, 5), seen=[])
        keep(table)

    monkeypatch.setattr(delta_commit, "_keep", late)
    with pytest.raises(Superseded, match="another run has published"):
        delta_commit.commit_files(place(root), change(root, DAY, 6), seen=[])
    assert held(root) == [(DAY, "run5", 1)] and metadata_at(root) == [0, 1]


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


def outcome(root: Path, one: TableCommit) -> str:
    try:
        return f"version {delta_commit.commit_files(place(root), one, seen=[])}"
    except Superseded:
        return "superseded"


def together(pool: ProcessPoolExecutor, root: Path, days: list[list[str]]) -> list[str]:
    """What became of the commits of both processes, in order of the first one's, then the second's."""
    running = [pool.submit(publish, root, who, one) for who, one in enumerate(days, 1)]
    return [answer for process in running for answer in process.result(timeout=100)]


@pytest.mark.slow
def test_different_days_do_not_block_each_other(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Processes that publish different days of one table at the same time all succeed, each in its version."""
    root = tmp_path / "t"
    days = [[f"2020-{month:02}-{i:02}" for i in range(1, 6)] for month in (1, 2)]
    found = together(processes, root, days)
    assert "superseded" not in found
    assert len(set(found)) == 10
    assert [day for day, _, _ in held(root)] == sorted(days[0] + days[1])


def test_processes_that_find_an_old_table_set_its_properties_once(
    processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """Both want to, at the same time, and publish: one sets them, both publish, at no version is a day torn."""
    root = tmp_path / "t"
    made_before(root)
    days = [[f"2020-{month:02}-{i:02}" for i in range(1, 4)] for month in (1, 2)]
    assert "superseded" not in together(processes, root, days)
    assert [day for day, _, _ in held(root)] == sorted(days[0] + days[1])
    assert metadata_at(root) == [0, 1]
    assert [len(held_at(root, version)) for version in range(len(log(root)))] == [0, 0, 1, 2, 3, 4, 5, 6]


def test_of_two_runs_of_one_day_one_wins(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Processes that publish the same day at the same time: one does, the other is told; the day is one run's."""
    for attempt in range(5):
        root = tmp_path / f"t{attempt}"
        found = together(processes, root, [[DAY], [DAY]])
        assert found.count("superseded") == 1
        [(_, run_id, rows)] = held(root)
        assert (run_id, rows) == (f"run{2 - found.index('superseded')}", 1)
