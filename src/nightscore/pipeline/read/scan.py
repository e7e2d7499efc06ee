"""Parquet -> chunks: by pyarrow's decoder where it and DuckDB cannot differ, and else through DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, Workspace
from nightscore.store import (
    AS_THEY_ARE,
    CHUNK_BYTES,
    Engine,
    EngineResources,
    Piece,
    RowRange,
    SourceColumns,
    SqlMistakes,
    View,
    rows_after,
    rows_within,
    storage,
)

# Types that both decode to the same values of the same type (test_scan): pyarrow in half the time, and it
# checks the pages' checksums, which DuckDB does not. All other types are what DuckDB says they are.
ALIKE = frozenset(
    {pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()}
    | {pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.timestamp("us")}
)
BUFFER = 1 << 18  # bytes of a column that are read at once: without it, a whole row group is in memory
FIRST_ROWS = 64  # rows that are read first where it is not known how large a row is


def scan_chunks(
    workspace: Workspace, piece: Piece, columns: Sequence[str], rows: int, resources: EngineResources, *,
    size: int = CHUNK_BYTES, read: SourceColumns = AS_THEY_ARE,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """The named columns of a piece's rows, in the files' order, in chunks of at most `rows` rows.

    A chunk has at most `size` bytes, unless it is one larger row. Where columns hold texts, the first chunks
    are small, and each next one is sized by the bytes per row so far. Columns are as SQL sees them (`read`):
    cast where a file has another type, and given by folders.

    Raises:
        Broken: a file can't be read, or is damaged.
    """
    for part in piece.ranges:
        with _damage(part.path), _opened(storage.locate(workspace, part.path)) as file:
            alike = _alike(file.schema_arrow, part.path, columns, read)
            if alike:
                batches = _decoded(file, part, columns, rows, size)
                yield from (chunk for batch in batches for chunk in within(batch, size))
        if not alike:
            most = _rows_within(storage.locate(workspace, part.path), columns, rows, size)
            batches = _selected(workspace, part, columns, most, resources, read=read)
            yield from (chunk for batch in batches for chunk in within(batch, size))


def source_schema(
    workspace: Workspace, piece: Piece, columns: Sequence[str], resources: EngineResources,
    read: SourceColumns = AS_THEY_ARE,
) -> pa.Schema:  # fmt: skip
    """The types in which `scan_chunks` gives the named columns. Errors as `scan_chunks`'s."""
    first = piece.ranges[0].path
    with _damage(first), _opened(storage.locate(workspace, first)) as file:
        if _alike(file.schema_arrow, first, columns, read):
            return pa.schema([(name, file.schema_arrow.field(name).type) for name in columns])
    view = View(
        "source", (storage.locate(workspace, first),), folder_types=read.folder_types(first),
        folder_sql=read.folders.sql(first),
    )  # fmt: skip
    with Engine([view], resources) as engine, SqlMistakes(first):
        return engine.schema(f"SELECT {read.terms(first, columns)} FROM source")


def sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in slices of at most `rows` rows (DuckDB rounds up to its vectors of 2,048)."""
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def within(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """A batch in parts of at most `size` bytes, or of one row; no part copies anything."""
    if batch.nbytes <= size or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from within(batch[:half], size)
    yield from within(batch[half:], size)


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)


@contextmanager
def _damage(shown: str) -> Iterator[None]:
    """A context in which what pyarrow can't read of a file is `Broken`."""
    try:
        yield
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise Broken(f"{shown}: can't be read, or is damaged: {str(error).partition(chr(10))[0]}") from error


def _alike(schema: pa.Schema, path: str, columns: Sequence[str], read: SourceColumns) -> bool:
    """Whether each column is read as it is, is there once, and pyarrow and DuckDB decode it to the same."""
    if not all(read.is_plain(path, name) for name in columns):
        return False
    places = [schema.get_all_field_indices(name) for name in columns]
    kinds = [schema.field(indexes[0]).type for indexes in places if len(indexes) == 1]
    alike = all(kind in ALIKE or pa.types.is_decimal128(kind) for kind in kinds)
    return alike and len(kinds) == len(columns)


def _decoded(
    file: pq.ParquetFile, part: RowRange, columns: Sequence[str], rows: int, size: int
) -> Iterator[pa.RecordBatch]:
    texts = [name for name in columns if pa.types.is_string(file.schema_arrow.field(name).type)]
    groups, at = _groups(file.metadata, part)
    step = rows_within(size, 1, _row_bytes(file, columns), rows)
    if texts:
        step = min(step, FIRST_ROWS)
    for batch in file.iter_batches(step, row_groups=groups, columns=list(columns), use_threads=False):
        before, at = at, at + batch.num_rows
        if texts:
            step = rows_after(step, (batch.num_rows, batch.nbytes), rows, size)
            file.reader.set_batch_size(step)  # read again before each batch
        if at > part.start:
            chunk = batch.select(columns)[max(part.start - before, 0) : part.stop - before]
            for name in texts:
                chunk.column(name).validate(full=True)  # UTF-8, which DuckDB checks by itself
            yield chunk
        if at >= part.stop:
            return


def _row_bytes(file: pq.ParquetFile, columns: Sequence[str]) -> int:
    """Bytes of a row in Arrow: of fixed types what they take, else about what the footer says, at least 1.

    A footer counts a value of a dictionary once, however often it stands in the rows.
    """
    kinds = [file.schema_arrow.field(name).type for name in columns]
    if not any(pa.types.is_string(kind) for kind in kinds):
        return -(-sum(int(kind.bit_width) + 1 for kind in kinds) // 8)  # one bit says whether it is null
    return max(1, _plain_bytes(file.metadata, columns) // max(1, int(file.metadata.num_rows)))


def _plain_bytes(footer: pq.FileMetaData, columns: Sequence[str]) -> int:
    """Bytes of some columns (and all below them) before compression, as the footer has them."""
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    names = set(columns)
    return sum(int(c.total_uncompressed_size) for c in chunks if c.path_in_schema.partition(".")[0] in names)


def _rows_within(path: Path, columns: Sequence[str], rows: int, size: int) -> int:
    """Rows that DuckDB is asked for at once: about as many as `size` bytes hold, by the footer."""
    footer = pq.read_metadata(path)
    return rows_within(size, max(1, int(footer.num_rows)), _plain_bytes(footer, columns), rows)


def _groups(footer: pq.FileMetaData, part: RowRange) -> tuple[list[int], int]:
    """The row groups that hold some of a range, and the row of the file with which they begin."""
    sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    starts = list(accumulate(sizes, initial=0))
    holding = [i for i, size in enumerate(sizes) if starts[i] < part.stop and starts[i] + size > part.start]
    return holding, starts[holding[0]] if holding else 0


def _selected(
    workspace: Workspace,
    part: RowRange,
    columns: Sequence[str],
    rows: int,
    resources: EngineResources,
    *,
    read: SourceColumns = AS_THEY_ARE,
) -> Iterator[pa.RecordBatch]:
    """The same through DuckDB; the filter on the row number lets it skip what other pieces hold."""
    path = storage.locate(workspace, part.path)
    select = (
        f"SELECT {read.terms(part.path, columns)} "
        f"FROM {read.reader('$1', part.path, ', file_row_number = true')} "
        "WHERE file_row_number >= $2 AND file_row_number < $3"
    )
    with Engine([View("source", (path,))], resources) as engine, SqlMistakes(part.path):
        for batch in engine.stream(select, rows, [str(path), part.start, part.stop]):
            yield from sliced(batch, rows)
