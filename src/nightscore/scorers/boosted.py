"""What a library's model of boosted trees gives, by the field's names, as the columns that a job asks for.

probabilities   of a classifier, [rows, classes]; of two classes, too
score           of any other model, what the library's own `predict` gives
margin          the sum over all trees, before the objective's function
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.errors import ModelError
from nightscore.scorers.outputs import OutputColumn, check_index

PROBABILITIES, SCORE, MARGIN = "probabilities", "score", "margin"

Array = npt.NDArray[Any]


def given_schema(
    model: str, outputs: Sequence[OutputColumn], widths: Mapping[str, int], dtype: npt.DTypeLike
) -> pa.Schema:
    """The columns that `outputs` are; `widths` are the numbers a row of what the model has, 0 for one alone.

    Raises:
        ModelError: the model has no such output, or none with such an index.
    """
    kind = pa.from_numpy_dtype(dtype)
    for output in outputs:
        if output.source not in widths:
            has = ", ".join(f"{name} ({_numbers(width)})" for name, width in widths.items())
            raise ModelError(f"{model}: no output {output.source!r}; its outputs: {has}", "outputs")
        width = widths[output.source]
        check_index(model, output, f"holds {_numbers(width)}", width)
    return pa.schema([(o.column, pa.list_(kind) if o.whole else kind) for o in outputs])


def given_batch(
    outputs: Sequence[OutputColumn], schema: pa.Schema, values: Mapping[str, Array]
) -> pa.RecordBatch:
    """The columns, of `values` by output: [rows], or [rows, numbers]."""
    columns = [_column(values[o.source], o, schema.field(o.column).type) for o in outputs]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def two_classes(second: Array) -> Array:
    """Probabilities [rows, 2] of those of the second class [rows], as the libraries themselves make them."""
    return np.stack([1 - second, second], axis=1)


def _numbers(width: int) -> str:
    return f"{width} numbers a row" if width else "one number a row"


def _column(values: Array, output: OutputColumn, kind: pa.DataType) -> pa.Array:
    if output.whole:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]).cast(kind)
    return pa.array(values if values.ndim == 1 else values[:, output.index or 0], kind)
