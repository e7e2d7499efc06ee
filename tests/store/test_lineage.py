"""Columns and where they come from, held to what DuckDB does when a value of a column is another one."""

from collections.abc import Mapping

import duckdb
import pytest

from nightscore.common import Broken
from nightscore.store.sql.from_scope import How
from nightscore.store.sql.lineage import column_sources

VIEWS = {"t": ["id", "a", "b", "s"], "u": ["id", "a", "c"]}
ROWS = {
    "t": "FROM (VALUES (1, 10, 5, {'f': 1}), (2, 20, 3, {'f': 2}), (3, 30, 4, {'f': 3})) AS v(id, a, b, s)",
    "u": "FROM (VALUES (1, 7, 100), (2, 8, 200), (3, 9, 300)) AS v(id, a, c)",
}
OTHERS = {  # values that change what is made of a column, however small the part of it
    ("t", "a"): "a * 7 + id", ("t", "b"): "b * -9 + id", ("t", "s"): "{'f': s.f * 5 + 1}",
    ("u", "a"): "a * 3 - id", ("u", "c"): "c * 11 + id", ("t", "id"): "id + 10", ("u", "id"): "id + 10",
}  # fmt: skip
IS, OF, BY = How.IDENTITY, How.TRANSFORMATION, How.CONDITIONAL


def answers(sql: str, changed: tuple[str, str] | None = None) -> dict[str, list[object]]:
    """Column -> its values, with one column of a view changed in all rows."""
    with duckdb.connect() as connection:
        for name, rows in ROWS.items():
            by = f" REPLACE ({OTHERS[changed]} AS {changed[1]})" if changed and changed[0] == name else ""
            connection.execute(f"CREATE VIEW {name} AS SELECT *{by} FROM ({rows})")
        relation = connection.sql(sql)
        rows = relation.fetchall()
        return {name.lower(): sorted(repr(row[i]) for row in rows) for i, name in enumerate(relation.columns)}


def moved_by(sql: str) -> dict[str, set[tuple[str, str]]]:
    """Column -> the columns whose other values give it others: what it comes from, as DuckDB has it."""
    before = answers(sql)
    return {
        column: {origin for origin in OTHERS if answers(sql, origin)[column] != values}
        for column, values in before.items()
    }


FOLLOWED: Mapping[str, dict[str, dict[tuple[str, str], How]]] = {
    "SELECT id, a AS x, a + b AS y, 1 AS k FROM t": {
        "id": {("t", "id"): IS}, "x": {("t", "a"): IS}, "y": {("t", "a"): OF, ("t", "b"): OF}, "k": {}},
    "SELECT * FROM t": {name: {("t", name): IS} for name in VIEWS["t"]},
    "SELECT * EXCLUDE (s, B), A * 2 AS twice FROM t": {
        "id": {("t", "id"): IS}, "a": {("t", "a"): IS}, "twice": {("t", "a"): OF}},
    "WITH w AS (SELECT a AS b, b AS a FROM t) SELECT a, b, a + 1 AS c FROM w": {
        "a": {("t", "b"): IS}, "b": {("t", "a"): IS}, "c": {("t", "b"): OF}},
    "WITH t AS (SELECT b AS a FROM t) SELECT a FROM t": {"a": {("t", "b"): IS}},
    "WITH w(p, q) AS (SELECT a, b FROM t) SELECT q FROM w": {"q": {("t", "b"): IS}},
    "SELECT x.p FROM (SELECT a, b FROM t) AS x(p)": {"p": {("t", "a"): IS}},
    "SELECT a FROM t UNION ALL SELECT c FROM u": {"a": {("t", "a"): IS, ("u", "c"): IS}},
    "SELECT t.a, u.a AS other, c FROM t JOIN u ON t.id + 0 = u.id + 0": {
        "a": {("t", "a"): IS}, "other": {("u", "a"): IS}, "c": {("u", "c"): IS}},
    "SELECT id, t.a, c FROM t LEFT JOIN u USING (id)": {
        "id": {("t", "id"): IS}, "a": {("t", "a"): IS}, "c": {("u", "c"): IS}},
    "SELECT id, c FROM t RIGHT JOIN u USING (id)": {"id": {("u", "id"): IS}, "c": {("u", "c"): IS}},
    "SELECT id FROM t FULL JOIN u USING (id)": {"id": {("t", "id"): OF, ("u", "id"): OF}},
    "SELECT * FROM (SELECT id, b FROM t) JOIN (SELECT id, c FROM u) USING (id)": {
        "id": {("t", "id"): IS}, "b": {("t", "b"): IS}, "c": {("u", "c"): IS}},
    "SELECT u.* FROM t JOIN u USING (id)": {name: {("u", name): IS} for name in VIEWS["u"]},
    "SELECT a AS z, z + 1 AS next FROM t": {"z": {("t", "a"): IS}, "next": {("t", "a"): OF}},
    "SELECT a + 1 AS b, b * 2 AS x FROM t": {"b": {("t", "a"): OF}, "x": {("t", "b"): OF}},
    "SELECT s.f AS f, t.s.f + a AS g FROM t": {"f": {("t", "s"): OF}, "g": {("t", "s"): OF, ("t", "a"): OF}},
    "SELECT CASE WHEN b > 3 THEN a ELSE 0 END AS x FROM t": {"x": {("t", "a"): OF, ("t", "b"): BY}},
    "SELECT sum(a) AS n, count(*) AS k, max(a) FILTER (b > 3) AS m FROM t": {
        "n": {("t", "a"): OF}, "k": {}, "m": {("t", "a"): OF, ("t", "b"): BY}},
    "SELECT id, sum(a) OVER (ORDER BY b) AS running FROM t": {
        "id": {("t", "id"): IS}, "running": {("t", "a"): OF, ("t", "b"): BY}},
    "SELECT list(a ORDER BY b) AS l, CAST(a AS VARCHAR) IN ('10', '20') AS i FROM t GROUP BY a": {
        "l": {("t", "a"): OF, ("t", "b"): BY}, "i": {("t", "a"): OF}},
    "SELECT a FROM t SEMI JOIN u USING (id)": {"a": {("t", "a"): IS}},
    "SELECT a FROM t EXCEPT SELECT c FROM u": {"a": {("t", "a"): IS}},
}  # fmt: skip


@pytest.mark.parametrize("sql", FOLLOWED)
def test_columns_come_from_where_duckdb_takes_them(sql: str) -> None:
    """As written down here; and what it names moves the column in DuckDB, and nothing else but a key does."""
    found = column_sources(sql, "the test", VIEWS)
    assert found == FOLLOWED[sql]
    for column, origins in moved_by(sql).items():
        named = set(found[column])
        silent = {origin for origin in named if found[column][origin] is BY}
        assert origins - {("t", "id"), ("u", "id")} <= named, column
        if "JOIN" not in sql and "EXCEPT" not in sql and "list(" not in sql:
            assert named - silent <= origins, column


@pytest.mark.parametrize(
    ("sql", "known"),
    [
        ("SELECT a, list_transform([a], lambda x: x + 1) AS l FROM t", {"a"}),
        ("SELECT a, (SELECT max(c) FROM u) AS m FROM t", {"a"}),
        ("SELECT a, COLUMNS('b|id') FROM t", set()),
        ("SELECT * REPLACE (b AS a) FROM t", set()),
        ("SELECT t FROM t", set()),
        ("SELECT b, nowhere.x FROM t JOIN nowhere ON true", set()),
        ("SELECT t.b, nowhere.x, 1 AS one FROM t JOIN nowhere ON true", {"b", "one"}),
        ("SELECT t.a FROM t NATURAL JOIN u", set()),
        ("SELECT a, id FROM t UNION BY NAME SELECT id, a FROM u", set()),
        ("SELECT id, a FROM t ASOF JOIN u USING (id)", set()),
        (
            "WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a + 1 FROM r WHERE a < 0) SELECT a FROM r",
            set(),
        ),
        ("PIVOT t ON id IN (1, 2) USING sum(a)", set()),
        ("SELECT x FROM t, unnest([a, b]) AS n(x)", set()),
        ("SELECT a AS x, b AS x FROM t", set()),
        ("SELECT sum(a), b FROM t GROUP BY b", {"b"}),
    ],
)
def test_what_can_t_be_followed_is_left_out(sql: str, known: set[str]) -> None:
    """No column is told that may come from elsewhere; others beside it are."""
    assert column_sources(sql, "the test", VIEWS).keys() == known


def test_what_is_no_select_is_refused() -> None:
    """With the place, as everywhere."""
    with pytest.raises(Broken, match=r"x\.sql"):
        column_sources("DELETE FROM t", "x.sql", VIEWS)
