"""Files below an output table's root: there before a commit names them, and seen by no reader until then."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store.storage import Place
from nightscore.store.tables.staging import sound_statistics


def link_staged(root: Place, day: str, run_id: str, staged: Sequence[Place]) -> list[str]:
    """Give staged files a second name below a table's root, durably: `day=D/<run_id>-<n>.parquet`.

    Gives the names, relative to `root`. A name that is there already is the same file.
    """
    folder = root / f"day={day}"
    names = [f"{run_id}-{number}.parquet" for number in range(len(staged))]
    root.storage.link({(folder / name).key: file.key for name, file in zip(names, staged, strict=True)})
    return [f"{folder.name}/{name}" for name in names]


def write_rows(path: Place, rows: pa.Table) -> None:
    """Write a few rows as the Parquet file `path`, complete and durable, or nothing.

    Raises:
        NotYet: the disk is full.
    """
    with path.save() as temporary:
        pq.write_table(
            rows, temporary, compression="zstd", write_page_checksum=True,
            write_statistics=sound_statistics(rows.schema),
        )  # fmt: skip
