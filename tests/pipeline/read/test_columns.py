"""Files of one input that are not alike are read as if all had been written in the wider type, or refused."""

# ruff: noqa: E501 - a row of a table of cases is one line

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import query
from nightscore.common.errors import Broken
from nightscore.job.loader import Job, load
from nightscore.pipeline.executors import run
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.parquet.widening import widens, widest
from nightscore.pipeline.steps import draft_plan, features
from tests.support.workspace import JOB, make_workspace, rows_of

DAYS = [dt.date(2020, 1, day) for day in (1, 2, 3)]
DAY = DAYS[-1]
ROWS = "  rows: {path: data/lake/rows, partition: day}\n"
ENTRY = "  rows: {path: data/lake/rows, partition: day, lookback: 3COLUMNS}\n"
COUNT = 40


def workspace(root: Path, sql: str = "", columns: str = "", job: str = JOB) -> Path:
    """The job `mini`, without a lake: rows are streamed, or made by SQL over three days."""
    entry = ENTRY.replace("COLUMNS", f", columns: {columns}" if columns else "")
    text = job.replace(ROWS, entry).replace(
        "features: rows", "features: features.sql" if sql else "features: rows"
    )
    make_workspace(root, job=text, days=())
    (root / "jobs/mini/features.sql").write_text(sql or "SELECT 1 AS id")
    return root


def write(root: Path, day: dt.date, table: pa.Table, name: str = "part-0", **options: Any) -> Path:
    path = root / f"data/lake/rows/day={day}/{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def rows(day: dt.date, **more: pa.Array) -> pa.Table:
    table = rows_of(str(day), COUNT)
    for name, values in more.items():
        table = table.append_column(name, values)
    return table


def resolved(root: Path) -> tuple[Any, ...]:
    return inputs.resolve_inputs(load("mini", root), DAY)["rows"]


def refused(root: Path) -> str:
    with pytest.raises(Broken) as caught:
        draft_plan(load("mini", root), DAY)
    return str(caught.value)


# --- which type holds another ---

KINDS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "TINYINT": (pa.int8(), [-(2**7), 2**7 - 1]),
    "SMALLINT": (pa.int16(), [-(2**15), 2**15 - 1]),
    "INTEGER": (pa.int32(), [-(2**31), 2**31 - 1]),
    "BIGINT": (pa.int64(), [-(2**63), 2**63 - 1, 2**53 + 1]),
    "UTINYINT": (pa.uint8(), [0, 2**8 - 1]),
    "USMALLINT": (pa.uint16(), [0, 2**16 - 1]),
    "UINTEGER": (pa.uint32(), [0, 2**32 - 1]),
    "UBIGINT": (pa.uint64(), [0, 2**64 - 1]),
    "FLOAT": (pa.float32(), [0.1, 3.4e38, 1e-45]),
    "DOUBLE": (pa.float64(), [0.1, 1e308, 5e-324]),
    "DECIMAL(5,2)": (pa.decimal128(5, 2), [Decimal("999.99"), Decimal("-0.01")]),
    "DECIMAL(12,2)": (pa.decimal128(12, 2), [Decimal("9999999999.99")]),
    "DECIMAL(12,3)": (pa.decimal128(12, 3), [Decimal("999999999.999")]),
    "VARCHAR": (pa.string(), ["x", "1"]),
    "DATE": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "TIMESTAMP": (pa.timestamp("us"), [dt.datetime(9999, 12, 31, 1)]),
    "TIMESTAMP_NS": (pa.timestamp("ns"), [pd.Timestamp(1)]),
}


@pytest.mark.parametrize(("own", "kind"), [*itertools.product(KINDS, KINDS)])
def test_what_counts_as_wider_holds_every_value(own: str, kind: str) -> None:
    """Arrow casts the extreme values there and back, unchanged; of numbers each such pair counts."""
    one, values = KINDS[own]
    other, _ = KINDS[kind]
    given = pa.array(values, one)
    try:
        held = given.cast(other).cast(one).equals(given)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        held = False
    assert not widens(own, kind, asked=True) or held
    numbers = pa.types.is_integer(one) and pa.types.is_integer(other)
    if numbers or (pa.types.is_floating(one) and pa.types.is_floating(other)):
        assert widens(own, kind) == held
    assert widens(f"{own}[]", f"{kind}[]") == widens(own, kind)


@pytest.mark.parametrize("kinds", [*itertools.permutations(["INTEGER", "BIGINT", "SMALLINT", '"NULL"'])])
def test_the_widest_does_not_depend_on_the_order(kinds: tuple[str, ...]) -> None:
    assert widest(kinds) == "BIGINT"
    assert widest((*kinds, "UBIGINT")) is None


# --- as if all had been written in the wider type ---

WIDENED: dict[str, tuple[pa.DataType, pa.DataType, list[Any]]] = {
    "int32": (pa.int32(), pa.int64(), [-(2**31), 7, 2**31 - 1, None]),
    "int8": (pa.int8(), pa.int32(), [-128, 7, 127, None]),
    "uint32": (pa.uint32(), pa.int64(), [0, 2**32 - 1, 7, None]),
    "float": (pa.float32(), pa.float64(), [0.1, -3.4e38, float("nan"), None]),
    "decimal": (pa.decimal128(7, 2), pa.decimal128(18, 2), [Decimal("12345.67"), Decimal("-0.01"), Decimal(0), None]),
    "null": (pa.null(), pa.string(), [None, None, None, None]),
    "list": (pa.list_(pa.float32()), pa.list_(pa.float64()), [[0.1], [], None, [1.5, None]]),
}  # fmt: skip
SQL = "SELECT row_number() OVER (ORDER BY day, id) AS id, a, b, x FROM rows"


@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.parametrize("case", WIDENED)
@pytest.mark.sample(2)
def test_widened_by_sql_are_the_bytes_of_files_in_the_wide_type(
    tmp_path: Path, case: str, first: str
) -> None:
    """The feature snapshot is the same, byte for byte, and the receipt says what was read wider."""
    narrow, wide, values = WIDENED[case]
    old = pa.array(values * (COUNT // 4), narrow)
    found = []
    for name, kinds in (("mixed", (narrow, narrow, wide)), ("wide", (wide, wide, wide))):
        root = workspace(tmp_path / name, SQL, job=JOB.replace("keep: [a]", "keep: [a, x]"))
        for day, kind in zip(DAYS if first == "old" else DAYS[::-1], kinds, strict=True):
            write(root, day, rows(day, x=old.cast(kind)))
        receipt = run(load("mini", root), DAY)
        [snapshot] = (root / "data/runs/mini").glob("*/*/features.parquet")
        found.append((snapshot.read_bytes(), receipt.key_hash, receipt.tables["mini_scores"].columns))
        assert bool(receipt.widened) == (name == "mixed")
        assert receipt.rows.published == 3 * COUNT
    assert found[0] == found[1]


@pytest.mark.parametrize("newer", ["narrow", "wide"])
@pytest.mark.parametrize("case", [case for case in WIDENED if case != "list"])
@pytest.mark.sample(2)
def test_widened_in_a_streamed_day_is_what_pandas_reads(tmp_path: Path, case: str, newer: str) -> None:
    """Two files of the day, one narrower, and the days before: every published value, in one type."""
    narrow, wide, values = WIDENED[case]
    old = pa.array(values * (COUNT // 4), narrow)
    root = workspace(tmp_path, job=JOB.replace("keep: [a]", "keep: [a, x]"))
    write(root, DAYS[0], rows(DAYS[0], x=old.cast(wide)))
    first, second = (narrow, wide) if newer == "wide" else (wide, narrow)
    table = rows(DAY, x=old)
    paths = [write(root, DAY, table.slice(0, 15).set_column(3, "x", old[:15].cast(first)), "part-0"),
             write(root, DAY, table.slice(15).set_column(3, "x", old[15:].cast(second)), "part-1")]  # fmt: skip
    receipt = run(load("mini", root), DAY)
    published = query("SELECT id, x FROM mini_scores ORDER BY id", root)
    expected = pa.concat_tables([pq.ParquetFile(path).read().select(["id", "x"]) for path in paths],
                                promote_options="permissive").sort_by("id")  # fmt: skip
    assert published.schema.field("x").type == wide
    assert str(published["x"].to_pylist()) == str(expected["x"].to_pylist())  # as texts: NaN is NaN
    assert receipt.key_hash.in_ == receipt.key_hash.out
    assert any("x: " in line for line in receipt.widened["rows"])


def test_a_key_that_is_widened_is_proven_in_the_wider_type(tmp_path: Path) -> None:
    """0.1 of four bytes is another text than of eight: rows and key hash of the source are those that are staged."""
    contract = "{id: BIGINT, a: FLOAT, b: FLOAT, x: DOUBLE}"
    root = workspace(tmp_path, columns=contract, job=JOB.replace("key: [id]", "key: [id, x]"))
    narrow = pa.array([0.1] * COUNT, pa.float32())
    for day in DAYS:
        write(root, day, rows(day, x=narrow))
    receipt = run(load("mini", root), DAY)
    assert receipt.key_hash.in_ == receipt.key_hash.out
    assert query("SELECT DISTINCT x FROM mini_scores", root)["x"].to_pylist() == [float(np.float32(0.1))]


def test_a_date_is_a_moment_only_where_the_contract_asks_for_it(tmp_path: Path) -> None:
    """Midnight, as Python has it."""
    sql = "SELECT row_number() OVER (ORDER BY day, id) AS id, a, b, x FROM rows"
    contract = "{id: BIGINT, a: FLOAT, b: FLOAT, x: TIMESTAMP}"
    for root, columns in ((tmp_path / "one", ""), (tmp_path / "two", contract)):
        workspace(root, sql, columns)
        for day, kind in zip(DAYS[1:], (pa.date32(), pa.timestamp("us")), strict=True):
            write(root, day, rows(day, x=pa.array([day] * COUNT, pa.date32()).cast(kind)))
    assert "column 'x' is DATE in" in refused(tmp_path / "one")
    found = features(load("mini", tmp_path / "two"), DAY)["x"].to_pylist()
    assert found == [dt.datetime.combine(day, dt.time()) for day in DAYS[1:] for _ in range(COUNT)]


SPELLINGS: dict[str, tuple[pa.Array, pa.Array, dict[str, Any]]] = {
    "list elements": (pa.array([[1.5]] * COUNT, pa.list_(pa.field("item", pa.float32()))), pa.array([[1.5]] * COUNT, pa.list_(pa.float32())), {"use_compliant_nested_type": False}),
    "large list": (pa.array([[1.5]] * COUNT, pa.large_list(pa.float32())), pa.array([[1.5]] * COUNT, pa.list_(pa.float32())), {}),
    "large string": (pa.array(["ä"] * COUNT, pa.large_string()), pa.array(["ä"] * COUNT), {}),
    "string view": (pa.array(["ä"] * COUNT, pa.string_view()), pa.array(["ä"] * COUNT), {}),
    "dictionary": (pa.array(["ä"] * COUNT).dictionary_encode(), pa.array(["ä"] * COUNT), {}),
    "milliseconds": (pa.array([dt.datetime(2020, 1, 1, 5)] * COUNT, pa.timestamp("ms")), pa.array([dt.datetime(2020, 1, 1, 5)] * COUNT, pa.timestamp("us")), {}),
    "a decimal as an integer": (pa.array([Decimal("1.50")] * COUNT, pa.decimal128(9, 2)), pa.array([Decimal("1.50")] * COUNT, pa.decimal128(9, 2)), {"store_decimal_as_integer": True}),
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
@pytest.mark.sample(2)
def test_another_spelling_of_a_type_is_the_same_type(tmp_path: Path, case: str) -> None:
    """Nothing is cast, nothing is said, and each row has the value that was written."""
    spelled, plain, options = SPELLINGS[case]
    root = workspace(tmp_path, "SELECT row_number() OVER (ORDER BY day, id) AS id, a, b, x FROM rows")
    write(root, DAYS[0], rows(DAYS[0], x=spelled), **options)
    write(root, DAYS[1], rows(DAYS[1], x=plain))
    write(root, DAY, rows(DAY, x=spelled), **options)
    found = features(load("mini", root), DAY)
    assert found["x"].to_pylist() == [*spelled.to_pylist(), *plain.to_pylist(), *spelled.to_pylist()]
    assert not draft_plan(load("mini", root), DAY).widened


LOSING: dict[str, tuple[pa.Array, pa.Array]] = {
    "double and integer": (pa.array([1] * COUNT), pa.array([1.5] * COUNT)),
    "text and number": (pa.array(["1"] * COUNT), pa.array([1] * COUNT)),
    "decimal scale": (pa.array([Decimal("1.5")] * COUNT, pa.decimal128(9, 1)), pa.array([Decimal("1.55")] * COUNT, pa.decimal128(9, 2))),
    "signs": (pa.array([1] * COUNT, pa.uint64()), pa.array([-1] * COUNT)),
    "nanoseconds": (pa.array([1] * COUNT, pa.timestamp("ns")), pa.array([1] * COUNT, pa.timestamp("us"))),
    "an instant and a wall clock": (pa.array([1] * COUNT, pa.timestamp("us", "UTC")), pa.array([1] * COUNT, pa.timestamp("us"))),
    "a date and a moment": (pa.array([DAY] * COUNT), pa.array([1] * COUNT, pa.timestamp("us"))),
    "beyond 38 digits": (pa.array([1] * COUNT, pa.float64()), pa.array([Decimal("1.50")] * COUNT, pa.decimal256(50, 2))),
}  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", LOSING)
@pytest.mark.sample(4)
def test_what_loses_is_refused_with_both_files_and_a_way_on(tmp_path: Path, case: str, turned: bool) -> None:
    """Whichever comes first; a job that does not use the column runs."""
    pair = LOSING[case][::-1] if turned else LOSING[case]
    root = workspace(tmp_path, "SELECT id, a, b, x FROM rows WHERE day = getvariable('day')")
    write(root, DAYS[1], rows(DAYS[1], x=pair[0]))
    write(root, DAY, rows(DAY, x=pair[1]))
    text = refused(root)
    assert text.startswith("input rows: column 'x' is ")
    assert all(f"day={day}/part-0.parquet" in text for day in DAYS[1:])
    assert "contract" in text
    (root / "jobs/mini/features.sql").write_text("SELECT id, a, b FROM rows WHERE day = getvariable('day')")
    assert run(load("mini", root), DAY).rows.published == COUNT


# --- columns that come and go ---


def test_a_column_that_comes_and_is_not_used_changes_nothing(tmp_path: Path) -> None:
    """By SQL that names its columns: the same features, and nothing to say."""
    root = workspace(tmp_path, "SELECT id, a, b FROM rows WHERE day = getvariable('day')")
    for day in DAYS:
        write(root, day, rows(day))
    before = features(load("mini", root), DAY)
    write(root, DAY, rows(DAY, new=pa.array(["x"] * COUNT)))
    assert features(load("mini", root), DAY).equals(before)
    assert not draft_plan(load("mini", root), DAY).widened
    write(root, DAYS[1], rows(DAYS[1], new=pa.array([1] * COUNT)))  # of another type on another day
    assert features(load("mini", root), DAY).equals(before)


def test_a_new_column_that_is_used_is_null_in_the_days_before(tmp_path: Path) -> None:
    """As pandas puts the files together; a star sees it too."""
    sql = "SELECT row_number() OVER (ORDER BY day, id) AS id, * EXCLUDE (id) FROM rows"
    root = workspace(tmp_path, sql)
    paths = [write(root, day, rows(day)) for day in DAYS[:2]]
    paths.append(write(root, DAY, rows(DAY, x=pa.array(np.arange(COUNT)))))
    found = features(load("mini", root), DAY)["x"].to_pylist()
    together = pd.concat([pq.ParquetFile(path).read().to_pandas() for path in paths])
    assert found == [None if np.isnan(value) else int(value) for value in together["x"]]
    assert (
        draft_plan(load("mini", root), DAY)
        .widened["rows"][0]
        .startswith("x: null in data/lake/rows/day=2020-01-02/")
    )


def test_a_column_that_has_gone_is_refused_where_it_is_named(tmp_path: Path) -> None:
    """Its rows would be null, quietly; a star no longer has it."""
    named = "SELECT id, a, b, x FROM rows WHERE day = getvariable('day')"
    root = workspace(tmp_path, named)
    write(root, DAYS[1], rows(DAYS[1], x=pa.array([1] * COUNT)))
    write(root, DAY, rows(DAY))
    assert "has a column 'x', data/lake/rows/day=2020-01-03/part-0.parquet has not" in refused(root)
    (root / "jobs/mini/features.sql").write_text("SELECT * FROM rows WHERE day = getvariable('day')")
    assert features(load("mini", root), DAY).column_names == ["id", "a", "b", "day"]


def test_a_column_that_some_files_of_a_day_lack_needs_a_contract(tmp_path: Path) -> None:
    """Half of a day's files: refused; with a contract that lets it be null, null in the others."""
    root = workspace(tmp_path / "one", job=JOB.replace("keep: [a]", "keep: [a, x]"))
    contract = "{id: BIGINT, a: FLOAT, b: FLOAT, x: BIGINTNULL}"
    for where, columns in ((root, ""), (tmp_path / "two", ""), (tmp_path / "three", " NOT NULL")):
        if where != root:
            workspace(
                where, columns=contract.replace("NULL", columns), job=JOB.replace("keep: [a]", "keep: [a, x]")
            )
        write(where, DAY, rows(DAY).slice(0, 10), "part-0")
        write(where, DAY, rows(DAY, x=pa.array(range(COUNT), pa.int32())).slice(10), "part-1")
    assert "part-1.parquet has a column 'x', " in refused(root)
    run(load("mini", tmp_path / "two"), DAY)
    found = query("SELECT x FROM mini_scores ORDER BY id", tmp_path / "two")["x"].to_pylist()
    assert found == [None] * 10 + list(range(10, COUNT))
    with pytest.raises(Broken, match=r"part-0.parquet: column 'x' has 10 nulls; its contract is NOT NULL"):
        run(load("mini", tmp_path / "three"), DAY)


@pytest.mark.parametrize(
    "sql",
    ["", "SELECT id, a, b, x, day AS d FROM rows WHERE day = getvariable('day')"],
    ids=["streamed", "sql"],
)
@pytest.mark.sample(1)
def test_files_that_are_not_alike_lie_below_a_template(tmp_path: Path, sql: str) -> None:
    """Days of folders without a key, and files of two types among them."""
    root = workspace(tmp_path, sql, job=JOB.replace("keep: [a]", "keep: [a, x]"))
    file = root / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace("partition: day", 'partition: "{day:%Y/%m/%d}"'))
    for day, kind in zip(DAYS, (pa.int64(), pa.int64(), pa.int32()), strict=True):
        path = root / f"data/lake/rows/{day:%Y/%m/%d}/x.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(rows(day, x=pa.array(range(COUNT), kind)), path)
    assert run(load("mini", root), DAY).rows.published == COUNT
    found = query("SELECT id, x FROM mini_scores ORDER BY id", root)
    assert (found["x"].to_pylist(), found.schema.field("x").type) == ([*range(COUNT)], pa.int64())


# --- types that are published ---


def widening_producer(root: Path, columns: str = "") -> Job:
    """A job that keeps x, published while it was an INTEGER; on the last day its producer writes BIGINT."""
    workspace(root, columns=columns, job=JOB.replace("keep: [a]", "keep: [a, x]"))
    for day, kind in zip(DAYS, (pa.int32(), pa.int32(), pa.int64()), strict=True):
        write(root, day, rows(day, x=pa.array(range(COUNT), kind)))
    job = load("mini", root)
    assert run(job, DAYS[1]).status == "published"
    return job


def test_a_published_type_does_not_change_from_one_night_to_the_next(tmp_path: Path) -> None:
    """The night on which the producer widens a kept column says so, and publishes nothing."""
    job = widening_producer(tmp_path)
    with pytest.raises(Broken, match=r"'x' is int32 in the published table and would be int64.*contract"):
        run(job, DAY)
    assert query("SELECT count(*) AS n FROM mini_scores", tmp_path)["n"].to_pylist() == [COUNT]


@pytest.mark.slow
def test_a_contract_keeps_a_published_type(tmp_path: Path) -> None:
    """Declared wide from the first day on, the producer's widening changes nothing."""
    job = widening_producer(tmp_path, "{id: BIGINT, a: FLOAT, b: FLOAT, x: BIGINT}")
    assert run(job, DAY).status == "published"
    found = query("SELECT day, x FROM mini_scores ORDER BY day, id", tmp_path)
    assert found.schema.field("x").type == pa.int64()
    assert found["x"].to_pylist() == [*range(COUNT)] * 2


def test_plans_and_fingerprints_of_files_that_are_alike_are_as_before(tmp_path: Path) -> None:
    """No file says anything of its columns, with and without a contract."""
    root = workspace(tmp_path / "one")
    other = workspace(tmp_path / "two", columns="{id: BIGINT, a: FLOAT, b: FLOAT}")
    for day in DAYS:
        write(root, day, rows(day))
        write(other, day, rows(day))
    assert [file.columns for file in (*resolved(root), *resolved(other))] == [()] * 6
