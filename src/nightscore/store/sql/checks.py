"""What a SQL text says, before it is run: one SELECT over views that writes nothing, and repeats.

The connection alone does not hold that: a file that it may read it may also write, by a COPY that hides in a
WITH, or read past the filter of its view.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import duckdb

from nightscore.common import Broken, clipped
from nightscore.store.sql import functions as known
from nightscore.store.sql.mistakes import SqlMistakes

VOLATILE_NAMES = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
READING = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})  # as parsed
HIDING = frozenset({"query", "json_execute_serialized_sql"})  # run a text as SQL, unseen by the check
VIEW = re.compile(r"\w+")  # the name of a view; what has a dot or a slash DuckDB takes for a file
OWN = ("duckdb_", "pg_", "pragma_", "sqlite_")  # how the views begin in which DuckDB tells of itself
UNSTEADY = VOLATILE_NAMES | {"age of one argument", "a sample"}  # as `_called` names them


def single_select(sql: str, where: str) -> None:
    """Raise `Broken` unless `sql` is one SELECT over views, and nothing in it writes.

    Raises:
        Broken: it is not one statement, not a SELECT, holds another one, can't be parsed, or reads what is no
            view: a file, a table function beyond the allow list, what DuckDB says of itself.
    """
    parse_select(sql, where)


def repeatable_select(sql: str, where: str, variables: Sequence[str] = ("day",)) -> str:
    """`sql`, checked to be one SELECT whose result depends on its inputs and `variables` alone.

    Raises:
        Broken: no single SELECT over views, or it calls a function whose value changes between two runs of
            one day (now(), random(), …) or two versions of DuckDB (hash()); or it reads another variable,
            which to DuckDB is no mistake, but NULL.
    """
    _check_repeatable(sql, where, tuple(variables))
    return sql


@lru_cache(maxsize=256)  # a night asks of each of its statements several times
def _check_repeatable(sql: str, where: str, variables: tuple[str, ...]) -> None:
    tree = parse_select(sql, where)
    calls = _calls(tree)
    _refuse_inexact(calls | set(_aggregates_of_lists(tree, where)), where)
    volatile = _unsteady(calls)
    if volatile:
        raise Broken(
            f"{where}: {min(volatile)} has another value at each run, so the day could not be proved; "
            "the scored day is getvariable('day')"
        )
    if any(node.get("type") == "SHOW_REF" for node in nodes_of(tree)):
        raise Broken(f"{where}: DESCRIBE, SHOW and SUMMARIZE are for `nightscore query`, not for a night")
    _refuse_unknown_variables(tree, where, variables)


def parse_select(sql: str, where: str) -> dict[str, Any]:
    """The tree of one SELECT over views, as DuckDB's JSON.

    DuckDB 2.0 takes COPY, INSERT, … for the body of a WITH in it: refused.

    Raises:
        Broken: as for `single_select`.
    """
    _check_select(sql, where)
    return _tree(sql, where)


@lru_cache(maxsize=256)
def _check_select(sql: str, where: str) -> None:
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
    for node in nodes_of(tree):
        _refuse_no_view(node, where)


def unparse_select(tree: Mapping[str, Any], where: str) -> str:
    """The text of a parsed SELECT.

    Raises:
        Broken: the text would not be parsed to this tree again.
    """
    text = _deserialized(json.dumps(tree))
    if _plain(_tree(text, where)) != _plain(tree):
        raise Broken(f"{where}: can't be written out again with a fixed order of rows; write it more plainly")
    return text


def _tree(sql: str, where: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(_serialized(sql))
    if tree["error"]:
        raise Broken(f"{where}: can't be checked: {tree['error_message']}")
    return tree


@lru_cache(maxsize=64)
def _serialized(sql: str) -> str:
    """The tree as JSON. A night asks for each of its statements several times."""
    return str(_asked("SELECT json_serialize_sql($1)", sql)[0][0])


@lru_cache(maxsize=64)
def _deserialized(tree: str) -> str:
    return str(_asked("SELECT json_deserialize_sql($1::JSON)", tree)[0][0])


def _asked(sql: str, *values: str) -> list[tuple[Any, ...]]:
    with _parser().cursor() as cursor:
        return cursor.execute(sql, list(values)).fetchall()


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """A connection that sees no data: to open one takes 15 ms, and a night asks some twenty times.

    One thread, so that a process that is forked from this one can go on with it.
    """
    return duckdb.connect(config={"threads": 1, "enable_external_access": "false"})


def _plain(tree: object, within: str = "") -> object:
    """A parsed statement without what two ways to write the same differ in."""
    if isinstance(tree, list):
        return [_plain(child, within) for child in tree]
    if not isinstance(tree, dict):
        return tree
    tree = _wrapped_values(tree) or tree
    left_out = {"query_location", "query_location_length", "is_operator"}
    left_out |= {"alias"} if within == "expression" else set()  # of an argument that is named
    return {key: _plain(child, key) for key, child in tree.items() if key not in left_out}


def _wrapped_values(tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """The VALUES of `(SELECT * FROM (VALUES …) AS valueslist) AS valueslist`, as DuckDB writes them out."""
    if tree.get("type") != "SUBQUERY" or tree.get("column_name_alias"):
        return None
    node = tree["subquery"]["node"]
    source = node.get("from_table") or {}
    whole = [column.get("class") for column in node.get("select_list", [])] == ["STAR"]
    if source.get("type") != "EXPRESSION_LIST" or not whole or node.get("where_clause") or node["modifiers"]:
        return None
    return dict(source) if source.get("alias") == tree.get("alias") else None


def _refuse_no_view(node: Mapping[str, Any], where: str) -> None:
    """Raise `Broken` where a node of a FROM reads something else than a view."""
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "?")).lower()
        if name not in known.TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(known.TABLE_FUNCTIONS))
            raise Broken(
                f"{where}: {name} is no table function that SQL may read here; allowed: {allowed}, and views "
                "by their names"
            )
    elif kind == "BASE_TABLE":
        path = [str(part) for part in node["qualified_name"]["path"]]
        if not VIEW.fullmatch(path[-1]) or path[:-1] not in ([], ["main"]) or _is_own_view(path[-1].lower()):
            raise Broken(
                f"{where}: {'.'.join(path)} is no view; SQL sees views by their names alone (of a job: its "
                "inputs, params, scores and decision tables), no file and nothing of DuckDB's own"
            )


def _refuse_inexact(calls: Iterable[str], where: str) -> None:
    for name in sorted(known.INEXACT.keys() & set(calls)):
        raise Broken(
            f"{where}: {name} may have another value in another version of DuckDB; write "
            f"{known.INEXACT[name]}"
        )


def _refuse_unknown_variables(tree: object, where: str, variables: Sequence[str]) -> None:
    for node in nodes_of(tree):
        if node.get("function_name") != "getvariable":
            continue
        name = text_of(arguments_of(node)[:1])
        if name is None:
            raise Broken(f"{where}: getvariable takes the name of a parameter in quotes, or 'day'")
        if name.lower() not in variables:
            near = difflib.get_close_matches(name, variables, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(variables)}"
            raise Broken(f"{where}: getvariable({clipped(name)}): the job has no such parameter; {hint}")


def read_variables(sql: str, where: str) -> set[str]:
    """The names, in lower case, that a SELECT reads with getvariable. Broken: it is no single SELECT."""
    nodes = nodes_of(parse_select(sql, where))
    calls = (node for node in nodes if node.get("function_name") == "getvariable")
    return {str(text_of(arguments_of(call)[:1])).lower() for call in calls}


def _aggregates_of_lists(tree: object, where: str) -> Iterator[str]:
    """The names of aggregates that are called by a text: list_aggregate(x, 'sum')."""
    for node in nodes_of(tree):
        if str(node.get("function_name")).lower() in known.LIST_AGGREGATES:
            name = text_of(arguments_of(node)[1:2])
            if name is None:
                raise Broken(f"{where}: {node['function_name']} takes the name of an aggregate in quotes")
            yield name.lower()


def arguments_of(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The expressions that a parsed call is given."""
    return [argument["expression"] for argument in call["arguments"]]


def text_of(expressions: list[dict[str, Any]]) -> str | None:
    """The text that an only expression is, written out; None for anything else."""
    if len(expressions) != 1 or expressions[0]["class"] != "CONSTANT":
        return None
    literal = expressions[0].get("literal") or {}
    return str(literal["text"]) if literal.get("kind") == "STRING" else None


def nodes_of(tree: object) -> Iterator[dict[str, Any]]:
    """Every mapping of a parsed statement."""
    waiting = [tree]
    while waiting:
        tree = waiting.pop()
        if isinstance(tree, dict):
            yield tree
            waiting += reversed(tree.values())
        elif isinstance(tree, list):
            waiting += reversed(tree)


def _queries(tree: object) -> set[str]:
    """The kinds of all queries within a parsed statement: SELECT_NODE, COPY_QUERY_NODE."""
    return {str(node["type"]) for node in nodes_of(tree) if str(node.get("type")).endswith("_NODE")}


def _calls(tree: object) -> set[str]:
    """The names of all functions that a parsed statement calls, with or without parentheses."""
    return set().union(*map(_called, nodes_of(tree)))


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


def _unsteady(calls: Iterable[str]) -> set[str]:
    """Those calls that are not known to have one value in all runs of a day."""
    allowed = known.PLAIN | known.STEADY | known.MACROS | known.UNORDERED.keys() | known.TABLE_FUNCTIONS
    asked = set(calls) - allowed
    return {name for name in asked if name in UNSTEADY or _consistent().get(name) is False}


@cache
def _consistent() -> dict[str, bool]:
    """Of each function of DuckDB's, whether DuckDB calls all of its forms consistent.

    A macro has no such word, so it is none; table functions are held to their own list.
    """
    rows = _asked(
        "SELECT lower(function_name), bool_and(coalesce(stability = 'CONSISTENT', false)) "
        "FROM duckdb_functions() WHERE function_type NOT IN ('table', 'table_macro', 'pragma') GROUP BY ALL"
    )
    return dict(rows)


def _is_own_view(name: str) -> bool:
    """Whether DuckDB tells of itself in a view of this name; it is asked where the name looks like one."""
    return name.startswith(OWN) and name in _own_views()


@cache
def _own_views() -> frozenset[str]:
    return frozenset(name for (name,) in _asked("SELECT view_name FROM duckdb_views() WHERE internal"))
