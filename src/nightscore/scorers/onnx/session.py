"""An ONNX model, opened: feeds in, output columns out; for each kind that ONNX Runtime runs."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.files.exporters import mend
from nightscore.scorers.files.graph_file import CLASSES
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx import runtime
from nightscore.scorers.onnx.chance import refuse_chance
from nightscore.scorers.onnx.declared import Shape, declared_shapes
from nightscore.scorers.outputs import (
    OutputColumn,
    check_index,
    columns_in_metadata,
    parse_outputs,
    refuse_other_columns,
)
from nightscore.scorers.running import stop_calls

ARROW_TYPES = {
    "tensor(float)": pa.float32(),
    "tensor(double)": pa.float64(),
    "tensor(float16)": pa.float32(),
    "tensor(int64)": pa.int64(),
    "tensor(int32)": pa.int32(),
    "tensor(int16)": pa.int16(),
    "tensor(int8)": pa.int8(),
    "tensor(bool)": pa.bool_(),
    "tensor(string)": pa.string(),
}
# As ONNX Runtime and its providers say that there is no room for a tensor.
NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "BFCArena", "OUT_OF_MEMORY")

TRY_SECONDS = 3.0  # that two rows may take when a model is opened
ONE_WAY = "say which, such as {0}[1], or {0}[*] for a list; or export the model with one value a row"

Feeds = Mapping[str, npt.NDArray[Any]]


class Session:
    """One ONNX model on one device. Safe to call from several threads."""

    def __init__(self, model: ModelFile, options: Options) -> None:
        """Open `model` from its bytes: no other file is read.

        Raises:
            ModelError: not an ONNX model, one that draws by chance, one whose inputs differ in a fixed number
                of rows, or a device that is not there.
        """
        self.name, self._device = model.name, options.device
        refuse_chance(model)
        self._session = runtime.open_session(model, options.device, options.threads)
        self.inputs = self._session.get_inputs()
        self.output_metas = self._session.get_outputs()
        said = self._session.get_modelmeta()
        self.metadata: Mapping[str, str] = said.custom_metadata_map
        self.producer: str = said.producer_name
        self.classes: Mapping[str, list[int | str]] = json.loads(self.metadata.get(CLASSES, "{}"))
        self._at_once = self._fixed_rows()
        self._output_columns = parse_outputs(options.outputs)
        self._fetch = list(dict.fromkeys(output.source for output in self._output_columns))
        self._shapes: dict[str, list[int]] = {}  # of some rows: what a model declares is not what it gives
        self._declared: dict[str, Shape] = {}

    @cached_property
    def outputs(self) -> pa.Schema:
        """The output columns.

        Raises:
            ModelError: the model gives no such output.
        """
        return pa.schema([(output.column, self._type(output)) for output in self._output_columns])

    def try_out(self, feeds: Feeds, model: ModelFile) -> None:
        """Run a few rows for the shapes that the outputs really have; before `outputs` is asked for.

        Where it can't be, what the model declares stands until its first chunk.
        """
        rows = len(next(iter(feeds.values())))
        if self._device != "cpu":  # others compile a model for each new number of rows
            return
        # These rows are made up, and a model may refuse them, or never end of them.
        with contextlib.suppress(Exception), _stopped_after(TRY_SECONDS):
            values = self._run(feeds, rows)
            shapes = {name: list(value.shape) for name, value in zip(self._fetch, values, strict=True)}
            self._shapes = {name: shape for name, shape in shapes.items() if shape[:1] == [rows]}
        wide = [name for name, shape in self._shapes.items() if len(shape) > 1 and shape[1] > 1]
        alone = [output.source for output in self._output_columns if _is_alone(output)]
        if asked := set(wide) & set(alone):
            self._declared = declared_shapes(model, asked)

    def columns(self) -> list[str] | None:
        """The names of columns in the model's metadata; None where there is no list of them."""
        names = columns_in_metadata(self.metadata)
        return None if names is None else list(names)

    def one_column(self, options: Options, needs: str, option: str = "") -> str:
        """The one column that a model takes, by the job or by its metadata.

        Raises:
            ModelError: there is none, or more than one, with what it `needs`; or the two differ.
        """
        own = self.columns()
        refuse_other_columns(self.name, options, own)
        names = list(options.columns or own or ())
        if len(names) != 1:
            raise ModelError(f"{self.name}: columns are {names}; {needs}", option)
        return names[0]

    @property
    def shown_inputs(self) -> str:
        """The model's inputs, as messages have them."""
        return ", ".join(f"{meta.name} {meta.type} {meta.shape}" for meta in self.inputs)

    @cached_property
    def missing(self) -> Mapping[str, str]:
        """What stands for null in a column of texts, as the model's metadata says; empty if it does not."""
        try:
            said = json.loads(self.metadata.get("missing") or "{}")
        except json.JSONDecodeError:
            return {}
        texts = said.items() if isinstance(said, dict) else ()
        return {name: text for name, text in texts if isinstance(text, str)}

    def run(self, feeds: Feeds) -> pa.RecordBatch:
        """The output columns for a batch: a row for each row of the feeds.

        Raises:
            ChunkError: the model can't compute it.
            MemoryError: there is no memory for this many rows.
            ContractError: the model gives other rows than it was given.
        """
        rows = len(next(iter(feeds.values())))
        try:
            values = self._run(feeds, rows)
        except ContractError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            if any(text in str(error) for text in NO_MEMORY):
                raise MemoryError(f"{self.name}: {error}") from error
            raise ChunkError(f"{self.name}: {error}") from error
        by_name = dict(zip(self._fetch, values, strict=True))
        arrays = [self._column(output, by_name[output.source], rows) for output in self._output_columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self.outputs)

    def _fixed_rows(self) -> int | None:
        """The number of rows that the model takes at a time; None where it takes any."""
        fixed = {
            meta.name: meta.shape[0] for meta in self.inputs if meta.shape and isinstance(meta.shape[0], int)
        }
        if len(set(fixed.values())) > 1 or 0 in fixed.values():
            raise ModelError(
                f"{self.name}: its inputs have a fixed number of rows, which is not the same in each: {fixed}"
                f"{mend('input', self.producer)}"
            )
        return next(iter(fixed.values()), None)

    def _run(self, feeds: Feeds, rows: int) -> list[npt.NDArray[Any]]:
        """The outputs in use for a batch: in one call, or in as many as a fixed number of rows asks for."""
        if self._at_once is None:
            return self._call(feeds, rows)
        calls = [self._padded(feeds, start, rows) for start in range(0, rows, self._at_once)]
        return [np.concatenate(parts)[:rows] for parts in zip(*calls, strict=True)]

    def _padded(self, feeds: Feeds, start: int, rows: int) -> list[npt.NDArray[Any]]:
        """The outputs for the rows from `start` that fit in one call; the last row fills up what is left."""
        size = self._at_once or 1
        some = {name: array[start : start + size] for name, array in feeds.items()}
        if missing := start + size - min(start + size, rows):
            some = {name: np.concatenate([part, part[-1:].repeat(missing, 0)]) for name, part in some.items()}
        values = self._call(some, size)
        for name, value in zip(self._fetch, values, strict=True):
            self._refuse_other_rows(name, value, size)
        return values

    def _call(self, feeds: Feeds, rows: int) -> list[npt.NDArray[Any]]:
        values = runtime.run_session(self._session, self._fetch, dict(feeds), self._device)
        # squeeze() of PyTorch takes the axis of the rows with it where there is one row.
        return [value.reshape(1) if rows == 1 and value.shape == () else value for value in values]

    def _refuse_other_rows(self, name: str, values: npt.NDArray[Any], rows: int) -> None:
        if values.shape[:1] != (rows,):
            raise ContractError(
                f"{self.name}: output {name!r} has shape {values.shape} for {rows} rows; "
                "a scorer gives one row for each row"
            )

    def _column(self, output: OutputColumn, values: npt.NDArray[Any], rows: int) -> pa.Array:
        self._refuse_other_rows(output.source, values, rows)
        kind = self.outputs.field(output.column).type
        if values.dtype == np.float16:
            values = values.astype(np.float32)
        table = values.reshape(rows, 1) if values.ndim == 1 else values
        index = output.index or 0
        if table.ndim != 2 or index >= table.shape[1] or (table.shape[1] > 1 and _is_alone(output)):
            said = next(
                list(meta.shape) for meta in self._session.get_outputs() if meta.name == output.source
            )
            raise ContractError(
                f"{self.name}: output {output.source!r} is declared as {said} and gives {list(values.shape)} "
                f"for {rows} rows; {ONE_WAY.format(output.source)}"
            )
        if output.whole:
            return pa.FixedSizeListArray.from_arrays(pa.array(table.reshape(-1)), table.shape[1]).cast(kind)
        return pa.array(table[:, index], type=kind)

    def _type(self, output: OutputColumn) -> pa.DataType:
        metas = {o.name: o for o in self._session.get_outputs()}
        meta = metas.get(output.source)
        if meta is None:
            raise ModelError(
                f"{self.name}: output {output.column!r} asks for {output.source!r}, which the model "
                f"does not have; its outputs: {', '.join(metas)}",
                "outputs",
            )
        shape: Shape = [*self._shapes.get(meta.name, meta.shape)]
        if meta.type not in ARROW_TYPES or len(shape) not in (1, 2):
            raise ModelError(
                f"{self.name}: output {meta.name!r} is {meta.type} of shape {shape}; "
                f"allowed: rank 1 or 2 of {', '.join(ARROW_TYPES)}{mend('output', self.producer)}"
            )
        width = 0 if len(shape) == 1 else shape[1]
        declared = self._declared.get(meta.name, meta.shape)
        holds = f"has shape {list(meta.shape)}"
        if list(declared)[1:] != shape[1:] and meta.name in self._shapes:
            holds = f"is declared as {list(declared)} and gives {shape} for {shape[0]} rows"
        if of := self.classes.get(meta.name):
            holds += f" for the classes {', '.join(map(str, of))}"
        check_index(self.name, output, holds, width if isinstance(width, int) else None)
        return pa.list_(ARROW_TYPES[meta.type]) if output.whole else ARROW_TYPES[meta.type]


def _is_alone(output: OutputColumn) -> bool:
    """Whether the job names an output without saying which of its columns: then it has one."""
    return output.index is None and not output.whole


@contextlib.contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """A context of one call of ONNX Runtime in this thread, which raises if it takes longer."""
    timer = threading.Timer(seconds, stop_calls, [threading.get_ident()])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
