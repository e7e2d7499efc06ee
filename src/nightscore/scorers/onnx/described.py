"""What an .onnx file takes and gives, for whoever writes a job for it."""

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
    output = next(_likely(metas), metas[0].name)
    outputs = tuple(_shown(meta, session.classes.get(meta.name, ())) for meta in metas)
    try:
        takes = open_onnx(model, Options({"score": output})).signature.inputs
    except ModelError as error:
        if UNKNOWN_WIDTH not in str(error):
            raise
        return DescribedModel(pa.schema([]), 0, output, outputs)
    width = _width(takes)
    scores, domain = _said(session, "outputs"), _said(session, "domain")
    return DescribedModel(
        pa.schema([]) if width else takes, width, output, outputs,
        scores if isinstance(scores, dict) else {}, _names(session, "days"), _names(session, "nullable"),
        domain if isinstance(domain, dict) else {},
    )  # fmt: skip


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


def _likely(metas: list[Any]) -> Iterator[str]:
    """Outputs as a job may want them, the likeliest first: the second chance, else one number a row."""
    numbers = [meta for meta in metas if meta.type in NUMBERS]
    yield from (f"{m.name}[1]" for m in numbers if CHANCES.search(m.name) and _columns(m) not in (0, 1))
    yield from (meta.name for meta in numbers if _columns(meta) in (0, 1))
    yield from (f"{meta.name}[*]" for meta in numbers)


def _columns(meta: Any) -> int | None:
    """The columns of an output: 0 of one of rank 1, None where the file does not say."""
    width = meta.shape[1] if len(meta.shape) > 1 else 0
    return width if isinstance(width, int) else None
