"""A chunk as the frame that a function declares, and what the function gives back as Arrow.

pandas and Polars are imported where a frame of theirs is asked for, and need not be installed else.
"""

import importlib
from collections.abc import Callable
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
        ModelError: another frame; or a column that the frame can't have, with its type and what to do.
    """
    if frame not in LIBRARIES:
        raise ModelError(f"a table is no {frame!r}; allowed: pandas, polars")
    if frame == "polars":
        _refuse_of_polars(table.schema)
    make = _maker(frame)
    try:
        return make(table)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a PanicException of Polars is no Exception
        raise _untaken(make, table, frame) or error from error


def _maker(frame: str) -> Callable[[pa.Table], Any]:
    if frame == "pandas":
        from nightscore.scorers.frames.pandas_frame import table_as_pandas

        return table_as_pandas
    from nightscore.scorers.frames.polars_frame import as_polars

    return as_polars


def _refuse_of_polars(schema: pa.Schema) -> None:
    """Raise before Polars itself writes of a panic."""
    for i, field in enumerate(schema):
        if field.name in schema.names[:i]:
            raise ModelError(
                f"two columns have the name {field.name!r}, and a frame of polars has one of a name; "
                "give one another by AS"
            )
        if pa.types.is_union(field.type) or pa.types.is_interval(field.type):
            raise _no_column(field, "polars")


def _untaken(make: Callable[[pa.Table], Any], table: pa.Table, frame: str) -> ModelError | None:
    """What is said of the first column that a frame can't have; None where each alone is one."""
    for i, field in enumerate(table.schema):
        try:
            make(table.select([i]))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException:  # as above
            return _no_column(field, frame)
    return None


def _no_column(field: pa.Field, frame: str) -> ModelError:
    return ModelError(
        f"column {field.name!r} is {field.type}, which a frame of {frame} can't hold; cast it in "
        f'the SQL, such as CAST("{field.name}" AS VARCHAR), or leave frame out: a table of Arrow has it'
    )


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
