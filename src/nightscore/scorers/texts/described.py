"""What a model of texts takes and gives: one column of texts, and a row a text."""

from collections.abc import Iterator

import pyarrow as pa

from nightscore.scorers.contract import Options
from nightscore.scorers.described import DescribedModel
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.described import likely_output, one_column, said_outputs, shown_outputs
from nightscore.scorers.onnx.session import Session
from nightscore.scorers.texts.pooling import POOLED, TOKENS, not_pooled
from nightscore.scorers.texts.scorer import NEEDED, check_inputs, refuse_no_length, said_of
from nightscore.scorers.texts.settings import TOKENIZER, TextSettings, text_settings

KIND = "text"


def describe_text(model: ModelFile) -> DescribedModel | None:
    """What a model takes and gives; None of one that takes no tokens.

    Raises:
        ModelError: it takes tokens, and has no tokenizer, or is none that this kind can score.
    """
    if not all(name.encode() in model.data for name in NEEDED):
        return None
    session = Session(model, Options({}))
    if not set(NEEDED) <= {meta.name for meta in session.inputs}:
        return None
    check_inputs(session)
    settings = text_settings(model, Options({}))
    output, width = _output(session)
    return DescribedModel(
        one_column(session, pa.string()), None, output, shown_outputs(session),
        said_outputs(session), kind=KIND, one=pa.string(),
        asks=tuple(_asks(model, session, settings, output if width == TOKENS else "")),
        names=tuple(meta.name for meta in session.output_metas),
    )  # fmt: skip


def _output(session: Session) -> tuple[str, int]:
    """An output to begin with, and its rank: what the exporter pooled, or else what is to be pooled."""
    metas = session.output_metas
    pooled = [meta for meta in metas if meta.name == POOLED]
    tokens = [meta for meta in metas if len(meta.shape) == TOKENS]
    chosen = pooled or tokens or metas
    return likely_output(chosen), len(chosen[0].shape)


def _asks(model: ModelFile, session: Session, settings: TextSettings, tokens: str) -> Iterator[str]:
    """What is still to be said; `tokens` is the output that has a row a token, empty: a row a text."""
    said = said_of(session, model, settings)
    if not said.tokenizer:
        raise ModelError(
            f"{model.name}: takes {', '.join(NEEDED)}, as models of texts do, and its tokenizer is not "
            f"there: put its {TOKENIZER} beside it, as Hugging Face has it (docs/scorers.md)"
        )
    if tokens and settings.pooling in (None, "none"):
        yield _without_name(model, not_pooled(model, tokens.partition("[")[0], settings.pooling))
    try:
        refuse_no_length(session, said)
    except ModelError as error:
        yield _without_name(model, error)


def _without_name(model: ModelFile, error: ModelError) -> str:
    return str(error).removeprefix(f"{model.name}: ")
