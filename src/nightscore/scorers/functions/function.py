"""A function as a scorer: what it declares, the frame that it is called with, what it gives.

    @scorer(inputs={"age": "float64", "plan": category(["basic", "plus"])}, outputs={"score": "float64"},
            frame="pandas", load=joblib.load)
    def predict(frame, pipeline):
        return pipeline.predict_proba(frame)[:, 1]

It is a function of an installed package (python.py), or of a workspace's file (workspace.py). A model file is
opened by the function's own `load`, from the bytes that were hashed; nothing here unpickles.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.contract import Options, Signature, refuse_unlike
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.frames import FRAMES, FrameName, as_frame, check_frame, numpy_type
from nightscore.scorers.frames.categories import Category
from nightscore.scorers.frames.results import as_batch
from nightscore.scorers.outputs import OutputColumn, parse_outputs

Predict = TypeVar("Predict", bound=Callable[..., Any])
Load = Callable[[BinaryIO], Any]
Kind = Any  # pa.DataType, Category, or the name of a type


@dataclass(frozen=True)
class Declared:
    """What a function declares: columns taken and given, the frame, how its model file is opened."""

    signature: Signature
    frame: FrameName = "arrow"
    nullable: bool = False
    load: Load | None = None
    categories: Mapping[str, Category] = field(default_factory=dict)


def scorer(
    inputs: Mapping[str, Kind],
    outputs: Mapping[str, pa.DataType | str],
    *,
    frame: FrameName = "arrow",
    load: Load | None = None,
    nullable: bool = False,
) -> Callable[[Predict], Predict]:
    """Declare the columns that a function takes and gives.

    It is called with a frame of the columns `inputs`, in this order and in these types, whatever the values
    are, from several threads at once; the frame is its own. It gives as many rows, in the same order.

    Args:
        inputs: column -> Arrow's type, or its name (`float64`, `string`, `bool`, `date32`), or `category(…)`.
        outputs: column -> type, likewise. In a frame other than Arrow's a missing float is a NaN.
        frame: `arrow` (a RecordBatch, nulls as they are), `pandas` (a DataFrame), `polars` (a DataFrame) or
            `numpy` (a matrix [rows, columns]; all inputs of one type of numbers). A chunk without rows is
            given to a function of `arrow` alone.
        load: called once in each process with the job's model file, open for reading (`joblib.load`, …);
            what it gives is the function's second argument. None: the function takes no model file.
        nullable: with pandas, integers and booleans are Int64 and boolean, with NA for a null; without, a
            null in one of them is an error.

    Raises:
        TypeError: a type or a frame that is none.
    """
    if frame not in FRAMES:
        raise TypeError(f"scorer(frame={frame!r}): allowed: {', '.join(FRAMES)}")
    if nullable and frame != "pandas":
        raise TypeError(f"scorer(nullable=True) is of frame 'pandas'; the frame is {frame!r}")
    categories = {name: kind for name, kind in inputs.items() if isinstance(kind, Category)}
    signature = Signature(_schema("inputs", inputs), _schema("outputs", outputs))

    def decorated(function: Predict) -> Predict:
        function.signature = signature  # type: ignore[attr-defined]
        function.declared = Declared(signature, frame, nullable, load, categories)  # type: ignore[attr-defined]
        return function

    return decorated


def declared_of(function: Any) -> Declared | None:
    """What a function declares; None if it declares nothing."""
    declared = getattr(function, "declared", None)
    signature = getattr(function, "signature", None)
    if isinstance(declared, Declared):
        return declared
    return Declared(signature) if isinstance(signature, Signature) else None


def open_function(
    name: str, function: Callable[..., Any], declared: Declared, model: ModelFile | None, options: Options
) -> "FunctionScorer":
    """A scorer for a function.

    Args:
        name: what errors call it.
        function: it.
        declared: what it declares.
        model: the job's model file; None where the function is all of the model.
        options: the job's outputs and columns.

    Raises:
        ModelError: it does not give an output that is asked for, takes other columns, needs a model file that
            is not named or none that is, can't load it, or its frame's library is not installed.
    """
    outputs = parse_outputs(options.outputs)
    _check_outputs(name, outputs, declared.signature.outputs)
    if options.columns and list(options.columns) != declared.signature.inputs.names:
        raise ModelError(
            f"{name}: takes the columns {declared.signature.inputs.names}, by its own declaration, and the "
            f"job's model.columns are {list(options.columns)}; leave columns out",
            "columns",
        )
    _check_frame(name, declared)
    loaded = [_loaded(name, declared.load, model)] if declared.load or model else []
    return FunctionScorer(name, lambda frame: function(frame, *loaded), declared, outputs)


class FunctionScorer:
    """A function that scores. What it raises is raised as it is."""

    def __init__(
        self,
        name: str,
        function: Callable[[Any], Any],
        declared: Declared,
        outputs: Sequence[OutputColumn],
    ) -> None:
        self._name, self._function, self._declared, self._outputs = name, function, declared, outputs
        given = declared.signature.outputs
        kinds = [given.field(output.source).type for output in outputs]
        named = [
            (output.column, kind if output.index is None else kind.value_type)
            for output, kind in zip(outputs, kinds, strict=True)
        ]
        self._signature = Signature(declared.signature.inputs, pa.schema(named))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the function gives for a chunk, held to its declaration."""
        declared, outputs = self._declared, self._declared.signature.outputs
        if not chunk.num_rows and declared.frame != "arrow":
            return pa.RecordBatch.from_pylist([], self._signature.outputs)  # libraries seldom take no rows
        frame = as_frame(self._typed(chunk), declared.frame, declared.nullable)
        result = self._function(frame)
        batch = as_batch(result, outputs, chunk.num_rows, self._name)
        refuse_unlike(batch, outputs, chunk.num_rows, self._name)
        columns = [self._column(batch, output) for output in self._outputs]
        return pa.RecordBatch.from_arrays(columns, schema=self._signature.outputs)

    def _typed(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """The columns that the function takes, in its types."""
        arrays = [self._cast(chunk.column(needed.name), needed) for needed in self._declared.signature.inputs]
        return pa.RecordBatch.from_arrays(arrays, self._declared.signature.inputs.names)

    def _cast(self, column: pa.Array, needed: pa.Field) -> pa.Array:
        try:
            typed = column.cast(needed.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ChunkError(
                f"column {needed.name!r} is {column.type}, and {self._name} takes {needed.type}: {error}"
            ) from error
        known = self._declared.categories.get(needed.name)
        return known.encoded(typed, needed.name) if known else typed

    def _column(self, batch: pa.RecordBatch, output: OutputColumn) -> pa.Array:
        column = batch.column(output.source)
        if output.index is None:
            return column
        try:
            return pc.list_element(column, output.index)
        except pa.ArrowInvalid as error:
            raise ContractError(
                f"{self._name}: output {output.source!r} has lists without a value number {output.index}"
            ) from error


def _schema(what: str, columns: Mapping[str, Kind]) -> pa.Schema:
    return pa.schema([(name, _type(f"scorer({what}): {name!r}", kind)) for name, kind in columns.items()])


def _type(what: str, kind: Any) -> pa.DataType:
    """The Arrow type of a column by what stands for it."""
    if isinstance(kind, Category):
        return kind.type
    if isinstance(kind, str):
        try:
            return pa.type_for_alias(kind)
        except ValueError as error:
            raise TypeError(
                f"{what} is {kind!r}; allowed: a type of Arrow, such as float64, string"
            ) from error
    if not isinstance(kind, pa.DataType) or pa.types.is_dictionary(kind):
        raise TypeError(
            f"{what} is {kind!r:.100}; allowed: a type of Arrow, its name, or category([…]) with all values "
            "(those of one chunk alone would be other codes in another chunk)"
        )
    return kind


def _check_frame(name: str, declared: Declared) -> None:
    """Raise ModelError unless the columns can be in the frame, and its library is here."""
    try:
        check_frame(declared.frame)
        if declared.frame == "numpy":
            if declared.categories:
                raise ModelError("frame 'numpy' is a matrix of numbers, and has no categories")
            numpy_type(declared.signature.inputs)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _loaded(name: str, load: Load | None, model: ModelFile | None) -> Any:
    """What the function's own `load` makes of the bytes that were hashed."""
    if load is None:
        raise ModelError(
            f"{name}: takes no model file, and the job names one; leave path out, or declare how it is "
            "opened: scorer(…, load=joblib.load)",
            "path",
        )
    if model is None:
        raise ModelError(f"{name}: takes a model file, which the job does not name: add path", "path")
    try:
        return load(io.BytesIO(model.data))
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # other people's code, and files
        raise ModelError(f"{model.name}: {name} can't load it: {type(error).__name__}: {error}") from error


def _check_outputs(name: str, outputs: Sequence[OutputColumn], given: pa.Schema) -> None:
    """Raise unless the function gives each output, and a list where one value of a list is asked for."""
    for output in outputs:
        if output.source not in given.names:
            raise ModelError(
                f"{name}: gives no {output.source!r}; its outputs: {', '.join(given.names)}", "outputs"
            )
        kind = given.field(output.source).type
        if (output.whole or output.index is not None) and not pa.types.is_nested(kind):
            raise ModelError(
                f"{name}: output {output.source!r} is {kind}, one value a row; it takes no index", "outputs"
            )
