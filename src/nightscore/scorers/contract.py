"""What every scorer keeps to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from nightscore.scorers.errors import ContractError
from nightscore.scorers.files.model_file import ModelFile


@dataclass(frozen=True)
class Signature:
    """The columns that a scorer needs, and those that it gives, in order.

    A needed column's type is what the model computes with; `misfits` says which types serve it.
    """

    inputs: pa.Schema
    outputs: pa.Schema

    def misfits(self, features: pa.Schema) -> list[str]:
        """What keeps rows of the schema `features` from being scored, a sentence each; empty if nothing."""
        problems = []
        for needed in self.inputs:
            places = features.get_all_field_indices(needed.name)
            if len(places) != 1:
                count = "no column" if not places else f"{len(places)} columns called"
                problems.append(
                    f"the model needs column {needed.name!r}; the features have {count} {needed.name!r}"
                    + _hint(needed.type)
                )
            elif not serves(features.field(places[0]).type, needed.type):
                problems.append(
                    f"column {needed.name!r} is {features.field(places[0]).type}; "
                    f"the model needs {needed.type} or what converts to it without a loss of meaning"
                )
        return problems


@dataclass(frozen=True)
class Options:
    """How a model is to be opened.

    `outputs` are the columns to give: name -> output of the model, with an index for one of rank 2.
    `columns` are the columns of the matrix, in order, where the job names them, or, with
    `columns_of_signature`, the signature in MLflow's MLmodel; `columns_override` says that the job's are
    meant, though the model's own list is another; `max_length_override` that the metadata's `max_length` is,
    though the model's tokenizer cuts elsewhere. `device` is where to compute, `threads` how many threads one
    call of `score` may use. `entry` is the function that scores a model file, of kind python. `python` is
    the interpreter of a model that is scored in a process of its own (empty: this one), and `trusted` the
    sha256 of the one whose pickles and code may run. `settings` is what the job says of what goes before and
    after the model, of the kinds that have such: of text `pooling`, `normalize` and `max_length`, of image
    what `ImageSettings` has. `load_seconds` is how long a process of the model's own may take to load it.
    """

    outputs: Mapping[str, str]
    columns: Sequence[str] | None = None
    device: str = "cpu"
    threads: int = 1
    columns_override: bool = False
    max_length_override: bool = False
    entry: str = ""
    python: str = ""
    trusted: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    load_seconds: float | None = None
    columns_of_signature: bool = False


class Scorer(Protocol):
    """One row in, one row out, in order; no memory between chunks; safe to call from several threads."""

    @property
    def signature(self) -> Signature:
        """The columns needed and given."""
        ...

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions for a chunk: as many rows, in the same order, with the output columns.

        Raises:
            ChunkError: a value of the chunk can't be scored; the message names the column.
            MemoryError: there is no memory for this many rows; with fewer there may be.
        """
        ...


class Opens(Protocol):
    """What a kind of scorer is: a function that opens a model."""

    def __call__(self, model: ModelFile, options: Options, /) -> Scorer:
        """A scorer for `model`.

        Raises:
            ModelError: the model is none of this kind, or can't be run with these options.
        """
        ...


def refuse_unlike(batch: Any, outputs: pa.Schema, rows: int, name: str) -> None:
    """Hold what other people's code gives for `rows` rows to its signature.

    Raises:
        ContractError: it is no batch of these columns and types, or of other rows; `name` is whose it is.
    """
    if not isinstance(batch, pa.RecordBatch) or batch.schema != outputs:
        actual = batch.schema if isinstance(batch, pa.RecordBatch) else type(batch).__name__
        raise ContractError(f"{name}: gives {actual}; its signature says {outputs}")
    if batch.num_rows != rows:
        raise ContractError(f"{name}: gives {batch.num_rows} rows for {rows} rows")


def serves(given: pa.DataType, needed: pa.DataType) -> bool:
    """Whether values of one type can stand for a model's."""
    return bool(given == needed) or _serves_another(given, needed)


def _serves_another(given: pa.DataType, needed: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(needed):
        return _serves_tensor(given, needed)
    if pa.types.is_list(needed):
        return _is_list(given) and serves(given.value_type, needed.value_type)
    if not is_numeric_type(needed):
        return _serves_no_number(given, needed)
    if pa.types.is_boolean(needed):
        return bool(pa.types.is_boolean(given))
    if pa.types.is_integer(needed):
        # Narrower integers widen without a loss; a signed one never holds all unsigned ones of its width.
        signed = pa.types.is_signed_integer(given) or (
            pa.types.is_unsigned_integer(given) and given.bit_width < needed.bit_width
        )
        return bool(pa.types.is_integer(given) and signed and given.bit_width <= needed.bit_width)
    return is_numeric_type(given)


def is_numeric_type(given: pa.DataType) -> bool:
    """Whether a type's values are numbers that a matrix of floats can hold."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(kind(given) for kind in kinds)


def _serves_no_number(given: pa.DataType, needed: pa.DataType) -> bool:
    """Whether moments, spans of time or bytes are those of another unit or width; a date is no moment."""
    if pa.types.is_timestamp(needed):
        return pa.types.is_timestamp(given) and (given.tz is None) == (needed.tz is None)
    kinds = (_is_text, _is_bytes, pa.types.is_time, pa.types.is_duration)
    return any(kind(given) and kind(needed) for kind in kinds)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _hint(needed: pa.DataType) -> str:
    if not pa.types.is_fixed_size_list(needed):
        return ""
    return (
        f" (it takes {needed.list_size} numbers a row: a list, or columns named in the job's model.columns)"
    )


def _serves_tensor(given: pa.DataType, needed: pa.DataType) -> bool:
    if pa.types.is_binary(given) or pa.types.is_large_binary(given):
        return bool(pa.types.is_uint8(needed.value_type))
    if pa.types.is_fixed_size_list(given):
        return bool(given.list_size == needed.list_size) and serves(given.value_type, needed.value_type)
    return _is_list(given) and serves(given.value_type, needed.value_type)  # lengths are seen in the values


def _is_list(given: pa.DataType) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(given) for kind in kinds)
