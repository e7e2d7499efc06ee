"""What a function gives (NumPy, pandas, Polars, Arrow, a dict of them) -> Arrow, in its declared types.

Nothing is guessed: as many rows, under the index of the frame, and no type but the declared one or a narrower
one of its kind. A pandas index that is another is refused, also where it holds the same labels in another
order: labels that a function has made itself (customers' numbers) can look like rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.scorers.errors import ContractError

ALLOWED = (
    "a NumPy array, a pandas or Polars Series or DataFrame, an Arrow array, batch or table, or a dict of "
    "arrays by output"
)


def as_batch(result: Any, outputs: pa.Schema, rows: int, name: str) -> pa.RecordBatch:
    """The result of a function for `rows` rows, with the columns `outputs`.

    Args:
        result: what it gave.
        outputs: the columns that it declares.
        rows: of the frame that it was given.
        name: whose it is, for errors.

    Raises:
        ContractError: other columns, rows, types or another index.
    """
    if isinstance(result, pa.RecordBatch):
        return result  # held to the signature as it is
    given = _columns(result, outputs, name)
    if list(given) != outputs.names and set(given) != set(outputs.names):
        raise ContractError(
            f"{name}: gives the columns {_listed(given)}; its declared outputs are {_listed(outputs.names)}"
        )
    arrays = [_array(given[field.name], field, rows, name) for field in outputs]
    return pa.RecordBatch.from_arrays(arrays, schema=outputs)


def _columns(result: Any, outputs: pa.Schema, name: str) -> Mapping[str, Any]:
    """The columns of a result by their names."""
    if isinstance(result, Mapping):
        return result
    if isinstance(result, pa.Table) or _is_frame(result, "DataFrame"):
        return _of_frame(result, name)
    if isinstance(result, np.ndarray) and result.ndim == 2 and not _is_list_output(outputs):
        return _of_matrix(result, outputs, name)
    if not _is_array(result):
        raise ContractError(f"{name}: gives {type(result).__name__}; allowed: {ALLOWED}")
    if len(outputs) != 1:
        raise ContractError(
            f"{name}: gives one column for the outputs {_listed(outputs.names)}; give a dict or a DataFrame"
        )
    return {outputs.names[0]: result}


def _of_frame(result: Any, name: str) -> Mapping[str, Any]:
    names = [str(column) for column in getattr(result, "column_names", None) or list(result.columns)]
    if len(set(names)) < len(names):
        raise ContractError(f"{name}: gives two columns of one name: {_listed(names)}")
    if _library(result) == "pandas":
        return {column: result.iloc[:, i] for i, column in enumerate(names)}
    return {column: result[column] for column in names}


def _of_matrix(result: Any, outputs: pa.Schema, name: str) -> Mapping[str, Any]:
    if result.shape[1] == len(outputs):
        return {field.name: result[:, i] for i, field in enumerate(outputs)}
    raise ContractError(
        f"{name}: gives {result.shape[1]} columns, an array of shape {result.shape}, for "
        f"{len(outputs)} outputs ({_listed(outputs.names)}); take the ones that are meant, such as "
        "predict_proba(df)[:, 1]"
    )


def _is_list_output(outputs: pa.Schema) -> bool:
    return len(outputs) == 1 and bool(pa.types.is_nested(outputs.types[0]))


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, pa.Array | pa.ChunkedArray) or _is_frame(value, "Series")


def _is_frame(value: Any, kind: str) -> bool:
    return _library(value) in ("pandas", "polars") and type(value).__name__ == kind


def _library(value: Any) -> str:
    """The top package that a value's class is of: none is imported to find out."""
    return type(value).__module__.partition(".")[0]


def _array(values: Any, field: pa.Field, rows: int, name: str) -> pa.Array:
    """One column in its declared type."""
    what = f"{name}: output {field.name!r}"
    if not _is_array(values):
        raise ContractError(f"{what} is {type(values).__name__}; allowed: one of a column's arrays")
    if len(values) != rows:
        raise ContractError(f"{what} has {len(values)} rows for {rows} rows")
    if _library(values) == "pandas":
        _refuse_index(values.index, rows, what)
    array = _arrow(values, what)
    if not _widens(array.type, field.type):
        raise ContractError(
            f"{what} is {array.type}; declared is {field.type}. Declare what it gives, or convert it there"
        )
    try:
        array = array.cast(field.type)
    except pa.ArrowInvalid as error:
        raise ContractError(f"{what} is {array.type}, and no {field.type}: {error}") from error
    # A missing float is a NaN, be it pandas' NaN or NA, or Polars' null.
    return array.fill_null(np.nan) if pa.types.is_floating(field.type) else array


def _refuse_index(index: Any, rows: int, what: str) -> None:
    if not np.array_equal(index.to_numpy(), np.arange(rows)):
        shown = ", ".join(repr(label) for label in index[:5].tolist())
        raise ContractError(
            f"{what} has another index than the frame: it begins with {shown}, and the frame's is 0 to "
            f"{rows - 1}, in order. Keep the rows in order (after a sort: .sort_index(); after a merge or a "
            "group: .reindex(df.index)), or give an array, if its rows are in the order of the frame's"
        )


def _arrow(values: Any, what: str) -> pa.Array:
    """A column as Arrow takes it, in the type that its values have."""
    if _library(values) == "polars":
        values = values.to_arrow()
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = list(values.reshape(len(values), -1))
    try:
        array = values if _library(values) == "pyarrow" else pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ContractError(f"{what} is no column of one type: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def _widens(given: pa.DataType, needed: pa.DataType) -> bool:
    """Whether each value of a type is one of another: the same kind, and no fewer bits."""
    if given == needed or pa.types.is_null(given):
        return True
    if pa.types.is_nested(needed):
        return hasattr(given, "value_type") and _widens(given.value_type, needed.value_type)
    for kind in (pa.types.is_floating, pa.types.is_signed_integer, pa.types.is_unsigned_integer):
        if kind(given) and kind(needed):
            return bool(given.bit_width <= needed.bit_width)
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(needed):
        return (given.tz is None) == (needed.tz is None)
    kinds = (_is_text, _is_bytes, pa.types.is_decimal, pa.types.is_time, pa.types.is_duration)
    return any(kind(given) and kind(needed) for kind in kinds)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
