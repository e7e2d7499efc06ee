"""What a SQL text says, before it is run: one SELECT that writes nothing; for a night, one that repeats.

The connection alone does not hold that: a file that it may read it may also write, by a COPY that hides in a
WITH.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import duckdb

from nightscore.common import Broken
from nightscore.store.engine import SqlMistakes

VOLATILE_NAMES = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
VOLATILE = VOLATILE_NAMES | {
    "now", "today", "random", "setseed", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "get_current_time",
    "get_current_timestamp", "transaction_timestamp", "current_localtime", "current_localtimestamp",
    "ago", "age of one argument", "a sample", "txid_current", "current_transaction_id", "current_query_id",
    "current_connection_id", "pg_postmaster_start_time", "pg_conf_load_time", "current_setting", "stats",
}  # fmt: skip
READING = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})  # as parsed
HIDING = frozenset({"query", "json_execute_serialized_sql"})  # run a text as SQL, unseen by the check


def single_select(sql: str, where: str) -> None:
    """Raise `Broken` unless `sql` is one SELECT, and nothing in it writes.

    Raises:
        Broken: it is not one statement, not a SELECT, holds another one, or can't be parsed.
    """
    _reading(sql, where)


def repeatable_select(sql: str, where: str) -> str:
    """`sql`, checked to be one SELECT whose result depends on its inputs alone.

    Raises:
        Broken: no single SELECT, or it calls a function whose value changes between two runs of one
            day (now(), random(), …).
    """
    calls = _calls(_reading(sql, where))
    volatile = VOLATILE & calls
    if volatile:
        raise Broken(
            f"{where}: {min(volatile)} has another value at each run, so the day could not be proved; "
            "the scored day is getvariable('day')"
        )
    return sql


def _reading(sql: str, where: str) -> dict[str, Any]:
    """The tree of one SELECT. DuckDB 2.0 takes COPY, INSERT, … for the body of a WITH in it: refused."""
    with SqlMistakes(where):
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise Broken(f"{where}: {len(statements)} statements; allowed: exactly one SELECT")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise Broken(f"{where}: a {str(kind).rpartition('.')[2]} statement; allowed: exactly one SELECT")
    tree = _tree(sql, where)
    writing, hiding = _queries(tree) - READING, HIDING & _calls(tree)
    if writing:
        raise Broken(f"{where}: a {min(writing).partition('_')[0]} in a WITH; allowed: exactly one SELECT")
    if hiding:
        raise Broken(f"{where}: {min(hiding)} runs a text as SQL, which can't be checked; write it out")
    return tree


def _tree(sql: str, where: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(_serialized(sql))
    if tree["error"]:
        raise Broken(f"{where}: can't be checked: {tree['error_message']}")
    return tree


@lru_cache(maxsize=64)
def _serialized(sql: str) -> str:
    """The tree as JSON. A night asks for each of its statements several times; a connection costs 15 ms."""
    with duckdb.connect() as connection:
        return str(connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()[0][0])


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every mapping of a parsed statement."""
    if isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)
    elif isinstance(tree, dict):
        yield tree
        yield from _nodes(list(tree.values()))


def _queries(tree: object) -> set[str]:
    """The kinds of all queries within a parsed statement: SELECT_NODE, COPY_QUERY_NODE."""
    return {str(node["type"]) for node in _nodes(tree) if str(node.get("type")).endswith("_NODE")}


def _calls(tree: object) -> set[str]:
    """The names of all functions that a parsed statement calls, with or without parentheses."""
    return set().union(*map(_called, _nodes(tree)))


def _called(node: Mapping[str, Any]) -> set[str]:
    """What one node of a parsed statement itself calls."""
    calls = {"a sample"} if node.get("sample") else set()
    if "function_name" in node:
        name = str(node["function_name"]).lower()
        # age(x) counts from today, age(x, y) does not.
        calls.add("age of one argument" if name == "age" and len(node["arguments"]) == 1 else name)
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        # current_date and its like are parsed as columns and become calls only when bound.
        calls |= VOLATILE_NAMES & {str(node["column_names"][0]).lower()}
    return calls
