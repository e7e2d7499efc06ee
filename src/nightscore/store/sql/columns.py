"""Which views and columns a SELECT reads, and which it compares, by its parsed tree.

It is asked where an optimizer that believes footers may be wrong, and where a table stores another type.

Cautious: names alone, of whatever table they are, and through the aliases of inner SELECTs.
"""

from collections.abc import Iterator
from typing import Any

from nightscore.store.sql.checks import nodes_of, parse_select

Node = dict[str, Any]
EVERY = "*"  # stands for all columns: a star, or a NATURAL JOIN
CLAUSES = ("where_clause", "having", "qualify", "condition", "filter", "group_expressions", "modifiers")
COMPARING = frozenset({"COMPARISON", "BETWEEN", "CASE", "CONJUNCTION", "OPERATOR", "WINDOW", "SUBQUERY"})
ARITHMETIC = frozenset({"+", "-", "*", "/"})  # gives no truth and takes none of several rows


def compared_columns(sql: str, where: str) -> frozenset[str]:
    """The columns, in lower case, that a SELECT compares, aggregates or gives to a function; `*` for all.

    Raises:
        Broken: it is no SELECT over views.
    """
    tree = parse_select(sql, where)
    nodes = list(nodes_of(tree))
    names = {name for part in _comparing(nodes) for name in _names(part)} | set(_joined(nodes))
    while added := set(_through_aliases(nodes, names)) - names:
        names |= added
    return frozenset(names)


def named_columns(sql: str, where: str) -> frozenset[str]:
    """All columns, in lower case, that a SELECT names; `*` where it has a star. Errors as above."""
    tree = parse_select(sql, where)
    return frozenset(_names(tree)) | frozenset(_joined(list(nodes_of(tree))))


def named_views(sql: str, where: str) -> frozenset[str]:
    """The names, in lower case, of all views that a SELECT reads, and of its WITH. Errors as above."""
    tree = parse_select(sql, where)
    named = (node["table_name"] for node in nodes_of(tree) if node.get("type") == "BASE_TABLE")
    return frozenset(str(name).lower() for name in named)


def with_names(sql: str, where: str) -> frozenset[str]:
    """The names, in lower case, of the WITH of a SELECT and of those inside it. Errors as above."""
    tree = parse_select(sql, where)
    maps = (node["cte_map"]["map"] for node in nodes_of(tree) if node.get("cte_map"))
    return frozenset(str(entry["key"]).lower() for entries in maps for entry in entries)


def gives_collated(sql: str, where: str) -> bool:
    """Whether a column of a SELECT, or of one inside it, may have a COLLATE. Errors as above.

    One that stands in a comparison is none: what that gives is no text.
    """
    tree = parse_select(sql, where)
    return any(_collates(column) for node in nodes_of(tree) for column in node.get("select_list") or ())


def _collates(node: Node) -> bool:
    if str(node.get("type")).startswith("COMPARE_") or node.get("class") == "SUBQUERY":
        return False  # of a SELECT inside, its own list counts
    children = [c for value in node.values() for c in (value if isinstance(value, list) else [value])]
    return node.get("class") == "COLLATE" or any(_collates(c) for c in children if isinstance(c, dict))


def _comparing(nodes: list[Node]) -> Iterator[object]:
    for node in nodes:
        yield from (node[clause] for clause in CLAUSES if node.get(clause))
        called = str(node.get("function_name")).lower() if node.get("class") == "FUNCTION" else "+"
        if node.get("class") in COMPARING or called not in ARITHMETIC:
            yield node


def _joined(nodes: list[Node]) -> Iterator[str]:
    """What is compared without an expression: by USING, by a NATURAL JOIN, row by row, under other names."""
    for node in nodes:
        yield from (str(name).lower() for name in node.get("using_columns") or ())
        kinds = {node.get("ref_type"), node.get("type"), node.get("setop_type")}
        renamed = node.get("column_name_alias") or ("query_node" in node and node.get("aliases"))
        if renamed or kinds & {"NATURAL", "PIVOT", "EXCEPT", "INTERSECT"}:
            yield EVERY


def _through_aliases(nodes: list[Node], names: set[str]) -> Iterator[str]:
    for node in nodes:
        for column in node.get("select_list") or ():
            if str(column.get("alias") or "").lower() in names:
                yield from _names(column)
        if node.get("type") == "SET_OPERATION_NODE":  # its branches go together by position
            columns = [c for query in nodes_of(node) for c in query.get("select_list") or ()]
            if names & {str(c.get("alias") or "").lower() for c in columns} or names & set(_names(columns)):
                yield from _names(columns)


def _names(tree: object) -> Iterator[str]:
    for node in nodes_of(tree):
        if node.get("class") == "COLUMN_REF":
            yield from (str(name).lower() for name in node["column_names"])
        elif node.get("class") == "STAR":
            yield EVERY


def used_columns(sql: str, table: str, where: str) -> frozenset[str]:
    """The columns of a table, in lower case, of which the result of a SELECT may depend; `*` for all of them.

    A table's name in the place of a column is its whole row. Errors as those of `compared_columns`.
    """
    tree = parse_select(sql, where)
    nodes = list(nodes_of(tree))
    using = {str(name).lower() for node in nodes for name in node.get("using_columns") or ()}
    every = any(_takes_all(node, table.lower()) for node in nodes)
    return frozenset(_names(tree)) - {EVERY} | using | ({EVERY} if every else frozenset())


def _takes_all(node: Node, table: str) -> bool:
    """Whether a SELECT has a star over a table or its whole row, or a join takes columns without names."""
    if {node.get("ref_type"), node.get("type")} & {"NATURAL", "PIVOT"} or node.get("column_name_alias"):
        return True
    called = {name for ref in _tables(node.get("from_table")) for name in _called(ref)}
    if table not in called:
        return False
    rows = [part["column_names"] for part in nodes_of(node) if part.get("class") == "COLUMN_REF"]
    stars = any(part.get("class") == "STAR" for part in nodes_of(node.get("select_list")))
    return stars or any(len(names) == 1 and names[0].lower() in called for names in rows)


def _tables(tree: object) -> Iterator[Node]:
    """The tables that a FROM names, not those within its subqueries."""
    if isinstance(tree, dict) and tree.get("type") == "BASE_TABLE":
        yield tree
    elif isinstance(tree, dict) and tree.get("type") == "JOIN":
        yield from (*_tables(tree.get("left")), *_tables(tree.get("right")))


def _called(table: Node) -> set[str]:
    return {str(table[key]).lower() for key in ("table_name", "alias") if table.get(key)}
