"""Arrow -> Polars, whose types are Arrow's; declared categories are an Enum."""

from typing import Any

import polars as pl
import pyarrow as pa


def as_polars(table: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    """A chunk, or a table, as a data frame. Polars never writes into the memory that it is given."""
    columns = [_series(name, column) for name, column in zip(table.schema.names, table.columns, strict=True)]
    return pl.DataFrame(columns) if columns else pl.DataFrame()


def _series(name: str, column: Any) -> pl.Series:
    if not pa.types.is_dictionary(column.type):
        return pl.Series(name, pl.from_arrow(column))
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    values = column.cast(column.type.value_type)
    if not pa.types.is_string(column.type.value_type):
        return pl.Series(name, pl.from_arrow(values))
    return pl.Series(name, pl.from_arrow(values)).cast(pl.Enum(column.dictionary.to_pylist()))
