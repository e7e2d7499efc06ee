"""What there is to ask: the columns of each table, and queries to start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store import RECEIPTS, RESTATED_ROWS, View, quote_identifier

SQL_TYPES = {
    "string": "VARCHAR", "large_string": "VARCHAR", "bool": "BOOLEAN", "date32[day]": "DATE",
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
    "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
    "float": "FLOAT", "double": "DOUBLE", "binary": "BLOB", "large_binary": "BLOB",
}  # fmt: skip
ORDERED = ("score", "rank", "probability")  # columns by which people look at a table first
NUMBERS = ("FLOAT", "DOUBLE", "DECIMAL")
Example = tuple[str, str]  # what it shows, and its SQL


@dataclass(frozen=True)
class TableGuide:
    """A table or view: its columns with their SQL types, and some queries; or why it can't be read."""

    name: str
    columns: tuple[tuple[str, str], ...]
    examples: tuple[Example, ...]
    problem: str | None


def guide_to(views: Sequence[View]) -> list[TableGuide]:
    """The tables at hand, as views are given."""
    restated = any(view.name == RESTATED_ROWS and view.files for view in views)
    return [_guide(view, restated) for view in views]


def _guide(view: View, restated: bool) -> TableGuide:
    columns = _columns(view)
    examples = _of_receipts() if view.name == RECEIPTS else _examples(view.name, dict(columns), restated)
    return TableGuide(view.name, columns, () if view.problem else tuple(examples), view.problem)


def _examples(table: str, columns: dict[str, str], restated: bool) -> list[Example]:
    name = _called(table)
    last = f"SELECT *\nFROM {name}\nWHERE day = (SELECT max(day) FROM {name})"
    found = [
        ("rows of the last day", f"{last}\nLIMIT 100"),
        ("rows by day", f"SELECT day, count(*) AS rows\nFROM {name}\nGROUP BY day\nORDER BY day DESC"),
    ]
    if by := _ordered_by(columns):
        way = "" if by == "rank" else " DESC"
        found.append((f"first by {by}", f"{last}\nORDER BY {_called(by)}{way}\nLIMIT 20"))
    if text := next((c for c, kind in columns.items() if kind == "VARCHAR" and not c.endswith("_id")), None):
        found.append(
            (
                f"rows by {text}",
                f"SELECT {_called(text)}, count(*) AS rows\nFROM {name}\n"
                f"WHERE day = (SELECT max(day) FROM {name})\nGROUP BY ALL\nORDER BY rows DESC\nLIMIT 20",
            )
        )
    if restated and table != RESTATED_ROWS:
        quoted = table.replace("'", "''")
        of_it = f"FROM {RESTATED_ROWS}\nWHERE table_name = '{quoted}'"
        found.append(("restated rows", f"SELECT *\n{of_it}\nORDER BY day DESC, key\nLIMIT 100"))
    return found


def _of_receipts() -> list[Example]:
    rows = f"SELECT job, day, run_id, published_at\nFROM {RECEIPTS}\nORDER BY published_at DESC\nLIMIT 100"
    days = f"SELECT job, max(day) AS last_day, count(*) AS runs\nFROM {RECEIPTS}\nGROUP BY job\nORDER BY job"
    return [("latest receipts", rows), ("last day of each job", days)]


def _ordered_by(columns: dict[str, str]) -> str | None:
    named = next((name for name in ORDERED if name in columns), None)
    return named or next((name for name, kind in columns.items() if kind.startswith(NUMBERS)), None)


def _called(name: str) -> str:
    return name if name.isidentifier() and name == name.lower() else quote_identifier(name)


def _columns(view: View) -> tuple[tuple[str, str], ...]:
    """Columns with their types: as the view says them, else as its newest file has them."""
    if not view.files:
        return tuple(view.columns.items())
    try:
        return (*_file_columns(view.files[-1]), *([(view.partition, "DATE")] if view.partition else []))
    except (OSError, pa.ArrowException):  # moved away meanwhile: the query will say so
        return ()


@lru_cache(maxsize=1_000)
def _file_columns(file: Path) -> tuple[tuple[str, str], ...]:
    """Of a published file, which never changes."""
    return tuple((field.name, sql_type(field.type)) for field in pq.read_schema(file))


def sql_type(kind: pa.DataType) -> str:
    """A type as SQL says it."""
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_fixed_size_list(kind):
        return f"{sql_type(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{f.name} {sql_type(f.type)}' for f in kind)})"
    return SQL_TYPES.get(str(kind), str(kind).upper())
