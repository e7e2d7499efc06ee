"""Sentence models: a PyTorch module behind its tokenizer, in one .onnx file, as the kind `text` reads it."""

import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from nightscore.common import clipped, replace_bytes
from nightscore.exporting.comparison import distances
from nightscore.exporting.conversion import CannotConvert, Exported
from nightscore.exporting.graph import with_metadata
from nightscore.scorers import ModelFile, Options, open_scorer

OUTPUT = "text_embedding"  # no name that a module of the network may have as well
SCORE = "embedding"
EDGES = ("", " ", "\u2603 \u6f22\u5b57 \U0001f680", "0", "A" * 500)
MOST_TEXTS = 60
ADVICE = (
    "write forward(input_ids, attention_mask) of tensor operations alone, which gives [texts, n]; "
    "torch.onnx.export needs onnxscript: pip install 'nightscore[export-torch]'"
)

Floats = npt.NDArray[np.float64]


def export_texts(
    model: Any, given: Any, place: Path, tolerance: float, cut: tuple[Any, int | None]
) -> Exported:
    """Write the model of texts and what it gives for some; files as `nightscore.export`'s.

    `cut` is the tokenizer, and the most tokens of a text, each None where the model says it.

    Raises:
        CannotConvert: there is no converter for it, or it gives another model; says which text shows it.
    """
    column, texts = _texts(given)
    encode, module, tokens, length = _read(model, *cut)
    wanted = encode(texts)
    outputs = {SCORE: f"{OUTPUT}[*]"}
    data = with_metadata(
        _onnx(module),
        {"tokenizer": tokens.to_str(), "max_length": str(length), "columns": [column],
         "outputs": outputs, "trained_by": f"torch {torch.__version__}"},
    )  # fmt: skip
    file = ModelFile("the converted model", hashlib.sha256(data).hexdigest(), data)
    batch = pa.RecordBatch.from_pydict({column: texts})
    got = np.array(open_scorer("text", file, Options(outputs)).score(batch).column(0).to_pylist(), np.float64)
    far = distances(got, wanted)
    if (worst := far.max()) > tolerance:
        raise CannotConvert(
            f"the converter writes another model: {(far > tolerance).sum():,} of {len(texts):,} texts "
            f"differ by more than {tolerance:g}, most of all {clipped(texts[int(far.argmax())])}, by "
            f"{worst:.3g}"
        )
    table = pa.table({column: texts, SCORE: pa.array(wanted.tolist())})
    path, expected = place.with_name(f"{place.name}.onnx"), place.with_name(f"{place.name}_expected.parquet")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    replace_bytes(expected, buffer.getvalue())
    replace_bytes(path, data)
    return Exported(path, expected, outputs, len(texts), float(worst), tolerance, (), "text")


def _texts(given: Any) -> tuple[str, list[str]]:
    """The column's name, and texts: some as they are, and edges."""
    frame = given.to_frame() if isinstance(given, pd.Series) else given
    if not isinstance(frame, pd.DataFrame) or frame.shape[1] != 1 or not len(frame):
        raise CannotConvert("X has to be a DataFrame with one column of texts")
    texts = frame.iloc[:MOST_TEXTS, 0].dropna().tolist()
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise CannotConvert(f"X holds {clipped(odd[0])}; allowed: texts")
    return str(frame.columns[0]), [*texts, *EDGES, " ".join(texts)]


def _read(
    model: Any, tokenizer: Any, length: int | None
) -> tuple[Callable[[Sequence[str]], Floats], torch.nn.Module, Any, int]:
    """How the library embeds texts; the module of tokens; its tokenizer, and the most tokens of a text."""
    is_sentences = hasattr(model, "encode") and hasattr(model, "max_seq_length")
    tokens = tokenizer if tokenizer is not None else model.tokenizer
    tokens = getattr(tokens, "backend_tokenizer", tokens)
    tokens = type(tokens).from_str(tokens.to_str())  # the caller's own stays as it is
    cut = (tokens.truncation or {}).get("max_length")
    length = length or (model.max_seq_length if is_sentences else cut)
    if not length:
        raise CannotConvert("the tokenizer cuts no text: say max_length=…, the most tokens that training had")
    tokens.no_padding()
    tokens.enable_truncation(length, direction=(tokens.truncation or {}).get("direction", "right"))
    model.eval()
    module = _Sentences(model) if is_sentences else model

    def encode(texts: Sequence[str]) -> Floats:
        if is_sentences:
            return np.asarray(model.encode(list(texts)), np.float64)
        with torch.no_grad():
            rows = [_row(module, tokens.encode(text).ids) for text in texts]
        return np.vstack(rows)

    return encode, module, tokens, length


def _row(module: torch.nn.Module, ids: Sequence[int]) -> Floats:
    given = torch.tensor([list(ids) or [0]], dtype=torch.int64)
    mask = torch.full_like(given, 1 if ids else 0)
    scores = module(given, mask).cpu().numpy()
    if scores.ndim != 2 or len(scores) != 1:
        raise CannotConvert(
            f"forward() gives {scores.shape} for one text; allowed: [texts, n]: pool the tokens"
        )
    return np.asarray(scores, np.float64)


class _Sentences(torch.nn.Module):  # type: ignore[misc]
    """A SentenceTransformer as a module of tokens, all its steps one after the other."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Embeddings [texts, n]."""
        return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]


def _onnx(module: torch.nn.Module) -> bytes:
    example = torch.ones((2, 3), dtype=torch.int64)
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module, (example, example.clone()), str(path), input_names=["input_ids", "attention_mask"],
            output_names=[OUTPUT], dynamic_shapes=(sizes, sizes), external_data=False, dynamo=True,
            verbose=False,
        )  # fmt: skip
        return path.read_bytes()
