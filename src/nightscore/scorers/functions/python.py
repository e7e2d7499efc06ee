"""Models that have no ONNX form: a function of an installed package, named as `module:function`.

    @scorer(inputs={"a": pa.float64()}, outputs={"score": pa.float64()})
    def predict(chunk: pa.RecordBatch) -> pa.RecordBatch: ...

Installed code: what runs is what the package's version control and its installer know. Without a model file
the function is all of the model, and its package's hash the model's; with one, the file is the model, and the
package's hash that of the code that scores it.
"""

import importlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from nightscore.scorers.contract import Options, Scorer
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.functions.function import FunctionScorer, declared_of, open_function, scorer
from nightscore.scorers.functions.package_hash import hash_package

__all__ = ["hash_entry", "open_python", "read_python_model", "scorer"]


def read_python_model(entry: str) -> ModelFile:
    """The function as a model: its bytes are its name, its sha256 is that of its package's code.

    Raises:
        ModelError: there is no such package.
    """
    return ModelFile(entry, hash_entry(entry), entry.encode())


def hash_entry(entry: str) -> str:
    """The sha256 of the package that a function belongs to.

    Raises:
        ModelError: there is no such package.
    """
    return hash_package(entry.partition(":")[0])


def open_python(model: ModelFile, options: Options) -> Scorer:
    """A scorer for a function of an installed package.

    It is `options.entry`, and `model` its model file; without an entry the function is the model itself.

    Raises:
        ModelError: it can't be imported, has no signature, or does not give an output that is asked for; or
            as `open_function`.
    """
    entry = options.entry or model.data.decode()
    if options.device not in ("auto", "cpu"):
        raise ModelError(
            f"{entry}: a Python function has no device {options.device!r}; allowed: cpu", "device"
        )
    function = _imported(entry)
    declared = declared_of(function)
    if declared is None:
        raise ModelError(f"{entry}: has no signature; decorate it with nightscore.scorers.scorer")
    file = model if options.entry else None
    return PythonScorer(entry, open_function(entry, function, declared, file, options))


class PythonScorer:
    """A function of a package: what it raises is about the rows, but for what is of the machine."""

    def __init__(self, name: str, inner: FunctionScorer) -> None:
        self._name, self._inner = name, inner
        self.signature = inner.signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the function gives for a chunk, held to its signature."""
        try:
            return self._inner.score(chunk)
        except (ChunkError, ContractError, MemoryError, OSError, ImportError):
            raise  # of files, devices and packages: no fault of these rows
        except (Exception, SystemExit) as error:  # other people's code
            raise ChunkError(f"{self._name}: {type(error).__name__}: {error}") from error


def _imported(entry: str) -> Callable[..., Any]:
    module, _, name = entry.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # other people's code, at import time
        raise ModelError(f"{entry} can't be imported: {type(error).__name__}: {error}") from error
    return function
