"""What a SELECT gives depends on its rows alone: not on memory, threads, row groups or the order of files."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common import Broken
from nightscore.store import Engine, EngineResources, SqlMistakes, View, ordered_select, sorted_select

ROWS, GROUPS = 30_000, 4_500
SMALL, LARGE = 96_000_000, 2_000_000_000  # bytes of memory: 96 MB is little for a million groups


def table(rows: int, groups: int) -> pa.Table:
    """Numbers over nine powers of ten in groups, and columns `i`, `s`, `t` that tie."""
    rng = np.random.default_rng(3)
    return pa.table({
        "k": rng.integers(0, groups, rows),
        "x": rng.random(rows) * 10.0 ** rng.integers(-3, 6, rows) * rng.choice([-1, 1], rows),
        "y": rng.random(rows).astype(np.float32),
        "i": rng.integers(0, 4, rows),
        "s": np.char.add("v", rng.integers(0, 9, rows).astype(str)),
        "r": np.arange(rows),
    })  # fmt: skip


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, ...]]:
    """The same rows as one file in row groups of 25,000, and shuffled in three files in groups of 350."""
    root, whole = tmp_path_factory.mktemp("lake"), table(ROWS, GROUPS)
    pq.write_table(whole, root / "one.parquet", row_group_size=25_000)
    order = np.random.default_rng(4).permutation(ROWS)
    files = []
    for n, part in enumerate(np.array_split(order, [4_500, 15_000])):
        pq.write_table(whole.take(part), root / f"part{n}.parquet", row_group_size=350)
        files.append(root / f"part{n}.parquet")
    return [(root / "one.parquet",), tuple(reversed(files))]


OPEN: dict[tuple[tuple[Path, ...], int, int], Engine] = {}  # all tests ask them: opening takes longer


@pytest.fixture(scope="module", autouse=True)
def closed_at_the_end() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.popitem()[1].close()


def opened(files: tuple[Path, ...], memory: int, threads: int) -> Engine:
    """The engine over some files, with so many bytes and threads."""
    if (files, memory, threads) not in OPEN:
        resources = EngineResources(threads, memory, files[0].parent)
        OPEN[files, memory, threads] = Engine([View("rows", files)], resources)
    return OPEN[files, memory, threads]


def asked(sql: str, files: tuple[Path, ...], memory: int = LARGE, threads: int = 1) -> pa.Table:
    """The result of a SELECT over `rows`, sorted by all columns."""
    with SqlMistakes("x.sql"):
        return pa.Table.from_batches(list(opened(files, memory, threads).stream(sql, order="ALL")))


def digest(result: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.schema) as writer:
        writer.write_table(result.combine_chunks(), max_chunksize=10**9)
    return hashlib.sha256(sink.getvalue()).hexdigest()


AGGREGATES = [
    "sum(x)", "avg(x)", "sum(y)", "sum(DISTINCT x)", "sum(x) FILTER (i > 1)", "stddev(x)", "var_pop(i)",
    "corr(x, y)", "covar_samp(x, y)", "regr_slope(x, y)", "kurtosis(x)", "skewness(x)", "sem(x)",
    "product(y)", "fsum(x)", "favg(x)", "mode(i)", "mode() WITHIN GROUP (ORDER BY i)",
    "any_value(x)", "arg_max(x, i)", "min_by(r, i)", "arg_max(x, i, 2)", "list(x ORDER BY i)",
    "arg_min(x, row(i, x))", "arg_min(r, row(i, x)) + arg_min(x, row(i, x))",
    "string_agg(s, ',' ORDER BY i)", "first(x ORDER BY i)", "last(s ORDER BY i DESC)", "median(x)",
    "quantile_cont(x, 0.3)", "histogram(i)", "sum(x) / count(*) + 1", "round(sum(x * y), 9)",
]  # fmt: skip
SELECTS = {
    **{a: f"SELECT k, {a} AS v FROM rows GROUP BY k" for a in AGGREGATES},
    "no group": "SELECT sum(x) AS v, avg(y) AS w FROM rows",
    "a window over a partition": "SELECT k, r, sum(x) OVER (PARTITION BY k) AS v FROM rows",
    "a running window": "SELECT k, r, avg(x) OVER (PARTITION BY k ORDER BY i) AS v FROM rows",
    "a window of rows": "SELECT r, sum(x) OVER (PARTITION BY k ORDER BY r ROWS 2 PRECEDING) AS v FROM rows",
    "a list in a window": "SELECT r, list(x) OVER (PARTITION BY k ORDER BY i, r) AS v FROM rows",
    "any_value in a window": "SELECT r, any_value(x) OVER (PARTITION BY k) AS v FROM rows",
    "LIMIT": "SELECT s, x FROM rows ORDER BY i LIMIT 10",
    "LIMIT of *": "SELECT * FROM rows ORDER BY i LIMIT 10",
    "LIMIT of a UNION": "SELECT s, x FROM rows UNION ALL SELECT s, y FROM rows ORDER BY s LIMIT 10",
    "DISTINCT ON": "SELECT DISTINCT ON (k) k, x, s FROM rows ORDER BY i",
    "a subquery's": "SELECT max(v) AS v FROM (SELECT k, sum(x) AS v FROM rows GROUP BY ALL)",
    "a CTE's, without a name": 'WITH q AS (SELECT i, sum(x) FROM rows GROUP BY i) SELECT "sum(x)", i FROM q',
    "an ARRAY": "SELECT n, ARRAY(SELECT x FROM rows WHERE k = n ORDER BY i) AS v FROM range(20) AS t (n)",
    "a PIVOT": "FROM (SELECT k, i, x FROM rows) PIVOT (sum(x) FOR i IN (0, 1) GROUP BY k)",
}


@pytest.mark.parametrize("sql", SELECTS.values(), ids=SELECTS.keys())
@pytest.mark.sample(16)
def test_the_same_rows_give_the_same_bytes(sql: str, layouts: list[tuple[Path, ...]]) -> None:
    """For other row groups, files, orders of files and numbers of threads; and no column changes its name."""
    one, other = layouts
    select = ordered_select(sql, "x.sql")
    plain, found = asked(sql, one), asked(select, one)
    assert found.schema.equals(plain.schema), "another schema than without an order"
    assert found.num_rows == plain.num_rows > 0
    for files, threads in ((other, 1), (one, 4), (other, 3)):
        assert digest(asked(select, files, threads=threads)) == digest(found), threads


def test_a_sum_is_that_of_the_sorted_numbers(layouts: list[tuple[Path, ...]]) -> None:
    """Bit for bit as Python adds them from the smallest on, and within rounding of the exact sum."""
    groups: dict[int, list[float]] = {}
    for k, x in zip(*table(ROWS, GROUPS).select(["k", "x"]).to_pydict().values(), strict=True):
        groups.setdefault(k, []).append(x)
    select = ordered_select("SELECT k, sum(x) AS v FROM rows GROUP BY k", "x.sql")
    found = dict(zip(*asked(select, layouts[1]).to_pydict().values(), strict=True))
    assert found.keys() == groups.keys()
    for k, numbers in groups.items():
        total = 0.0
        for number in sorted(numbers):
            total += number
        assert found[k] == total
        assert abs(found[k] - math.fsum(numbers)) <= 1e-15 * sum(map(abs, numbers)) * len(numbers)


@pytest.mark.slow
def test_bytes_do_not_depend_on_memory(tmp_path: Path) -> None:
    """A million groups outgrow 96 MB, and DuckDB then adds partial sums; of integers, they are exact."""
    pq.write_table(table(4_000_000, 1_000_000), tmp_path / "rows.parquet", row_group_size=100_000)
    files = (tmp_path / "rows.parquet",)
    sql = "SELECT k, sum(x) AS total, sum(i) AS whole, sum(x::DECIMAL(18, 4)) AS money FROM rows GROUP BY k"
    results = [asked(ordered_select(sql, "x.sql"), files, memory) for memory in (SMALL, LARGE)]
    assert digest(results[0]) == digest(results[1])
    plain = asked(sql, files)
    assert plain.select(["whole", "money"]).equals(results[0].select(["whole", "money"]))


def test_what_compares_all_that_it_takes_is_left_alone() -> None:
    """And what compares less than is taken beside it is not."""
    whole = "SELECT k, arg_min(x, row(i, x)) AS v FROM rows GROUP BY k"
    assert ordered_select(whole, "x.sql") == whole
    for less in ("arg_min(x, row(i, y))", "arg_min(x, row(i, x)), any_value(s)", "arg_min(x, row(x, i), 2)"):
        assert "ORDER BY" in ordered_select(f"SELECT k, {less} FROM rows GROUP BY k", "x.sql")


def test_rows_that_tie_stay_together(layouts: list[tuple[Path, ...]]) -> None:
    """Two lists in one order, and two values of one row, are of the same rows although the order has ties."""
    sql = (
        "SELECT k, list(x ORDER BY i) AS xs, list(r ORDER BY i) AS rs, arg_max(x, i) AS x, "
        "arg_max(r, i) AS r, any_value(s) AS s, any_value(y) AS y FROM rows GROUP BY k"
    )
    rows = {row["r"]: row for row in table(ROWS, GROUPS).to_pylist()}
    pairs = {(row["k"], row["s"], row["y"]) for row in rows.values()}
    for group in asked(ordered_select(sql, "x.sql"), layouts[1]).to_pylist():
        assert [rows[r]["x"] for r in group["rs"]] == group["xs"]
        assert [rows[r]["i"] for r in group["rs"]] == sorted(rows[r]["i"] for r in group["rs"])
        assert rows[group["r"]]["x"] == group["x"]
        assert rows[group["r"]]["i"] == max(rows[r]["i"] for r in group["rs"])
        assert (group["k"], group["s"], group["y"]) in pairs


REFUSED = {
    "list": "SELECT list(x) FROM rows",
    "array_agg": "SELECT k, array_agg(DISTINCT x) FROM rows GROUP BY k",
    "string_agg": "SELECT string_agg(s, ',') FROM rows",
    "first": "SELECT * FROM (SELECT k, first(x) FROM rows GROUP BY k)",
    "last": "WITH q AS (SELECT last(x) AS x FROM rows) FROM q",
    "arbitrary": "SELECT arbitrary(x) FROM rows",
    "row_number": "SELECT row_number() OVER (PARTITION BY k) FROM rows",
    "lag": "SELECT lag(x) OVER () FROM rows",
    "first_value": "SELECT first_value(x) OVER w FROM rows WINDOW w AS (PARTITION BY k)",
    "sum": "SELECT sum(i) OVER (ROWS 3 PRECEDING) FROM rows",
    "LIMIT": "SELECT x FROM rows LIMIT 3",
    "DISTINCT ON": "SELECT DISTINCT ON (k) k, x FROM rows",
    "array": "SELECT ARRAY(SELECT x FROM rows)",
    "a POSITIONAL JOIN": "FROM rows POSITIONAL JOIN (FROM range(3))",
    "entropy": "SELECT entropy(s) FROM rows",
    "geomean": "SELECT geomean(x) FROM rows",
    "wavg": "SELECT wavg(x, y) FROM rows",
    "json_group_array": "SELECT json_group_array(x) FROM rows",
}


@pytest.mark.parametrize(("name", "sql"), REFUSED.items(), ids=REFUSED.keys())
def test_what_needs_an_order_and_has_none_is_refused(name: str, sql: str) -> None:
    """It is named, with what to write, and with the way out."""
    says = rf"^x.sql: {name}.* (depends on|has no).* order.*: .*; or say sql: approximate in job.yaml"
    with pytest.raises(Broken, match=says):
        ordered_select(sql, "x.sql")


POSITIONS = [
    "row_number() OVER (PARTITION BY k ORDER BY i)", "lag(x) OVER (ORDER BY i)", "ntile(3) OVER (ORDER BY s)",
    "lead(x, 2, 0) OVER (PARTITION BY k ORDER BY i)", "first_value(x) OVER (PARTITION BY k ORDER BY i)",
    "nth_value(x, 2) OVER (PARTITION BY k ORDER BY i)", "count(*) OVER (ORDER BY i ROWS 3 PRECEDING)",
    "list(x) OVER (PARTITION BY k ORDER BY i)", "sum(x) OVER (PARTITION BY k ORDER BY i ROWS 1 PRECEDING)",
]  # fmt: skip


@pytest.mark.parametrize("call", POSITIONS)
def test_a_tie_where_rows_are_counted_stops_the_run(call: str, layouts: list[tuple[Path, ...]]) -> None:
    """Two rows alike in ORDER BY: broken, in words; with a total order it gives what it gave."""
    name = call.partition("(")[0]
    says = rf"^x.sql: two rows are alike in the ORDER BY of {name}, so that which comes first is chance: add"
    select = ordered_select(f"SELECT r, {call} AS v, 1 AS w FROM rows", "x.sql")
    with pytest.raises(Broken, match=says):
        asked(select, layouts[0])
    total = (
        f"SELECT r, {call.replace('ORDER BY i', 'ORDER BY i, r').replace('BY s', 'BY s, r')} AS v FROM rows"
    )
    found = asked(ordered_select(total, "x.sql"), layouts[1])
    if not name.startswith("sum"):  # of which the last bits are those of another order
        assert found.equals(asked(total, layouts[0]))


UNCHANGED = [
    "SELECT k, count(*), min(x), max(s), count(DISTINCT s), bool_and(i > 1) FROM rows GROUP BY k -- why",
    "SELECT DISTINCT k FROM rows",
    "SELECT *, rank() OVER (PARTITION BY k ORDER BY i) FROM rows",
    "SELECT k, i, row_number() OVER (PARTITION BY k ORDER BY i) FROM rows GROUP BY k, i",
    "SELECT list_sum([0.1, 0.2]), list(DISTINCT s ORDER BY s) FROM rows",
    "FROM rows ORDER BY ALL LIMIT 3",
]


@pytest.mark.parametrize("sql", UNCHANGED)
def test_what_depends_on_no_order_stays_as_it_is_written(sql: str) -> None:
    """Comments and all."""
    assert ordered_select(sql, "x.sql") == sql


KEPT = {
    "VALUES with a cast": "SELECT k, sum(x) FROM (VALUES (1, 2.0::DOUBLE), (1, 0.5)) v(k, x) GROUP BY k",
    "VALUES as DuckDB calls them": "SELECT a, sum(b) OVER () FROM (VALUES (1, 2.5::DOUBLE)) valueslist(a, b)",
    "a PIVOT of two": "SELECT * FROM (PIVOT t ON n IN (0, 1) USING sum(x), avg(y) GROUP BY k)",
    "a PIVOT of one": "SELECT * FROM (PIVOT t ON n IN (0, 1) USING sum(x) GROUP BY k)",
    "a subquery without a name": "SELECT k, (SELECT sum(x) FROM t) FROM t WHERE y = 0",
    "a sum without a name": "SELECT sum(x), max(y) FROM t",
}


@pytest.mark.parametrize("sql", KEPT.values(), ids=KEPT.keys())
def test_columns_keep_their_names_and_values(sql: str) -> None:
    """By DuckDB itself, over a table in memory, with and without an order of rows."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT i % 3 AS k, i % 2 AS n, i / 7 AS x, i / 3 AS y FROM range(99) r(i)"
        )
        plain, ordered = (
            connection.sql(f"FROM ({text}) ORDER BY ALL") for text in (sql, ordered_select(sql, "x.sql"))
        )
        assert ordered.columns == plain.columns
        for row, wanted in zip(ordered.fetchall(), plain.fetchall(), strict=True):
            assert row == pytest.approx(wanted, rel=1e-12)


GROUPED = [
    "SELECT i, sum(i) OVER (ORDER BY min(r) % 2 ROWS UNBOUNDED PRECEDING) AS v FROM rows GROUP BY i",
    "SELECT i, any_value(i) OVER (ORDER BY max(1) ROWS 1 PRECEDING) AS v FROM rows GROUP BY i",
    "SELECT i, row_number() OVER (ORDER BY 1) AS v FROM rows GROUP BY 1",
    "SELECT i, s, lag(i) OVER (PARTITION BY 1 ORDER BY 2) AS v FROM rows GROUP BY 1, 2",
]


@pytest.mark.parametrize("sql", GROUPED)
def test_a_tie_among_groups_stops_the_run_too(sql: str, layouts: list[tuple[Path, ...]]) -> None:
    """The arguments of a sum order no frame, and a constant in ORDER BY is no column of GROUP BY."""
    with pytest.raises(Broken, match="two rows are alike in the ORDER BY"):
        asked(ordered_select(sql, "x.sql"), layouts[0])


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT * FROM (VALUES (2), (1)) AS t(a)", [(1,), (2,)]),
        ("SELECT a FROM (VALUES (1), (2)) AS t(a) ORDER BY a DESC; -- its own", [(2,), (1,)]),
        ("SELECT rank() OVER (ORDER BY -a), a FROM (VALUES (1), (2)) AS t(a); -- in", [(1, 2), (2, 1)]),
        ("SELECT a, b AS a FROM (VALUES (2, 0), (1, 9)) AS t(a, b)", [(1, 9), (2, 0)]),
        ("SELECT 2 AS a UNION ALL SELECT 1", [(1,), (2,)]),
    ],
)  # fmt: skip
def test_a_select_that_is_sorted_has_its_rows_in_one_order(sql: str, rows: list[tuple[int, ...]]) -> None:
    """Its own, if it has one of its own and not of a window; two columns of one name keep it."""
    found = duckdb.sql(sorted_select(sql, "q"))
    assert found.fetchall() == rows
    assert len(set(found.columns)) == len(set(duckdb.sql(sql).columns))
