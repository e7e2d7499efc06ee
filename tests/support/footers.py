"""Rows, writers and questions of the fuzz over Parquet files: what DuckDB must not believe of a footer.

The same rows lie in files that differ in all that a reader may prune by: who wrote them, rows of a row group,
dictionaries, statistics, page index, Bloom filters. The same questions are asked through the views of an
`Engine`, and behind a barrier: over a table in memory, filled from Arrow, with DuckDB's optimizer switched
off. No answer may depend on the file.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store import Engine, EngineResources, View
from nightscore.store.tables.staging import stage_batches
from tests.support.places import place

ROWS = 12
SMALL = 100  # rows, of which row groups may have one or two
TRIES = 200
AT_ONCE = 120  # questions of one statement
NAN = math.nan
MINUS_NAN = float(np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0])
FLOATS = (0.0, -0.0, 1.0, -1.0, 2.5, 3.0, math.inf, -math.inf, NAN, NAN, MINUS_NAN)
INTS = (0, 1, 2, 3, 7, 100, 127)
SIGNED = (*INTS, -1, -128)
TEXTS = ("", "a", "b", "ab", "EUR", "z" * 70, "é", "日本", "nan")
MICROS = (0, 1, -1, 86_400_000_000, 1_709_251_200_000_000, -62_000_000_000_000_000)
DAYS = (0, 1, -1, 19_783, 100_000, -700_000)


@dataclass(frozen=True)
class Column:
    """A column: its type, what its values are drawn from, and how SQL sees a single value of it.

    `term` is SQL of a value that can be compared, `kind` its type in SQL, `constants` what it is compared
    with.
    """

    name: str
    type: pa.DataType
    pool: tuple[Any, ...]
    kind: str
    constants: tuple[str, ...]
    term: str = ""

    @property
    def value(self) -> str:
        """SQL of the value that is asked for."""
        return self.term or self.name

    @property
    def is_float(self) -> bool:
        """Whether the value is a floating-point number."""
        return self.kind in ("FLOAT", "DOUBLE")

    @property
    def is_number(self) -> bool:
        """Whether the value is a number."""
        return self.is_float or self.kind.endswith("INT") or self.kind.startswith("DECIMAL")


def _floats(name: str, kind: pa.DataType, sql: str) -> Column:
    constants = ("0.0", "-0.0", "1", "2.5", "5", "-5", "NaN", "inf", "-inf")
    return Column(name, kind, FLOATS, sql, tuple(f"CAST('{c}' AS {sql})" for c in constants))


def _plain(name: str, kind: pa.DataType, sql: str, pool: Sequence[Any], constants: Sequence[str]) -> Column:
    return Column(name, kind, tuple(pool), sql, tuple(f"CAST('{c}' AS {sql})" for c in constants))


def _nested(
    name: str, kind: pa.DataType, pool: Sequence[Any], *terms: str, sql: str = "DOUBLE"
) -> list[Column]:
    base = _floats(name, kind, sql)
    return [replace(base, pool=tuple(pool), term=term) for term in terms]


def _whole(name: str, kind: pa.DataType, pool: Sequence[Any], sql: str, *constants: str) -> Column:
    return Column(name, kind, tuple(pool), sql, tuple(f"({c})::{sql}" for c in constants))


_WHOLE = [str(i) for i in (*INTS, 5)]
_SIGNS = [*_WHOLE, "-1", "-5"]
_MOMENTS = ["1970-01-01 00:00:00", "1970-01-02 00:00:00", "2024-03-01 00:00:00", "2001-01-01 12:00:00"]
_INSTANTS = [moment + "+00" for moment in _MOMENTS]
_LISTS: list[Any] = [[], [NAN], [1.0], [NAN, 1.0], [1.0, NAN], [-0.0], [None], [2.5, None], [math.inf]]
_PAIRS: list[Any] = [[NAN, 1.0], [1.0, NAN], [0.0, -0.0], [2.5, None], [3.0, math.inf]]
_STRUCTS: list[Any] = [{"y": v, "t": t} for v in (NAN, 1.0, None, -0.0, math.inf) for t in ("a", None)]
_MAPS: list[Any] = [[], [("k", NAN)], [("k", 1.0)], [("k", None)], [("j", NAN), ("k", 2.5)]]
_DEEP: list[Any] = [[], [{"y": NAN}], [{"y": 1.0}], [{"y": None}, {"y": NAN}], [None]]
_INNER: list[Any] = [{"l": None}, *({"l": one} for one in _LISTS)]
_LIST, _PAIR = pa.list_(pa.float64()), pa.list_(pa.float32(), 2)
_STRUCT = pa.struct([("y", pa.float64()), ("t", pa.string())])
_MAP = pa.map_(pa.string(), pa.float64())
_OF_STRUCTS = pa.list_(pa.struct([("y", pa.float32())]))
_OF_LISTS = pa.struct([("l", pa.list_(pa.float64()))])

COLUMNS: tuple[Column, ...] = (
    _plain("i8", pa.int8(), "TINYINT", SIGNED, _SIGNS),
    _plain("i16", pa.int16(), "SMALLINT", SIGNED, _SIGNS),
    _plain("i32", pa.int32(), "INTEGER", SIGNED, _SIGNS),
    _plain("i64", pa.int64(), "BIGINT", (*SIGNED, 2**62, -(2**62)), [*_SIGNS, str(2**62)]),
    _plain("u8", pa.uint8(), "UTINYINT", (*INTS, 255), [*_WHOLE, "255"]),
    _plain("u16", pa.uint16(), "USMALLINT", (*INTS, 65_535), [*_WHOLE, "65535"]),
    _plain("u32", pa.uint32(), "UINTEGER", (*INTS, 2**32 - 1), [*_WHOLE, str(2**32 - 1)]),
    _plain("u64", pa.uint64(), "UBIGINT", (*INTS, 2**64 - 1), [*_WHOLE, str(2**64 - 1)]),
    _floats("f16", pa.float16(), "FLOAT"),
    _floats("f32", pa.float32(), "FLOAT"),
    _floats("f64", pa.float64(), "DOUBLE"),
    _plain("d9", pa.decimal128(9, 2), "DECIMAL(9,2)", [Decimal(i).scaleb(-2) for i in SIGNED], _SIGNS),
    _plain("d18", pa.decimal128(18, 4), "DECIMAL(18,4)", [Decimal(i).scaleb(-1) for i in SIGNED], _SIGNS),
    _plain("d38", pa.decimal128(38, 3), "DECIMAL(38,3)", [Decimal(10**30 * i) for i in SIGNED], _SIGNS),
    _plain("t", pa.string(), "VARCHAR", TEXTS, (*TEXTS, "c", "z")),
    _plain("b", pa.binary(), "BLOB", [t.encode() for t in TEXTS[:6]] + [b"\x00", b"\xff\xff"], TEXTS[:6]),
    _plain("day", pa.date32(), "DATE", DAYS, ["1970-01-01", "2024-03-01", "2001-01-01"]),
    _plain("ms", pa.timestamp("ms"), "TIMESTAMP", [m // 1000 for m in MICROS], _MOMENTS),
    _plain("us", pa.timestamp("us"), "TIMESTAMP", MICROS, _MOMENTS),
    _plain("ns", pa.timestamp("ns"), "TIMESTAMP_NS", [m * 1000 + 1 for m in MICROS[:5]], _MOMENTS),
    _plain("tz", pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE", MICROS, _INSTANTS),
    _plain("clock", pa.time64("us"), "TIME", (0, 1, 3_600_000_000), ["00:00:00", "01:00:00", "12:00:00"]),
    _plain("flag", pa.bool_(), "BOOLEAN", (True, False), ["true", "false"]),
    _plain(
        "uuid", pa.uuid(), "UUID", [bytes([i]) * 16 for i in (0, 1, 127, 128, 255)],
        ["00000000-0000-0000-0000-000000000000", "80808080-8080-8080-8080-808080808080"],
    ),
    *_nested("l", _LIST, _LISTS, "l[1]", "l[-1]", "list_max(l)", "list_min(l)"),
    _whole("l", _LIST, _LISTS, "DOUBLE[]", "['NaN'::DOUBLE]", "[1]", "[5]", "[]"),
    *_nested("a", _PAIR, _PAIRS, "a[1]", "a[2]", sql="FLOAT"),
    _whole("a", _PAIR, _PAIRS, "FLOAT[2]", "['NaN'::FLOAT, 1]", "[5, 5]"),
    *_nested("s", _STRUCT, _STRUCTS, "s.y"),
    _whole("s", _STRUCT, _STRUCTS, "STRUCT(y DOUBLE, t VARCHAR)",
           "{'y': 'NaN'::DOUBLE, 't': 'a'}", "{'y': 5, 't': 'a'}"),
    *_nested("m", _MAP, _MAPS, "m['k']", "list_max(map_values(m))"),
    *_nested("ls", _OF_STRUCTS, _DEEP, "ls[1].y", "ls[-1].y", sql="FLOAT"),
    *_nested("sl", _OF_LISTS, _INNER, "sl.l[1]", "list_max(sl.l)"),
    _whole("li", pa.list_(pa.int32()), [[], [1], [2, None], [3]], "INTEGER[]", "[1]", "[5]", "[]"),
)  # fmt: skip
NAMES = tuple(dict.fromkeys(column.name for column in COLUMNS))


@dataclass(frozen=True)
class Writer:
    """Who writes a file, and how; `options` are pyarrow's, where it is pyarrow."""

    name: str
    options: dict[str, Any]


PLAIN = {"use_dictionary": False, "data_page_version": "2.0", "write_page_index": True, "write_batch_size": 1,
         "data_page_size": 1, "compression": "zstd"}  # fmt: skip
WRITERS = (
    Writer("pyarrow", {}),
    Writer("pyarrow, pages of one value, no dictionary, page index", PLAIN),
    Writer("pyarrow, no dictionary", {"use_dictionary": False}),
    Writer("pyarrow, no statistics, Bloom filters", {"write_statistics": False, "bloom": True}),
    Writer(
        "pyarrow, Bloom filters, no Arrow schema",
        {"bloom": True, "store_schema": False, "compression": "none"},
    ),
    Writer("DuckDB", {}),
    Writer("nightscore", {}),
)


def make_rows(rng: random.Random, names: Sequence[str] = NAMES, rows: int = ROWS) -> pa.Table:
    """Rows with an `id`: each column has few different values, and nulls in none, some or all rows."""
    arrays: dict[str, Any] = {"id": pa.array(range(rows), pa.int64())}
    for column in {c.name: c for c in COLUMNS if c.name in names}.values():
        few = rng.sample(column.pool, min(len(column.pool), rng.choice((1, 2, 2, 3, len(column.pool)))))
        nulls = rng.choice((0, 0.2, 0.2, 0.5, 0.5, 0.95))
        values = [None if rng.random() < nulls else rng.choice(few) for _ in range(rows)]
        half = column.type == pa.float16()
        arrays[column.name] = pa.array(
            [v if v is None or not half else np.float16(v) for v in values], column.type
        )
    return pa.table(arrays)


def write(table: pa.Table, folder: Path, writer: Writer, group: int) -> tuple[Path, ...]:
    """The rows as files of a writer, in row groups of `group` rows (DuckDB's: in files of as many)."""
    folder.mkdir(parents=True)
    path = folder / "rows.parquet"
    if writer.name == "nightscore":
        stage_batches(place(path), table.to_batches(), table.schema, group)
        return (path,)
    if writer.name == "DuckDB":
        return tuple(_by_duckdb(table, folder, group))
    options = dict(writer.options)
    if options.pop("bloom", False):
        options["bloom_filter_options"] = {name: {"ndv": 20} for name in _filtered(table)}
    pq.write_table(table, path, row_group_size=group, **options)
    return (path,)


def _filtered(table: pa.Table) -> list[str]:
    """The columns that pyarrow can make Bloom filters of."""
    nothing = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), nothing)
    leaves = pq.ParquetFile(nothing.getvalue()).schema
    return [
        leaf.path
        for leaf in (leaves.column(i) for i in range(len(leaves)))
        if leaf.physical_type != "BOOLEAN"
    ]


def _by_duckdb(table: pa.Table, folder: Path, group: int) -> Iterator[Path]:
    with duckdb.connect() as connection:
        fill(connection, table)
        for at, start in enumerate(range(0, max(1, len(table)), group)):
            path = folder / f"{at}.parquet"
            connection.execute(f"COPY (FROM rows LIMIT {group} OFFSET {start}) TO '{path}'")
            yield path


def fill(connection: duckdb.DuckDBPyConnection, table: pa.Table, name: str = "rows") -> None:
    """A table in memory of some rows; DuckDB takes no half floats from Arrow."""
    wide = pa.schema([f.with_type(pa.float32()) if f.type == pa.float16() else f for f in table.schema])
    connection.register("arrow", table.cast(wide))
    connection.execute(f"CREATE TABLE {name} AS FROM arrow")
    connection.unregister("arrow")


def questions(column: Column, rng: random.Random, joins: bool = True) -> Iterator[str]:
    """Scalar subqueries, each of one text, that any file of the same rows must answer alike.

    Without the optimizer a join looks at each pair of rows: `joins` is for few rows.
    """
    x, (k, j) = column.value, rng.sample(column.constants, 2)
    tests = [*predicates(column, k, j), *_own(column, k)]
    for test in tests:
        yield f"SELECT list(id ORDER BY id) FROM rows WHERE {test}"
    for test in rng.sample(tests, 8):
        yield f"SELECT list({test} ORDER BY id) FROM rows"
        yield f"SELECT count(*) FILTER ({test}) || '/' || count({x}) FROM rows WHERE id >= 2 AND {test}"
    yield from _aggregates(column, k)
    if joins:
        yield from _joins(column, k)
    yield from _orders(column, k)


def predicates(column: Column, k: str, j: str) -> list[str]:
    """What may be asked of a value of any type."""
    x = column.value
    return [
        f"{x} = {k}", f"{x} <> {k}", f"{x} < {k}", f"{x} <= {k}", f"{x} > {k}", f"{x} >= {k}",
        f"{x} IN ({k}, {j})", f"{x} IN ({k})", f"{x} NOT IN ({k}, {j})",
        f"{x} BETWEEN {k} AND {j}", f"{x} NOT BETWEEN {k} AND {j}", f"{x} BETWEEN {j} AND {k}",
        f"{x} IS NULL", f"{x} IS NOT NULL", f"{x} IS DISTINCT FROM {k}", f"{x} IS NOT DISTINCT FROM {k}",
        f"nullif({x}, {k}) IS NULL", f"coalesce({x}, {j}) = {k}", f"coalesce({x}, {j}) <> {k}",
        f"greatest({x}, {k}) > {k}", f"least({x}, {k}) < {k}", f"({x} = {k}) IS NOT TRUE",
        f"({x} > {k}) IS NULL", f"NOT ({x} > {k})", f"{x} > {k} AND id > 2", f"{x} > {k} OR {x} IS NULL",
        f"{x} > {k} OR id = 3", f"{x} > (SELECT {k})",
        f"{x} >= {k} AND {x} <= {j}", f"{x} = {k} OR {x} = {j}",
        f"CASE WHEN {x} > {k} THEN 1 ELSE 0 END = 1", f"{x} = {x}", f"{k} < {x}",
    ]  # fmt: skip


def _own(column: Column, k: str) -> list[str]:
    """What may be asked of values of some types only."""
    x = column.value
    if column.is_float:
        return [
            f"isnan({x})", f"NOT isnan({x})", f"isfinite({x})", f"isinf({x})",
            f"NOT (isfinite({x}) OR isinf({x}))",
            f"abs({x}) > 5", f"-{x} >= {k}", f"-{x} < {k}", f"CAST({x} AS VARCHAR) LIKE '%nan'",
            f"{x} + 1 > {k}",
            f"CAST({x} AS FLOAT) > CAST({k} AS FLOAT)", f"CAST({x} AS DOUBLE) <= CAST({k} AS DOUBLE)",
            f"TRY_CAST({x} AS INTEGER) IS NULL", f"{x} * 2 <= {k}", f"round({x}) > {k}",
            f"{x} > 5 AND {x} < 6",
        ]  # fmt: skip
    if column.is_number:
        return [
            f"CAST({x} AS DOUBLE) > 1.5",
            f"CAST({x} AS DOUBLE) = 'NaN'::DOUBLE",
            f"{x} > 2.5",
            f"abs({x}::HUGEINT) >= 3",
        ]
    if column.kind == "VARCHAR":
        return [f"{x} LIKE 'a%'", f"starts_with({x}, 'z')", f"length({x}) > 1", f"lower({x}) = {k}",
                f"contains({x}, 'b')", f"TRY_CAST({x} AS DOUBLE) > 5"]  # fmt: skip
    if column.kind == "BOOLEAN":
        return [x, f"NOT {x}", f"{x} IS NOT TRUE"]
    return [f"CAST({x} AS VARCHAR) >= CAST({k} AS VARCHAR)"]


def _aggregates(column: Column, k: str) -> Iterator[str]:
    # Which of 0.0 and -0.0, or of two NaN, is the greatest may be as it comes.
    shown = "replace(CAST({0} + 0.0 AS VARCHAR), '-nan', 'nan')" if column.is_float else "{0}"
    x = column.value
    for where in ("", f"WHERE {x} >= {k}", f"WHERE {x} IS NOT NULL", "WHERE id > 3"):
        yield f"SELECT count({x}) || '/' || count(*) || '/' || count(DISTINCT {x}) FROM rows {where}"
        if "[" not in column.kind and "STRUCT" not in column.kind:
            yield f"SELECT {shown.format(f'max({x})')} FROM rows {where}"
            yield f"SELECT {shown.format(f'min({x})')} FROM rows {where}"
    yield f"SELECT list(n ORDER BY n) FROM (SELECT min(id) || ':' || count(*) AS n FROM rows GROUP BY {x})"
    yield f"SELECT list(n ORDER BY n) FROM (SELECT min(id) AS n FROM rows GROUP BY {x} HAVING {x} > {k})"
    yield f"SELECT list(id ORDER BY id) FROM rows WHERE {x} = (SELECT max({x}) FROM rows)"
    yield f"SELECT list(id ORDER BY id) FROM rows WHERE {x} < (SELECT max({x}) FROM rows WHERE id < 6)"


def _joins(column: Column, k: str) -> Iterator[str]:
    x = column.value
    r, o = (f"(SELECT id, {x} AS x FROM {view})" for view in ("rows", "others"))
    pairs = "SELECT list(r.id || '-' || o.id ORDER BY r.id, o.id)"
    yield f"{pairs} FROM {r} r JOIN {o} o ON r.x = o.x"
    yield f"{pairs} FROM {r} r JOIN {o} o ON r.x = o.x AND o.x > {k}"
    yield f"{pairs} FROM {r} r JOIN {o} o ON r.x IS NOT DISTINCT FROM o.x WHERE o.id = 1"
    yield f"{pairs} FROM {r} r JOIN {o} o ON r.x > o.x"
    yield f"{pairs} FROM {r} r JOIN (SELECT 1 AS id, {k} AS x) o ON r.x = o.x"
    yield f"{pairs} FROM {r} r LEFT JOIN {o} o ON r.x = o.x AND r.id > 2"
    yield f"{pairs} FROM {r} r JOIN {o} o ON r.x = o.x AND r.id = o.id"
    yield f"SELECT list(id ORDER BY id) FROM {r} r WHERE x IN (SELECT x FROM {o} WHERE x >= {k})"
    yield f"SELECT list(id ORDER BY id) FROM {r} r WHERE NOT EXISTS (SELECT 1 FROM {o} o WHERE o.x = r.x)"
    yield f"SELECT list(id ORDER BY id) FROM {r} r WHERE x > (SELECT min(x) FROM {o} o WHERE o.id > r.id)"


def _orders(column: Column, k: str) -> Iterator[str]:
    x, ids = column.value, "SELECT list(id ORDER BY id) FROM"
    for order in ("", "DESC", "DESC NULLS LAST", "NULLS FIRST"):
        for where, most in (("", 1), ("", 3), (f"WHERE {x} >= {k}", 3)):
            top = f"SELECT id FROM rows {where} ORDER BY {x} {order}, id LIMIT {most}"
            rows = f"SELECT id, row_number() OVER () AS n FROM ({top})"
            yield f"SELECT list(id ORDER BY n) FROM ({rows})"
    yield f"{ids} (SELECT id FROM rows QUALIFY row_number() OVER (ORDER BY {x} DESC, id) = 1)"
    for number in ("rank() OVER (ORDER BY {0})", "count({0}) OVER (ORDER BY {0} RANGE UNBOUNDED PRECEDING)"):
        yield f"SELECT list(n ORDER BY id) FROM (SELECT id, {number.format(x)} AS n FROM rows)"


def batches(asked: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Statements that ask many questions at once, each with the place of its first."""
    for start in range(0, len(asked), AT_ONCE):
        parts = [
            f"SELECT {i} AS n, CAST(({one}) AS VARCHAR) AS v"
            for i, one in enumerate(asked[start : start + AT_ONCE], start)
        ]
        yield start, " UNION ALL ".join(parts)


def behind_a_barrier(table: pa.Table, asked: Sequence[str]) -> list[str | None]:
    """The answers over tables in memory, without Parquet, and with no optimizer."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        fill(connection, table)
        fill(connection, table.filter(others(table)), "others")
        connection.execute("PRAGMA disable_optimizer")
        rows = [row for _, sql in batches(asked) for row in connection.execute(sql).fetchall()]
    return [value for _, value in sorted(rows)]


def others(table: pa.Table) -> pa.Array:
    """Which rows the table has that others are joined with: every third."""
    return pa.array([i % 3 == 1 for i in table["id"].to_pylist()], pa.bool_())


def through_views(
    files: Sequence[Path], more: Sequence[Path], asked: Sequence[str], folder: Path
) -> list[str | None]:
    """The answers through an engine's views of the files."""
    views = [View("rows", tuple(files)), View("others", tuple(more))]
    with Engine(views, EngineResources(1, 256_000_000, folder)) as engine:
        rows = [row for _, sql in batches(asked) for row in engine.rows(sql)]
    return [value for _, value in sorted(rows)]


@dataclass(frozen=True)
class Wrong:
    """One answer that depends on the file: of which rows, in whose file, and what was asked."""

    column: Column
    table: pa.Table
    writer: Writer
    group: int
    question: str

    def answers(self, table: pa.Table, folder: Path) -> tuple[str | None, str | None]:
        """What some rows answer behind the barrier, and through a view of files of them."""
        files, more = write_both(table, folder, self.writer, self.group)
        [right], [got] = (
            behind_a_barrier(table, [self.question]),
            through_views(files, more, [self.question], folder),
        )
        return right, got

    def told(self, folder: Path) -> str:
        """The fewest rows that still show it, as a person repeats it."""
        table, tried = self.table, 0
        at = 0
        while at < len(table) and tried < TRIES:
            fewer, tried = pa.concat_tables([table[:at], table[at + 1 :]]), tried + 1
            right, got = self.answers(fewer, folder / f"fewer-{tried}")
            table, at = (fewer, at) if right != got else (table, at + 1)
        right, got = self.answers(table, folder / "fewest")
        values = dict(zip(table["id"].to_pylist(), table[self.column.name].to_pylist(), strict=True))
        return (
            f"{self.question}\nright {right}, through the view {got}\n{self.column.type} by "
            f"{self.writer.name}, row groups of {self.group}: {values}"
        )


def write_both(
    table: pa.Table, folder: Path, writer: Writer, group: int
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Files of the rows, and of those that they are joined with."""
    return write(table, folder / "rows", writer, group), write(
        table.filter(others(table)), folder / "others", writer, group
    )


def seeded(seed: int) -> random.Random:
    """What chooses rows, files and questions."""
    return random.Random(seed)  # noqa: S311 - no secret, a choice


def hunt(
    rng: random.Random,
    folder: Path,
    *,
    columns: Sequence[Column] = COLUMNS,
    files: int = 1,
    rows: int = ROWS,
    writers: Sequence[Writer] = WRITERS,
) -> tuple[int, list[Wrong]]:
    """Ask each column's questions of `files` files of the same rows: their number, and what is wrong."""
    asked, wrong = 0, []
    groups = sorted({1, 2, rows}) if rows <= SMALL else [rows // 3, rows]
    for at, column in enumerate(columns):
        table = make_rows(rng, [column.name], rows)
        texts = list(questions(column, rng, joins=rows <= SMALL))
        right = behind_a_barrier(table, texts)
        for writer, group in rng.sample([(w, g) for w in writers for g in groups], files):
            place = folder / f"{at}-{WRITERS.index(writer)}-{group}"
            got = through_views(*write_both(table, place, writer, group), texts, place)
            asked += len(texts)
            missed = [text for text, one, other in zip(texts, right, got, strict=True) if one != other]
            wrong += [Wrong(column, table, writer, group, text) for text in missed]
    return asked, wrong
