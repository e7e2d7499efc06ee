"""Columns of tables in PostgreSQL: their types, and their values as CSV for COPY, nothing lost."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from nightscore.common import Broken

TYPES = {
    pa.bool_(): "boolean", pa.int8(): "smallint", pa.int16(): "smallint", pa.int32(): "integer",
    pa.int64(): "bigint", pa.float32(): "real", pa.float64(): "double precision", pa.string(): "text",
    pa.binary(): "bytea", pa.date32(): "date",
}  # fmt: skip
FORM = pacsv.WriteOptions(include_header=False, quoting_style="needed")  # a text in quotes, a null nothing


def type_of(column: pa.Field) -> str:
    """The type that a column has in PostgreSQL, as `format_type` says it there.

    Raises:
        Broken: it has none: lists of lists, and what no table of ours holds.
    """
    kind = column.type
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind) and kind.tz:
        return "timestamp with time zone"
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        return f"{type_of(kind.value_field.with_name(column.name))}[]"
    if kind not in TYPES:
        raise Broken(f"column {column.name!r} is {kind}, which no column of PostgreSQL is; cast it in SQL")
    return TYPES[kind]


def csv_rows(batch: pa.RecordBatch) -> bytes:
    """Rows as CSV that COPY reads: null is nothing, an empty text is two quotes.

    Raises:
        Broken: a text holds a NUL, which PostgreSQL can't.
    """
    columns = [_texts(field.name, column) for field, column in zip(batch.schema, batch.columns, strict=True)]
    sink = io.BytesIO()
    # Each with a number for a name: that of a column may be anything.
    named = pa.RecordBatch.from_arrays(columns, [str(i) for i, _ in enumerate(columns)])
    pacsv.write_csv(named, sink, FORM)
    return sink.getvalue()


def _texts(name: str, column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind):
        if pc.any(pc.match_substring(column, "\0")).as_py():
            raise Broken(f"column {name!r} has a text with a NUL character, which PostgreSQL can't hold")
        return column
    if pa.types.is_binary(kind):
        return pa.array([None if v is None else f"\\x{v.hex()}" for v in column.to_pylist()], pa.string())
    if pa.types.is_list(kind):
        return _arrays(name, column)
    return column


def _arrays(name: str, column: pa.Array) -> pa.Array:
    """Lists as PostgreSQL writes arrays: {1,NULL,"a b"}."""
    values = _texts(name, column.flatten())
    is_text = pa.types.is_string(values.type)
    texts: Iterator[Any] = iter(pc.cast(values, pa.string()).to_pylist())
    shown: Callable[[str | None], str] = _quoted if is_text else lambda text: text or "NULL"
    sizes = pc.list_value_length(column).to_pylist()
    made = [None if n is None else "{" + ",".join(shown(next(texts)) for _ in range(n)) + "}" for n in sizes]
    return pa.array(made, pa.string())


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
