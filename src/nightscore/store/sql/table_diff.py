"""What differs between two versions of one table's day: row by row, and in the sum of each column.

Restatements, late data and decision changes are all computed by it. Rows are matched by the job's key where
the table has all of it, each row its own, none missing. Any other table is compared as a multiset: what there
is more often on one side was added or removed, and nothing is `changed`. Values are compared by IS DISTINCT
FROM: a NaN is the same as a NaN, a null as a null. A column that only one version has, a challenger's, makes
no row differ.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pyarrow as pa

from nightscore.store.documents.receipt import ColumnProof
from nightscore.store.documents.sql_text import literal, quote_identifier
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.views import View

BEFORE, AFTER, BESIDE = "before", "after", "beside"
DIGITS = 800  # of a difference: more than lie between the largest and the smallest float64


class Counts(NamedTuple):
    """Rows that differ: with the same key and other values, on the new side only, on the old side only."""

    changed: int = 0
    added: int = 0
    removed: int = 0


class TableDiff:
    """Two versions of one table, either of which may have no file. A context; close it.

    Beside the key, the columns of `compared` say whether two rows differ; default: all. `beside` are files of
    a table that has the same key, by whose columns differences can be counted, too.
    """

    def __init__(
        self,
        before: Sequence[Path],
        after: Sequence[Path],
        key: Sequence[str],
        resources: EngineResources,
        *,
        compared: Collection[str] | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        sides = {BEFORE: tuple(before), AFTER: tuple(after)}
        views = {**sides, BESIDE: tuple(beside)}
        self._engine = Engine([View(name, files) for name, files in views.items() if files], resources)
        for name, other in ((BEFORE, AFTER), (AFTER, BEFORE)):
            if not sides[name]:
                self._engine.define(name, f"SELECT * FROM {other} LIMIT 0")
        there = self._engine.schema(f"SELECT * FROM {BEFORE}").names
        here = self._engine.schema(f"SELECT * FROM {AFTER}").names
        self._all = [c for c in here if c in there and c != "run_id"]
        self._columns = [c for c in self._all if compared is None or c in compared or c in key]
        has_key = set(key) <= set(self._columns) and all(is_key(self._engine, name, key) for name in sides)
        self._key = list(key) if has_key else []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def counts(self) -> Counts:
        """How many rows differ, and how."""
        select = self._matched([]) if self._key else self._counted([])
        rows = self._engine.rows(f"SELECT change, count(*) FROM ({select}) GROUP BY change")
        return Counts(**dict(rows))

    def counts_by(self, column: str = "") -> dict[str, tuple[Counts, int]] | None:
        """How many rows differ, and how many are alike, by the values of a column, as texts ("null": none).

        It is the table's own, or one of `beside`; without one all rows are counted, as the value "". None
        where the table has no such column and no key by which the rows beside it are found.
        """
        own = column in self._all
        if column and not (own or self._key):
            return None
        sides = (
            f"coalesce(b.{quote_identifier(column)}, a.{quote_identifier(column)})"
            if self._key
            else quote_identifier(column)
        )
        value = f"CAST({sides if own else f's.{quote_identifier(column)}'} AS VARCHAR)" if column else "''"
        terms = [f"{value} AS value"]
        if not self._key:
            select = self._counted(terms, same=True, also=[column] if column else [])
        else:
            select = self._matched(terms, same=True, is_beside=bool(column) and not own)
        counted: dict[str, dict[str, int]] = {}
        for text, change, rows in self._engine.rows(
            f"SELECT coalesce(value, 'null') AS text, change, count(*) FROM ({select}) "
            "GROUP BY ALL ORDER BY text"
        ):
            counted.setdefault(text, {})[change] = rows
        return {
            text: (Counts(**changes), same)
            for text, changes in counted.items()
            for same in [changes.pop("same", 0)]
        }

    def rows(self, size: int) -> Iterator[pa.RecordBatch]:
        """The rows that differ, by key, as texts: change, key, before, after (see `select`)."""
        return self._engine.stream(self.select(), size)

    def select(self) -> str:
        """SQL of the rows that differ.

        `change` is changed, added or removed; `key`, `before` and `after` are JSON objects of texts. Of a
        changed row the latter two have the columns that differ, of any other those of the side that it is on,
        and the other is null. Without a key, `key` is null.
        """
        others = [c for c in self._columns if c not in self._key]
        if not self._key:
            row = f"{_json(others)} AS one"
            before, after = (f"CASE change WHEN '{c}' THEN one END" for c in ("removed", "added"))
            terms = f"change, NULL::VARCHAR AS key, {before} AS before, {after} AS after"
            return f"SELECT {terms} FROM ({self._counted([row])}) ORDER BY change, one"
        key, first = _json(self._key, "coalesce(b.{0}, a.{0})"), self._key[0]
        sides = [
            f"CASE WHEN {other}.{quote_identifier(first)} IS NULL THEN {_json(others, side + '.{0}')} "
            f"WHEN {side}.{quote_identifier(first)} IS NOT NULL "
            f"THEN {_json(others, side + '.{0}', differ=True)} "
            f"END AS {name}"
            for side, other, name in (("b", "a", BEFORE), ("a", "b", AFTER))
        ]
        order = ", ".join(f"coalesce(b.{quote_identifier(c)}, a.{quote_identifier(c)})" for c in self._key)
        return f"{self._matched([f'{key} AS key', *sides])} ORDER BY {order}"

    def _matched(self, terms: Sequence[str], same: bool = False, is_beside: bool = False) -> str:
        """SELECT of the rows that differ, matched by key: `change`, and the SQL `terms`.

        With `same` those that are alike, too; with `is_beside` joined with the rows beside them, as s.
        """
        first = quote_identifier(self._key[0])
        differs = " OR ".join(_differs(c) for c in self._columns)
        change = (
            f"CASE WHEN b.{first} IS NULL THEN 'added' WHEN a.{first} IS NULL THEN 'removed' "
            f"WHEN {differs} THEN 'changed' ELSE 'same' END AS change"
        )
        on = " AND ".join(f"b.{quote_identifier(c)} = a.{quote_identifier(c)}" for c in self._key)
        joined = f"FROM {BEFORE} b FULL OUTER JOIN {AFTER} a ON {on}"
        if is_beside:
            at = " AND ".join(
                f"s.{quote_identifier(c)} = coalesce(b.{quote_identifier(c)}, a.{quote_identifier(c)})"
                for c in self._key
            )
            joined += f" LEFT JOIN {BESIDE} s ON {at}"
        return f"SELECT {', '.join([change, *terms])} {joined}" + ("" if same else f" WHERE {differs}")

    def _counted(self, terms: Sequence[str], same: bool = False, also: Sequence[str] = ()) -> str:
        """SELECT of the rows that one side has more often than the other: `change`, and the SQL `terms`.

        With `same` those that both have, too. `also` are columns that count beside those compared.
        """
        columns = ", ".join(map(quote_identifier, dict.fromkeys([*self._columns, *also]))) or "0 AS nothing"
        old, new = (f"SELECT {columns} FROM {name}" for name in (BEFORE, AFTER))
        parts = {"added": f"{new} EXCEPT ALL {old}", "removed": f"{old} EXCEPT ALL {new}"}
        if same:
            parts["same"] = f"{old} INTERSECT ALL {new}"
        return " UNION ALL ".join(
            f"SELECT {', '.join([f'{literal(change)} AS change', *terms])} FROM ({rows})"
            for change, rows in parts.items()
        )


def is_key(engine: Engine, view: str, key: Sequence[str]) -> bool:
    """Whether some columns are a key of a view: each row its own, none missing."""
    columns, name = ", ".join(map(quote_identifier, key)), quote_identifier(view)
    null = " OR ".join(f"{quote_identifier(c)} IS NULL" for c in key)
    bad = f"FROM {name} WHERE {null} UNION ALL SELECT 1 FROM {name} GROUP BY {columns} HAVING count(*) > 1"
    return not engine.rows(f"SELECT 1 {bad} LIMIT 1")


def sum_changes(before: Mapping[str, ColumnProof], after: Mapping[str, ColumnProof]) -> dict[str, str]:
    """By how much the sum of each column of numbers has moved, as an exact text.

    It is the difference of the two sums as receipts hold them. A column without a sum counts as 0.
    """
    names = [c for c in {**before, **after} if _sum(before, c) is not None or _sum(after, c) is not None]
    return {c: _less(_sum(after, c) or "0", _sum(before, c) or "0") for c in names}


def _sum(proof: Mapping[str, ColumnProof], column: str) -> str | None:
    return proof[column].sum if column in proof else None


def _less(after: str, before: str) -> str:
    with localcontext(prec=DIGITS) as context:
        context.traps[InvalidOperation] = False  # of infinity and infinity: NaN
        by = Decimal(after) - Decimal(before)
        return "0" if by.is_zero() else str(by)


def _differs(column: str) -> str:
    return f"b.{quote_identifier(column)} IS DISTINCT FROM a.{quote_identifier(column)}"


def _json(columns: Sequence[str], value: str = "{0}", differ: bool = False) -> str:
    """SQL of a JSON object of columns' values as texts; where `differ`, of those that differ alone."""
    entries = []
    for column in columns:
        text = f"CAST(to_json(CAST({value.format(quote_identifier(column))} AS VARCHAR)) AS VARCHAR)"
        entry = f"{literal(json.dumps(column))} || ':' || coalesce({text}, 'null')"
        entries.append(f"CASE WHEN {_differs(column)} THEN {entry} END" if differ else entry)
    return f"'{{' || concat_ws(',', {', '.join(entries or ['NULL'])}) || '}}'"
