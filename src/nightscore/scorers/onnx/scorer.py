"""ONNX models, run by ONNX Runtime.

A model takes its columns in one of two ways:
- one input of rank 2 and a float type: the columns side by side as a matrix [rows, columns], in the
  order of the job's `columns`, or of the list in the model's own metadata (key `columns`, JSON);
- one input per column, named like it: of shape [rows] or [rows, 1], a number, a text or a boolean a row;
  of any other shape [rows, …] whose sizes are fixed, a list of that many numbers a row (an embedding), or
  bytes where the model takes uint8 (an image), the last axis running fastest.

A model has no null text. Where the model's metadata says which text it was trained to take for one (key
`missing`, JSON, column -> text), a null becomes that text; elsewhere it is refused.

An output of rank 2 gives one of its columns, `name[2]`, or a list of all of them, `name[*]`.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.arrays import SCORER_BATCH_ROWS, as_numpy, matrix, tensor, zeros
from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ChunkError, MissingValueError, ModelError
from nightscore.scorers.files.exporters import mend
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.hardware import find_installed_devices, read_hardware
from nightscore.scorers.onnx.session import ARROW_TYPES, Session
from nightscore.scorers.outputs import matrix_columns
from nightscore.scorers.variant import Variant

COLUMN_TYPES = {**ARROW_TYPES, "tensor(float16)": pa.float16()}
TENSOR_TYPES = {**COLUMN_TYPES, "tensor(uint8)": pa.uint8()}
MATRIX_TYPES: dict[str, type[np.number[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")


class OnnxScorer:
    """One ONNX model on one device. Sessions are safe to call from several threads."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model` from its bytes: no other file is read.

        Raises:
            ModelError: not an ONNX model, an input or output that does not fit, or a device that
                is not there.
        """
        self._model = model.name
        self._session = Session(model, options)
        self._matrix_dtype = _matrix_dtype(self._session, options.columns)
        self._inputs = [i.name for i in self._session.inputs]
        inputs = self._input_schema(options)
        self._signature = Signature(inputs, pa.schema([]))
        with contextlib.suppress(ChunkError):
            self._session.try_out(next(self.feeds(zeros(inputs))), model)
        self._signature = Signature(inputs, self._session.outputs)

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions for a chunk, in micro-batches of at most 16,384 rows."""
        if not chunk.num_rows:  # not every model can reshape nothing
            return pa.RecordBatch.from_pylist([], self._signature.outputs)
        parts = [self._session.run(feeds) for feeds in self.feeds(chunk)]
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def feeds(self, chunk: pa.RecordBatch) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """What ONNX Runtime is fed for a chunk, a micro-batch after the other, rows in their order.

        Raises:
            ChunkError: a value of the chunk that the model can't take.
        """
        for start in range(0, chunk.num_rows, SCORER_BATCH_ROWS):
            yield self._batch(chunk.slice(start, SCORER_BATCH_ROWS))

    def _batch(self, batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        if self._matrix_dtype is not None:
            return {self._inputs[0]: matrix(batch, self._signature.inputs.names, self._matrix_dtype)}
        feeds = {}
        for meta, needed in zip(self._session.inputs, self._signature.inputs, strict=True):
            column = batch.column(needed.name)
            if column.null_count and (code := self._session.missing.get(needed.name)) is not None:
                column = column.fill_null(code)
            feeds[meta.name] = _values(column, needed, tuple(meta.shape[1:]))
        return feeds

    def _input_schema(self, options: Options) -> pa.Schema:
        columns, metas = options.columns, self._session.inputs
        if self._matrix_dtype is not None:
            width = metas[0].shape[1] if isinstance(metas[0].shape[1], int) else None
            names = matrix_columns(self._model, options, self._session.columns(), width)
            kind = pa.from_numpy_dtype(self._matrix_dtype)
            return pa.schema([(name, kind) for name in names])
        schema = pa.schema([(meta.name, self._input_type(meta)) for meta in metas])
        if columns is not None and list(columns) != self._inputs:
            raise ModelError(
                f"{self._model}: columns {list(columns)} given, but the model has one input per column: "
                f"{self._inputs}; leave columns out",
                "columns",
            )
        return schema

    def _input_type(self, meta: Any) -> pa.DataType:
        if meta.type in COLUMN_TYPES and _is_column(meta.shape):
            return COLUMN_TYPES[meta.type]
        sizes = meta.shape[1:]
        if meta.type in TENSOR_TYPES and sizes and all(isinstance(n, int) for n in sizes):
            return pa.list_(TENSOR_TYPES[meta.type], int(np.prod(sizes)))
        raise ModelError(
            f"{self._model}: input {meta.name!r} is {meta.type} of shape {meta.shape}; allowed: one float "
            "or int matrix [rows, columns], or an input a column: [rows], [rows, 1], or [rows, …] of fixed "
            f"sizes{mend('input', self._session.producer)}"
        )


def open_onnx(model: ModelFile, options: Options) -> OnnxScorer:
    """A scorer for an ONNX model. Errors as `OnnxScorer`'s."""
    return OnnxScorer(model, options)


def variants(device: str) -> list[Variant]:
    """ONNX Runtime on a device, or on each of this machine (`auto`), on the CPU on one thread and on all."""
    return ways(device, find_installed_devices(), read_hardware().cores)


def ways(device: str, devices: Iterable[str], cores: int) -> list[Variant]:
    """The same of a machine with these devices and cores. A device that is named is the only one."""
    if device != "auto":
        return [Variant("onnx", device)]
    threads = [Variant("onnx", "cpu", cores)] if cores > 1 else []
    return [Variant("onnx"), *threads, *(Variant("onnx", name) for name in devices if name != "cpu")]


def _matrix_dtype(session: Session, columns: Sequence[str] | None) -> type[np.number[Any]] | None:
    """The dtype of the matrix that a model takes; None for a model with one input per column."""
    metas = session.inputs
    if len(metas) != 1 or len(metas[0].shape) != 2 or metas[0].type not in MATRIX_TYPES:
        return None
    is_float, width, names = metas[0].type in FLOATS, metas[0].shape[1], session.columns() or []
    # Integers may be a list in one column, such as tokens, whose name the metadata has instead.
    is_wide = bool(names) and (not isinstance(width, int) or len(names) == width)
    named = columns is not None or is_wide or (is_float and "columns" in session.metadata)
    # Of a width that is not fixed no list of numbers can be held to it: then somebody has to name columns.
    unknown = is_float and not isinstance(width, int)
    return MATRIX_TYPES[metas[0].type] if named or unknown else None


def _is_column(shape: Sequence[object]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _values(column: pa.Array, needed: pa.Field, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A column's values, as an array [rows, *shape] of the dtype that the model takes."""
    if pa.types.is_fixed_size_list(needed.type):
        return tensor(column, needed.name, shape, needed.type.value_type.to_pandas_dtype())
    return _plain(column, needed).reshape(-1, *shape)


def _plain(column: pa.Array, needed: pa.Field) -> npt.NDArray[Any]:
    if pa.types.is_string(needed.type):
        if column.null_count:
            raise MissingValueError(f"column {needed.name!r} (string) has {column.null_count} null values")
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
    array = as_numpy(column, needed.name)
    values: npt.NDArray[Any] = array.astype(needed.type.to_pandas_dtype(), copy=False)
    return values
