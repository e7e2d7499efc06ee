"""Rows 8 to 15, 17, 18, 25 of the fault matrix: inputs that are not what they were the night before.

Files that differ from each other within a run are in tests/pipeline/read/test_inputs.py; here the day's only
file differs from what the job, its model and its published tables know.
"""

import math
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightscore import Broken, NotYet, load, run
from tests.behaviour.conftest import ROWS, Build
from tests.behaviour.world import DAY, READERS, TABLES, Truth, ours, receipts, tree
from tests.faults.marks import mostly_slow, named
from tests.support.workspace import JOB, make_workspace, rows_of

SQL_JOB = JOB.replace("features: rows", "features: features.sql")
NEXT = "2020-01-03"
Change = Callable[[pa.Table], pa.Table]


def set_column(name: str, kind: pa.DataType | None = None, values: object = None) -> Change:
    """Another type, or other values, of one column."""

    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        made = table.column(name).cast(kind) if values is None else pa.array(values, kind)
        return table.set_column(place, name, made)

    return change


def renamed(old: str, new: str) -> Change:
    return lambda table: table.rename_columns([new if n == old else n for n in table.column_names])


DRIFTS: dict[str, tuple[Change, str]] = {
    "10 a column is missing": (lambda t: t.drop(["b"]), r"'?b'?"),
    "10 a kept column is missing": (lambda t: t.drop(["a"]), r"'?a'?"),
    "10 the key is missing": (lambda t: t.drop(["id"]), r"'?id'?"),
    "11 a column is renamed": (renamed("b", "c"), r"'?b'?"),
    "11 in case only": (renamed("b", "B"), r"'?[bB]'?"),
    "11 with a space behind": (renamed("b", "b "), r"'?b'?"),
    "12 a number is a text": (set_column("b", pa.string()), r"b"),
    "12 a float is a double, and kept": (set_column("a", pa.float64()), r"column 'a' is float in"),
    "12 the key is a text": (set_column("id", pa.string()), r"\bid\b|'%\("),
    "13 a feature is of type null": (lambda t: t.set_column(2, "b", pa.nulls(len(t))), r"b"),
    "13 the key is of type null": (lambda t: t.set_column(0, "id", pa.nulls(len(t))), r"id"),
    "a structure in place of a number": (
        lambda t: t.set_column(2, "b", pa.array([{"x": 1.0}] * len(t))), r"b",
    ),
}  # fmt: skip


QUICK = (
    "10 a column is missing",
    "11 in case only",
    "12 a float is a double, and kept",
    "two columns of one name",
)


def part(root: Path, day: str = DAY) -> Path:
    return root / f"data/lake/rows/day={day}/part-0.parquet"


@pytest.mark.parametrize("features", mostly_slow(["streamed", "sql"], ["streamed"]))
@pytest.mark.parametrize(("change", "says"), named(DRIFTS, QUICK))
@pytest.mark.sample(1)
def test_a_file_that_drifted_overnight_is_broken_by_name(
    fresh: Build, change: Change, says: str, features: str
) -> None:
    """P4: the next day's file has another schema: its column is named, and no table changes."""
    root = fresh(rows=20, job=JOB if features == "streamed" else SQL_JOB)
    run(load("mini", root), DAY)
    before = tree(root / "data/tables")
    pq.write_table(change(rows_of(NEXT, 20)), part(root, NEXT))
    with pytest.raises(Broken, match=says) as caught:
        run(load("mini", root), NEXT)
    assert "unexpected" not in str(caught.value)
    assert tree(root / "data/tables") == before


def test_a_double_in_place_of_a_float_is_the_nearest_float_to_the_model(fresh: Build) -> None:
    """NOT promised (P4): a feature that is not kept may become a float64, rounded to the matrix's."""
    root = fresh(rows=20)
    run(load("mini", root), DAY)
    wide = pa.array(np.linspace(0, 1, 20, dtype=np.float64) + 2.0**-40)
    pq.write_table(rows_of(NEXT, 20).set_column(2, "b", wide), part(root, NEXT))
    run(load("mini", root), NEXT)
    found = ours(root, "mini_scores", NEXT).rows
    a, b = rows_of(NEXT, 20)["a"].to_numpy(), wide.to_numpy().astype(np.float32)
    assert np.array_equal(found["score"].to_numpy(), a + b * np.float32(2))


def test_two_columns_of_one_name_are_broken(fresh: Build) -> None:
    """P4: which of the two is meant, nobody knows; DuckDB would take the first."""
    root = fresh(rows=20, days=(DAY,))
    rows = rows_of(DAY, 20)
    pq.write_table(rows.append_column("b", rows["a"]), part(root))
    with pytest.raises(Broken, match="'b'"):
        run(load("mini", root), DAY)


# --- missing, empty, rewritten ---


@pytest.mark.disk_only(reason="a bucket has no empty folders")
@pytest.mark.parametrize(
    "left", ["nothing", "a temporary file", "a file in a hidden folder", "an empty file"]
)
def test_a_day_without_data_is_never_published_empty(published: Path, left: str) -> None:
    """Rows 7, 8 (P3): the producer failed half-way: the published day stays, the error names the input."""
    folder = part(published).parent
    shutil.rmtree(folder)
    folder.mkdir()
    if left == "a temporary file":
        pq.write_table(rows_of(DAY, 5), folder / "_temporary.parquet")
    elif left == "a file in a hidden folder":
        (folder / ".staging").mkdir()
        pq.write_table(rows_of(DAY, 5), folder / ".staging/part-0.parquet")
    elif left == "an empty file":
        (folder / "part-0.parquet").touch()
    with pytest.raises(Broken, match=r"rows"):
        run(load("mini", published), DAY)
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


def test_a_day_of_no_rows_is_broken_and_the_published_one_stays(published: Path) -> None:
    """Row 9 (P3): a whole file of no rows replaces a full one by accident."""
    pq.write_table(rows_of(DAY, 0), part(published))
    with pytest.raises(Broken, match="no rows to score"):
        run(load("mini", published), DAY)
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)


@pytest.mark.parametrize("features", mostly_slow(["streamed", "sql"], ["sql"]))
@pytest.mark.parametrize("stage", mostly_slow(["plan", "prove", "decide"], ["decide"]))
def test_an_input_rewritten_at_any_stage_is_not_published(fresh: Build, stage: str, features: str) -> None:
    """Row 25 (P5): in place, with the same size; at stages that tests/behaviour has not."""
    root = fresh(rows=500, job=JOB if features == "streamed" else SQL_JOB, days=(DAY,))
    other = root / "other.parquet"
    pq.write_table(rows_of(NEXT, 500), other, row_group_size=1_000)
    done = []

    def hook(at: str, *_: int) -> None:
        if at == stage and not done:
            done.append(at)
            part(root).write_bytes(other.read_bytes())

    with pytest.raises(NotYet, match=r"part-0\.parquet"):
        run(load("mini", root), DAY, report=hook)
    assert done
    assert tree(root / "data/tables") == {}


# --- values ---


@pytest.mark.parametrize("features", mostly_slow(["streamed", "sql"], ["sql"]))
@pytest.mark.parametrize("value", [math.nan, None], ids=["NaN", "null"])
def test_a_feature_that_is_no_number_is_never_published_as_a_score(
    fresh: Build, value: float | None, features: str
) -> None:
    """Row 14 (P3): NaN or null of a model that has no answer to it: broken, by the row's key."""
    root = fresh(rows=20, job=JOB if features == "streamed" else SQL_JOB, days=(DAY,))
    table = rows_of(DAY, 20)
    values = [value if i == 6 else float(i) for i in range(20)]
    pq.write_table(table.set_column(2, "b", pa.array(values, pa.float32())), part(root))
    with pytest.raises(Broken, match="id=6"):
        run(load("mini", root), DAY)
    assert tree(root / "data/tables") == {}


EDGES = [0.0, -0.0, 5e-324, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38, -3.4028235e38]


def bits(values: pa.ChunkedArray) -> list[bytes]:
    return [struct.pack("<f", value) for value in values.to_pylist()]


@pytest.mark.disk_only(reason="its examples make workspaces of their own")
@settings(max_examples=2, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=200))
def test_every_float_is_kept_to_the_bit(tmp_path_factory: pytest.TempPathFactory, drawn: list[float]) -> None:
    """Row 15: -0.0, denormals, the largest: all readers get the bits of the input; infinity is no score."""
    values = np.array([*EDGES, *drawn], np.float32)
    root = make_workspace(tmp_path_factory.mktemp("edges") / "w", 1, days=(DAY,))
    zero = np.zeros(len(values), np.float32)
    columns = {"id": np.arange(len(values)), "a": values, "b": zero}
    pq.write_table(pa.table(columns), part(root))
    run(load("mini", root), DAY)
    for reader in READERS:
        rows = reader(root, "mini_scores").rows
        assert bits(rows["a"]) == bits(pa.chunked_array([values])), reader
        assert bits(rows["score"]) == bits(pa.chunked_array([values + zero * 2])), reader


# --- keys ---

NAMED = JOB.replace("key: [id]", "key: [id, name]")
TOP = """\
SELECT id, name, score FROM scores QUALIFY row_number() OVER (ORDER BY score DESC, name) <= getvariable('n')
"""
NASTY = ["", " ", "\0", "a\0b", "'", "''", '"', '"; DROP TABLE x; --', "%", "%2e%2e", "*", "?", "[a-z]", "..",
         "/", "\\", "\n",
         "\r\n", "\t", "$1", "{}", "{{ ds }}", "NULL", "null", "nan", "\u202e", "\ufeff", "é",
         "e\u0301", "żółw 🐢", "中文", "\U0010ffff", "x" * 70_000, "day=2020-01-01", "ß", "SS", "1", "01",
         "1.0"]  # fmt: skip


def keyed(root: Path, names: list[str]) -> Path:
    (root / "jobs/mini/job.yaml").write_text(NAMED)
    (root / "jobs/mini/top.sql").write_text(TOP)
    rows = rows_of(DAY, len(names)).set_column(0, "id", pa.array([7] * len(names)))
    pq.write_table(rows.append_column("name", pa.array(names)), part(root))
    return root


@pytest.mark.disk_only(reason="its examples make workspaces of their own")
@settings(max_examples=2, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(st.text(max_size=40), unique=True, max_size=50))
def test_every_text_is_a_key(tmp_path_factory: pytest.TempPathFactory, drawn: list[str]) -> None:
    """Row 17 (P3, P4): NUL, quotes, patterns, other forms of one letter: each is itself, to every reader."""
    names = list(dict.fromkeys([*NASTY, *drawn]))
    root = keyed(make_workspace(tmp_path_factory.mktemp("keys") / "w", 1, days=(DAY,)), names)
    assert run(load("mini", root), DAY).rows.published == len(names)
    for reader in READERS:
        assert sorted(reader(root, "mini_scores").rows["name"].to_pylist()) == sorted(names), reader
        assert set(reader(root, "mini_top").rows["name"].to_pylist()) <= set(names), reader


def test_a_text_that_stands_twice_is_named_in_one_line(fresh: Build) -> None:
    """Rows 17, 18 (P3, P9): a key that can't be printed stands twice: broken, in a message for a person."""
    root = keyed(fresh(rows=1, days=(DAY,)), ["a\nb", "\x1b[2J", "x" * 5_000, "a\nb", "\x1b[2J", "x" * 5_000])
    with pytest.raises(Broken, match="not unique within the day") as caught:
        run(load("mini", root), DAY)
    assert len(str(caught.value)) < 1_000
    assert str(caught.value).isprintable()
    assert tree(root / "data/tables") == {}


FOLDERS = [
    "plain",
    "with space",
    "quote's",
    'double"',
    "żółw 🐢",
    "semi;colon",
    "$HOME",
    "{}",
    "a,b",
    "-rf",
]


ON_DISK = pytest.param(
    "back\\slash",
    marks=[
        pytest.mark.slow,
        pytest.mark.disk_only(reason="the client of buckets writes a backslash as another character"),
    ],
)


@pytest.mark.parametrize("name", [*mostly_slow(FOLDERS, ["quote's"]), ON_DISK])
def test_an_input_may_lie_in_a_folder_of_any_name(fresh: Build, name: str) -> None:
    """Row 17: read, or refused by a message that names it; never another folder in its place."""
    root = fresh(rows=30, days=(DAY,))
    (root / "data/lake/rows").rename(root / f"data/lake/{name}")
    path = f"data/lake/{name}".replace("\\", "\\\\").replace('"', '\\"')
    (root / "jobs/mini/job.yaml").write_text(SQL_JOB.replace("data/lake/rows", f'"{path}"'))
    assert run(load("mini", root), DAY).rows.published == 15


@pytest.mark.parametrize("name", mostly_slow(["a[b]", "a*", "a?b", "[!x]", "a{b,c}"], ["a*", "a{b,c}"]))
def test_a_folder_whose_name_is_a_pattern_is_itself_or_refused(fresh: Build, name: str) -> None:
    """Row 17: rows of a folder that the pattern would match are never read in its place."""
    root = fresh(rows=30, days=(DAY,))
    (root / "data/lake/rows").rename(root / f"data/lake/{name}")
    for decoy in ("ab", "axb", "b", "ac"):
        folder = root / f"data/lake/{decoy}/day={DAY}"
        folder.mkdir(parents=True)
        pq.write_table(rows_of(NEXT, 30), folder / "part-0.parquet")
    (root / "jobs/mini/job.yaml").write_text(SQL_JOB.replace("data/lake/rows", f'"data/lake/{name}"'))
    try:
        run(load("mini", root), DAY)
    except Broken as error:
        assert name in str(error)
        return
    wanted = rows_of(DAY, 30)["a"].to_pylist()[::2]
    assert ours(root, "mini_scores").rows["a"].to_pylist() == wanted


def test_what_an_input_is_called_is_not_what_its_receipt_calls_another(published: Path) -> None:
    """P3: two hard links to one file are two files, each with its rows: keys stand twice."""
    os.link(part(published), part(published).with_name("part-1.parquet"))
    with pytest.raises(Broken, match="not unique within the day"):
        run(load("mini", published), DAY)
    assert len(receipts(published)) == 1
