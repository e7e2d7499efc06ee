"""Which columns a SELECT compares: held to hand-made lists of what a person would say."""

import pytest

from nightscore.store import EVERY, compared_columns, named_columns, used_columns

COMPARED = {
    "SELECT id, a, b FROM t": set(),
    "SELECT a + b AS c FROM t": set(),
    "SELECT count(*) FROM t": set(),
    "SELECT id FROM t WHERE a > 1": {"a"},
    "SELECT id FROM t WHERE A IS NOT NULL AND b IN (1, 2)": {"a", "b"},
    "SELECT id FROM t WHERE a BETWEEN b AND c": {"a", "b", "c"},
    "SELECT CASE WHEN a > 1 THEN b END FROM t": {"a", "b"},
    "SELECT nullif(a, 1), greatest(b, 2) FROM t": {"a", "b"},
    "SELECT max(a) FROM t": {"a"},
    "SELECT id FROM t GROUP BY id HAVING min(a) < 1": {"id", "a"},
    "SELECT id FROM t QUALIFY rank() OVER (ORDER BY a) < 3": {"a"},
    "SELECT count(*) FILTER (a > 1) FROM t": {"a"},
    "SELECT t.id FROM t JOIN u ON t.a = u.b": {"a", "b"},
    "SELECT id FROM t JOIN u USING (a)": {"a"},
    "SELECT id FROM t ORDER BY a LIMIT 3": {"a"},
    "SELECT s.x FROM t WHERE s.x > 1": {"s", "x"},
    "SELECT id FROM (SELECT id, a + b AS c FROM t) WHERE c > 1": {"a", "b", "c"},
    "WITH w AS (SELECT a AS x FROM t UNION ALL SELECT b FROM u) SELECT x FROM w WHERE x > 1": {"a", "b", "x"},
    "SELECT id FROM t WHERE id IN (SELECT a FROM u)": {"a", "id"},
    "WITH w(x) AS (SELECT a FROM t) SELECT x FROM w WHERE x > 1": {EVERY},
    "SELECT id FROM t NATURAL JOIN u": {EVERY},
    "SELECT * FROM t EXCEPT SELECT * FROM u": {EVERY},
    "SELECT DISTINCT max(COLUMNS(*)) FROM t": {EVERY},
}


@pytest.mark.parametrize("sql", COMPARED)
def test_what_is_compared_is_named(sql: str) -> None:
    """Every column whose values decide about a row; for some forms more than those."""
    found, wanted = compared_columns(sql, "test"), COMPARED[sql]
    assert wanted <= found
    assert wanted or not found


@pytest.mark.parametrize("sql", ["SELECT id FROM t WHERE a > 1", "SELECT a FROM t WHERE id = 1"])
def test_what_is_not_compared_is_left_out(sql: str) -> None:
    """A column that is only given is not among them, but named."""
    given = "id" if "a > 1" in sql else "a"
    assert given not in compared_columns(sql, "test")
    assert given in named_columns(sql, "test")


USED = {  # of the table t
    "SELECT id, a + b AS c FROM t WHERE d > 1": {"id", "a", "b", "d"},
    "SELECT count(*) FROM t": set(),
    "SELECT * FROM t": {EVERY},
    "FROM t": {EVERY},
    "SELECT x.* FROM t AS x": {EVERY, "x"},
    "SELECT COLUMNS('a.*') FROM t": {EVERY},
    "SELECT x FROM t AS x": {EVERY, "x"},
    "SELECT t FROM t": {EVERY, "t"},
    "SELECT x.a FROM t AS x": {"x", "a"},
    "WITH w AS (SELECT a, b FROM t) SELECT * FROM w": {"a", "b"},
    "SELECT * FROM (SELECT a FROM t)": {"a"},
    "SELECT * FROM u JOIN (SELECT a FROM t) AS v USING (k)": {"a", "k"},
    "SELECT * FROM u JOIN t USING (k)": {EVERY, "k"},
    "SELECT id FROM u NATURAL JOIN t": {EVERY, "id"},
    "SELECT id FROM t AS x(id, y)": {EVERY, "id"},
    "SELECT id FROM u WHERE EXISTS (SELECT * FROM t WHERE t.a = u.a)": {EVERY, "id", "t", "u", "a"},
}


@pytest.mark.parametrize("sql", USED)
def test_what_a_select_may_depend_on(sql: str) -> None:
    """All columns that it names, of whatever table; of a star those of the tables that it is over."""
    found = used_columns(sql, "t", "test")
    assert found - {"t", "u", "x", "v", "w"} == USED[sql] - {"t", "u", "x", "v", "w"}
