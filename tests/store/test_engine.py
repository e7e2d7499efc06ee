"""DuckDB is locked down: SQL of a job sees its views and nothing else, and changes nothing."""

import ast
import datetime as dt
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common.errors import Broken, NotYet
from nightscore.store.documents.sql_text import literal, quote_identifier
from nightscore.store.sql.checks import repeatable_select, single_select
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.mistakes import SqlMistakes
from nightscore.store.sql.views import View

ROOT = Path(__file__).parents[2]
MEMORY = 256_000_000


def write(path: Path, rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(range(rows))}), path)
    return path


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three days of an input, another file beside them, and a folder to write into."""
    for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
        write(tmp_path / f"rows/day={day}/x.parquet")
    write(tmp_path / "other.parquet")
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def engine(lake: Path) -> Iterator[Engine]:
    """An engine that sees the first two days, as the view `rows`."""
    files = tuple(lake / f"rows/day=2020-01-0{i}/x.parquet" for i in (1, 2))
    with Engine(
        [View("rows", files, "day")], EngineResources(1, MEMORY, lake / "tmp"), {"day": dt.date(2020, 1, 2)}
    ) as one:
        yield one


def test_a_view_is_added_of_a_file_that_came_since(engine: Engine, lake: Path) -> None:
    """What was staged after the engine was opened is seen by its name; what lies beside it is not."""
    came, beside = write(lake / "out/came.parquet", 5), write(lake / "out/beside.parquet", 7)
    engine.add(View("came", (came,)))
    assert engine.rows("SELECT count(*) FROM came JOIN rows USING (id)") == [(6,)]
    for path in (came, beside):
        with pytest.raises(duckdb.PermissionException):
            engine.rows("SELECT * FROM read_parquet($1)", [str(path)])
    came.unlink()
    assert engine.rows("SELECT count(*) FROM came") == [(5,)]


def test_what_is_asked_after_a_view_was_added_ends_in_time_as_well(lake: Path) -> None:
    """The time is that of one statement; it begins anew, and ends what would go on for ever."""
    with Engine([], EngineResources(1, MEMORY, lake / "tmp", seconds=0.2)) as engine:
        engine.add(View("came", (write(lake / "out/came.parquet"),)))
        with pytest.raises(Broken, match=r"limits\.time"), SqlMistakes("here"):
            engine.rows("SELECT max(a.range - b.range) FROM range(1_000_000_000) AS a, range(1_000_000) AS b")


def test_the_views_are_seen(engine: Engine, lake: Path) -> None:
    """An input is a view of its name, its partition a DATE; its own files may be read by path."""
    assert engine.rows("SELECT count(*), max(day) FROM rows") == [(6, dt.date(2020, 1, 2))]
    own = lake / "rows/day=2020-01-01/x.parquet"
    assert engine.rows("SELECT count(*) FROM read_parquet($1)", [str(own)]) == [(3,)]


FORBIDDEN = {
    "another file": "SELECT * FROM read_parquet('{lake}/other.parquet')",
    "another file by its name alone": "SELECT * FROM '{lake}/other.parquet'",
    "a later partition": "SELECT * FROM read_parquet('{lake}/rows/day=2020-01-03/x.parquet')",
    "a later partition by a pattern": "SELECT * FROM read_parquet('{lake}/rows/*/*.parquet')",
    "a way around by ..": "SELECT * FROM read_parquet('{lake}/rows/../other.parquet')",
    "a footer": "SELECT * FROM parquet_metadata('{lake}/other.parquet')",
    "a footer's schema": "SELECT * FROM parquet_schema('{lake}/other.parquet')",
    "read_csv": "SELECT * FROM read_csv('/etc/passwd')",
    "read_text": "SELECT * FROM read_text('/etc/passwd')",
    "read_blob": "SELECT * FROM read_blob('/etc/passwd')",
    "read_json": "SELECT * FROM read_json('/etc/passwd')",
    "sniff_csv": "SELECT * FROM sniff_csv('/etc/passwd')",
    "glob": "SELECT * FROM glob('/etc/*')",
    "the environment": "SELECT getenv('HOME')",
    "http": "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    "http by its name alone": "SELECT * FROM 'https://example.com/x.csv'",
    "s3": "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "COPY TO": "COPY (SELECT 42) TO '{lake}/out/x.csv'",
    "COPY over its own input": "COPY (SELECT 42) TO '{lake}/rows/day=2020-01-01/x.parquet'",
    "EXPORT": "EXPORT DATABASE '{lake}/out'",
    "IMPORT": "IMPORT DATABASE '{lake}/out'",
    "ATTACH": "ATTACH '{lake}/out/x.db'",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD httpfs",
    "a secret": "CREATE SECRET s (TYPE s3)",
    "SET": "SET threads = 8",
    "SET of what is locked": "SET enable_external_access = true",
    "SET of the lock": "SET lock_configuration = false",
    "RESET": "RESET memory_limit",
    "PRAGMA": "PRAGMA enable_profiling",
    "PRAGMA with a file": "PRAGMA profiling_output = '{lake}/out/x.json'",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("sql", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_nothing_else_is_seen_or_changed(engine: Engine, lake: Path, sql: str) -> None:
    """Files, partitions after the day, the network, settings: refused, even if it gets this far."""
    before = contents(lake)
    with pytest.raises((Broken, NotYet)), SqlMistakes("here"):
        engine.rows(sql.format(lake=lake))
    assert contents(lake) == before
    assert engine.rows("SELECT current_setting('threads'), current_setting('enable_external_access')") == [
        (1, False)
    ]


def test_python_variables_are_not_tables(engine: Engine) -> None:
    """DuckDB looks for a table's name among the caller's variables, but not here."""
    python_table = pa.table({"x": [1]})
    with duckdb.connect() as plain:
        assert plain.sql("SELECT * FROM python_table").fetchall() == [(1,)]
    with pytest.raises(duckdb.CatalogException, match="python_table does not exist"):
        engine._connection.sql("SELECT * FROM python_table")
    assert python_table.num_rows == 1


@pytest.mark.parametrize("through", ["a file", "a folder"])
def test_a_link_to_elsewhere_is_not_an_input(engine: Engine, lake: Path, through: str) -> None:
    """A symbolic link beside the input's files opens no way out."""
    link = lake / "rows/day=2020-01-01/link"
    link.symlink_to(lake / "other.parquet" if through == "a file" else lake)
    path = link if through == "a file" else link / "other.parquet"
    with pytest.raises(Broken, match="no other file"), SqlMistakes("here"):
        engine.rows("SELECT * FROM read_parquet($1)", [str(path)])


def test_values_are_bound(engine: Engine, lake: Path) -> None:
    """A value with quotes and semicolons stays a value, as a parameter of SQL and as a variable."""
    evil = f"x'; COPY (SELECT 42) TO '{lake}/out/owned.csv'; --"
    assert engine.rows("SELECT $1", [evil]) == [(evil,)]
    variables = {"evil": evil, 'na"me': 1, "none": None, "flag": True, "day": dt.date(2020, 1, 2), "x": 1.5}
    with Engine([], EngineResources(1, MEMORY, lake), variables) as one:
        assert one.rows("""SELECT getvariable('evil'), getvariable('na"me')""") == [(evil, 1)]
        got = one.rows(
            "SELECT getvariable('none'), getvariable('flag'), getvariable('day'), getvariable('x')"
        )
        assert got == [(None, True, dt.date(2020, 1, 2), 1.5)]
    assert list((lake / "out").iterdir()) == []


NAMES = ["plain", 'quo"te', "semi;colon", "sp ace", "back\\slash", "apo'strophe", "SELECT", "ünï"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted(tmp_path: Path, name: str) -> None:
    """Whatever a view, a column or a file is called, it is called so in SQL."""
    path = tmp_path / f"{name}.parquet"
    pq.write_table(pa.table({name: [1]}), path)
    with Engine([View(name, (path,))], EngineResources(1, MEMORY, tmp_path)) as engine:
        assert engine.rows(f"SELECT {quote_identifier(name)} FROM {quote_identifier(name)}") == [(1,)]
        assert engine.rows(f"SELECT {literal(name)}") == [(name,)]


def test_a_view_without_files_has_its_columns(tmp_path: Path) -> None:
    """What an input will be before it has a day: no rows, the columns that the job gives."""
    columns = {"id": "BIGINT", "price": "DECIMAL(10,2)", "tags": "VARCHAR[]", "day": "DATE"}
    with Engine([View("v", (), "day", columns)], EngineResources(1, MEMORY, tmp_path)) as engine:
        assert engine.schema("FROM v").names == list(columns)
        assert engine.rows("SELECT count(*) FROM v") == [(0,)]
    with pytest.raises(Broken, match=r"^input v, columns: .*Type with name BIGNT does not exist"):
        Engine([View("v", (), "day", {"id": "BIGNT"})], EngineResources(1, MEMORY, tmp_path))


SINGLE = {
    "semicolon": "SELECT 1;",
    "semicolons": "SELECT 1; ;\n;",
    "comments": "-- first\n/* ; SELECT 2 */ SELECT 1 -- last ; one\n;\n-- end",
    "WITH": "WITH x AS (SELECT 1) SELECT * FROM x",
    "UNION": "SELECT 1 UNION ALL SELECT 2",
    "VALUES": "VALUES (1)",
    "FROM first": "FROM rows SELECT id",
    "a comment behind the semicolon": "SELECT 'ü' AS \"ü\" /* ü */; -- ende, schön",
    "semicolon in a text": "SELECT ';; DROP' AS \";\"",
    "in brackets": "(SELECT 1)",
    "PIVOT with its values": "FROM rows PIVOT (sum(id) FOR day IN ('2020-01-01'))",
}


@pytest.mark.parametrize("sql", SINGLE.values(), ids=SINGLE.keys())
def test_one_select_is_fine_however_it_is_written(engine: Engine, sql: str) -> None:
    """One SELECT with comments and trailing semicolons is one, for the check and for the run."""
    assert repeatable_select(sql, "x.sql") == sql
    assert engine.schema(sql).names
    assert sum(batch.num_rows for batch in engine.stream(sql, 100, order="ALL")) > 0
    engine.define("defined", sql)
    assert engine.rows("SELECT count(*) > 0 FROM defined") == [(True,)]


NO_SELECT = {
    "nothing": ("", "0 statements"),
    "a comment": ("-- SELECT 1", "0 statements"),
    "two": ("SELECT 1; SELECT 2", "2 statements"),
    "a second that writes": ("SELECT 1; COPY (SELECT 1) TO 'x'", "2 statements"),
    "COPY": ("COPY (SELECT 1) TO 'x'", "a COPY statement"),
    "INSERT": ("INSERT INTO x VALUES (1)", "a INSERT statement"),
    "CREATE": ("CREATE TABLE x AS SELECT 1", "a CREATE statement"),
    "ATTACH": ("ATTACH 'x'", "a ATTACH statement"),
    "SET": ("SET threads = 1", "a SET statement"),
    "PRAGMA": ("PRAGMA version", "a PRAGMA statement"),
    "CALL": ("CALL pragma_version()", "a CALL statement"),
    "EXPLAIN": ("EXPLAIN SELECT 1", "a EXPLAIN statement"),
    "a typo": ("SELEC 1", 'syntax error at or near "SELEC"'),
    "an open bracket": ("SELECT (1", "syntax error"),
}


@pytest.mark.parametrize(("sql", "says"), NO_SELECT.values(), ids=NO_SELECT.keys())
def test_what_is_not_one_select_is_refused(sql: str, says: str) -> None:
    """The place, what it is, and what is allowed."""
    for check in (single_select, repeatable_select):
        with pytest.raises(Broken) as caught:
            check(sql, "jobs/x/top.sql")
        assert str(caught.value).startswith("jobs/x/top.sql: ")
        assert says.lower() in str(caught.value).lower()


VOLATILE = {
    "a call": ("SELECT now()", "now"),
    "in capitals": ("SELECT RANDOM()", "random"),
    "in quotes": ('SELECT "uuid"()', "uuid"),
    "with its schema": ("SELECT main.today()", "today"),
    "as a method": ("SELECT x.gen_random_uuid() FROM x", "gen_random_uuid"),
    "without parentheses": ("SELECT current_date", "current_date"),
    "the time without parentheses": ("SELECT id FROM x WHERE t < LOCALTIMESTAMP", "localtimestamp"),
    "in an expression": ("SELECT id + (random() * 2)::INT FROM x", "random"),
    "in a subquery": ("SELECT * FROM (SELECT *, uuidv7() AS u FROM x)", "uuidv7"),
    "in a scalar subquery": ("SELECT (SELECT current_timestamp)", "current_timestamp"),
    "in EXISTS": ("SELECT * FROM x WHERE EXISTS (SELECT uuid())", "uuid"),
    "in a CTE": ("WITH y AS (SELECT now() AS t) SELECT * FROM y", "now"),
    "in a recursive CTE": ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT random()) FROM r", "random"),
    "in a UNION": ("SELECT 1 UNION ALL SELECT random()", "random"),
    "in a join": ("SELECT * FROM x JOIN (VALUES (today())) AS y(d) ON x.d = y.d", "today"),
    "in ORDER BY": ("SELECT * FROM x ORDER BY random()", "random"),
    "in LIMIT": ("SELECT * FROM x LIMIT (SELECT (random() * 9)::INT)", "random"),
    "in a window": ("SELECT sum(a) OVER (PARTITION BY now()) FROM x", "now"),
    "in a filter": ("SELECT count(*) FILTER (random() > 0.5) FROM x", "random"),
    "in a lambda": ("SELECT list_transform([1], lambda i: i + random())", "random"),
    "in a comprehension": ("SELECT [i FOR i IN [1] IF random() > 0]", "random"),
    "in QUALIFY": ("SELECT * FROM x QUALIFY random() > row_number() OVER ()", "random"),
    "in GROUP BY": ("SELECT count(*) FROM x GROUP BY now()", "now"),
    "in REPLACE": ("SELECT * REPLACE (random() AS a) FROM x", "random"),
    "in a table function": ("SELECT * FROM range((random() * 9)::INT)", "random"),
    "counting from today": ("SELECT age(d) FROM x", "age of one argument"),
    "a sample of a table": ("SELECT * FROM x TABLESAMPLE 10%", "a sample"),
    "a sample of the result": ("SELECT * FROM x USING SAMPLE 5 ROWS", "a sample"),
    "a number of the transaction": ("SELECT txid_current()", "txid_current"),
}


@pytest.mark.parametrize(("sql", "name"), VOLATILE.values(), ids=VOLATILE.keys())
def test_what_changes_from_run_to_run_is_refused(sql: str, name: str) -> None:
    """A function with another value at each run is refused wherever it stands, with its name."""
    with pytest.raises(
        Broken, match=rf"^x.sql: {name} has another value at each run, .* getvariable\('day'\)$"
    ):
        repeatable_select(sql, "x.sql")
    single_select(sql, "a person's query may ask it")


def test_sql_in_a_text_is_refused() -> None:
    """What runs a text as SQL would hide what it calls."""
    with pytest.raises(Broken, match=r"^x.sql: query runs a text as SQL, which can't be checked"):
        repeatable_select("SELECT * FROM query('SELECT ran' || 'dom()')", "x.sql")


REPEATABLE = [
    "SELECT today, random, uuid, now FROM x",
    "SELECT x.current_date, 'now()' AS t FROM x",
    "SELECT 1 AS today, 2 AS random -- now()",
    "WITH now AS (SELECT 1 AS uuid) SELECT uuid FROM now",
    "SELECT age(a, b), getvariable('day'), md5_number(t), md5(t) FROM x",
]


@pytest.mark.parametrize("sql", REPEATABLE)
def test_a_column_may_have_the_name_of_such_a_function(sql: str) -> None:
    """What is not called is not refused."""
    assert repeatable_select(sql, "x.sql") == sql


# By the time zone, which is UTC in every engine; by nothing.
HARMLESS = {
    "error", "+", "-", "century", "date_diff", "date_part", "date_sub", "date_trunc",
    "datediff", "datepart", "datesub", "datetrunc", "day", "dayname", "dayofmonth", "dayofweek",
    "dayofyear", "decade", "era", "generate_series", "hour", "isodow", "isoyear", "julian", "last_day",
    "make_timestamptz", "microsecond", "millennium", "millisecond", "minute", "month", "monthname",
    "quarter", "range", "second", "strftime", "time_bucket", "timezone", "timezone_hour",
    "timezone_minute", "week", "weekday", "weekofyear", "year", "yearweek", "age",
}  # fmt: skip


def test_every_volatile_function_of_this_duckdb_is_known(engine: Engine) -> None:
    """Of a DuckDB that brings a new one it is refused; known as harmless are these alone."""
    found = engine.rows(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'"
    )
    refused = set()
    for (name,) in found:
        try:
            repeatable_select(f"SELECT {quote_identifier(name)}()", "x")
        except Broken:
            refused.add(name)
    assert {name for (name,) in found} - refused == HARMLESS
    assert {"now", "random", "uuid", "current_date"} <= refused


def test_results_are_streamed(lake: Path) -> None:
    """The first batch of a result larger than memory comes at once: nothing is held back, or in whole."""
    with Engine([], EngineResources(1, 64_000_000, lake)) as engine:
        batches = engine.stream("SELECT i, i * 2 AS j, i * 3 AS k FROM range(2_000_000_000) t(i)", 1_000)
        first = next(batches)
        assert first.num_rows <= 2_048
        assert first.column("k")[1].as_py() == 3
        batches.close()
        assert engine.rows("SELECT 1") == [(1,)]


def calls(path: Path) -> set[tuple[str, str]]:
    """Pairs of methods called on one another's result in a source file: (`sql`, `to_arrow_reader`)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
                found.add((inner.func.attr, node.func.attr))
    return found


def test_no_source_copies_a_result_to_read_it() -> None:
    """`execute(…).to_arrow_reader()` copies the whole result outside the memory limit: it stands nowhere."""
    sources = list((ROOT / "src").rglob("*.py"))
    assert len(sources) > 20
    readers = {"to_arrow_reader", "fetch_record_batch", "fetch_arrow_reader", "arrow", "to_arrow_table"}
    assert [path for path in sources if {("execute", name) for name in readers} & calls(path)] == []
    assert any("to_arrow_reader" in path.read_text() for path in sources)


def test_what_was_spilled_is_removed(lake: Path) -> None:
    """A sort larger than its memory spills into the folder given, and leaves nothing there."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.update(name for _, _, files in os.walk(lake / "spill") for name in files)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Engine([], EngineResources(1, 40_000_000, lake / "spill")) as engine:
            sql = "SELECT i, md5(i::VARCHAR) AS h FROM range(1_000_000) t(i)"
            rows = sum(batch.num_rows for batch in engine.stream(sql, 65_536, order="h"))
    finally:
        done.set()
        watcher.join()
    assert rows == 1_000_000
    assert seen, "nothing was spilled, so this test shows nothing"
    assert list((lake / "spill").iterdir()) == []


def test_nothing_is_left_when_an_engine_cannot_open(lake: Path) -> None:
    """A file that is no Parquet: the engine does not open, and its folder is gone."""
    (lake / "bad.parquet").write_text("no Parquet")
    with pytest.raises(Broken, match="too small to be a Parquet file"), SqlMistakes("here"):
        Engine([View("v", (lake / "bad.parquet",))], EngineResources(1, MEMORY, lake / "spill"))
    assert list((lake / "spill").iterdir()) == []


MISTAKES = {
    "a column that is not there": ("SELECT nope FROM rows", Broken, "nope"),
    "a table that is not there": ("SELECT * FROM nope", Broken, "nope"),
    "a value that can't be cast": ("SELECT 'x'::INT", Broken, "Could not convert"),
    "a file that it may not see": ("FROM read_text('/etc/passwd')", Broken, "sees its inputs by their names"),
    "more than its memory": (
        "SELECT list(i::VARCHAR || 'xxxxxxxxxx') FROM range(20_000_000) t(i)", Broken,
        r"needs more than 256 MB of memory, .*a job gets more by memory: in job\.yaml",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "kind", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_errors_of_sql_are_ours_and_name_their_place(
    engine: Engine, sql: str, kind: type[Exception], says: str
) -> None:
    """DuckDB's errors become Broken, with the place in front."""
    with pytest.raises(kind, match=says) as caught, SqlMistakes("jobs/x/top.sql"):
        engine.rows(sql)
    assert str(caught.value).startswith("jobs/x/top.sql: ")


def test_other_errors_pass() -> None:
    """What is no mistake in SQL is not dressed up as one."""
    with pytest.raises(KeyError), SqlMistakes("here"):
        raise KeyError("x")


def test_isnan_finds_nan_in_parquet(tmp_path: Path) -> None:
    """It was refused, for DuckDB finds none where a file's least and greatest name none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1.0, float("nan"), float("inf")]}), tmp_path / "a.parquet")
    view = View("rows", (tmp_path / "a.parquet",))
    with Engine([view], EngineResources(1, 64_000_000, tmp_path)) as engine:
        sql = "SELECT count(*) FROM rows WHERE isnan(a)"
        assert engine.rows(repeatable_select(sql, "x")) == [(1,)]
