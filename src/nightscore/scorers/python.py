"""Models that have no ONNX form: a function of an installed package, named as `module:function`.

    @scorer(inputs={"a": pa.float64()}, outputs={"score": pa.float64()})
    def predict(chunk: pa.RecordBatch) -> pa.RecordBatch: ...

Installed code, never a pickle: what runs is what the package's version control and its installer know.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.contract import Options, Scorer, Signature, refuse_unlike
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.model_file import ModelFile
from nightscore.scorers.outputs import OutputColumn, parse_outputs
from nightscore.scorers.registry import hash_package

Predict = Callable[[pa.RecordBatch], pa.RecordBatch]


def scorer(
    inputs: Mapping[str, pa.DataType], outputs: Mapping[str, pa.DataType]
) -> Callable[[Predict], Predict]:
    """Declare the columns that a function takes and gives.

    It is called with the columns `inputs`, in these types, nulls as they are, from several threads at once;
    it gives a batch of as many rows, in the same order, with the columns `outputs` in these types.
    """

    def decorated(function: Predict) -> Predict:
        signature = Signature(pa.schema(list(inputs.items())), pa.schema(list(outputs.items())))
        function.signature = signature  # type: ignore[attr-defined]
        return function

    return decorated


def read_python_model(entry: str) -> ModelFile:
    """The function as a model: its bytes are its name, its sha256 is that of its package's code.

    Raises:
        ModelError: there is no such package.
    """
    return ModelFile(entry, hash_package(entry.partition(":")[0]), entry.encode())


def open_python(model: ModelFile, options: Options) -> Scorer:
    """A scorer for a function of an installed package.

    Raises:
        ModelError: it can't be imported, has no signature, or does not give an output that is asked for.
    """
    if options.device not in ("auto", "cpu"):
        raise ModelError(
            f"{model.name}: a Python function has no device {options.device!r}; allowed: cpu", "device"
        )
    function = _imported(model.data.decode())
    signature = getattr(function, "signature", None)
    if not isinstance(signature, Signature):
        raise ModelError(f"{model.name}: has no signature; decorate it with nightscore.scorers.python.scorer")
    outputs = parse_outputs(options.outputs)
    _check_outputs(model.name, outputs, signature.outputs)
    if options.columns and list(options.columns) != signature.inputs.names:
        raise ModelError(
            f"{model.name}: takes the columns {signature.inputs.names}, by its own declaration, and the "
            f"job's model.columns are {list(options.columns)}; leave columns out",
            "columns",
        )
    return PythonScorer(model.name, function, signature, outputs)


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


class PythonScorer:
    """A function that scores."""

    def __init__(
        self, name: str, function: Predict, declared: Signature, outputs: Sequence[OutputColumn]
    ) -> None:
        self._name, self._function, self._declared, self._outputs = name, function, declared, outputs
        kinds = [declared.outputs.field(output.source).type for output in outputs]
        named = [
            (output.column, kind if output.index is None else kind.value_type)
            for output, kind in zip(outputs, kinds, strict=True)
        ]
        self._signature = Signature(declared.inputs, pa.schema(named))

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the function gives for a chunk, held to its signature."""
        try:
            typed = [chunk.column(f.name).cast(f.type) for f in self._declared.inputs]
            batch = self._function(pa.RecordBatch.from_arrays(typed, schema=self._declared.inputs))
        except (MemoryError, OSError, ImportError):
            raise  # of files, devices and packages: no fault of these rows
        except (Exception, SystemExit) as error:  # other people's code
            raise ChunkError(f"{self._name}: {type(error).__name__}: {error}") from error
        refuse_unlike(batch, self._declared.outputs, chunk.num_rows, self._name)
        columns = [self._column(batch, output) for output in self._outputs]
        return pa.RecordBatch.from_arrays(columns, schema=self._signature.outputs)

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


def _imported(entry: str) -> Predict:
    module, _, name = entry.partition(":")
    try:
        function: Predict = getattr(importlib.import_module(module), name)
    except Exception as error:  # other people's code, at import time
        raise ModelError(f"{entry} can't be imported: {type(error).__name__}: {error}") from error
    return function
