"""One order of rows for a SELECT: then its result depends on no memory, threads or layout of files.

DuckDB adds numbers in the order in which rows arrive, adds partial sums when it outgrows its memory, and
takes the row that comes first where several will do. So, in the parsed statement:

1. a sum of floating-point numbers (and what is made of sums: avg, stddev, corr, …) is taken in the order of
   its arguments: `sum(x)` becomes `sum(x ORDER BY x)`. DuckDB forgets that order for integers and decimals,
   whose sums are exact;
2. what takes one row of several (any_value, arg_max) or is a list of rows has the arguments of all such calls
   beside it behind its own ORDER BY: rows that tie then are alike in all that is taken of them, so that
   `list(a ORDER BY t)` and `list(b ORDER BY t)` still go together. `arg_min(x, row(t, x))` needs none;
3. LIMIT and DISTINCT ON have the columns that they give behind their ORDER BY;
4. a window function that counts rows (row_number, lag, a frame of ROWS) stops at a tie in its ORDER BY.

What has no ORDER BY, and is nothing without, is refused.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache

from nightscore.common import Broken
from nightscore.store.sql import functions as known
from nightscore.store.sql.checks import arguments_of, nodes_of, parse_select, unparse_select
from nightscore.store.sql.nodes import (
    Node,
    append_terms,
    column_of,
    distinct,
    first_select,
    has_star,
    is_query,
    key_of,
    name_of,
    own_nodes,
    snippet,
    sortable,
    terms_of,
    text_of,
)

WHOLE = ("UNBOUNDED_PRECEDING", "UNBOUNDED_FOLLOWING")
APPROXIMATE = "; or say sql: approximate in job.yaml, and its bytes may depend on memory, threads and files"
TIE = (
    "two rows are alike in the ORDER BY of {}, so that which comes first is chance: add columns to it until "
    "none are (or SELECT DISTINCT first)" + APPROXIMATE
)


def ordered_select(sql: str, where: str) -> str:
    """A SELECT that gives the rows of `sql`, and the same bytes whatever the order in which rows arrive.

    It is `sql` itself where nothing in it depends on that order.

    Raises:
        Broken: something has no ORDER BY and depends on the order of rows; names it, and what to write.
    """
    return _ordered(sql, where)


def sorted_select(sql: str, where: str) -> str:
    """A SELECT whose rows come in one order: its own, or where it has none, that of all its columns.

    Raises:
        Broken: it is no SELECT.
    """
    tree = parse_select(sql, where)
    if terms_of(tree["statements"][0]["node"]):
        return sql
    return f"({unparse_select(tree, where)}) ORDER BY ALL"  # in brackets two columns may have one name


@lru_cache(maxsize=64)
def _ordered(sql: str, where: str) -> str:
    tree = parse_select(sql, where)
    before = copy.deepcopy(tree)
    queries = [_Query(node, where) for node in nodes_of(tree) if is_query(node)]
    for query in queries:
        query.order()
    for query in queries:  # of those inside others, too: a subquery that was changed names a column
        query.keep_names()
    return sql if tree == before else unparse_select(tree, where)


class _Query:
    """One SELECT of a statement, without those inside it."""

    def __init__(self, node: Node, where: str) -> None:
        self.node, self.where = node, where
        self._names = self._unnamed()

    def keep_names(self) -> None:
        """Give the columns without an AS the names that they had before."""
        for column, name in self._names:
            if not column["alias"] and text_of(column) != name:
                column["alias"] = name

    def order(self) -> None:
        """Put everything in it that depends on the order of rows into one order."""
        source = self.node.get("from_table")
        parts = [[value for key, value in self.node.items() if key not in {"from_table", "modifiers"}]]
        parts[0].append(self.node["modifiers"])
        parts += [[node] for node in own_nodes(source) if node.get("type") == "PIVOT"]
        for part in parts:
            self._order_calls([node for node in own_nodes(part) if "function_name" in node])
        self._refuse_positional(source)
        self._order_rows()

    def _unnamed(self) -> list[tuple[Node, str]]:
        """The columns without an AS that may change, each with its name; of several in a PIVOT, too."""
        pivots = [node for node in own_nodes(self.node.get("from_table")) if node.get("type") == "PIVOT"]
        several = [p["aggregates"] for p in pivots if len(p["aggregates"]) > 1]  # a single one names nothing
        columns = [*self.node.get("select_list", []), *(column for columns in several for column in columns)]
        unnamed = [c for c in columns if not c["alias"] and _depends(c)]
        return [(c, text_of(c)) for c in unnamed if not has_star(c)]

    def _order_calls(self, calls: Sequence[Node]) -> None:
        plain = [call for call in calls if call["class"] == "FUNCTION"]
        chosen = [call for call in plain if name_of(call) in known.CHOOSING | known.ORDERED]
        beside = distinct([a for call in chosen for a in sortable(call)])
        for call in plain:
            self._order_call(call, beside)
        for window in (call for call in calls if call["class"] == "WINDOW"):
            self._order_window(window)

    def _order_call(self, call: Node, beside: list[Node]) -> None:
        name, orders = name_of(call), call["order_bys"]["orders"]
        if name in known.UNORDERED:
            self._refuse(f"{name} depends on the order of rows: write {known.UNORDERED[name]}")
        if name in known.ORDERED:
            self._hold_to_order(call, orders)
        if name == "mode" and not call["arguments"]:  # mode() WITHIN GROUP (ORDER BY x)
            call["arguments"] = [{"name": "", "expression": order["expression"]} for order in orders]
        if name in known.SUMS or (name in known.CHOOSING | known.ORDERED and call["distinct"]):
            append_terms(orders, sortable(call))
        elif name in known.CHOOSING | known.ORDERED and not _is_decided(call, beside):
            append_terms(orders, beside)

    def _hold_to_order(self, call: Node, orders: list[Node]) -> None:
        """Raise `Broken` unless a list has an ORDER BY; ARRAY(SELECT …) has it in that SELECT."""
        if orders:
            return
        inner = (self.node.get("from_table") or {}).get("subquery", {}).get("node", {})
        if [a["class"] for a in arguments_of(call)] == ["POSITIONAL_REFERENCE"] and terms_of(inner):
            _Query(inner, self.where).complete_order()
            return
        name = name_of(call)
        self._refuse(f"{name}(x) depends on the order of rows: write {name}(x ORDER BY …)")

    def _order_window(self, window: Node) -> None:
        name, orders = name_of(window), window["arg_orders"]
        counts = name in known.POSITIONS or _by_rows(window)
        taking = name in known.ORDERED and not orders
        if (counts or taking) and not window["orders"] and not orders:
            self._refuse(f"{name} depends on the order of rows: write {name}(…) OVER (… ORDER BY …)")
        total = self._is_total(window)  # as it is written: what is appended orders no frame
        if name in known.SUMS | known.CHOOSING or (name in known.ORDERED and orders):
            append_terms(orders, sortable(window))
        if (counts or taking) and not total:
            _stop_at_ties(window, name)

    def _is_total(self, window: Node) -> bool:
        """Whether no two rows can be alike in the ORDER BY: all that the rows are grouped by is in it."""
        groups = self.node.get("group_expressions", [])
        if not groups or len(self.node["group_sets"]) > 1:
            return False
        deciding = window["orders"] if _by_rows(window) else window["arg_orders"] or window["orders"]
        terms = [*window["partitions"], *(order["expression"] for order in deciding)]
        said = {
            key_of(term) for term in terms if term["class"] != "CONSTANT"
        }  # a 1 is a column only in GROUP BY
        return all(key_of(group) in said for group in groups)

    def _refuse_positional(self, source: object) -> None:
        if any(node.get("ref_type") == "POSITIONAL" for node in own_nodes(source)):
            self._refuse("a POSITIONAL JOIN depends on the order of rows: join by a column")

    def _order_rows(self) -> None:
        """Put a LIMIT and a DISTINCT ON into an order that is total."""
        kinds = {_cut(modifier) for modifier in self.node["modifiers"]} - {""}
        if kinds and not terms_of(self.node):
            cut = min(kinds)
            self._refuse(f"{cut} without ORDER BY depends on the order of rows: write ORDER BY … (or ALL)")
        if kinds:
            self.complete_order()

    def complete_order(self) -> None:
        """Append the columns that it gives to its ORDER BY, so that rows that tie are alike."""
        terms = terms_of(self.node)
        if key_of(terms[0]["expression"]) == key_of(snippet("ALL")["expression"]):
            return  # ORDER BY ALL
        first = first_select(self.node)
        columns = first.get("select_list", [])
        if not any(map(has_star, columns)):
            terms += [snippet(str(i + 1)) for i in range(len(columns))]
        elif first is self.node:
            terms.append(snippet("COLUMNS(*)"))
        else:
            self._refuse("LIMIT of a UNION of SELECT * has no total order: name the columns")

    def _refuse(self, reason: str) -> None:
        raise Broken(f"{self.where}: {reason}{APPROXIMATE}")


def _stop_at_ties(window: Node, name: str) -> None:
    """Make a window function an error for a row that ties with the one before it.

    Then `row_number()` is more than `rank()`. Both share the sort of the function itself.
    """
    plain: Node = {**window, "alias": "", "arguments": [], "ignore_nulls": False, "has_ignore_nulls": False}
    plain |= {"filter_expr": None, "distinct": False, "offset_expr": None, "default_expr": None}
    if name != "row_number" and _by_rows(window):  # of a frame alone: ORDER BY of the arguments is its own
        plain |= {"arg_orders": []}
    check = _tie_check(TIE.format(name))
    compared = check["case_checks"][0]["when_expr"]["case_checks"][0]["when_expr"]
    for side in ("left", "right"):
        called = {key: compared[side][key] for key in ("type", "function_name", "qualified_name")}
        compared[side] = {**plain, **called, **_frame()}
    check["case_checks"][0]["then_expr"] = {**window, "alias": ""}
    check["alias"] = window["alias"]
    window.clear()
    window.update(check)


def _tie_check(message: str) -> Node:
    """The case of no tie, and else the message: by a cast: no other column may name one with `error()`."""
    same, text = "row_number() OVER () = rank() OVER ()", message.replace("'", "''")
    sql = f"SELECT CASE WHEN CASE WHEN {same} THEN true ELSE CAST('{text}' AS BOOLEAN) END THEN NULL END"
    return copy.deepcopy(column_of(sql))


def _frame() -> Node:
    """The frame that a window has where none is written."""
    window = column_of("SELECT rank() OVER ()")
    return {key: window[key] for key in ("start", "end", "start_expr", "end_expr", "exclude_clause")}


def _cut(modifier: Node) -> str:
    """How a modifier of a SELECT takes some rows and leaves others, or nothing."""
    if modifier["type"] == "DISTINCT_MODIFIER":
        return "DISTINCT ON" if modifier["distinct_on_targets"] else ""
    return "LIMIT" if modifier["type"].startswith("LIMIT") else ""


def _is_decided(call: Node, beside: Sequence[Node]) -> bool:
    """Whether rows that tie are alike without an ORDER BY: `arg_min(x, row(t, x))` compares what it takes.

    A struct is compared at a third of the cost of sorted arguments.
    """
    by = arguments_of(call)[1:]
    if len(by) != 1 or name_of(by[0]) != "row":
        return False
    said = {key_of(term) for term in (by[0], *arguments_of(by[0]))}
    return all(key_of(term) in said for term in beside)


def _by_rows(window: Node) -> bool:
    """Whether a frame is counted in rows, so that it can end between two that tie."""
    return any(window[end].endswith("ROWS") for end in ("start", "end"))


def _depends(column: Node) -> bool:
    names = known.SUMS | known.CHOOSING | known.ORDERED | known.POSITIONS
    return any(name_of(node) in names or node.get("class") == "WINDOW" for node in nodes_of(column))
