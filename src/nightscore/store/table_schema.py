"""Columns of a table: which types it can hold, the partition column, and columns that files may lack."""

import pyarrow as pa

from nightscore.common import Broken

OPTIONAL = {b"nightscore.optional": b"true"}  # the mark of a column that files may lack
WIDENED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
}
STORED = {pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(),
          pa.binary(), pa.date32()}  # fmt: skip


def storable_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """The schema in which columns like these are stored in a table, nothing lost.

    Raises:
        Broken: a column's type has no place in a Delta table; says what to cast it to.
    """
    return pa.schema([f.with_type(_storable(f.type, f.name, where)) for f in plain_fields(schema)])


def optional_field(name: str, kind: pa.DataType) -> pa.Field:
    """A column that a table's files may have or not: it may come and go from day to day.

    It is null where a file has it not. The mark stands in the file's footer and in the table's schema.
    """
    return pa.field(name, kind, metadata=OPTIONAL)


def is_optional(column: pa.Field) -> bool:
    """Whether a column is one that files may lack."""
    return OPTIONAL.items() <= (column.metadata or {}).items()


def plain_fields(schema: pa.Schema) -> list[pa.Field]:
    """Its fields, nullable, and without marks but ours."""
    return [pa.field(f.name, f.type, metadata=OPTIONAL if is_optional(f) else None) for f in schema]


def with_day(schema: pa.Schema) -> pa.Schema:
    """A data file's columns and the partition column, which stands in the path alone."""
    return pa.schema([*plain_fields(schema), pa.field("day", pa.date32())])


def _storable(kind: pa.DataType, name: str, where: str) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _storable(kind.value_type, name, where)
    if pa.types.is_list(kind):
        return pa.list_(_storable(kind.value_type, name, where))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp("us", "UTC")
    if kind in STORED or pa.types.is_decimal128(kind):
        return kind
    if kind in WIDENED:
        return WIDENED[kind]
    hint = "TIMESTAMPTZ or DATE" if pa.types.is_timestamp(kind) else "one of BIGINT, DOUBLE, DECIMAL, VARCHAR"
    raise Broken(f"{where}: column {name!r} is {kind}, which a table can't hold; cast it to {hint} in SQL")
