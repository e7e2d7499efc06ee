"""Chunks -> staged Parquet files: unique, immutable, with page checksums, durable when they appear."""

import contextlib
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken, file_sha256, first_line, thread_seconds
from nightscore.store.storage import Place, Seen
from nightscore.store.tables.table_schema import stored_column

UNKNOWN = 16  # bytes of a value of a type that is not looked into (a dictionary's, a view's)
OFFSET = 4  # bytes beside a text or a list, which say where it ends
Sizes = npt.NDArray[np.int64]

GROUP_ROWS = 131_072  # rows of a row group of a published file
FEATURE_GROUP_ROWS = 32_768  # of a feature snapshot: pieces are cut between row groups
GROUP_BYTES = 32 << 20  # of a row group in Arrow: a row that reaches it is the last
RUN_ID = "run_id"  # the column that says which run made a row
FLOATS = ("FLOAT", "DOUBLE")  # as Parquet stores them
PAGE_STEP = 16  # texts after which a page may end: of a megabyte, Arrow's 1,024 are a page of a gigabyte


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
    made_by: str = ""


def stage_batches(
    path: Place, batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int = GROUP_ROWS
) -> None:
    """Write batches as the Parquet file `path`, complete and durable, or nothing.

    Row groups have `group_rows` rows, or fewer if they hold 32 MiB in Arrow, however the batches are cut:
    the bytes of the file depend neither on the chunks nor on the memory. A file that exists already is kept.

    Raises:
        NotYet: the disk is full.
    """
    with path.save() as temporary:
        _write_groups(temporary, batches, schema, group_rows)
        if not path.exists():
            _sums(path).replace_text(file_sha256(temporary))


def write_again(
    path: Place, batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int = GROUP_ROWS
) -> None:
    """Write the Parquet file `path` as `stage_batches` does; its sha256 stands elsewhere.

    Raises:
        NotYet: the disk is full.
    """
    with path.save() as temporary:
        _write_groups(temporary, batches, schema, group_rows)


def _write_groups(file: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, group_rows: int) -> None:
    # A dictionary of keys or scores has nearly as many entries as rows: it would cost time and 60 MB.
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
    of_any_size = set(texts) - {RUN_ID}
    options = {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": texts or False,
        "write_statistics": sound_statistics(schema),
        **({"write_batch_size": PAGE_STEP} if of_any_size else {}),
    }
    with pq.ParquetWriter(file, schema, **options) as writer:
        for group in _groups(batches, group_rows):
            writer.write_table(_whole(group, schema), row_group_size=group_rows)


@contextlib.contextmanager
def open_once(path: Place, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a writer of batches, whose file becomes `path` at the end, complete and durable; or nothing.

    Raises:
        NotYet: the disk is full.
    """
    with path.save() as temporary:
        with pq.ParquetWriter(
            temporary, schema, compression="zstd", write_page_checksum=True,
            write_statistics=sound_statistics(schema),
        ) as writer:  # fmt: skip
            yield writer


def sound_statistics(schema: pa.Schema) -> list[str]:
    """The paths of the columns of a Parquet file, nested ones too, whose statistics lead no reader wrong.

    Those of floating-point numbers leave NaN out, and some readers skip rows by them.
    """
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    leaves = pq.ParquetFile(empty.getvalue()).schema
    columns = [leaves.column(i) for i in range(len(leaves))]
    floats = {c.path for c in columns if c.physical_type in FLOATS or c.logical_type.type == "FLOAT16"}
    return [c.path for c in columns if c.path not in floats]


def spill(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Write batches as a Parquet file of a spill folder, which goes with it: nothing is synced."""
    path.parent.mkdir(exist_ok=True)
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def sound_file(path: Place, seen: Seen | None = None) -> tuple[Path, str]:
    """A staged file on this machine, and its sha256, which is that of what was written.

    Page checksums cover no footer. `seen` is a look at it that was just made.

    Raises:
        Broken: it has another sha256 than it had then.
    """
    try:
        recorded, local = _sums(path).read_text(), path.local(seen)
        computed = file_sha256(local)
    except OSError as error:
        raise Broken(f"{path}: it, or its sha256, is gone ({error.strerror}); run the day again") from error
    if computed != recorded:
        raise Broken(f"{path}: damaged since it was staged (its sha256); remove it and run again")
    return local, computed


def _sums(path: Place) -> Place:
    return path.with_suffix(".sha256")


def stamped(batch: pa.RecordBatch, run_id: str, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the run's name in its last column, in the types in which it is stored.

    Raises:
        Broken: a value is none of the type in which it is stored.
    """
    names = pa.repeat(pa.scalar(run_id, pa.string()), batch.num_rows)
    return _as_stored([*batch.columns, names], schema)


def as_stored(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the types in which it is stored. Errors as those of `stamped`."""
    return _as_stored(batch.columns, schema)


def _as_stored(columns: Iterable[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    cast = [stored_column(column, field) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(cast, schema=schema)


def read_staged(path: Place, rejects: Place | None = None) -> StagedFile:
    """What a staged file holds, from its footer; of a piece, with the file of its rejects."""
    local = path.local()
    file = StagedFile(path.key, pq.read_metadata(local).num_rows, local.stat().st_size)
    return file if rejects is None else with_rejects(file, rejects)


def with_rejects(file: StagedFile, rejects: Place) -> StagedFile:
    """The staged file of a piece, with the file of its rejects, if there is one."""
    seen = rejects.look()
    if seen is None:
        return file
    return replace(file, rejects=rejects.key, rejected=pq.read_metadata(rejects.local(seen)).num_rows)


@contextlib.contextmanager
def open_staged(path: Path, shown: str) -> Iterator[pq.ParquetFile]:
    """A file that was staged, open for another look; every page is held to its checksum.

    Raises:
        Broken: it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            yield file
    except MemoryError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:  # of a damaged footer, anything
        text = first_line(error)
        raise Broken(f"{shown}: damaged since it was staged ({text}); remove it and run again") from error


def with_timings(file: StagedFile, started: float, cpu: float) -> StagedFile:
    """A file that this thread made, since the epoch second and CPU second `started` and `cpu`."""
    ended, spent = time.time(), thread_seconds() - cpu
    return replace(file, started=started, ended=ended, cpu_seconds=spent, peak_memory=peak_memory())


def peak_memory() -> int:
    """The most bytes of physical memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _whole(held: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """A row group in one chunk, for where pages end depends on where chunks do; the batches are let go."""
    whole = pa.Table.from_batches(held, schema).combine_chunks()
    held.clear()
    return whole


def _groups(batches: Iterable[pa.RecordBatch], group_rows: int) -> Iterator[list[pa.RecordBatch]]:
    """The batches of each row group: it ends at `group_rows` rows, or at the row that reaches GROUP_BYTES."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        ends = np.cumsum(row_bytes(batch))
        at = 0
        while at < batch.num_rows:
            before = int(ends[at - 1]) if at else 0
            reached = int(np.searchsorted(ends, before + GROUP_BYTES - size)) + 1
            stop = min(reached, at + group_rows - rows, batch.num_rows)
            held.append(batch[at:stop])
            rows, size, at = rows + stop - at, size + int(ends[stop - 1]) - before, stop
            if rows == group_rows or size >= GROUP_BYTES:
                yield held
                held, rows, size = [], 0, 0
    if rows:
        yield held


def row_bytes(batch: pa.RecordBatch) -> Sizes:
    """The bytes of each row [rows]: fixed types what they take, texts and lists by what they hold."""
    return _sum(batch.columns, batch.num_rows)


def _sizes(column: pa.Array) -> Sizes:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _lengths(pc.binary_length(column)) + OFFSET
    if pa.types.is_struct(kind):
        return _sum(column.flatten(), len(column))
    if pa.types.is_list(kind):
        ends = np.concatenate([[0], np.cumsum(_sizes(column.flatten()))])
        stops = np.cumsum(lengths := _lengths(pc.list_value_length(column)))
        sizes: Sizes = ends[stops] - ends[stops - lengths] + OFFSET
        return sizes
    return np.full(len(column), _fixed(kind), np.int64)


def _fixed(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _fixed(kind.value_type)
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return UNKNOWN


def _sum(columns: Iterable[pa.Array], rows: int) -> Sizes:
    total = np.zeros(rows, np.int64)
    for column in columns:
        total += _sizes(column)
    return total


def _lengths(column: pa.Array) -> Sizes:
    lengths: Sizes = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths
