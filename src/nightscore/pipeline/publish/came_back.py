"""Keys that were erased and stand in a day's tables again, because the source has them: said, and published.

Found by the keyed hashes in the table `erasures`, and so only where the operator's secret is set.
"""

from collections.abc import Iterator, Mapping, Sequence

from nightscore.pipeline.context import Day
from nightscore.store import (
    Engine,
    Erased,
    ErasureRow,
    StagedFile,
    View,
    erasures,
    keyed_hash,
    query_resources,
    renames,
)


def find_came_back(day: Day, tables: Mapping[str, Sequence[StagedFile]]) -> tuple[str, ...]:
    """What is said of erased keys in what a day is about to publish, a line each; mostly there is none."""
    erased, names = erasures.read_erased(day.workspace), renames.last_names(day.workspace)
    return tuple(
        line
        for table, files in tables.items()
        if (searched := erased.of_table(names.tables.origin(table))) and sum(file.rows for file in files)
        for line in _of_table(day, erased, table, files, searched)
    )


def _of_table(
    day: Day, erased: Erased, table: str, files: Sequence[StagedFile], searched: Sequence[ErasureRow]
) -> Iterator[str]:
    secret = keyed_hash.secret_if_set()
    own = keyed_hash.secret_id(secret) if secret else ""
    known = [row for row in searched if row.secret_id == own]
    if others := [row for row in searched if row.secret_id != own]:
        ids = ", ".join(sorted({row.secret_id for row in others}))
        lacks = f"the secret set is {own}" if own else f"{keyed_hash.SECRET} is not set"
        yield (
            f"{table}: whether keys of {len(others)} erasures are back can't be told: {lacks}, and theirs is "
            f"{ids}"
        )
    if not (secret and known):
        return
    view = View("rows", tuple(day.locate(file.path) for file in files))
    with Engine([view], query_resources(day.workspace)) as engine:
        there = engine.schema("SELECT * FROM rows").names
        for row in known:
            if set(row.key_columns.split(",")) <= set(there) and (
                rows := _count(engine, erased, row, secret)
            ):
                yield _said(table, row, rows)


def _count(engine: Engine, erased: Erased, searched: ErasureRow, secret: bytes) -> int:
    """The rows whose key one erasure has erased."""
    hashes = [row.key_hash for row in erased.of_kind(erasures.KEY) if row.action == searched.action]
    hashed = keyed_hash.hash_sql(searched.key_columns.split(","))
    [(rows,)] = engine.rows(
        f"SELECT count(*) FROM rows WHERE {hashed} IN (SELECT unnest($3::VARCHAR[]))",
        [*keyed_hash.pads(secret), hashes],
    )
    return int(rows)


def _said(table: str, row: ErasureRow, rows: int) -> str:
    are = "row of a key that was" if rows == 1 else "rows of keys that were"
    back = "is" if rows == 1 else "are"
    return (
        f"{table}: {rows:,} {are} erased on {row.erased_at:%Y-%m-%d} ({row.because}) {back} back: "
        "the source has them"
    )
