"""Chunks -> staged Parquet files: unique, immutable, with page checksums, durable when they appear."""

import contextlib
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import Broken
from jobs.files import written_once

GROUP_ROWS = 131_072  # rows of a row group of a published file
FEATURE_GROUP_ROWS = 32_768  # of a feature snapshot: pieces are cut between row groups


@dataclass(frozen=True)
class StagedFile:
    """One staged file; `path` is relative to the workspace.

    Of a piece, `rejects` is the file of the rows that were set aside, and `rejected` is how many they are.

    `started` and `ended` are epoch seconds of its making, both 0 where an earlier attempt had made it;
    `cpu_seconds` are those of the thread that made it, `peak_memory` the most bytes that its process had.
    """

    path: str
    rows: int
    bytes: int
    started: float = 0.0
    ended: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    rejects: str = ""
    rejected: int = 0


def stage(
    path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int = GROUP_ROWS
) -> None:
    """Write batches as the Parquet file `path`, complete and durable, or nothing.

    Row groups have `group_rows` rows however the batches are cut, so that the bytes of the file do
    not depend on the chunks. A file that exists already is kept.
    """
    # A dictionary of keys or scores has nearly as many entries as rows: it would cost time and 60 MB.
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
    options = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": texts or False}
    with written_once(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            held.append(batch)
            rows += batch.num_rows
            if rows >= group_rows:
                held, rows = _write_groups(writer, held, schema, group_rows)
        if rows:
            writer.write_table(pa.Table.from_batches(held, schema), row_group_size=group_rows)


def stamped(batch: pa.RecordBatch, run_id: str, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the run's name in its last column, in the types in which it is stored."""
    names = pa.repeat(pa.scalar(run_id, pa.string()), batch.num_rows)
    arrays = [*batch.columns, names]
    cast = [a if a.type == f.type else a.cast(f.type) for a, f in zip(arrays, schema, strict=True)]
    return pa.RecordBatch.from_arrays(cast, schema=schema)


def staged(path: Path, root: Path, rejects: Path | None = None) -> StagedFile:
    """What a staged file holds, from its footer; of a piece, with the file of its rejects."""
    rows = pq.read_metadata(path).num_rows
    found = StagedFile(path.relative_to(root).as_posix(), rows, path.stat().st_size)
    if rejects is None or not rejects.exists():
        return found
    aside = pq.read_metadata(rejects).num_rows
    return replace(found, rejects=rejects.relative_to(root).as_posix(), rejected=aside)


@contextlib.contextmanager
def reread(path: Path, shown: str) -> Iterator[pq.ParquetFile]:
    """A file that was staged, open for another look; every page is held to its checksum.

    Raises:
        Broken: it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            yield file
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        text = str(error).splitlines()[0]
        raise Broken(f"{shown}: damaged since it was staged ({text}); remove it and run again") from error


def made(file: StagedFile, started: float, cpu: float) -> StagedFile:
    """A file that this thread made, since the epoch second and CPU second `started` and `cpu`."""
    ended, spent = time.time(), time.thread_time() - cpu
    return replace(file, started=started, ended=ended, cpu_seconds=spent, peak_memory=peak_memory())


def peak_memory() -> int:
    """The most bytes of physical memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _write_groups(
    writer: pq.ParquetWriter, held: list[pa.RecordBatch], schema: pa.Schema, group_rows: int
) -> tuple[list[pa.RecordBatch], int]:
    """Write the full row groups of what is held; the rest and its number of rows."""
    table = pa.Table.from_batches(held, schema)
    full = table.num_rows // group_rows * group_rows
    writer.write_table(table.slice(0, full), row_group_size=group_rows)
    rest = table.slice(full)
    return rest.to_batches(), rest.num_rows
