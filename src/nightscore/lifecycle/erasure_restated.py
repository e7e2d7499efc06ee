"""What restatements say of tables that somebody was erased from: by how much sums have moved goes with them.

Where a restatement has added, removed or changed their row alone, that is their values.
"""

import json
from collections.abc import Collection, Iterator

import pyarrow.parquet as pq

from nightscore.common import Broken
from nightscore.lifecycle.erasure_write import Written, written_rows
from nightscore.store import RESTATEMENTS, CatalogEntry, Pinned, erasures, storage


def telling_tables(entry: CatalogEntry, lost: Collection[tuple[str, str]]) -> frozenset[str]:
    """The tables of which a run's restatement tells sums, among those that lose a row of its day.

    `lost` are tables and days.
    """
    note = entry.read_receipt_or_reason().restatement
    tables = note.tables if note else {}
    return frozenset(table for table in tables if (table, entry.day) in lost and tables[table].moved)


def write_restatements(
    state: Pinned, entry: CatalogEntry, tables: Collection[str]
) -> Iterator[tuple[str, Written]]:
    """Write the rows of the table `restatements` again that a run has, without the sums of some tables.

    Gives of each file its path in the table, and what it was written as.

    Raises:
        Broken: a file is damaged.
    """
    root = storage.tables(state.workspace) / RESTATEMENTS
    for file in state.snapshot(root).of_day(entry.day):
        if file.run_id != entry.run_id:
            continue
        try:
            table = pq.read_table(file.path.local(), partitioning=None)
        except (OSError, ValueError) as error:
            raise Broken(f"{file.path}: damaged or gone ({error}); nothing is erased") from error
        rows = table.to_pylist()
        for row in rows:
            if state.names.tables.current(row["table_name"]) in tables:
                row["moved"] = json.dumps({})
        path = file.path.relative_to(root)
        yield (
            path,
            written_rows(file.path, root / erasures.new_name(path, of_receipts=True), rows, table.schema),
        )
