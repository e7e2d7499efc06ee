"""Which output of a model becomes which column, and which columns a model's matrix has."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError

METADATA = "its metadata, key 'columns'"
SHOWN = 20  # names of a list of columns in a message


@dataclass(frozen=True)
class OutputColumn:
    """One output column: a model output, and of one of rank 2 which column, or all of them as a list."""

    column: str
    source: str
    index: int | None
    whole: bool = False


def parse_outputs(named: Mapping[str, str]) -> list[OutputColumn]:
    """The outputs that a job names: column -> `name`, `name[index]` or `name[*]`.

    Raises:
        ModelError: a source is none of these.
    """
    return [_output(column, source) for column, source in named.items()]


def _output(column: str, source: str) -> OutputColumn:
    match = re.fullmatch(r"([^\[\]]+)(?:\[([0-9]+|\*)\])?", source)
    if match is None:
        raise ModelError(
            f"output {column!r}: {source!r} is no output's name, or name[index], or name[*]", "outputs"
        )
    index, whole = match[2], match[2] == "*"
    return OutputColumn(column, match[1], int(index) if index and not whole else None, whole)


def check_index(model: str, output: OutputColumn, holds: str, width: int | None) -> None:
    """Hold the index that a job asks for to what an output `holds`, in words, and its numbers a row.

    `width` is 0 for an output of rank 1, and None where only the rows tell.

    Raises:
        ModelError: there is no such index, or none is named where there are several.
    """
    place = f"{model}: output {output.column!r}: {output.source!r} {holds}"
    if width == 0:
        if output.whole or output.index is not None:
            raise ModelError(f"{place}; a rank-1 output takes no index", "outputs")
        return
    if output.index is None and width != 1 and not output.whole:
        raise ModelError(
            f"{place}; say which, such as {output.source}[1], or {output.source}[*] for a list", "outputs"
        )
    if width is not None and (output.index or 0) >= width:
        raise ModelError(f"{place}; index {output.index} is not among 0 to {width - 1}", "outputs")


def column_of(scores: npt.NDArray[Any], output: OutputColumn, kind: pa.DataType) -> pa.Array:
    """An output column of a type, from a model's output: [rows], or [numbers of a row, rows]."""
    if output.whole:
        flat = pa.array(scores.T.reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, scores.shape[0]).cast(kind)
    return pa.array(scores if scores.ndim == 1 else scores[output.index or 0], type=kind)


def columns_in_metadata(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names of a matrix's columns that a model brings; None where there is no list of names."""
    try:
        names = json.loads(metadata.get("columns") or "null")
    except json.JSONDecodeError:
        return None
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if listed else None


def matrix_columns(
    model: str,
    options: Options,
    model_columns: Sequence[str] | None,
    width: int | None,
    place: str = METADATA,
) -> list[str]:
    """The columns of a model's one matrix: the model's own, which the job's have to be, too.

    `place` says where the model's own stand, as part of a message.

    Raises:
        ModelError: there are none, the two lists differ, and the job does not say that its own is meant; one
            stands twice, or they are not `width` (None: as many as you like).
    """
    refuse_other_columns(model, options, model_columns, place)
    names = list(options.columns or model_columns or ())
    if not names:
        raise ModelError(
            f"{model}: takes one matrix, and nothing says which columns it is made of: name them in the "
            "job's model.columns"
            + (
                ", or as a JSON list in the model's metadata, key 'columns'"
                if place == METADATA
                else ", in the order of the training"
            )
        )
    if len(set(names)) != len(names):
        raise ModelError(f"{model}: a column stands twice in {names}", "columns")
    if width is not None and len(names) != width:
        by = " by the signature in its MLmodel" if options.columns_of_signature else ""
        raise ModelError(f"{model}: takes {width} columns; {len(names)} are named{by}: {names}", "columns")
    return names


def refuse_other_columns(
    model: str, options: Options, model_columns: Sequence[str] | None, where: str = METADATA
) -> None:
    """Raise unless the job's columns are the model's own, in the same order, where both are known.

    Raises:
        ModelError: they are not, and the job does not say that its own are meant; shows both lists.
    """
    job, own = list(options.columns or ()), list(model_columns or ())
    if not job or not own or job == own or options.columns_override:
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(job, own, strict=False)) if a != b), min(len(job), len(own))
    )
    first, second = (names[place] if place < len(names) else "nothing" for names in (job, own))
    said = "the job's model.columns"
    mend = "leave columns out, or say model.columns_override: true if the job's are meant"
    if options.columns_of_signature:
        said = "the columns of the signature in its MLmodel"
        mend = "save it again with the signature of the very columns of the training, in their order"
    raise ModelError(
        f"{model}: {said} are {_listed(job, place)}, and the model's own ({where}) are "
        f"{_listed(own, place)}; they differ first in number {place + 1}: {first} and {second}; {mend}",
        "columns",
    )


def _listed(names: Sequence[str], place: int) -> str:
    """A list of names, of a long one those around a place."""
    start = max(0, place - SHOWN // 2)
    some = [*(["…"] if start else []), *names[start : start + SHOWN]]
    return f"[{', '.join(some)}{', …' if len(names) > start + SHOWN else ''}]"
