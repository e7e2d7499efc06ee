"""A run reads the files of its days and no others, all of one schema, and notices when one changes."""

# ruff: noqa: E501 - a row of a table of cases is one line

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.common.errors import Broken, NotYet
from nightscore.job.loader import Job, load
from nightscore.pipeline.executors import run
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.absent import missing
from nightscore.pipeline.steps import draft_plan, features
from tests.support.workspace import JOB, make_workspace, write_day

DAY = dt.date(2020, 1, 3)
ROWS = "  rows: {path: data/lake/rows, partition: day}\n"


def with_rows(entry: str) -> str:
    return JOB.replace(ROWS, f"  rows: {entry}\n")


def loaded(root: Path, job: str = JOB, rows: int = 5, days: tuple[str, ...] = ("2020-01-03",)) -> Job:
    return load("mini", make_workspace(root, rows=rows, job=job, days=days))


def partition(job: Job, day: str = "2020-01-03") -> Path:
    return job.workspace.root / f"data/lake/rows/day={day}"


def message(job: Job, day: dt.date = DAY) -> str:
    with pytest.raises(Broken) as caught:
        inputs.resolve_inputs(job, day)
    return str(caught.value)


# --- cut at the day ---

OFFSETS = st.sets(st.integers(-12, 12), min_size=1, max_size=8)


@given(OFFSETS, st.integers(1, 10), st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)))
@settings(max_examples=40)
def test_the_window_is_cut_exactly(
    tmp_path_factory: pytest.TempPathFactory, there: set[int], lookback: int, day: dt.date
) -> None:
    """Of the days that are there, those in (day - lookback, day] are read: none before, none after."""
    root = tmp_path_factory.mktemp("window")
    days = [day + dt.timedelta(days=offset) for offset in there]
    entry = f"{{path: data/lake/rows, partition: day, lookback: {lookback}}}"
    job = loaded(root, with_rows(entry), rows=1, days=tuple(map(str, days)))
    found = [file.day for file in inputs.resolve_inputs(job, day)["rows"]]
    assert found == sorted(str(d) for d in days if day - dt.timedelta(days=lookback) < d <= day)
    assert missing(job, inputs.resolve_inputs(job, day), day) == ([] if day in days else ["rows"])
    assert inputs.list_input_days(job) == sorted(days)


def test_sql_sees_what_the_window_holds(tmp_path: Path) -> None:
    """The rows that SQL sees are those of the window, and `day` is a DATE."""
    entry = "{path: data/lake/rows, partition: day, lookback: 2}"
    days = ("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04")
    job = loaded(tmp_path, with_rows(entry).replace("features: rows", "features: features.sql"), days=days)
    sql = "SELECT id, a, b, (SELECT min(day) FROM rows) AS low, (SELECT max(day) FROM rows) AS high FROM rows"
    (tmp_path / "jobs/mini/features.sql").write_text(sql)
    table = features(load("mini", tmp_path), "2020-01-03")
    assert table.num_rows == 10
    assert set(table["low"].to_pylist()) == {dt.date(2020, 1, 2)}
    assert set(table["high"].to_pylist()) == {DAY}
    assert job.name == "mini"


def test_only_the_day_itself_is_streamed(tmp_path: Path) -> None:
    """`features: rows` with a lookback scores the day's own partition; what lies before is for SQL."""
    entry = "{path: data/lake/rows, partition: day, lookback: 9}"
    loaded(tmp_path, with_rows(entry), days=("2020-01-02", "2020-01-03", "2020-01-04"))
    assert run(load("mini", tmp_path), DAY).rows.published == 5


# --- which files ---


def test_hidden_and_temporary_files_do_not_count(tmp_path: Path) -> None:
    """Names with a dot or an underscore in front, of files and of folders; and what is known beside data."""
    job = loaded(tmp_path)
    for name in (
        ".hidden.parquet",
        "_tmp.parquet",
        "_temporary/x.parquet",
        ".spark/x.parquet",
        "part-0.parquet.crc",
        "SHA256SUMS",
    ):
        path = partition(job) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no Parquet")
    names = [Path(file.path).name for file in inputs.resolve_inputs(job, DAY)["rows"]]
    assert names == ["part-0.parquet"]
    assert run(job, DAY).rows.published == 5


def test_files_below_a_partition_count(tmp_path: Path) -> None:
    """A partition may have folders below it; files come by day, then by path."""
    job = loaded(tmp_path, days=("2020-01-03",))
    (partition(job) / "z").mkdir()
    (partition(job) / "part-0.parquet").rename(partition(job) / "z" / "b.parquet")
    write_day(tmp_path, "2020-01-03", 4, files=2)
    found = [
        Path(f.path).relative_to("data/lake/rows/day=2020-01-03").as_posix()
        for f in inputs.resolve_inputs(job, DAY)["rows"]
    ]
    assert found == ["part-0.parquet", "part-1.parquet", "z/b.parquet"]


def test_a_table_without_partitions_is_a_file_or_a_folder(tmp_path: Path) -> None:
    """`path` without `partition` is one file, or all below a folder; it has no day."""
    entry = "{path: data/lake/rows, partition: day}\n  things: {path: data/lake/things}"
    job = loaded(tmp_path, with_rows(entry))
    things = tmp_path / "data/lake/things"
    pq.write_table(pa.table({"x": [1]}), things)
    assert [(f.path, f.day, f.rows) for f in inputs.resolve_inputs(job, DAY)["things"]] == [
        ("data/lake/things", "", 1)
    ]
    things.unlink()
    (things / "deep").mkdir(parents=True)
    assert "inputs.things.path: data/lake/things holds no .parquet file" in message(job)
    pq.write_table(pa.table({"x": [1]}), things / "deep" / "x.parquet")
    pq.write_table(pa.table({"x": [1]}), things / "a.parquet")
    assert [Path(f.path).name for f in inputs.resolve_inputs(job, DAY)["things"]] == [
        "a.parquet",
        "x.parquet",
    ]


NO_DAYS = [
    "day=yesterday",
    "day=2020-1-3",
    "day=2020-13-01",
    "day=",
    "day=20200103",
    "day=2020-W01-5",
    "day=2020-01-03T00",
]


@pytest.mark.parametrize("folder", NO_DAYS)
def test_a_partition_that_is_no_day_is_refused(tmp_path: Path, folder: str) -> None:
    """One spelling of a day is a day: what DuckDB would read otherwise, or not, is refused with its path."""
    job = loaded(tmp_path)
    (tmp_path / "data/lake/rows" / folder).mkdir()
    text = folder.removeprefix("day=")
    assert message(job) == (
        f"jobs/mini/job.yaml:5: inputs.rows.partition: data/lake/rows/{folder}: {text!r} is no day; "
        "a partition is day=YYYY-MM-DD"
    )


def test_a_link_in_a_partition_that_leaves_the_workspace_is_refused(tmp_path: Path) -> None:
    """A file, or a whole partition, that is a link to elsewhere is not read."""
    secret = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"id": [1]}), secret)
    job = loaded(tmp_path / "space")
    (partition(job) / "link.parquet").symlink_to(secret)
    assert "lies outside the workspace" in message(job)


# --- one schema ---

TABLE = pa.table(
    {"id": pa.array([1]), "a": pa.array([1.0], pa.float32()), "b": pa.array([1.0], pa.float32())}
)
NOT_ALIKE = "column 'b' of input rows is not read: its files don't have it alike"
OTHER_SCHEMAS: dict[str, tuple[pa.Table, str]] = {
    "a text": (TABLE.set_column(0, "id", pa.array(["1"])), "input rows: column 'id' is BIGINT in data/lake/rows/day=2020-01-03/part-8.parquet and VARCHAR in data/lake/rows/day=2020-01-03/part-9.parquet"),
    "another scale of a decimal": (TABLE.set_column(0, "id", pa.array([1]).cast(pa.decimal128(20, 1))), "input rows: column 'id' is"),
    "a renamed column": (TABLE.rename_columns(["id", "a", "c"]), NOT_ALIKE),
    "another case": (TABLE.rename_columns(["id", "A", "b"]), "part-8.parquet has a column 'a', data/lake/rows/day=2020-01-03/part-9.parquet has 'A', one name to SQL"),
    "a space behind": (TABLE.rename_columns(["id", "a ", "b"]), "part-8.parquet has a column 'a', data/lake/rows/day=2020-01-03/part-9.parquet has not"),
    "a missing column": (TABLE.drop(["b"]), NOT_ALIKE),
    "a missing column that is kept": (TABLE.drop(["a"]), "part-8.parquet has a column 'a', "),
}  # fmt: skip


@pytest.mark.parametrize(("table", "says"), OTHER_SCHEMAS.values(), ids=OTHER_SCHEMAS.keys())
@pytest.mark.sample(3)
def test_files_of_another_schema_are_refused(tmp_path: Path, table: pa.Table, says: str) -> None:
    """No cast that loses, no case-folded column, no null where a column is missing: the column and the files."""
    job = loaded(tmp_path)
    (partition(job) / "part-0.parquet").unlink()
    pq.write_table(TABLE, partition(job) / "part-8.parquet")
    pq.write_table(table, partition(job) / "part-9.parquet")
    with pytest.raises(Broken) as caught:
        draft_plan(job, DAY)
    assert says in str(caught.value)
    (partition(job) / "part-8.parquet").rename(partition(job) / "part-a.parquet")
    with pytest.raises(Broken):
        draft_plan(job, DAY)


@pytest.mark.parametrize("names", [("a", "A"), ("A", "a")])
def test_columns_of_one_file_that_are_one_name_to_sql_are_refused(
    tmp_path: Path, names: Sequence[str]
) -> None:
    """SQL's `a` and `A` both were the first of them in the file; where the job reads neither they may be there."""
    job = loaded(tmp_path)
    for path in partition(job).iterdir():
        path.unlink()
    file = partition(job) / "x.parquet"
    both = pa.table([TABLE["id"], TABLE["a"], pa.array([7.0], pa.float32()), TABLE["b"]], ["id", *names, "b"])
    pq.write_table(both, file)
    says = f"x.parquet has columns '{names[0]}' and '{names[1]}', one name to SQL; rename one"
    with pytest.raises(Broken, match=says):
        draft_plan(job, DAY)
    pq.write_table(TABLE.append_column("z", TABLE["a"]).append_column("Z", TABLE["b"]), file)
    assert run(job, DAY).rows.published == 1


def test_another_order_of_columns_is_fine(tmp_path: Path) -> None:
    """Columns go by name."""
    job = loaded(tmp_path)
    pq.write_table(TABLE.select(["b", "id", "a"]).slice(0, 0), partition(job) / "part-9.parquet")
    assert run(job, DAY).rows.published == 5


def test_days_outside_the_window_are_not_looked_at(tmp_path: Path) -> None:
    """A schema may change from one day to the next, where no run reads both."""
    job = loaded(tmp_path)
    (partition(job, "2020-01-02")).mkdir()
    pq.write_table(TABLE.drop(["b"]), partition(job, "2020-01-02") / "x.parquet")
    (partition(job, "2020-01-04")).mkdir()
    (partition(job, "2020-01-04") / "x.parquet").write_text("no Parquet")
    assert len(inputs.resolve_inputs(job, DAY)["rows"]) == 1


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def without_head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[100:])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "empty": lambda path: path.write_bytes(b""),
    "four bytes": lambda path: path.write_bytes(b"PAR1"),
    "a text": lambda path: path.write_text("id,a,b\n1,2,3\n" * 20),
    "a footer longer than the file": lambda path: path.write_bytes(
        b"PAR1" + b"\xff" * 40 + b"\xff\xff\xff\x0fPAR1"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """A truncated or empty file, or one of another kind, is Broken with its name."""
    job = loaded(tmp_path)
    damage(partition(job) / "part-0.parquet")
    assert message(job).startswith(
        "data/lake/rows/day=2020-01-03/part-0.parquet: no Parquet file that can be read: "
    )


def test_a_file_that_goes_before_it_is_opened_is_not_yet(tmp_path: Path) -> None:
    """It was listed, and nobody can say what it held."""
    job = loaded(tmp_path)
    with pytest.raises(NotYet, match=r"part-7\.parquet: has gone since it was listed"):
        inputs.inspect_parquet(job.workspace, partition(job).resolve() / "part-7.parquet")


# --- a missing day ---


def policy(missing: str) -> str:
    return JOB.replace("audit:", f"policy: {{missing: {missing}}}\naudit:")


def test_a_missing_day_follows_the_policy(tmp_path: Path) -> None:
    """Fail is Broken, wait is NotYet, skip is a receipt that says so; each names the input."""
    job = loaded(tmp_path / "fail", policy("fail"))
    with pytest.raises(Broken, match=r"^job mini: no partition of 2020-01-04 in rows; the policy .* is fail"):
        run(job, "2020-01-04")
    with pytest.raises(NotYet, match=r"^job mini: no partition of 2020-01-04 in rows yet$"):
        run(loaded(tmp_path / "wait", policy("wait")), "2020-01-04")
    receipt = run(loaded(tmp_path / "skip", policy("skip")), "2020-01-04")
    assert (receipt.status, receipt.reason) == ("skipped", "job mini: no partition of 2020-01-04 in rows")
    assert not (tmp_path / "skip/data/tables").exists()


def test_an_empty_partition_is_a_missing_day(tmp_path: Path) -> None:
    """A folder without files, or with temporary ones alone, is no partition yet."""
    job = loaded(tmp_path, policy("wait"))
    partition(job, "2020-01-04").mkdir()
    (partition(job, "2020-01-04") / "_tmp.parquet").write_text("x")
    with pytest.raises(NotYet, match="no partition of 2020-01-04"):
        run(job, "2020-01-04")


# --- a file that changes while it is read ---


def rewrite_in_place(path: Path) -> None:
    raw = path.read_bytes()
    with path.open("r+b") as file:
        file.write(raw)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def rename_over(path: Path) -> None:
    stat = path.stat()
    other = path.with_name("new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)


def add_a_file(path: Path) -> None:
    path.with_name("part-1.parquet").write_bytes(path.read_bytes())


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "rewritten in place": (rewrite_in_place, "part-0.parquet: changed while it was being read"),
    "renamed over, with the same size and time": (rename_over, "part-0.parquet: changed while it was being read"),
    "truncated": (truncated, "part-0.parquet: changed while it was being read"),
    "removed": (Path.unlink, "part-0.parquet: removed while it was being read; nothing is published"),
    "a file that came": (add_a_file, "part-1.parquet: came while input rows was being read"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "says"), FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("fails", [False, True], ids=["reading went well", "reading failed"])
def test_a_change_between_look_and_check_is_not_yet(
    tmp_path: Path, fault: Callable[[Path], object], says: str, fails: bool
) -> None:
    """What changed while it was read is NotYet, even where reading failed because of it."""
    job = loaded(tmp_path)
    files = inputs.resolve_inputs(job, DAY)
    with pytest.raises(NotYet, match=says), inputs.steady_inputs(job, files, DAY):
        fault(partition(job) / "part-0.parquet")
        if fails:
            raise Broken("a page can't be read")


def test_what_did_not_change_passes(tmp_path: Path) -> None:
    """Steady inputs let results and mistakes pass, and other days may come and go."""
    job = loaded(tmp_path, days=("2020-01-02", "2020-01-03"))
    files = inputs.resolve_inputs(job, DAY)
    with inputs.steady_inputs(job, files, DAY):
        write_day(tmp_path, "2020-01-04", 1)
        (partition(job, "2020-01-02") / "part-0.parquet").unlink()
    with pytest.raises(Broken, match="a mistake"), inputs.steady_inputs(job, files, DAY):
        raise Broken("a mistake")


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    """The same file has the same fingerprint at each look; other rows or another time have another."""
    job = loaded(tmp_path)
    path = partition(job) / "part-0.parquet"
    first = inputs.inspect_parquet(job.workspace, path)
    assert inputs.inspect_parquet(job.workspace, path) == first
    assert (first.path, first.bytes, first.rows) == (
        "data/lake/rows/day=2020-01-03/part-0.parquet",
        path.stat().st_size,
        5,
    )
    os.utime(path, ns=(1, 1))
    second = inputs.inspect_parquet(job.workspace, path)
    write_day(tmp_path, "2020-01-03", 6)
    os.utime(path, ns=(1, 1))
    assert (
        len({first.fingerprint, second.fingerprint, inputs.inspect_parquet(job.workspace, path).fingerprint})
        == 3
    )


# --- tables as inputs ---

READER = """\
job: reader
about: Reads what mini published
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
  tops: {table: mini_top, lookback: 2}
features: features.sql
key: [id]
model:
  path: data/models/linear.onnx
  outputs: {score: y}
"""
READER_SQL = """\
SELECT id, a, b, (SELECT count(*) FROM tops) AS n, (SELECT max(day) FROM tops) AS latest FROM rows
"""


def add_reader(root: Path, text: str = READER) -> Job:
    folder = root / "jobs/reader"
    folder.mkdir()
    (folder / "job.yaml").write_text(text)
    (folder / "features.sql").write_text(READER_SQL)
    return load("reader", root)


def test_another_jobs_table_is_an_input(tmp_path: Path) -> None:
    """What the other job published for the days of the window, the day itself included."""
    days = ("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04")
    mini = loaded(tmp_path, rows=20, days=days)
    reader = add_reader(tmp_path)
    with pytest.raises(
        Broken, match=r"^jobs/reader/job.yaml:6: inputs.tops: table mini_top has no file .* give its columns"
    ):
        features(reader, DAY)
    for day in ("2020-01-01", "2020-01-02", "2020-01-04"):
        run(mini, day)
    assert set(features(reader, DAY)["n"].to_pylist()) == {10}
    with pytest.raises(Broken, match=r"^job reader: no partition of 2020-01-03 in tops"):
        draft_plan(reader, DAY)
    run(mini, DAY)
    table = features(reader, DAY)
    assert set(table["n"].to_pylist()) == {20}
    assert set(table["latest"].to_pylist()) == {DAY}
    assert run(reader, DAY).rows.published == 20


def test_the_jobs_own_table_is_seen_up_to_the_day_before(tmp_path: Path) -> None:
    """On the first night it has the columns that the job gives; later, only nights before the scored one."""
    days = ("2020-01-01", "2020-01-02", "2020-01-03")
    make_workspace(tmp_path, rows=20, days=days)
    own = READER.replace(
        "{table: mini_top, lookback: 2}", "{table: reader_scores, lookback: 9, columns: {id: BIGINT}}"
    )
    job = add_reader(tmp_path, own)
    for day, rows, latest in zip(days, (0, 20, 40), (None, *days), strict=False):
        table = features(job, day)
        assert set(table["n"].to_pylist()) == {rows}
        assert set(table["latest"].to_pylist()) == {latest and dt.date.fromisoformat(latest)}
        assert run(job, day).status == "published"
    assert run(job, days[0]).status == "unchanged"
