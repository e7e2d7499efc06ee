"""The rows that a model was trained on: the kind of each column, as the library and as Arrow have them.

The library gets what it was given in training: a DataFrame, or a matrix where training had one. The .onnx
file gets the same rows as a job would read them from its lake: texts as texts, null where a value is missing,
and a date as the number of days since 1970-01-01.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from nightscore.common import Broken, clipped

Kind = Literal["number", "text", "flag", "date"]
EPOCH = pd.Timestamp(0)
DAY = pd.Timedelta(days=1)
ALLOWED = "numbers, booleans, texts, dates (datetime64 at midnight), and categories of texts or numbers"


@dataclass(frozen=True)
class Column:
    """A column: its name, what it holds, the categories of a pandas category, whether it may have nulls."""

    name: str
    kind: Kind
    categories: tuple[Any, ...] | None = None
    nullable: bool = True


@dataclass(frozen=True)
class Rows:
    """Rows [n] of known columns; `matrix` says that training had them as a NumPy matrix."""

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    matrix: bool

    @property
    def names(self) -> list[str]:
        """The columns' names, in the order of training."""
        return [column.name for column in self.columns]

    def of_kind(self, *kinds: Kind) -> list[Column]:
        """The columns of some kinds."""
        return [column for column in self.columns if column.kind in kinds]

    def is_numeric(self) -> bool:
        """Whether all columns are numbers or booleans, and so may stand side by side in a matrix."""
        return all(column.kind in ("number", "flag") and not column.categories for column in self.columns)

    def is_double(self) -> bool:
        """Whether a number of these rows may be lost in float32."""
        kinds = (self.frame[column.name].dtype for column in self.of_kind("number", "date"))
        return any(getattr(kind, "itemsize", 8) > 4 for kind in kinds)

    def as_trained(self, frame: pd.DataFrame) -> Any:
        """Rows as the library was given them in training."""
        return frame.to_numpy() if self.matrix else frame


def read_rows(given: Any, names: Sequence[str] | None) -> Rows:
    """Rows of a DataFrame (pandas, Polars), an Arrow table, or a NumPy matrix with `names` for its columns.

    Raises:
        Broken: they are none of these, or a column is of a type that no model file takes.
    """
    is_matrix = isinstance(given, np.ndarray)
    if is_matrix:
        frame = _frame_of(given, names)
    else:
        frame = given.to_pandas() if hasattr(given, "to_pandas") else given
        if not isinstance(frame, pd.DataFrame):
            raise Broken(
                f"X is a {type(given).__name__}; allowed: a DataFrame, an Arrow table, a NumPy matrix"
            )
        if names is not None:
            frame = frame[list(names)]
    frame = frame.reset_index(drop=True)
    if not len(frame):
        raise Broken("X has no rows; give some hundred that the model was trained or tested on")
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice or not all(isinstance(name, str) for name in frame.columns):
        raise Broken(f"X has columns {clipped(twice or list(frame.columns))}; allowed: texts, each once")
    return Rows(frame, tuple(_column(frame[name]) for name in frame.columns), is_matrix)


def refuse_other_names(rows: Rows, trained: Sequence[Any], generic: str = "") -> None:
    """Raise where a model knows its columns by other names than X's, or in another order.

    `generic` is a pattern of the names that its library gives where training had none.

    Raises:
        Broken: shows both lists.
    """
    known = [str(name) for name in trained]
    if known and known != rows.names and not (generic and all(re.fullmatch(generic, one) for one in known)):
        raise Broken(
            f"export: X has the columns {clipped(rows.names)}, and the model was trained on "
            f"{clipped(known)}: give X as training had it, in that order. Nothing was written"
        )


def _frame_of(matrix: npt.NDArray[Any], names: Sequence[str] | None) -> pd.DataFrame:
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise Broken(f"X is {matrix.dtype} of shape {matrix.shape}; allowed: numbers [rows, columns]")
    if names is None or len(names) != matrix.shape[1]:
        raise Broken(f"X is a matrix of {matrix.shape[1]} columns; name them: columns=[…], in their order")
    return pd.DataFrame(matrix, columns=list(names))


def _column(series: "pd.Series[Any]") -> Column:
    name, dtype = str(series.name), series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        known = tuple(dtype.categories.tolist())
        return Column(name, _kind(name, pd.Series(known)), known)
    kind = _kind(name, series)
    # An integer of NumPy has no null, and a model that was trained on it has never seen one.
    return Column(name, kind, nullable=not (isinstance(dtype, np.dtype) and dtype.kind in "iub"))


def _kind(name: str, values: "pd.Series[Any]") -> Kind:
    types = pd.api.types
    if types.is_bool_dtype(values.dtype):
        return "flag"
    if types.is_numeric_dtype(values.dtype):
        return "number"
    if types.is_datetime64_dtype(values.dtype):
        if (values.dropna() != values.dropna().dt.normalize()).any():
            raise Broken(f"column {name!r} of X has times of day; allowed: {ALLOWED}")
        return "date"
    known = values.dropna()
    if known.map(lambda value: isinstance(value, str)).all():
        return "text"
    odd = next(value for value in known if not isinstance(value, str))
    raise Broken(
        f"column {name!r} of X is {values.dtype}, with values such as {clipped(odd)}; allowed: {ALLOWED}"
    )


def as_arrow(frame: pd.DataFrame, columns: Sequence[Column]) -> pa.RecordBatch:
    """Rows as a job reads them: null where a value is missing, a date as float64, days since 1970-01-01."""
    arrays = [_array(frame[column.name], column) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _array(series: "pd.Series[Any]", column: Column) -> pa.Array:
    if column.kind == "text":
        return pa.array([None if pd.isna(value) else value for value in series], pa.string())
    if column.kind == "date":
        return pa.array(((series - EPOCH) / DAY).to_numpy(np.float64), from_pandas=True)
    if column.kind == "flag":
        return pa.array([None if pd.isna(value) else bool(value) for value in series], pa.bool_())
    if isinstance(series.dtype, np.dtype):
        return pa.array(series.to_numpy(), from_pandas=True)
    return pa.array(series.astype("float64").to_numpy(np.float64, na_value=np.nan), from_pandas=True)
