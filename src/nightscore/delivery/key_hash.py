"""A hash of a table's key that PostgreSQL and DuckDB compute alike: control totals at the target.

A value's text is what both give for its type (below); a row's key is the values' texts, each with its length
in bytes of UTF-8 and a colon before it, with commas between. The hash of a row is the first 60 bits of the
md5 of that, and that of the rows is their sum, a decimal number of any length: it does not depend on the
order of rows, and a row that is there twice counts twice. It finds accidents, and proves nothing against
intent.

    bool, integers, DECIMAL, DATE, text     as both engines write them
    TIMESTAMPTZ                             microseconds since 1970
    BYTEA                                   hexadecimal digits, small letters
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from nightscore.common import Broken, Workspace
from nightscore.store import Engine, View, catalog, quote_identifier

NOT_A_KEY = "a key has whole numbers, DECIMAL, DATE, TIMESTAMPTZ, text, bool or bytes"


def hash_files(workspace: Workspace, files: Sequence[Path], schema: pa.Schema, key: Iterable[str]) -> str:
    """The key hash of some Parquet files, by DuckDB.

    Raises:
        Broken: a column of the key is of a type that two engines write differently.
    """
    terms = [_duckdb_text(schema.field(name)) for name in key]
    sized = [f"strlen({term}) || ':' || {term}" for term in terms]
    text = " || ',' || ".join(sized)
    with Engine([View("sent", tuple(files))], catalog.query_resources(workspace)) as engine:
        [(total,)] = engine.rows(
            f"SELECT coalesce(sum(('0x' || left(md5({text}), 15))::BIGINT), 0)::VARCHAR FROM sent"
        )
    return str(total)


def postgres_sum(schema: pa.Schema, key: Iterable[str], alias: str = "") -> str:
    """The same as SQL for PostgreSQL: a term with an aggregate, a text. `alias` is the table's."""
    terms = [_postgres_text(schema.field(name), alias) for name in key]
    text = " || ',' || ".join(f"octet_length({term}) || ':' || {term}" for term in terms)
    return f"coalesce(sum(('x' || left(md5({text}), 15))::bit(60)::bigint), 0)::text"


def refuse_no_key(column: pa.Field) -> None:
    """Raise `Broken` where a column can't be of a key."""
    kind = column.type
    exact = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_decimal, pa.types.is_date)
    others = (pa.types.is_timestamp, pa.types.is_string, pa.types.is_binary)
    if not any(is_kind(kind) for is_kind in (*exact, *others)):
        raise Broken(f"column {column.name!r} is {kind}; {NOT_A_KEY}")


def _duckdb_text(column: pa.Field) -> str:
    refuse_no_key(column)
    name = quote_identifier(column.name)
    if pa.types.is_timestamp(column.type):
        return f"epoch_us({name})::VARCHAR"
    if pa.types.is_binary(column.type):
        return f"lower(hex({name}))"
    return f"{name}::VARCHAR"


def _postgres_text(column: pa.Field, alias: str) -> str:
    name = f"{alias}{quote_identifier(column.name)}"
    if pa.types.is_timestamp(column.type):
        return f"(extract(epoch from {name}) * 1000000)::bigint::text"
    if pa.types.is_binary(column.type):
        return f"encode({name}, 'hex')"
    return f"{name}::text"
