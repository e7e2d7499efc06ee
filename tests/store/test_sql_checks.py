"""SQL reads views and nothing else, and calls what has one value in every run and every version."""

import hashlib
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common import Broken
from nightscore.store import Engine, EngineResources, View, repeatable_select
from nightscore.store.sql.checks import single_select

NO_VIEWS = {
    "settings": "SELECT (SELECT value FROM duckdb_settings() WHERE name = 'temp_directory') AS s FROM rows",
    "memory": "SELECT (SELECT memory_limit FROM pragma_database_size()) AS s FROM rows",
    "files behind a view": "FROM read_parquet(getvariable('files of rows'))",
    "a file by its name": "FROM 'lake/rows.parquet'",
    "a file in a join": 'SELECT * FROM rows JOIN "lake/rows.parquet" AS other USING (id)',
    "a pattern": "FROM glob('*')",
    "text": "SELECT * FROM rows WHERE id IN (SELECT size FROM read_text('x'))",
    "a footer": "WITH f AS (FROM parquet_metadata('x')) SELECT * FROM rows, f",
    "a CSV": "FROM sniff_csv('x')",
    "a name in a text": "FROM query_table('rows')",
    "a lateral call": "SELECT * FROM rows, LATERAL (FROM duckdb_memory())",
    "the catalog": "FROM information_schema.tables",
    "the catalog, as a view": "FROM duckdb_tables",
    "the catalog, as Postgres": "SELECT count(*) FROM pg_class",
    "the catalog, in full": "FROM system.main.duckdb_views",
    "the catalog, as SQLite": "FROM sqlite_master",
}


@pytest.mark.parametrize("sql", NO_VIEWS.values(), ids=NO_VIEWS.keys())
def test_what_is_no_view_is_not_read(sql: str) -> None:
    """For a night and for a person's query: the name, and what is allowed."""
    for check in (single_select, repeatable_select):
        with pytest.raises(Broken, match=r"^x.sql: \S+ is no (view; SQL sees views|table function that SQL)"):
            check(sql, "x.sql")


def test_every_table_function_of_this_duckdb_is_refused_but_seven(tmp_path: Path) -> None:
    """A DuckDB that brings a new one makes nothing readable."""
    with Engine([], EngineResources(1, 100_000_000, tmp_path)) as engine:
        found = engine.rows(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE function_type IN ('table', 'table_macro')"
        )
    allowed = set()
    for (name,) in found:
        try:
            single_select(f'FROM "{name}"(1)', "x")
            allowed.add(name)
        except Broken:
            continue
    assert allowed <= {"unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree"}
    assert {"range", "generate_series", "unnest"} <= allowed
    assert len(found) > 100


READS = [
    "SELECT * FROM rows, unnest([1, 2]) AS u (n)",
    "FROM range(3) AS r (i) JOIN main.rows ON rows.id = i",
    "WITH q AS (FROM rows) SELECT * FROM q, generate_series(1, id)",
    "SELECT extract(year FROM d), strftime(d, '%Y'), list_aggregate([1], 'sum') FROM rows",
    "SELECT user FROM rows WHERE getvariable('day') = d",
]


@pytest.mark.parametrize("sql", READS)
def test_views_and_what_makes_rows_of_values_are_read(sql: str) -> None:
    """As before."""
    assert repeatable_select(sql, "x.sql") == sql


OTHERWISE = {
    "hash(id)": "md5_number of a canonical text",
    "approx_count_distinct(id)": "count",
    "reservoir_quantile(id, 0.5)": "quantile_cont",
    "approx_quantile(id, 0.5)": "quantile_cont",
    "list_aggregate([id], 'approx_count_distinct')": "count",
    "id % 10 = hash(id) % 10": "md5_number",
}


@pytest.mark.parametrize(("call", "hint"), OTHERWISE.items(), ids=OTHERWISE.keys())
def test_what_another_version_may_compute_otherwise_is_refused(call: str, hint: str) -> None:
    """With what to write instead."""
    says = rf"^x.sql: \w+ may have another value in another version of DuckDB; write .*{hint}"
    with pytest.raises(Broken, match=says):
        repeatable_select(f"SELECT {call} AS v FROM rows", "x.sql")


def test_a_fold_by_the_hint_is_that_of_any_md5(tmp_path: Path) -> None:
    """The lower 64 bits of MD5, read as a little-endian number: the same in Python."""
    with Engine([], EngineResources(1, 100_000_000, tmp_path)) as engine:
        sql = "SELECT i, md5_number(concat_ws('|', i, 'fold')) % 10 FROM range(200) AS r (i)"
        found = dict(engine.rows(repeatable_select(sql, "x.sql")))
    for i, fold in found.items():
        digest = hashlib.md5(f"{i}|fold".encode(), usedforsecurity=False).digest()
        assert fold in {int.from_bytes(digest, "little") % 10, int.from_bytes(digest, "big") % 10}


UNSTEADY = ["current_user()", "current_database()", "sleep_ms(1)", "nextval('s')", "vector_type(1)"]


@pytest.mark.parametrize("call", UNSTEADY)
def test_what_duckdb_does_not_call_consistent_is_refused(call: str) -> None:
    """Though nobody here has thought of it by name."""
    with pytest.raises(Broken, match="has another value at each run"):
        repeatable_select(f"SELECT {call}", "x.sql")


def test_a_variable_has_a_name_that_can_be_read() -> None:
    """Or the check could not say what is asked for."""
    with pytest.raises(Broken, match=r"^x.sql: getvariable takes the name of a parameter in quotes"):
        repeatable_select("SELECT getvariable('files of ' || 'rows')", "x.sql")
    with pytest.raises(Broken, match=r"^x.sql: list_aggregate takes the name of an aggregate in quotes"):
        repeatable_select("SELECT list_aggregate(l, n) FROM rows", "x.sql")
    with pytest.raises(Broken, match=r"^x.sql: DESCRIBE, SHOW and SUMMARIZE are for `nightscore query`"):
        repeatable_select("FROM (SUMMARIZE rows)", "x.sql")
    single_select("FROM (DESCRIBE rows)", "a person may ask it")


def test_a_misspelt_parameter_is_refused() -> None:
    """DuckDB gives NULL for a variable that nobody has set, which would be scored as if it were meant."""
    names = ("day", "discovery_slots")
    for call in ("getvariable('day')", "getvariable('Discovery_Slots')", "GETVARIABLE('discovery_slots')"):
        repeatable_select(f"SELECT {call}", "x.sql", names)
    assert duckdb.sql("SELECT getvariable('dya')").fetchall() == [(None,)]
    for name, hint in (("dya", "did you mean 'day'?"), ("floor", "allowed: day, discovery_slots")):
        said = f"x.sql: getvariable('{name}'): the job has no such parameter; {hint}"
        with pytest.raises(Broken, match=f"^{re.escape(said)}$"):
            repeatable_select(f"SELECT (SELECT max(getvariable('{name}')))", "x.sql", names)


def test_no_variable_names_the_files_of_a_view(tmp_path: Path) -> None:
    """Of an engine, the caller's own are all that there are."""
    pq.write_table(pa.table({"id": [1]}), tmp_path / "it's.parquet")
    view = View("rows", (tmp_path / "it's.parquet",))
    with Engine([view], EngineResources(1, 100_000_000, tmp_path), {"day": 3}) as engine:
        assert engine.rows("SELECT name FROM duckdb_variables()") == [("day",)]
        assert engine.rows("FROM rows") == [(1,)]
