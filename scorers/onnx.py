"""ONNX models, run by ONNX Runtime: the only module that imports it.

A model takes its columns in one of two ways:
- one input of rank 2 and a float type: the columns side by side as a matrix [rows, columns], in the
  order of the job's `columns`, or of the list in the model's own metadata (key `columns`, JSON);
- one input per column, named like it, of shape [rows] or [rows, 1].
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa

from scorers.contract import Signature
from scorers.errors import ChunkError, ModelError
from scorers.matrix import as_numpy, matrix
from scorers.model import ModelFile

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
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
MATRIX_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
MICRO_BATCH = 16_384  # rows; larger batches are slower and cost memory (measured, 4.4 of the facts)


@dataclass(frozen=True)
class Output:
    """One output column: a model output, and the column of it where it has rank 2."""

    column: str
    source: str
    index: int | None


class OnnxScorer:
    """One ONNX model on one device. Sessions are safe to call from several threads."""

    def __init__(
        self,
        model: ModelFile,
        outputs: Mapping[str, str],
        columns: Sequence[str] | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        """Open `model` from its bytes, so that no external data can be read.

        Raises:
            ModelError: not an ONNX model, an input or output that does not fit, or a device that
                is not there.
        """
        self._model = model.name
        self._session = _session(model, device, threads)
        self._matrix_dtype = _matrix_dtype(self._session, model.name, columns)
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._outputs = [_output(name, source) for name, source in outputs.items()]
        self._signature = Signature(
            inputs=self._input_schema(columns),
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
            found = self._session.run(self._fetch, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise ChunkError(f"{self._model}: {error}") from error
        by_name = dict(zip(self._fetch, found, strict=True))
        arrays = [self._column(o, by_name[o.source], batch.num_rows) for o in self._outputs]
        return pa.RecordBatch.from_arrays(arrays, schema=self._signature.outputs)

    def _feeds(self, batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        if self._matrix_dtype is not None:
            return {self._inputs[0]: matrix(batch, self._columns, self._matrix_dtype)}
        feeds = {}
        for meta, needed in zip(self._session.get_inputs(), self._signature.inputs, strict=True):
            values = _values(batch.column(needed.name), needed)
            feeds[meta.name] = values.reshape(-1, 1) if len(meta.shape) == 2 else values
        return feeds

    def _column(self, output: Output, found: npt.NDArray[Any], rows: int) -> pa.Array:
        if found.shape[:1] != (rows,):
            raise ChunkError(
                f"{self._model}: output {output.source!r} has shape {found.shape} for {rows} rows; "
                "a scorer gives one row for each row"
            )
        values = found if found.ndim == 1 else found[:, output.index or 0]
        return pa.array(values, type=self._signature.outputs.field(output.column).type)

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
        for meta in metas:
            if meta.type not in ARROW_TYPES or not _is_column(meta.shape):
                raise ModelError(
                    f"{self._model}: input {meta.name!r} is {meta.type} of shape {meta.shape}; "
                    "allowed: one float matrix [rows, columns], or one input of [rows] or [rows, 1] a column"
                )
        return pa.schema([(meta.name, ARROW_TYPES[meta.type]) for meta in metas])

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
        return ARROW_TYPES[meta.type]

    def _check_index(self, output: Output, meta: Any) -> None:
        asked = f"{self._model}: output {output.column!r}: {meta.name!r} has shape {meta.shape}"
        width = meta.shape[1] if len(meta.shape) == 2 else None
        if width is None and output.index is not None:
            raise ModelError(f"{asked}; a rank-1 output takes no index")
        if len(meta.shape) == 2 and output.index is None and width != 1:
            raise ModelError(f"{asked}; say which column of it, such as {meta.name}[1]")
        if isinstance(width, int) and (output.index or 0) >= width:
            raise ModelError(f"{asked}; index {output.index} is not among 0 to {width - 1}")


def open_onnx(
    model: ModelFile, outputs: Mapping[str, str], columns: Sequence[str] | None = None, device: str = "auto"
) -> OnnxScorer:
    """A scorer for an ONNX model; `auto` is the CPU. Errors as `OnnxScorer`'s."""
    return OnnxScorer(model, outputs, columns, "cpu" if device == "auto" else device)


def _session(model: ModelFile, device: str, threads: int) -> ort.InferenceSession:
    provider = PROVIDERS.get(device)
    available = ort.get_available_providers()
    if provider not in available:
        here = ", ".join(d for d, p in PROVIDERS.items() if p in available)
        reason = (
            "is not known" if provider is None else f"needs ONNX Runtime's {provider}, which is not installed"
        )
        raise ModelError(f"device {device!r} {reason}; devices here: {here}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Where a model's external data would lie: else ONNX Runtime looks for it in the current folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.log_severity_level = 4  # what fails is raised; nothing else goes to stderr
    try:
        session = ort.InferenceSession(model.data, options, providers=[provider])
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        raise ModelError(f"{model.name}: ONNX Runtime can't load it: {error}") from error
    if provider not in session.get_providers():
        raise ModelError(f"{model.name}: device {device!r} can't run it; a named device is never replaced")
    return session


def _matrix_dtype(
    session: ort.InferenceSession, name: str, columns: Sequence[str] | None
) -> type[np.floating[Any]] | None:
    """The dtype of the matrix that a model takes; None for a model with one input per column."""
    metas = session.get_inputs()
    for meta in metas:
        if meta.shape and isinstance(meta.shape[0], int):
            raise ModelError(
                f"{name}: input {meta.name!r} has a fixed number of rows, {meta.shape[0]}; "
                "export the model with a dynamic first dimension"
            )
    if len(metas) != 1 or len(metas[0].shape) != 2:
        return None
    named = columns is not None or "columns" in session.get_modelmeta().custom_metadata_map
    return MATRIX_TYPES.get(metas[0].type) if named or metas[0].shape[1] != 1 else None


def _is_column(shape: Sequence[object]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _output(column: str, source: str) -> Output:
    found = re.fullmatch(r"([^\[\]]+)(?:\[([0-9]+)\])?", source)
    if found is None:
        raise ModelError(f"output {column!r}: {source!r} is no output's name, or name[index]")
    return Output(column, found[1], int(found[2]) if found[2] else None)


def _values(column: pa.Array, needed: pa.Field) -> npt.NDArray[Any]:
    if pa.types.is_string(needed.type):
        if column.null_count:
            raise ChunkError(f"column {needed.name!r} (string) has {column.null_count} null values")
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
    array = as_numpy(column, needed.name)
    values: npt.NDArray[Any] = array.astype(needed.type.to_pandas_dtype(), copy=False)
    return values
