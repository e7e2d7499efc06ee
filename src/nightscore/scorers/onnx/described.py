"""What an .onnx file takes and gives."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.described import DescribedModel
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.onnx.session import Session

NUMBERS = ("tensor(float)", "tensor(double)")
CHANCES = re.compile("prob", re.IGNORECASE)
MOST_COLUMNS = 1_000  # of a matrix: a longer list of numbers a row is an embedding, or an image
UNKNOWN_WIDTH = "takes one matrix"


def describe_onnx(model: ModelFile) -> DescribedModel:
    """What a model takes and gives.

    Raises:
        ModelError: it is no ONNX model, or none that can score rows; says what would mend it.
    """
    session = Session(model, Options({}))
    metas = session.output_metas
    output = likely_output(metas)
    outputs, names = shown_outputs(session), tuple(meta.name for meta in metas)
    try:
        takes = open_onnx(model, Options({"score": output})).signature.inputs
    except ModelError as error:
        if UNKNOWN_WIDTH not in str(error):
            raise
        return DescribedModel(pa.schema([]), 0, output, outputs, names=names)
    width = _width(takes)
    domain = _said(session, "domain")
    return DescribedModel(
        pa.schema([]) if width else takes, width, output, outputs,
        said_outputs(session), _names(session, "days"), _names(session, "nullable"),
        domain if isinstance(domain, dict) else {}, names=names,
    )  # fmt: skip


def one_column(session: Session, kind: pa.DataType) -> pa.Schema:
    """The one column of a type that a model takes, by its metadata; empty where it does not name it."""
    own = session.columns() or ()
    return pa.schema([(own[0], kind)] if len(own) == 1 else [])


def likely_output(metas: Sequence[Any]) -> str:
    """An output as a job may want it."""
    return next(_likely(metas), metas[0].name)


def said_outputs(session: Session) -> dict[str, str]:
    """The outputs that a job is to have, as `nightscore.export` wrote them; empty where nothing did."""
    said = _said(session, "outputs")
    return said if isinstance(said, dict) else {}


def shown_outputs(session: Session) -> tuple[str, ...]:
    """All outputs as a person reads them."""
    return tuple(_shown(meta, session.classes.get(meta.name, ())) for meta in session.output_metas)


def _names(session: Session, key: str) -> frozenset[str]:
    said = _said(session, key)
    return frozenset(map(str, said) if isinstance(said, list) else ())


def _said(session: Session, key: str) -> Any:
    """What a model's metadata says under a key, in JSON; None where it does not."""
    try:
        return json.loads(session.metadata.get(key) or "null")
    except json.JSONDecodeError:
        return None


def _shown(meta: Any, classes: Sequence[int | str]) -> str:
    """An output as a person reads it."""
    of = f"; classes {', '.join(map(str, classes))}" if classes else ""
    return f"{meta.name} ({meta.type}, {list(meta.shape)}{of})"


def _width(takes: pa.Schema) -> int | None:
    """How many numbers a row the one matrix has that a model takes; None where columns have names."""
    kind = takes.types[0]
    is_list = len(takes) == 1 and pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type) or kind.list_size > MOST_COLUMNS:
        return None
    return int(kind.list_size)


def _likely(metas: Sequence[Any]) -> Iterator[str]:
    """Outputs as a job may want them, the likeliest first: the second of two chances, or one number."""
    numbers = [meta for meta in metas if meta.type in NUMBERS]
    for meta in numbers:
        width = _columns(meta)
        if CHANCES.search(meta.name) and width not in (0, 1):
            yield f"{meta.name}[1]" if width in (2, None) else f"{meta.name}[*]"
    yield from (meta.name for meta in numbers if _columns(meta) in (0, 1))
    yield from (f"{meta.name}[*]" for meta in numbers)


def _columns(meta: Any) -> int | None:
    """The columns of an output: 0 of one of rank 1, None where the file does not say."""
    width = meta.shape[1] if len(meta.shape) > 1 else 0
    return width if isinstance(width, int) else None
