"""Columns of a table: which types it can hold, the partition column, and columns that files may lack."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from nightscore.common import Broken

OPTIONAL = {b"nightscore.optional": b"true"}  # the mark of a column that files may lack
# And that the job gives all the same: not a challenger's, none that went. It goes by a person's word alone.
GIVEN = OPTIONAL | {b"nightscore.given": b"true"}
DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}  # of the integers of so many bits
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


def optional_field(name: str, kind: pa.DataType, *, given: bool = False) -> pa.Field:
    """A column that a table's files may have or not: it may come and go from day to day.

    It is null where a file has it not. The mark stands in the file's footer and in the table's schema. Of
    one that is `given` only files of before lack it: the job gives it, and may not lose it without a word.
    """
    return pa.field(name, kind, metadata=GIVEN if given else OPTIONAL)


def is_optional(column: pa.Field) -> bool:
    """Whether a column is one that files may lack."""
    return OPTIONAL.items() <= (column.metadata or {}).items()


def may_go(column: pa.Field) -> bool:
    """Whether a table's column is one that a job may cease to give: a challenger's, or one that has gone."""
    return is_optional(column) and not GIVEN.items() <= column.metadata.items()


def is_wider(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Whether a type holds each value of another as it is: `int64` those of `int32`, `double` of `float`."""
    if pa.types.is_integer(narrow):
        bits: int = narrow.bit_width
        if pa.types.is_decimal(wide):
            return bool(wide.precision - wide.scale >= DIGITS[bits])
        whole = {pa.float32(): 24, pa.float64(): 53}.get(wide, 0)
        return bool(bits < whole or (pa.types.is_integer(wide) and bits < wide.bit_width))
    if pa.types.is_decimal(narrow) and pa.types.is_decimal(wide):
        whole = narrow.precision - narrow.scale
        return bool(wide.scale >= narrow.scale and wide.precision - wide.scale >= whole)
    return bool(narrow == pa.float32() and wide == pa.float64())


def plain_fields(schema: pa.Schema) -> list[pa.Field]:
    """Its fields, nullable, and without marks but ours."""
    return [pa.field(f.name, f.type, metadata=_mark(f)) for f in schema]


def _mark(column: pa.Field) -> dict[bytes, bytes] | None:
    if not is_optional(column):
        return None
    return OPTIONAL if may_go(column) else GIVEN


def evolved_schema(have: pa.Schema, files: Sequence[pa.Field]) -> pa.Schema:
    """A table's columns once it has files with some others: what not all files have is optional."""
    files_have = {field.name: field for field in files}
    kept = [_kept(field, files_have) for field in have]
    new = [_come(field) for name, field in files_have.items() if name not in have.names]
    same = not new and all(_mark(a) == _mark(b) for a, b in zip(kept, have, strict=True))
    return have if same else pa.schema([*kept, *new])


def _kept(column: pa.Field, files_have: Mapping[str, pa.Field]) -> pa.Field:
    """A table's column beside files that have it, or not any more."""
    if not files_have or column.name == "day":
        return column
    if column.name not in files_have:
        return optional_field(column.name, column.type)
    back = may_go(column) and not may_go(files_have[column.name])
    return optional_field(column.name, column.type, given=True) if back else column


def _come(column: pa.Field) -> pa.Field:
    return optional_field(column.name, column.type, given=not may_go(column))


def with_day(schema: pa.Schema) -> pa.Schema:
    """A data file's columns and the partition column, which stands in the path alone."""
    return pa.schema([*plain_fields(schema), pa.field("day", pa.date32())])


def stored_column(column: pa.Array, field: pa.Field) -> pa.Array:
    """A column in the type in which a table stores it, each value as it was.

    Raises:
        Broken: one is no value of that type: a nanosecond that is no whole microsecond, a HUGEINT of more
            than 38 digits; names column and value.
    """
    if pa.types.is_decimal(column.type):
        _refuse_digits(column, field)
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        value = next(filter(None, (_uncast(column[i : i + 1], field.type) for i in range(len(column)))), "?")
        raise Broken(
            f"column {field.name!r} has the value {value} ({column.type}), which a table, that stores "
            f"{field.type}, can't hold; {_remedy(column.type)}; nothing is published"
        ) from error


def _uncast(value: pa.Array, kind: pa.DataType) -> str:
    """A value's text if it can't be cast; else nothing."""
    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return str(value.cast(pa.string())[0])
    return ""


def _remedy(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "cut it to microseconds in the features SQL: ::TIMESTAMPTZ"
    return "cast it in SQL"


def _refuse_digits(column: pa.Array, field: pa.Field) -> None:
    """Raise `Broken` unless each decimal has as many digits as its type says; DuckDB's HUGEINT has 39."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        most, values = column.type.precision, column.to_pylist()
        wide = next(v for v in values if v is not None and len(v.as_tuple().digits) > most)
        raise Broken(
            f"column {field.name!r} has the value {wide}, whose digits a table, that stores {field.type}, "
            "can't hold; cast it in SQL, to VARCHAR or to a smaller number; nothing is published"
        ) from error


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
