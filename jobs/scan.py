"""Parquet -> chunks, through DuckDB."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from jobs.engine import Engine, Resources, SqlMistakes, View, quoted
from jobs.plan import Piece


def chunks(
    root: Path, piece: Piece, columns: Sequence[str], rows: int, resources: Resources
) -> Iterator[pa.RecordBatch]:
    """The named columns of a piece's rows, in the files' order, as chunks of at most `rows` rows.

    The filter on the row number lets DuckDB skip the row groups of other pieces.

    Raises:
        Broken: a file can't be read.
    """
    names = ", ".join(map(quoted, columns))
    files = tuple(dict.fromkeys(root / r.path for r in piece.ranges))
    with Engine([View("source", files)], resources) as engine:
        for part in piece.ranges:
            select = (
                f"SELECT {names} FROM read_parquet($1, hive_partitioning = false, file_row_number = true) "
                "WHERE file_row_number >= $2 AND file_row_number < $3"
            )
            with SqlMistakes(part.path):
                values = [str(root / part.path), part.start, part.stop]
                for batch in engine.stream(select, rows, values):
                    yield from sliced(batch, rows)


def source_schema(root: Path, piece: Piece, columns: Sequence[str], resources: Resources) -> pa.Schema:
    """The types in which `chunks` gives the named columns."""
    path = root / piece.ranges[0].path
    with Engine([View("source", (path,))], resources) as engine, SqlMistakes(piece.ranges[0].path):
        return engine.schema(f"SELECT {', '.join(map(quoted, columns))} FROM source")


def sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in slices of at most `rows` rows (DuckDB rounds up to its vectors of 2,048)."""
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
