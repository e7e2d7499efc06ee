"""What was staged of a held day, for whoever decides about it: the first rows of each table."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import NightscoreError, Workspace, as_day
from nightscore.pipeline import read_held_days
from nightscore.store import storage

ROWS = 10


def first_staged_rows(workspace: Workspace, job: str, day: str) -> Iterator[tuple[str, pa.Table]]:
    """Table -> its first rows as they are staged; without a table of which nothing can be read."""
    held = next(
        (one for one in read_held_days(workspace, job) if one.receipt.day == as_day(day).isoformat()), None
    )
    for table, paths in held.files.items() if held else ():
        for path in paths[:1]:
            try:
                with pq.ParquetFile(storage.place_of(workspace, path).local(), pre_buffer=False) as file:
                    batch = next(file.iter_batches(ROWS), None)
            except (OSError, ValueError, NightscoreError):
                continue
            if batch is not None:
                yield table, pa.Table.from_batches([batch])
