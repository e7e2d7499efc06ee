"""Parts of a parsed SELECT: the nodes that are its own, its ORDER BY, and what expressions say alike."""

import copy
import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from nightscore.store.sql.checks import arguments_of, parse_select, unparse_select

Node = dict[str, Any]


@cache
def column_of(sql: str) -> Node:
    """The first column of a SELECT, as parsed; shared, so copy it before it is changed."""
    node: Node = parse_select(sql, "")["statements"][0]["node"]["select_list"][0]
    return node


def snippet(term: str) -> Node:
    """A term of an ORDER BY, as parsed."""
    return copy.deepcopy(_term(term))


@cache
def _term(term: str) -> Node:
    node: Node = parse_select(f"SELECT 1 ORDER BY {term}", "")["statements"][0]["node"]
    return terms_of(node)[0]


def terms_of(query: Node) -> list[Node]:
    """The terms of the ORDER BY of a SELECT."""
    orders = [m["orders"] for m in query.get("modifiers", []) if m["type"] == "ORDER_MODIFIER"]
    return orders[0] if orders else []


def first_select(query: Node) -> Node:
    """The SELECT that names the columns: of a UNION the first."""
    inside = query.get("children") or [query.get("left")]
    return first_select(inside[0]) if inside[0] else query


def append_terms(orders: list[Node], terms: Sequence[Node]) -> None:
    """Add terms to an ORDER BY that it has not yet."""
    said = {key_of(order["expression"]) for order in orders}
    new = [copy.deepcopy(term) for term in terms if key_of(term) not in said]
    orders += [{**snippet("a"), "expression": term} for term in new]


def sortable(call: Node) -> list[Node]:
    """The arguments of a call that differ from row to row."""
    return [argument for argument in arguments_of(call) if argument["class"] != "CONSTANT"]


def distinct(terms: Sequence[Node]) -> list[Node]:
    """Terms, of those that say the same one."""
    return list({key_of(term): term for term in terms}.values())


def name_of(call: Node) -> str:
    """The name of a called function; "" of another node."""
    return str(call.get("function_name", "")).lower()


def has_star(column: Node) -> bool:
    """Whether a column is `*`, or has one in it."""
    return any(node.get("class") == "STAR" for node in own_nodes(column))


def is_query(node: Node) -> bool:
    """Whether a node is a SELECT, or a UNION of such."""
    return str(node.get("type")).endswith("_NODE") and "modifiers" in node


def own_nodes(tree: object) -> Iterator[Node]:
    """Every mapping of a part of a SELECT that belongs to no SELECT inside it."""
    if isinstance(tree, list):
        for child in tree:
            yield from own_nodes(child)
    elif isinstance(tree, dict) and not is_query(tree):
        yield tree
        yield from own_nodes(list(tree.values()))


def key_of(node: object) -> str:
    """What two expressions have in common that say the same."""
    return json.dumps(_bare(node), sort_keys=True)


def _bare(node: object) -> object:
    if isinstance(node, list):
        return [_bare(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {k: _bare(v) for k, v in node.items() if not k.startswith("query_location") and k != "alias"}


def text_of(column: Node) -> str:
    """What a column is called that has no AS."""
    tree = copy.deepcopy(parse_select("SELECT 1", ""))
    tree["statements"][0]["node"]["select_list"] = [column]
    return unparse_select(tree, "").removeprefix("SELECT ")
