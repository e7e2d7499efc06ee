"""Parquet -> chunks: by pyarrow's decoder where it and DuckDB cannot differ, and else through DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine import Engine, Resources, SqlMistakes, View, quoted
from jobs.errors import Broken
from jobs.plan import Piece, RowRange

# What both decode to the same values of the same type (test_scan), pyarrow in half the time and with an eye on
# page checksums, which DuckDB passes over. Whatever else there is, is what DuckDB says it is.
ALIKE = frozenset(
    {pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()}
    | {pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.timestamp("us")}
)
BUFFER = 1 << 18  # bytes of a column that are read at once: without, a whole row group lies in memory


def chunks(
    root: Path, piece: Piece, columns: Sequence[str], rows: int, resources: Resources
) -> Iterator[pa.RecordBatch]:
    """The named columns of a piece's rows, in the files' order, as chunks of at most `rows` rows.

    Raises:
        Broken: a file can't be read, or is damaged.
    """
    for part in piece.ranges:
        with _damage(part.path), _opened(root / part.path) as file:
            groups = _groups(file.metadata, part)
            alike = all(_alike(file.schema_arrow, name) for name in columns)
            if groups and alike:
                yield from _decoded(file, groups, part, columns, rows)
                continue
        yield from _selected(root, part, columns, rows, resources)


def source_schema(root: Path, piece: Piece, columns: Sequence[str], resources: Resources) -> pa.Schema:
    """The types in which `chunks` gives the named columns."""
    path = root / piece.ranges[0].path
    with Engine([View("source", (path,))], resources) as engine, SqlMistakes(piece.ranges[0].path):
        return engine.schema(f"SELECT {', '.join(map(quoted, columns))} FROM source")


def sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in slices of at most `rows` rows (DuckDB rounds up to its vectors of 2,048)."""
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


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
        raise Broken(f"{shown}: can't be read, or is damaged: {str(error).splitlines()[0]}") from error


def _groups(footer: pq.FileMetaData, part: RowRange) -> list[int]:
    """The row groups that hold a range; none if it starts within one: what is before it costs nothing in DuckDB."""
    sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    starts = list(accumulate(sizes, initial=0))[:-1]
    found = [i for i, start in enumerate(starts) if part.start <= start < part.stop and sizes[i]]
    return found if found and starts[found[0]] == part.start else []


def _alike(schema: pa.Schema, name: str) -> bool:
    places = schema.get_all_field_indices(name)
    kind = schema.field(places[0]).type if len(places) == 1 else None
    return kind in ALIKE or (kind is not None and pa.types.is_decimal128(kind))


def _decoded(
    file: pq.ParquetFile, groups: list[int], part: RowRange, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    left = part.stop - part.start
    texts = [name for name in columns if pa.types.is_string(file.schema_arrow.field(name).type)]
    for batch in file.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False):
        chunk = batch.select(columns).slice(0, left)
        for name in texts:
            chunk.column(name).validate(full=True)  # UTF-8, which DuckDB sees to by itself
        left -= chunk.num_rows
        yield chunk
        if not left:
            return


def _selected(
    root: Path, part: RowRange, columns: Sequence[str], rows: int, resources: Resources
) -> Iterator[pa.RecordBatch]:
    """The same through DuckDB; the filter on the row number lets it skip what other pieces hold."""
    path = root / part.path
    select = (
        f"SELECT {', '.join(map(quoted, columns))} "
        "FROM read_parquet($1, hive_partitioning = false, file_row_number = true) "
        "WHERE file_row_number >= $2 AND file_row_number < $3"
    )
    with Engine([View("source", (path,))], resources) as engine, SqlMistakes(part.path):
        for batch in engine.stream(select, rows, [str(path), part.start, part.stop]):
            yield from sliced(batch, rows)
