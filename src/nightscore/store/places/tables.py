"""Files below an output table's root: there before a commit names them, and seen by no reader until then."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import link_or_copy, sync, write_once
from nightscore.store.staging import sound_statistics


def link_staged(root: Path, day: str, run_id: str, staged: Sequence[Path]) -> list[str]:
    """Give staged files a second name below a table's root, durably: `day=D/<run_id>-<n>.parquet`.

    Gives the names, relative to `root`. A name that is there already is the same file.
    """
    folder = root / f"day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, file in enumerate(staged):
        target = folder / f"{run_id}-{number}.parquet"
        with contextlib.suppress(FileExistsError):
            link_or_copy(file, target)
        names.append(f"{folder.name}/{target.name}")
    sync(folder)
    return names


def write_rows(path: Path, rows: pa.Table) -> None:
    """Write a few rows as the Parquet file `path`, complete and durable, or nothing.

    Raises:
        NotYet: the disk is full.
    """
    with write_once(path) as temporary:
        pq.write_table(
            rows, temporary, compression="zstd", write_page_checksum=True,
            write_statistics=sound_statistics(rows.schema),
        )  # fmt: skip
