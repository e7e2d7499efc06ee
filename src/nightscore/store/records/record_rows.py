"""The rows of a table of records, such as `removals`, as plain values."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, first_line
from nightscore.store.tables.snapshots import Snapshot


def read_record_rows(snapshot: Snapshot, schema: pa.Schema, says: str) -> Iterator[dict[str, Any]]:
    """Each row of a version of a table, its columns those of `schema`; `says` is what the table tells.

    Raises:
        Broken: a file is damaged or gone.
    """
    for files in snapshot.by_day.values():
        for file in files:
            try:
                rows = pq.ParquetFile(file.path.local(), page_checksum_verification=True).read().to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise Broken(
                    f"table {snapshot.root.name}: {file.path.name} is damaged or gone: {first_line(error)}; "
                    f"it says {says}: restore it from a backup"
                ) from error
            yield from ({name: row[name] for name in schema.names} for row in rows)
