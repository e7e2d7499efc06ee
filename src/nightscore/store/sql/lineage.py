"""Which columns of its views the columns of a SELECT come from, by its parsed tree: exact, or silent.

Of a column that it can't follow (a star over what it does not know, a lambda, a subquery in an expression, a
PIVOT) it says nothing at all, rather than something that may be wrong. Followed are stars, aliases, WITH,
subqueries in FROM, UNION, and joins with ON or USING. What only decides which rows there are, such as WHERE
and ON, is no source of a column.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightscore.store.sql.checks import arguments_of, parse_select
from nightscore.store.sql.from_scope import (
    Columns,
    From,
    How,
    Listed,
    Relation,
    Sources,
    Unfollowed,
    field_of,
    together,
)

Node = dict[str, Any]


INSIDE = {  # class -> the keys of the expressions that its value is made of
    "CAST": ("child",), "COLLATE": ("child",), "COMPARISON": ("left", "right"), "OPERATOR": ("children",),
    "CONJUNCTION": ("children",), "BETWEEN": ("input", "lower", "upper"), "CONSTANT": (),
}  # fmt: skip
KINDS_OF_JOIN = {"INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI"}
DECIDING = ("partitions", "orders", "arg_orders", "filter_expr", "filter", "start_expr", "end_expr")


def column_sources(sql: str, where: str, views: Mapping[str, Sequence[str]]) -> dict[str, Sources]:
    """The columns of a SELECT (in lower case) that can be followed, each with those of `views` it comes from.

    `views` are the columns of each view; one whose columns are not given is not followed. A column that comes
    from none, such as a constant, has an empty mapping.

    Raises:
        Broken: it is no SELECT over views.
    """
    tree = parse_select(sql, where)
    known = {
        name.lower(): {c.lower(): {(name, c): How.IDENTITY} for c in cols} for name, cols in views.items()
    }
    try:
        columns = _query(tree["statements"][0]["node"], known)
    except Unfollowed:
        return {}
    return {
        name: sources for name, sources in columns if name and sources is not None and _once(name, columns)
    }


def _query(node: Node, known: Mapping[str, Columns | None]) -> Listed:
    """The columns of a SELECT or a UNION, in order; a column without a name of its own is called ""."""
    known = {**known}
    for entry in (node.get("cte_map") or {}).get("map", []):
        known[entry["key"].lower()] = _with(entry["value"], known)
    if node["type"] == "SET_OPERATION_NODE":
        return _set_operation(node, known)
    if node["type"] != "SELECT_NODE":
        raise Unfollowed
    return _select(node, _from(node.get("from_table"), known))


def _with(value: Node, known: Mapping[str, Columns | None]) -> Columns | None:
    try:
        return _named(_query(value["query_node"], known), value.get("aliases") or [])
    except (Unfollowed, KeyError):
        return None


def _set_operation(node: Node, known: Mapping[str, Columns | None]) -> Listed:
    """By position: of a UNION both sides, of an EXCEPT or INTERSECT the first."""
    kind, sides = node["setop_type"], [_query(child, known) for child in node["children"]]
    if kind not in {"UNION", "EXCEPT", "INTERSECT"} or len({len(side) for side in sides}) > 1:
        raise Unfollowed
    if kind != "UNION":
        return sides[0]
    return [
        (first[0], together([column[1] for column in (first, *others)]))
        for first, *others in zip(*sides, strict=True)
    ]


def _select(node: Node, source: From) -> Listed:
    columns: Listed = []
    for item in node["select_list"]:
        if item["class"] == "STAR":
            columns += _star(item, source)
            continue
        before = {
            name: sources for name, sources in columns if name
        }  # a later column may name an earlier one
        name = item.get("alias") or (item["column_names"][-1] if item["class"] == "COLUMN_REF" else "")
        columns.append((name.lower(), _sources(item, source, before)))
    return columns


def _star(item: Node, source: From) -> Listed:
    asked = {
        key for key, value in item.items() if value and key not in {"query_location", "query_location_length"}
    }
    if asked - {"class", "type", "relation_name", "exclude_list"}:
        raise Unfollowed
    wanted = item.get("relation_name", "").lower()
    relations = source.relations if not wanted else [source.called(wanted)]
    left_out = {str(name).lower() for name in item.get("exclude_list") or ()}
    if any(relation is None for relation in relations):
        raise Unfollowed
    shown = [column for relation in relations if relation for column in _all_of(source, relation, wanted)]
    return [(name, sources) for name, sources in shown if name not in left_out]


def _all_of(source: From, relation: Relation, wanted: str) -> Listed:
    """`t.*` has the columns of USING, too, and as the table has them."""
    if not wanted:
        return list(source.shown(relation))
    if relation.columns is None:
        raise Unfollowed
    return list(relation.columns.items())


def _sources(item: Node, source: From, before: Mapping[str, Sources | None]) -> Sources | None:
    try:
        if item["class"] == "COLUMN_REF":
            return _column(item, source, before)
        return together([*_terms(item, source, before, How.TRANSFORMATION)])
    except (Unfollowed, KeyError):
        return None


def _terms(
    item: Node, source: From, before: Mapping[str, Sources | None], how: How
) -> Iterator[Sources | None]:
    """The sources of every column in an expression, none nearer than `how`."""
    kind = item["class"]
    if kind == "COLUMN_REF":
        found = _column(item, source, before)
        yield found and {origin: max(at, how) for origin, at in found.items()}
        return
    for part in _parts(item):
        yield from _terms(part, source, before, how)
    for part in _conditions(item):
        yield from _terms(part, source, before, How.CONDITIONAL)


def _parts(item: Node) -> list[Node]:
    """The expressions that the value of another is made of."""
    kind = item["class"]
    if kind in {"FUNCTION", "WINDOW"}:
        more = [item.get("offset_expr"), item.get("default_expr")]
        return [*arguments_of(item), *(part for part in more if part)]
    if kind == "CASE":
        return [*(check["then_expr"] for check in item["case_checks"]), item["else_expr"]]
    if kind not in INSIDE:
        raise Unfollowed
    return [part for key in INSIDE[kind] for part in _listed(item[key])]


def _conditions(item: Node) -> list[Node]:
    """The expressions that decide which value another has, of those that it is made of."""
    checks = [check["when_expr"] for check in item.get("case_checks") or ()]
    deciding = [part for key in DECIDING for part in _listed(item.get(key))]
    deciding += _listed((item.get("order_bys") or {}).get("orders"))
    return [*checks, *(part.get("expression", part) for part in deciding)]


def _listed(value: Any) -> list[Node]:
    return value if isinstance(value, list) else [value] if value else []


def _column(item: Node, source: From, before: Mapping[str, Sources | None]) -> Sources | None:
    """The sources of a column's name: of a table's column, of a field of one, or of an earlier column."""
    names = [str(name).lower() for name in item["column_names"]]
    relation = source.called(names[0]) if len(names) > 1 else None
    if relation is not None:
        if relation.columns is None:
            raise Unfollowed
        if names[1] in relation.columns:
            return field_of(relation.columns[names[1]], len(names) > 2)
    try:
        return field_of(source.find(names[0]), len(names) > 1)
    except KeyError:
        return field_of(before[names[0]], len(names) > 1)


def _from(node: Node | None, known: Mapping[str, Columns | None]) -> From:
    kind = (node or {}).get("type", "EMPTY")
    if node is None or kind == "EMPTY":
        return From([])
    if kind == "JOIN":
        return _join(node, known)
    return From([Relation((node.get("alias") or node.get("table_name") or "").lower(), _table(node, known))])


def _table(node: Node, known: Mapping[str, Columns | None]) -> Columns | None:
    """The columns of one table of a FROM; None of what can't be followed."""
    try:
        if node["type"] == "BASE_TABLE":
            columns = None if node.get("schema_name") else known.get(node["table_name"].lower())
            listed = None if columns is None else list(columns.items())
        else:
            listed = _query(node["subquery"]["node"], known) if node["type"] == "SUBQUERY" else None
    except (Unfollowed, KeyError):
        return None
    return None if listed is None else _named(listed, node.get("column_name_alias") or [])


def _join(node: Node, known: Mapping[str, Columns | None]) -> From:
    left, right = _from(node["left"], known), _from(node["right"], known)
    kind, using = node["join_type"], [str(name).lower() for name in node.get("using_columns") or ()]
    if node["ref_type"] not in {"REGULAR", "CROSS"} or kind not in KINDS_OF_JOIN:
        return From([Relation(r.name, None) for r in (*left.relations, *right.relations)])
    if kind in {"SEMI", "ANTI"}:
        return left
    both = From(left.relations + right.relations, left.merged | right.merged, left.hidden | right.hidden)
    for name in using:
        _merge(both, left, right, name, kind)
    return both


def _merge(both: From, left: From, right: From, name: str, kind: str) -> None:
    """Show a column of USING once: the left side's, the right's of a RIGHT JOIN, either of a FULL one."""
    first, second = _owner(left, name), _owner(right, name)
    if first is None or second is None:
        both.relations[:] = [Relation(relation.name, None) for relation in both.relations]
        return
    sides = [left.find(name), right.find(name)]
    whole = field_of(together(sides), True) if kind == "FULL" else sides[kind == "RIGHT"]
    both.merged[first, name] = whole
    both.hidden.add((second, name))


def _owner(source: From, name: str) -> Relation | None:
    """The table that a side of a join shows a column of; None where that can't be told."""
    try:
        owners = [r for r in source.relations if name in dict(source.shown(r))]
    except Unfollowed:
        return None
    return owners[0] if len(owners) == 1 else None


def _named(columns: Listed, aliases: Sequence[str]) -> Columns:
    """Columns by name, the first ones as an alias list calls them; of two of one name none is known."""
    names = [*(alias.lower() for alias in aliases), *(name for name, _ in columns[len(aliases) :])]
    found: dict[str, Sources | None] = {}
    for name, (_, sources) in zip(names, columns, strict=True):
        found[name] = None if name in found else sources
    return found


def _once(name: str, columns: Listed) -> bool:
    return sum(name == other for other, _ in columns) == 1
