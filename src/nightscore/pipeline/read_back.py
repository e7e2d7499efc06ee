"""What the SQL of a night may read of what the night itself makes, and in which types it does.

Features come first, then the scores, each decision table in its turn, and the rejects; audits read them all.
Each is read from its staged files, and so every column in the type in which it is stored: the same values,
and for most types whatever is asked of them. An unsigned integer is a wider signed one, a HUGEINT is one
again (`nightscore.store.View`), a UUID and JSON are their texts. Of two kinds order or equality would be
others, so a later SELECT may not name such a column: an ENUM, whose order is that of its list, and a text
with a COLLATE.
"""

from collections.abc import Iterator

import pyarrow as pa

from nightscore.common import Broken
from nightscore.job import CHALLENGERS, SCORES, Job, SqlAudit, audit_place, highlight_place, sql_place
from nightscore.store import (
    EVERY,
    Engine,
    gives_collated,
    named_columns,
    named_views,
    quote_identifier,
    with_names,
)

DUCKDB_TYPES = {  # of what a table stores, beside decimals, moments and lists
    pa.float32(): "FLOAT", pa.float64(): "DOUBLE", pa.int64(): "BIGINT", pa.int32(): "INTEGER",
    pa.int16(): "SMALLINT", pa.int8(): "TINYINT", pa.bool_(): "BOOLEAN", pa.string(): "VARCHAR",
    pa.binary(): "BLOB", pa.date32(): "DATE",
}  # fmt: skip


def define_stored(engine: Engine, name: str, stored: pa.Schema) -> None:
    """A table without rows, in the types in which it is stored: a night's SQL reads what was staged."""
    columns = [
        f"CAST(NULL AS {_sql_type(f.type)}) AS {quote_identifier(f.name)}"
        for f in stored
        if f.name != "run_id"
    ]
    engine.define(name, f"SELECT {', '.join(columns)} LIMIT 0")


def refuse_made_later(job: Job, table: str, sql: str) -> None:
    """Refuse SQL that reads what is not there yet when it makes `table`, the scores or a decision table.

    Raises:
        Broken: names what it reads, and why that is not there.
    """
    place = _place(job, table)
    read = named_views(sql, place) - with_names(sql, place) - {name.lower() for name in job.spec.inputs}
    for later, why in _made_later(job, table).items():
        if later.lower() in read:
            raise Broken(f"{place}: reads {later}, which {why}")


def _made_later(job: Job, table: str) -> dict[str, str]:
    """What is not there yet when a table is made, each with what of it."""
    decided = list(job.decide_sql)
    if table == SCORES:
        made = (SCORES, CHALLENGERS, *decided, job.spec.rejects_table, job.spec.bad_lines_table)
        return dict.fromkeys(made, "is made of these features")
    later = dict.fromkeys(decided[decided.index(table) :], "stands later in job.yaml; move it up")
    aside = (job.spec.rejects_table, job.spec.bad_lines_table)
    return later | {table: "is this table itself"} | dict.fromkeys(aside, "is made after the decisions")


def refuse_changed_order(job: Job, engine: Engine, table: str, select: str) -> None:
    """Refuse a column that is compared otherwise once it is stored, where a later SELECT names it.

    `table` is `scores` or a decision table, `select` the SQL that gives its columns.

    Raises:
        Broken: names the SELECT that reads it, the column and its type.
    """
    types, place = engine.types(select), _place(job, table)
    if table == SCORES:
        types = {c: kind for c, kind in types.items() if c in (*job.spec.key, *job.spec.keep)}
    enums = {c: kind.partition("(")[0] for c, kind in types.items() if kind.startswith("ENUM(")}
    texts = dict.fromkeys(types, "a text with COLLATE") if gives_collated(select, place) else {}
    other = {c: k for c, k in texts.items() if types[c].startswith("VARCHAR")} | enums
    for reader, sql in _later(job, table) if other else ():
        names = named_columns(sql, reader)
        for column, kind in other.items():
            if named_views(sql, reader) & _called(table) and names & {column.lower(), EVERY}:
                raise Broken(
                    f"{place}: column {column!r} is {kind}, which a table stores as a plain text, and "
                    f"{reader} reads it: its order and what is equal would be others. Cast it here "
                    f"(::VARCHAR), and there to what it is compared as"
                )


def _later(job: Job, table: str) -> Iterator[tuple[str, str]]:
    """The place and the text of each SELECT that may read a table: decisions, audits, highlights."""
    decided = list(job.decide_sql)
    for name in decided[decided.index(table) + 1 if table in decided else 0 :]:
        yield _place(job, name), job.decide_sql[name]
    for i, audit in enumerate(job.spec.audit):
        if isinstance(audit, SqlAudit):
            yield audit_place(job, i), audit.sql
    yield from ((highlight_place(job, i), sql) for i, sql in enumerate(job.highlight_sql))


def _called(table: str) -> set[str]:
    return {table.lower(), CHALLENGERS} if table == SCORES else {table.lower()}


def _place(job: Job, table: str) -> str:
    """What makes a table's columns, as messages name it."""
    if table != SCORES:
        return sql_place(job, job.spec.decide[table])
    return sql_place(job, job.spec.source) if job.spec.source.endswith(".sql") else job.shown


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if kind == pa.decimal128(38):  # so is a HUGEINT stored, and read back
        return "HUGEINT"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return "TIMESTAMPTZ" if pa.types.is_timestamp(kind) else DUCKDB_TYPES[kind]
