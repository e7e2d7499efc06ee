"""A chunk as the frame that a function declares, and what the function gives back as Arrow.

pandas and Polars are imported where a frame of theirs is asked for, and need not be installed else.
"""

import importlib
from typing import Any, Literal, get_args

import pyarrow as pa

from nightscore.scorers.arrays import matrix
from nightscore.scorers.contract import is_numeric_type
from nightscore.scorers.errors import ModelError

FrameName = Literal["arrow", "pandas", "polars", "numpy"]
FRAMES: tuple[FrameName, ...] = get_args(FrameName)
LIBRARIES = ("pandas", "polars")  # extras of ours of the same name


def check_frame(frame: str) -> None:
    """Raise unless there is such a frame, and its library, where it needs one, can be imported.

    Raises:
        ModelError: there is none; or the library is not installed, and how to install it.
    """
    if frame not in FRAMES:
        raise ModelError(f"there is no frame {frame!r}; allowed: {', '.join(FRAMES)}")
    if frame not in LIBRARIES:
        return
    try:
        importlib.import_module(frame)
    except ImportError as error:
        raise ModelError(
            f'frame {frame!r} needs the package {frame}: pip install "nightscore[{frame}]" ({error})'
        ) from error


def as_frame(chunk: pa.RecordBatch, frame: FrameName, nullable: bool = False) -> Any:
    """The columns of a chunk as a frame that is its own: what is done to it leaves the chunk alone.

    Args:
        chunk: [rows].
        frame: which; a NumPy array is a matrix [rows, columns] of the columns' one type.
        nullable: of pandas, integers and booleans as Int64 and boolean, whose missing value is NA.

    Raises:
        MissingValueError: a null in a column whose type in the frame has none.
    """
    if frame == "pandas":
        from nightscore.scorers.frames.pandas_frame import chunk_as_pandas

        return chunk_as_pandas(chunk, nullable)
    if frame == "polars":
        from nightscore.scorers.frames.polars_frame import as_polars

        return as_polars(chunk)
    return matrix(chunk, chunk.schema.names, numpy_type(chunk.schema)) if frame == "numpy" else chunk


def table_as_frame(table: pa.Table, frame: str) -> Any:
    """A table as a data frame of pandas or Polars; a NumPy array has no columns of several types.

    Raises:
        ModelError: another frame.
    """
    if frame == "pandas":
        from nightscore.scorers.frames.pandas_frame import table_as_pandas

        return table_as_pandas(table)
    if frame == "polars":
        from nightscore.scorers.frames.polars_frame import as_polars

        return as_polars(table)
    raise ModelError(f"a table is no {frame!r}; allowed: pandas, polars")


def numpy_type(inputs: pa.Schema) -> Any:
    """The dtype of the matrix that these columns are.

    Raises:
        ModelError: they are no numbers, or of several types, so that none holds each as it is.
    """
    kinds = list(dict.fromkeys(inputs.types))
    numbers = all(is_numeric_type(kind) and not pa.types.is_decimal(kind) for kind in kinds)
    if len(kinds) != 1 or not numbers:
        shown = ", ".join(map(str, kinds)) or "none"
        raise ModelError(
            f"frame 'numpy' is one matrix, of columns of one type of numbers; declared are: {shown}. "
            "Declare all of them as float64, or another frame"
        )
    return kinds[0].to_pandas_dtype()
