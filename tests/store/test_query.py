"""One SELECT of a person, within limits: it ends where they say, and says so."""

import re
from pathlib import Path

import duckdb
import pytest

from nightscore.common.errors import Broken, NotYet
from nightscore.store.sql.engine import EngineResources
from nightscore.store.sql.query import QueryLimits, run_query
from nightscore.store.sql.views import View

MEMORY = 256_000_000
HEAVY = "SELECT a.range FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = -1"


def limited(tmp_path: Path, sql: str, spill: int | None = None, **limits: float) -> int:
    """The rows of the result."""
    found = run_query(sql, [], EngineResources(1, MEMORY, tmp_path, spill), limits=QueryLimits(**limits))  # type: ignore[arg-type]
    return int(found.num_rows)


def test_a_query_is_stopped_after_its_seconds(tmp_path: Path) -> None:
    """Before its first row, and between two: the message names the limit, and nothing is left behind."""
    slow = "SELECT sleep_ms(10) FROM range(1000000)"
    for sql in (HEAVY, slow, "SELECT i FROM range(1000000000000) t(i)"):
        with pytest.raises(Broken, match=r"stopped after 0\.3 seconds, the limit"):
            limited(tmp_path, sql, seconds=0.3)
    assert list(tmp_path.iterdir()) == []
    assert limited(tmp_path, "SELECT 1", seconds=60.0) == 1


def test_a_mistake_is_no_long_query(tmp_path: Path) -> None:
    """Within a limit of time a mistake is still told as one."""
    with pytest.raises(Broken, match="nope"):
        limited(tmp_path, "SELECT nope", seconds=60.0)


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2_048, 2_048), (2_049, 2_049), (10_000, 5_000)])
def test_rows_are_read_up_to_the_limit(tmp_path: Path, rows: int, expected: int) -> None:
    """Exactly so many, wherever DuckDB's batches end; an endless result ends there, too."""
    assert limited(tmp_path, "SELECT * FROM range(5000)", rows=rows) == expected
    assert limited(tmp_path, "SELECT * FROM range(1000000000000)", rows=rows) == rows


def test_a_result_beyond_its_bytes_is_refused(tmp_path: Path) -> None:
    """It is not cut: the message names the limit."""
    with pytest.raises(Broken, match="larger than 1 MB, the limit"):
        limited(tmp_path, "SELECT repeat('x', 1000) FROM range(5000)", size=1_000_000)


def test_a_query_spills_no_more_than_it_may(tmp_path: Path) -> None:
    """The disk belongs to the nights."""
    sort = "SELECT md5(i::VARCHAR) AS h FROM range(8000000) t(i) ORDER BY h"
    with pytest.raises(NotYet, match=r"needs more than .* of memory and 1 MB of temporary disk"):
        limited(tmp_path, sort, spill=1_000_000)


def test_a_mistake_in_a_later_row_is_ours(tmp_path: Path) -> None:
    """Where the first rows are fine and a later one is not, the error is no other than at the first."""
    sql = "SELECT CASE WHEN i < 200000 THEN i ELSE CAST('x' || i AS INT) END FROM range(1000000) t(i)"
    with pytest.raises(Broken, match="Could not convert string 'x200000'"):
        limited(tmp_path, sql)


def test_a_mistake_is_told_first_and_tables_only_where_one_is_not_known(tmp_path: Path) -> None:
    """Forty names before a misspelt column would hide it; after a table that is not there they help."""
    (tmp_path / "rows.parquet").write_bytes(b"")  # named, and never read
    views = [View(f"table_{i}", (tmp_path / "rows.parquet",)) for i in range(40)]

    def said(sql: str) -> str:
        with pytest.raises(Broken) as caught:
            run_query(sql, views, EngineResources(1, MEMORY, tmp_path))
        return str(caught.value)

    assert said("SELECT nope").startswith("query: Binder Error") and "table_1" not in said("SELECT nope")
    first, *_, last = said("SELECT * FROM tabel_1").splitlines()
    assert first == "query: Catalog Error: Table with name tabel_1 does not exist!"
    assert last == f"tables: {', '.join(view.name for view in views)}"
    assert said("SELEC 1").startswith('query: Parser Error: syntax error at or near "SELEC"')


INEXACT = {
    "SELECT 1 AS a, 340282366920938463463374607431768211455::UHUGEINT AS h": "column 'h' is UHUGEINT; ",
    "SELECT {'x': [1::UHUGEINT]} AS h": "column 'h' is STRUCT(x UHUGEINT[]); its UHUGEINT would become",
    "SELECT TIMETZ '12:00:00+02' AS h": "column 'h' is TIME WITH TIME ZONE; ",
    "SELECT DATE 'infinity' AS h": "column 'h' (date32[day]) has an infinite value",
    "SELECT DATE '-infinity' AS h": "column 'h' (date32[day]) has an infinite value",
    "SELECT unnest([NULL, TIMESTAMP '-infinity']) AS h": "column 'h' (timestamp[us]) has an infinite value",
    "SELECT TIMESTAMPTZ 'infinity' AS h": "has an infinite value",
}


@pytest.mark.parametrize(("sql", "says"), INEXACT.items(), ids=INEXACT)
def test_what_arrow_would_change_is_refused_with_a_cast_that_keeps_it(
    tmp_path: Path, sql: str, says: str
) -> None:
    """The cast that the message gives has DuckDB's own text of the value."""
    with pytest.raises(Broken, match=re.escape(says)) as error:
        run_query(sql, [], EngineResources(1, MEMORY, tmp_path, None))
    cast = re.findall(r"CAST.*? AS VARCHAR\)", str(error.value))[-1]
    again = f"SELECT {cast} AS h FROM ({sql})"
    found = run_query(again, [], EngineResources(1, MEMORY, tmp_path, None))
    assert found["h"].to_pylist() == [row[0] for row in duckdb.sql(again).fetchall()]


def test_dates_that_are_far_and_none_at_all_are_as_they_are(tmp_path: Path) -> None:
    sql = "SELECT DATE '5881580-07-10', TIMESTAMP '294247-01-10 04:00:54.775806', NULL::DATE WHERE {}"
    for where, rows in (("true", 1), ("false", 0)):
        assert limited(tmp_path, sql.format(where)) == rows
