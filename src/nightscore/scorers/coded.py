"""The columns that a model of trees was grown on: numbers, and values that stand for the codes of categories.

The codes are those of the training, from the model file: a value's place among the categories of its column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.arrays import as_numpy
from nightscore.scorers.errors import ChunkError, ModelError

SHOWN = 10
BLOCK = 2048  # rows, as in arrays.py

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CodedColumns:
    """Names in the order of the model; `categories` by place, the values [categories] in the order of codes.

    Numbers and codes are given in `dtype`, float32 or float64; a null, and a code that there is not, is NaN.
    A value that is no category is NaN likewise (`unseen` is missing), or can't be scored (fail).
    """

    names: Sequence[str]
    dtype: np.dtype[Any]
    categories: Mapping[int, pa.Array] = field(default_factory=dict)
    unseen: Literal["missing", "fail"] = "missing"

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types: of categories that of their values."""
        number = pa.from_numpy_dtype(self.dtype)
        kinds = (self.categories[i].type if i in self.categories else number for i in range(len(self.names)))
        return pa.schema(list(zip(self.names, kinds, strict=True)))

    def matrix(self, chunk: pa.RecordBatch) -> Array:
        """A chunk as a C-contiguous matrix [rows, columns].

        Raises:
            ChunkError: a null in a column of integers, or a value that is none of its categories.
        """
        arrays = [self.column(chunk, place) for place in range(len(self.names))]
        filled = np.empty((chunk.num_rows, len(arrays)), self.dtype)
        for start in range(0, chunk.num_rows, BLOCK):
            for i, array in enumerate(arrays):
                filled[start : start + BLOCK, i] = array[start : start + BLOCK]
        return filled

    def column(self, chunk: pa.RecordBatch, place: int) -> Array:
        """One column as an array [rows] of numbers or codes. Errors as `matrix`'s."""
        name = self.names[place]
        column = chunk.column(name)
        if place not in self.categories:
            return as_numpy(column, name)
        codes = self._codes(column, name, self.categories[place])
        # A null of Arrow's integers becomes a NaN.
        return np.asarray(codes.cast(pa.from_numpy_dtype(self.dtype)).to_numpy(zero_copy_only=False))

    def _codes(self, column: pa.Array, name: str, values: pa.Array) -> pa.Array:
        given = column.cast(values.type)
        if pa.types.is_floating(given.type):
            given = pc.if_else(pc.is_nan(given), None, given)
        codes = pc.index_in(given, values)
        if self.unseen == "fail" and codes.null_count > given.null_count:
            row = pc.index(pc.and_(codes.is_null(), given.is_valid()), True).as_py()
            raise ChunkError(
                f"column {name!r} holds {given[row].as_py()!r:.100} in row {row} of the chunk, which is none "
                f"of the categories that the model was trained with ({_listed(values)}); give it one of "
                "them, or NULL, in the features SQL"
            )
        return codes


def category_values(model: str, column: str, values: Sequence[Any]) -> pa.Array:
    """The categories of a column, as its model's file has them.

    Raises:
        ModelError: they are not all texts, integers, floats or booleans, or two are the same.
    """
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {str, int, float, bool} or len(set(values)) < len(values):
        raise ModelError(
            f"{model}: the categories of column {column!r} are {values!r:.100}; allowed are different texts, "
            "or different numbers, all of one type: train on a column of one type"
        )
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.array(values, types[next(iter(kinds), str)])


def _listed(values: pa.Array) -> str:
    shown = ", ".join(map(str, values[:SHOWN].to_pylist()))
    return shown + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
