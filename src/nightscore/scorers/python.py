"""Models that have no ONNX form: a function of an installed package, named as `module:function`.

    @scorer(inputs={"a": pa.float64()}, outputs={"score": pa.float64()})
    def predict(chunk: pa.RecordBatch) -> pa.RecordBatch: ...

Installed code, never a pickle: what runs is what the package's version control and its installer know.
"""

import importlib
from collections.abc import Callable, Mapping

import pyarrow as pa

from nightscore.scorers.contract import Options, Scorer, Signature, refuse_unlike
from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.model_file import ModelFile
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
    missing = [source for source in options.outputs.values() if source not in signature.outputs.names]
    if missing:
        raise ModelError(
            f"{model.name}: gives no {missing[0]!r}; its outputs: {', '.join(signature.outputs.names)}",
            "outputs",
        )
    return PythonScorer(model.name, function, signature, options.outputs)


class PythonScorer:
    """A function that scores."""

    def __init__(self, name: str, function: Predict, declared: Signature, outputs: Mapping[str, str]) -> None:
        self._name, self._function, self._declared, self._outputs = name, function, declared, outputs
        named = [(name, declared.outputs.field(source).type) for name, source in outputs.items()]
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
        columns = [batch.column(source) for source in self._outputs.values()]
        return pa.RecordBatch.from_arrays(columns, schema=self._signature.outputs)


def _imported(entry: str) -> Predict:
    module, _, name = entry.partition(":")
    try:
        function: Predict = getattr(importlib.import_module(module), name)
    except Exception as error:  # other people's code, at import time
        raise ModelError(f"{entry} can't be imported: {type(error).__name__}: {error}") from error
    return function
