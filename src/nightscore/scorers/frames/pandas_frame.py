"""Arrow -> pandas, so that no value and no type is lost on the way.

As `pandas.read_parquet` reads them, but for three things that would change values or types quietly: dates
are datetime64 and no objects; an integer or a boolean beside a null never becomes a float or an object; and
lists of integers with a null in them are lists, and no arrays of floats.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.errors import MissingValueError

MASKED = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip
IS_OBJECT = pd.Series(["x"]).dtype == np.dtype(object)
TEXT = pd.Series(["x"]).dtype  # of a column of texts: str since pandas 3, object before


def chunk_as_pandas(chunk: pa.RecordBatch, nullable: bool) -> pd.DataFrame:
    """A chunk as a data frame; the type of a column follows from its Arrow type, never from its values.

    Raises:
        MissingValueError: a null in a column of integers or booleans, unless `nullable`.
    """
    if not nullable:
        _refuse_nulls(chunk)
    return _frame(chunk.schema.names, [_series(column, nullable) for column in chunk.columns], chunk.num_rows)


def table_as_pandas(table: pa.Table) -> pd.DataFrame:
    """A table as a data frame; integers and booleans are nullable (Int64, boolean) where they have nulls."""
    columns = [_series(column, column.null_count > 0) for column in table.columns]
    return _frame(table.column_names, columns, table.num_rows)


def _frame(names: Sequence[str], columns: Sequence[Any], rows: int) -> pd.DataFrame:
    """Columns side by side, in memory of the frame's own: Arrow's buffers can't be written to."""
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(rows), copy=True)
    frame.columns = pd.Index(names, dtype=object) if not names else pd.Index(names)
    return frame


def _series(column: pa.Array | pa.ChunkedArray, nullable: bool) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type) if not _is_uuid(column.type) else column
    if _has_objects(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    if _is_text(column.type) and not IS_OBJECT:  # else it would follow from the values
        return pd.Series(TEXT.__from_arrow__(column))
    dtypes = MASKED.get if nullable else None
    return column.to_pandas(types_mapper=dtypes, date_as_object=False)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def _has_objects(kind: pa.DataType) -> bool:
    """Whether values are Python's own objects, each of which is what Arrow says it is."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return not pa.types.is_floating(kind.value_type)
    return bool(pa.types.is_nested(kind) or pa.types.is_interval(kind) or _is_uuid(kind))


def _refuse_nulls(chunk: pa.RecordBatch) -> None:
    for field, column in zip(chunk.schema, chunk.columns, strict=True):
        if field.type in MASKED and column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise MissingValueError(
                f"column {field.name!r} ({field.type}) has {column.null_count} null values, the first in row "
                f"{row} of the chunk, and pandas has none of this type; declare it as float64 (a null is "
                "NaN) or nullable=True (Int64 and boolean, with NA), or give it a value in the features SQL"
            )
