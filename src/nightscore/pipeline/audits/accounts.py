"""`accounts_for`: each row that comes in ends in exactly one table, or nothing is published."""

from collections.abc import Sequence
from typing import NamedTuple

from nightscore.common import Broken, key_text
from nightscore.job import AccountsFor, Input, Job, PathInput, SnapshotInput, TableInput
from nightscore.store import Accounts, Engine, SqlMistakes, quote_identifier

EXAMPLES = 3
AT_ONCE = 8_000_000  # rows that are grouped at once, as in publish/reconcile
INEXACT = frozenset({"FLOAT", "DOUBLE", "BOOLEAN"})  # as another type: 2**53 + 1 and 2**53 are one DOUBLE
# What stands beside a key: with a blank, which no column of a key may have in its name.
ROWS_IN, ENDS, STANDS = '"rows in"', '"tables with it"', '"stands in"'


class _Fault(NamedTuple):
    """What may be wrong with a key, as a condition over ENDS (how many tables have it) and ROWS_IN."""

    where: str
    text: str


def _faults(source: str, key: Sequence[str]) -> tuple[_Fault, ...]:
    nulls = " OR ".join(f"{quote_identifier(column)} IS NULL" for column in key)
    return (
        _Fault(nulls, f"have a NULL in their {', '.join(key)}"),
        _Fault(
            f"{ROWS_IN} > 1",
            f"stand twice or more in {source}: give accounts_for a key that tells them apart",
        ),
        _Fault(f"{ROWS_IN} = 1 AND {ENDS} = 0", "end nowhere"),
        _Fault(f"{ROWS_IN} = 1 AND {ENDS} > 1", "end in more than one table"),
        _Fault(f"{ROWS_IN} = 0", f"stand in a table, and not in {source}"),
    )


def accounts_place(job: Job) -> str:
    """Where a job says it, as error messages name it."""
    return f"{job.shown}:{job.lines.get(('accounts_for',), 1)}: accounts_for"


def bind_accounts(job: Job, engine: Engine) -> None:
    """Hold `accounts_for` to the columns of an engine's views, before there is any data.

    Raises:
        Broken: a table has not a column of the key, or in a type that can't be compared.
    """
    said = job.spec.accounts_for
    if said is None:
        return
    source, key = said.input, _key(job, said)
    known = engine.types(f"SELECT * FROM {quote_identifier(source)}")
    for at, table in (("input", source), *(("tables", t) for t in said.tables)):
        columns = engine.types(f"SELECT * FROM {quote_identifier(table)}")
        for name in key:
            if name not in columns:
                job.raise_broken(
                    ("accounts_for", at),
                    f"{table} has no column {name!r}, by which rows are known; it has {', '.join(columns)}",
                )
            if columns[name] != known[name] and {columns[name], known[name]} & INEXACT:
                job.raise_broken(
                    ("accounts_for", at),
                    f"{name} is {columns[name]} in {table} and {known[name]} in {source}, by which two rows "
                    "may look like one; cast it to one type",
                )
    with SqlMistakes(accounts_place(job)):
        engine.schema(_select(job, said, 0, 1))


def read_accounts(job: Job, engine: Engine) -> Accounts | None:
    """Where the rows of the day have ended, from the staged tables; None where the job does not say.

    Raises:
        Broken: one has ended nowhere, or twice, or one that did not come in has; with some of them.
    """
    said = job.spec.accounts_for
    if said is None:
        return None
    key = _key(job, said)
    with SqlMistakes(accounts_place(job)):
        [(rows,)] = engine.rows(f"SELECT count(*) FROM ({_rows_of_the_day(job, said.input)})")
        shares = 1 + rows // AT_ONCE
        for share in range(shares):
            _refuse_unaccounted(job, said, engine, _select(job, said, share, shares))
        ends = {table: _count_keys(engine, table, key) for table in said.tables}
    return Accounts(input=said.input, key=tuple(key), rows=rows, tables=ends)


def _refuse_unaccounted(job: Job, said: AccountsFor, engine: Engine, select: str) -> None:
    key = _key(job, said)
    names = ", ".join(map(quote_identifier, key))
    found = []
    for fault in _faults(said.input, key):
        rows = engine.rows(
            f"SELECT {names}, {STANDS}, count(*) OVER () FROM ({select}) WHERE {fault.where} "
            f"ORDER BY {names} LIMIT {EXAMPLES}"
        )
        if rows:
            shown = "; ".join(_example(key, row) for row in rows)
            found.append(f"{rows[0][-1]:,} {fault.text} ({shown})")
    if found:
        raise Broken(
            f"{accounts_place(job)}: of the rows of {said.input} {', '.join(found)}; nothing is published"
        )


def _example(key: Sequence[str], row: tuple[object, ...]) -> str:
    *values, stands, _ = row
    return f"{key_text(key, values)}: {stands}" if stands else key_text(key, values)


def _select(job: Job, said: AccountsFor, share: int, shares: int) -> str:
    """Key -> how many rows of it came in, how many tables have it, and which: of a share of the keys."""
    names = ", ".join(map(quote_identifier, _key(job, said)))
    parts = [f"SELECT {names}, 1 AS {ROWS_IN}, NULL AS {STANDS} FROM ({_rows_of_the_day(job, said.input)})"]
    parts += [
        f"SELECT DISTINCT {names}, 0 AS {ROWS_IN}, '{table}' AS {STANDS} FROM {quote_identifier(table)}"
        for table in said.tables
    ]
    where = f" WHERE hash({names}) % {shares} = {share}" if shares > 1 else ""
    return (
        f"SELECT {names}, sum({ROWS_IN}) AS {ROWS_IN}, count({STANDS}) AS {ENDS}, "
        f"string_agg({STANDS}, ', ' ORDER BY {STANDS}) AS {STANDS} "
        f"FROM ({' UNION ALL '.join(parts)}){where} GROUP BY {names}"
    )


def _count_keys(engine: Engine, table: str, key: Sequence[str]) -> int:
    names = ", ".join(map(quote_identifier, key))
    [(keys,)] = engine.rows(f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM {quote_identifier(table)})")
    return int(keys)


def _rows_of_the_day(job: Job, name: str) -> str:
    every = f"SELECT * FROM {quote_identifier(name)}"
    source = job.spec.inputs.get(name)
    column = _day_column(source) if source is not None else None
    if source is None or column is None:
        return every
    select = None if isinstance(source, TableInput) else source.day_select(name)
    return select or f"{every} WHERE {quote_identifier(column)} = getvariable('day')"


def _day_column(source: Input | SnapshotInput) -> str | None:
    """The column that says of which day a row of an input is; None where none does."""
    if isinstance(source, TableInput):
        return "day"
    if isinstance(source, PathInput) and source.layout is not None:
        return source.layout.column
    return source.day_column or getattr(source, "partition", None)


def _key(job: Job, said: AccountsFor) -> list[str]:
    return said.key or job.spec.key
