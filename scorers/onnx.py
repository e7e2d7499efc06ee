"""ONNX models, run by ONNX Runtime.

A model takes its columns in one of two ways:
- one input of rank 2 and a float type: the columns side by side as a matrix [rows, columns], in the
  order of the job's `columns`, or of the list in the model's own metadata (key `columns`, JSON);
- one input per column, named like it: of shape [rows] or [rows, 1], a number, a text or a boolean a row;
  of any other shape [rows, …] whose sizes are fixed, a list of so many numbers a row (an embedding), or
  bytes where the model takes uint8 (an image), the last axis running fastest.

An output of rank 2 gives one of its columns, `name[2]`, or a list of all of them, `name[*]`.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scorers import runtime
from scorers.contract import Options, Signature
from scorers.errors import ChunkError, ContractError, MissingValueError, ModelError
from scorers.matrix import as_numpy, matrix, tensor
from scorers.model import ModelFile
from scorers.outputs import Output, outputs_of

ARROW_TYPES = {
    "tensor(float)": pa.float32(),
    "tensor(double)": pa.float64(),
    "tensor(int64)": pa.int64(),
    "tensor(int32)": pa.int32(),
    "tensor(int16)": pa.int16(),
    "tensor(int8)": pa.int8(),
    "tensor(bool)": pa.bool_(),
    "tensor(string)": pa.string(),
}
TENSOR_TYPES = {**ARROW_TYPES, "tensor(uint8)": pa.uint8()}
MATRIX_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
# As ONNX Runtime and its providers say that there is no room for a tensor.
NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "BFCArena", "OUT_OF_MEMORY")
MICRO_BATCH = 16_384  # rows; larger batches are slower and cost memory (measured, 4.4 of the facts)


class OnnxScorer:
    """One ONNX model on one device. Sessions are safe to call from several threads."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model` from its bytes, so that no external data can be read.

        Raises:
            ModelError: not an ONNX model, an input or output that does not fit, or a device that
                is not there.
        """
        self._model, self._device = model.name, options.device
        self._session = runtime.session(model, options.device, options.threads)
        self._matrix_dtype = _matrix_dtype(self._session, model.name, options.columns)
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._outputs = outputs_of(options.outputs)
        self._signature = Signature(
            inputs=self._input_schema(options.columns),
            outputs=pa.schema([(o.column, self._output_type(o)) for o in self._outputs]),
        )
        self._columns = self._signature.inputs.names
        self._fetch = list(dict.fromkeys(o.source for o in self._outputs))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions for a chunk, in micro-batches of at most 16,384 rows."""
        if not chunk.num_rows:  # not every model can reshape nothing
            return pa.RecordBatch.from_pylist([], self._signature.outputs)
        starts = range(0, chunk.num_rows, MICRO_BATCH)
        parts = [self._run(chunk.slice(start, MICRO_BATCH)) for start in starts]
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def _run(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        feeds = self._feeds(batch)
        try:
            found = runtime.run(self._session, self._fetch, feeds, self._device)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            if any(said in str(error) for said in NO_MEMORY):
                raise MemoryError(f"{self._model}: {error}") from error
            raise ChunkError(f"{self._model}: {error}") from error
        by_name = dict(zip(self._fetch, found, strict=True))
        arrays = [self._column(o, by_name[o.source], batch.num_rows) for o in self._outputs]
        return pa.RecordBatch.from_arrays(arrays, schema=self._signature.outputs)

    def _feeds(self, batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        if self._matrix_dtype is not None:
            return {self._inputs[0]: matrix(batch, self._columns, self._matrix_dtype)}
        feeds = {}
        for meta, needed in zip(self._session.get_inputs(), self._signature.inputs, strict=True):
            feeds[meta.name] = _values(batch.column(needed.name), needed, tuple(meta.shape[1:]))
        return feeds

    def _column(self, output: Output, found: npt.NDArray[Any], rows: int) -> pa.Array:
        if found.shape[:1] != (rows,):
            raise ContractError(
                f"{self._model}: output {output.source!r} has shape {found.shape} for {rows} rows; "
                "a scorer gives one row for each row"
            )
        kind = self._signature.outputs.field(output.column).type
        if output.whole:
            return pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1]).cast(kind)
        return pa.array(found if found.ndim == 1 else found[:, output.index or 0], type=kind)

    def _input_schema(self, columns: Sequence[str] | None) -> pa.Schema:
        metas = self._session.get_inputs()
        if self._matrix_dtype is not None:
            names = list(columns or self._metadata_columns())
            self._check_width(names, metas[0].shape[1])
            kind = pa.from_numpy_dtype(self._matrix_dtype)
            return pa.schema([(name, kind) for name in names])
        if columns is not None and list(columns) != self._inputs:
            raise ModelError(
                f"{self._model}: columns {list(columns)} given, but the model has one input per column: "
                f"{self._inputs}; leave columns out"
            )
        return pa.schema([(meta.name, self._input_type(meta)) for meta in metas])

    def _input_type(self, meta: Any) -> pa.DataType:
        if meta.type in ARROW_TYPES and _is_column(meta.shape):
            return ARROW_TYPES[meta.type]
        sizes = meta.shape[1:]
        if meta.type in TENSOR_TYPES and sizes and all(isinstance(n, int) for n in sizes):
            return pa.list_(TENSOR_TYPES[meta.type], int(np.prod(sizes)))
        raise ModelError(
            f"{self._model}: input {meta.name!r} is {meta.type} of shape {meta.shape}; allowed: one float "
            "matrix [rows, columns], or an input a column: [rows], [rows, 1], or [rows, …] of fixed sizes"
        )

    def _metadata_columns(self) -> list[str]:
        text = self._session.get_modelmeta().custom_metadata_map.get("columns")
        try:
            names = json.loads(text or "null")
        except json.JSONDecodeError:
            names = None
        if not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
            raise ModelError(
                f"{self._model}: takes one matrix, and nothing says which columns it is made of: name them "
                "in the job's model.columns, or as a JSON list in the model's metadata, key 'columns'"
            )
        return names

    def _check_width(self, names: list[str], width: object) -> None:
        if len(set(names)) != len(names):
            raise ModelError(f"{self._model}: a column stands twice in {names}")
        if isinstance(width, int) and width != len(names):
            raise ModelError(f"{self._model}: takes {width} columns; {len(names)} are named: {names}")

    def _output_type(self, output: Output) -> pa.DataType:
        metas = {o.name: o for o in self._session.get_outputs()}
        meta = metas.get(output.source)
        if meta is None:
            raise ModelError(
                f"{self._model}: output {output.column!r} asks for {output.source!r}, which the model "
                f"does not have; its outputs: {', '.join(metas)}"
            )
        if meta.type not in ARROW_TYPES or len(meta.shape) not in (1, 2):
            hint = "; export the classifier without ZipMap" if "map" in meta.type else ""
            raise ModelError(
                f"{self._model}: output {meta.name!r} is {meta.type} of shape {meta.shape}; "
                f"allowed: rank 1 or 2 of {', '.join(ARROW_TYPES)}{hint}"
            )
        self._check_index(output, meta)
        return pa.list_(ARROW_TYPES[meta.type]) if output.whole else ARROW_TYPES[meta.type]

    def _check_index(self, output: Output, meta: Any) -> None:
        asked = f"{self._model}: output {output.column!r}: {meta.name!r} has shape {meta.shape}"
        width = meta.shape[1] if len(meta.shape) == 2 else None
        if len(meta.shape) == 1 and (output.whole or output.index is not None):
            raise ModelError(f"{asked}; a rank-1 output takes no index")
        if len(meta.shape) == 2 and output.index is None and width != 1 and not output.whole:
            raise ModelError(
                f"{asked}; say which column of it, such as {meta.name}[1], or {meta.name}[*] for all of them"
            )
        if isinstance(width, int) and (output.index or 0) >= width:
            raise ModelError(f"{asked}; index {output.index} is not among 0 to {width - 1}")


def open_onnx(model: ModelFile, options: Options) -> OnnxScorer:
    """A scorer for an ONNX model. Errors as `OnnxScorer`'s."""
    return OnnxScorer(model, options)


def _matrix_dtype(session: Any, name: str, columns: Sequence[str] | None) -> type[np.floating[Any]] | None:
    """The dtype of the matrix that a model takes; None for a model with one input per column."""
    metas = session.get_inputs()
    for meta in metas:
        if meta.shape and isinstance(meta.shape[0], int):
            raise ModelError(
                f"{name}: input {meta.name!r} has a fixed number of rows, {meta.shape[0]}; "
                "export the model with a dynamic first dimension"
            )
    if len(metas) != 1 or len(metas[0].shape) != 2 or metas[0].type not in MATRIX_TYPES:
        return None
    named = columns is not None or "columns" in session.get_modelmeta().custom_metadata_map
    # Of a width that is not fixed no list of numbers can be held to it: then somebody has to name columns.
    return MATRIX_TYPES[metas[0].type] if named or not isinstance(metas[0].shape[1], int) else None


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
