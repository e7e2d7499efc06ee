"""An ONNX model, opened: feeds in, output columns out; for each kind that ONNX Runtime runs."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.model_file import ModelFile
from nightscore.scorers.onnx import runtime
from nightscore.scorers.onnx.chance import refuse_chance
from nightscore.scorers.outputs import OutputColumn, check_index, parse_outputs

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
# As ONNX Runtime and its providers say that there is no room for a tensor.
NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "BFCArena", "OUT_OF_MEMORY")

Feeds = Mapping[str, npt.NDArray[Any]]


class Session:
    """One ONNX model on one device. Safe to call from several threads."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model` from its bytes, so that no external data can be read.

        Raises:
            ModelError: not an ONNX model, one that draws by chance, or a device that is not there.
        """
        self.name, self._device = model.name, options.device
        refuse_chance(model)
        self._session = runtime.open_session(model, options.device, options.threads)
        self.inputs = self._session.get_inputs()
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._output_columns = parse_outputs(options.outputs)
        self._fetch = list(dict.fromkeys(output.source for output in self._output_columns))

    @cached_property
    def outputs(self) -> pa.Schema:
        """The output columns.

        Raises:
            ModelError: the model gives no such output.
        """
        return pa.schema([(output.column, self._type(output)) for output in self._output_columns])

    def columns(self) -> list[str] | None:
        """The names of columns in the model's metadata; None where there is no list of them."""
        try:
            names = json.loads(self.metadata.get("columns") or "null")
        except json.JSONDecodeError:
            return None
        return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None

    def run(self, feeds: Feeds) -> pa.RecordBatch:
        """The output columns for a batch: a row for each row of the feeds.

        Raises:
            ChunkError: the model can't compute it.
            MemoryError: there is no memory for this many rows.
            ContractError: the model gives other rows than it was given.
        """
        rows = len(next(iter(feeds.values())))
        try:
            values = runtime.run_session(self._session, self._fetch, dict(feeds), self._device)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            if any(text in str(error) for text in NO_MEMORY):
                raise MemoryError(f"{self.name}: {error}") from error
            raise ChunkError(f"{self.name}: {error}") from error
        by_name = dict(zip(self._fetch, values, strict=True))
        arrays = [self._column(output, by_name[output.source], rows) for output in self._output_columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self.outputs)

    def _column(self, output: OutputColumn, values: npt.NDArray[Any], rows: int) -> pa.Array:
        if values.shape[:1] != (rows,):
            raise ContractError(
                f"{self.name}: output {output.source!r} has shape {values.shape} for {rows} rows; "
                "a scorer gives one row for each row"
            )
        kind = self.outputs.field(output.column).type
        if output.whole:
            return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]).cast(kind)
        return pa.array(values if values.ndim == 1 else values[:, output.index or 0], type=kind)

    def _type(self, output: OutputColumn) -> pa.DataType:
        metas = {o.name: o for o in self._session.get_outputs()}
        meta = metas.get(output.source)
        if meta is None:
            raise ModelError(
                f"{self.name}: output {output.column!r} asks for {output.source!r}, which the model "
                f"does not have; its outputs: {', '.join(metas)}",
                "outputs",
            )
        if meta.type not in ARROW_TYPES or len(meta.shape) not in (1, 2):
            hint = "; export the classifier without ZipMap" if "map" in meta.type else ""
            raise ModelError(
                f"{self.name}: output {meta.name!r} is {meta.type} of shape {meta.shape}; "
                f"allowed: rank 1 or 2 of {', '.join(ARROW_TYPES)}{hint}"
            )
        width = 0 if len(meta.shape) == 1 else meta.shape[1]
        holds = f"has shape {meta.shape}"
        check_index(self.name, output, holds, width if isinstance(width, int) else None)
        return pa.list_(ARROW_TYPES[meta.type]) if output.whole else ARROW_TYPES[meta.type]
