"""What the three kinds have in common: columns by name, one thread a call, outputs by the field's names."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.boosted import given_batch, given_schema
from nightscore.scorers.contract import Options, Signature
from nightscore.scorers.errors import ChunkError, ModelError
from nightscore.scorers.files.foreign import looks_like
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import parse_outputs
from nightscore.scorers.variant import Variant

CPU = ("auto", "cpu")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Booster:
    """A model that a library has opened.

    `frame` makes of a chunk what the library takes, `predict` of that an output [rows] or [rows, numbers];
    both may be called from several threads. `widths` are the outputs: name -> numbers a row, 0 for one alone.
    """

    inputs: pa.Schema
    widths: Mapping[str, int]
    dtype: np.dtype[Any]
    predict: Callable[[Any, str], Array]
    frame: Callable[[pa.RecordBatch], Any]


class BoosterScorer:
    """One model. Keeps nothing between calls; several threads may call."""

    def __init__(self, name: str, booster: Booster, options: Options) -> None:
        """Raises ModelError for outputs that the model does not have."""
        self._name, self._booster = name, booster
        self._outputs = parse_outputs(options.outputs)
        schema = given_schema(name, self._outputs, booster.widths, booster.dtype)
        self._signature = Signature(booster.inputs, schema)

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        return self._signature

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """What the library predicts for a chunk."""
        if not chunk.num_rows:
            return pa.RecordBatch.from_pylist([], self._signature.outputs)
        frame = self._booster.frame(chunk)
        wanted = {output.source for output in self._outputs}
        values = {source: self._predicted(frame, source) for source in wanted}
        return given_batch(self._outputs, self._signature.outputs, values)

    def _predicted(self, frame: Any, source: str) -> Array:
        try:
            values = self._booster.predict(frame, source)
        except (ChunkError, MemoryError):
            raise
        except Exception as error:  # the libraries' own, of the values that they are given
            if "bad_alloc" in str(error) or "bad allocation" in str(error):
                raise MemoryError(str(error)) from error
            raise ChunkError(f"{self._name}: {reason(error)}") from error
        return np.asarray(values)


def refuse_device(kind: str, model: ModelFile, options: Options) -> None:
    """Raise ModelError unless the CPU serves."""
    if options.device not in CPU:
        raise ModelError(
            f"{model.name}: kind {kind} runs on the CPU, not on {options.device!r}; allowed: cpu", "device"
        )


def find_library(kind: str) -> Any:
    """The library of a kind.

    Raises:
        ModelError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(kind)
    except ImportError as error:
        raise ModelError(
            f"kind {kind} needs the package {kind}: run  pip install 'nightscore[{kind}]'  ({error})", "kind"
        ) from error


def not_of(kind: str, model: ModelFile, error: Exception | str) -> ModelError:
    """What is said of a file that a library does not open."""
    looks = looks_like(model.data)
    return ModelError(
        f"{model.name}: no model of {kind}: {f'it looks like {looks}' if looks else reason(error)}"
    )


def reason(error: Exception | str) -> str:
    """A library's own words, without its stack."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first.strip()[:300]


def width_of(values: Array) -> int:
    """The numbers a row of an output as `Booster.widths` has them: 0 of one of rank 1."""
    return values.shape[1] if values.ndim == 2 else 0


def also_by_trees(kind: str, device: str) -> list[Variant]:
    """The ways to compute a kind's models: by the library, and by our own kernel for trees."""
    return [Variant(kind), Variant("trees")] if device in CPU else [Variant(kind, device)]
