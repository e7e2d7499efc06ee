"""A model's `python_function`, as MLflow loads it, as a scorer.

Whoever wrote the folder says what is imported, unpickled and run: a job allows that by `allow_pickle`, for
the very files of its `sha256`. The rows go to a process of its own, whose libraries are those of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.contract import Options, Signature, is_numeric_type
from nightscore.scorers.errors import MissingValueError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.files.model_folder import About
from nightscore.scorers.functions.function import Declared, FunctionScorer, open_function
from nightscore.scorers.mlflow.process import Sent, Workers
from nightscore.scorers.mlflow.requirements import REQUIREMENTS, pinned, told
from nightscore.scorers.mlflow.signature import PREDICTION, input_columns, output_columns
from nightscore.scorers.outputs import matrix_columns

CPU = ("auto", "cpu")
SET = "mlflow.models.set_signature(folder, mlflow.models.infer_signature(X, model.predict(X)))"


class PyfuncScorer:
    """One model in processes of its own. Keeps nothing between calls; several threads may call.

    `libraries` are the versions that it is scored with, as receipts have them.
    """

    def __init__(self, inner: FunctionScorer, libraries: Mapping[str, str]) -> None:
        self._inner, self.libraries = inner, libraries
        self.signature = inner.signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the model gives for a chunk, held to its signature."""
        return self._inner.score(chunk)


def open_pyfunc(model: ModelFile, options: Options, about: About) -> PyfuncScorer:
    """A scorer for a folder whose model MLflow loads.

    Raises:
        ModelError: it may not run; it has no signature, or one of no columns; it has no such output; or its
            process can't load it.
    """
    refuse_untrusted(model, options)
    if options.device not in CPU:
        raise ModelError(
            f"{model.name}: a python_function runs on the CPU, not on {options.device!r}; allowed: cpu",
            "device",
        )
    inputs, matrix = _inputs(model.name, options, about)
    outputs = output_columns(model.name, about.signature)
    if outputs is None:
        raise no_signature(model.name, "outputs")
    declared = Declared(Signature(inputs, outputs))
    open_function(
        model.name, lambda chunk: chunk, declared, None, options
    )  # no process for a mistake in job.yaml
    required = pinned(model.folder.get(REQUIREMENTS, b""))
    sent = Sent(
        model.name, options.python, model.folder, matrix, list(required), max(1, options.threads),
        options.load_seconds,
    )  # fmt: skip
    workers = Workers(sent)
    predict = _predictor(workers, outputs)
    inner = open_function(model.name, predict, declared, None, options)
    return PyfuncScorer(inner, told(required, workers.versions))


def refuse_untrusted(model: ModelFile, options: Options) -> None:
    """Raise unless the job trusts this very folder.

    Raises:
        ModelError: it does not; says what would allow it.
    """
    if options.trusted == model.sha256:
        return
    raise ModelError(
        f"{model.name}: MLflow loads it by running what its folder says (pickles, code, the modules that "
        "MLmodel names), which is whatever its writer put there; if you trust this very folder, write  "
        f"allow_pickle: true  and  sha256: {model.sha256}",
        "allow_pickle",
    )


def _inputs(name: str, options: Options, about: About) -> tuple[pa.Schema, str]:
    """The columns that a model takes, and the dtype of the matrix that they are; empty of a frame."""
    columns = input_columns(name, about.signature)
    if columns is None:
        raise no_signature(name, "inputs")
    if columns.matrix is None:
        return columns.schema, ""
    if not is_numeric_type(columns.matrix):
        raise ModelError(f"{name}: takes a matrix of {columns.matrix}; allowed: one of numbers")
    names = matrix_columns(name, options, None, columns.width or None, "the signature in its MLmodel")
    return pa.schema([(column, columns.matrix) for column in names]), str(
        columns.matrix.to_pandas_dtype().__name__
    )


def no_signature(name: str, which: str) -> ModelError:
    """What is said of a folder whose signature does not name its inputs, or outputs."""
    return ModelError(
        f"{name}: its MLmodel has no signature that names its {which}, so that no column can be held to it; "
        f"to write one: {SET}"
    )


def _predictor(workers: Workers, outputs: pa.Schema) -> Callable[[pa.RecordBatch], Any]:
    """The function that a chunk is given to."""

    def predict(chunk: pa.RecordBatch) -> Any:
        if not chunk.num_rows:
            return pa.RecordBatch.from_pylist([], outputs)
        _refuse_nulls(chunk)
        given = workers.predict(chunk)
        names: Sequence[str] = given.schema.names
        if names == [PREDICTION] and len(outputs) == 1:  # an array, or a Series, which has a name or none
            names = outputs.names
        return dict(zip(names, given.columns, strict=True))

    return predict


def _refuse_nulls(chunk: pa.RecordBatch) -> None:
    """Integers and booleans of a frame of pandas have no missing value."""
    for field, column in zip(chunk.schema, chunk.columns, strict=True):
        if column.null_count and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)):
            raise MissingValueError(
                f"column {field.name!r} ({field.type} by the signature in MLmodel) has a null in row "
                f"{pc.index(column.is_null(), True).as_py()} of the chunk, and pandas has none of this type; "
                "give it a value in the features SQL, or log the model with a column of double"
            )
