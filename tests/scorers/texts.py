"""A BERT that is small enough for a test, behind a tokenizer for real product descriptions."""

import importlib.util
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from tokenizers import BertWordPieceTokenizer
from tokenizers.processors import TemplateProcessing

from nightscore.scorers.files.model_file import ModelFile

ROOT = Path(__file__).parents[2]
PRODUCTS = ROOT / "tests/data/retail_slice/products.parquet"
CONFIG = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64,
    "vocab_size": 300, "max_position_embeddings": 24, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}  # fmt: skip
MAX_LENGTH = 24


def script(name: str) -> Any:
    """A module of data/models/text, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"data/models/text/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def descriptions() -> list[str]:
    """Of the products of the slice, as a person might write them: different ones, some of them long."""
    columns = ["product_type", "product_category", "department", "package_size"]
    rows = pq.read_table(PRODUCTS, columns=columns).to_pylist()
    return sorted({", ".join(str(row[name]) for name in columns if row[name]).lower() for row in rows})


def weights(config: dict[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Random ones, named as Hugging Face's BertModel names them; the same on each call."""
    rng = np.random.default_rng(5)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,), "embeddings.LayerNorm.bias": (width,),
    }  # fmt: skip
    for number in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{number}."
        dense = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        dense |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width)}
        dense |= {"output.dense": (width, inner)}
        for name, shape in dense.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        for name in ("attention.output", "output"):
            shapes |= {f"{at}{name}.LayerNorm.{part}": (width,) for part in ("weight", "bias")}
    return {name: rng.normal(size=shape).astype(np.float32) / 3 for name, shape in shapes.items()}


@cache
def tokenizer_json(special: bool = True) -> str:
    """WordPiece with 300 words of the descriptions; with [CLS] and [SEP] around a text, or without.

    Its letters, then the words that come most often: the trainer of `tokenizers` takes another one of equals
    in each process.
    """
    made = BertWordPieceTokenizer({piece: number for number, piece in enumerate(_pieces())})
    if not special:
        made.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return str(made.to_str())


def _pieces() -> list[str]:
    words = Counter(re.findall(r"\w+|[^\w\s]", " ".join(descriptions())))
    letters = sorted(set("".join(words)))
    often = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *letters, *(f"##{letter}" for letter in letters), *often][: CONFIG["vocab_size"]]


def tiny() -> onnx.ModelProto:
    """The graph alone."""
    made: onnx.ModelProto = script("bert").bert(weights(CONFIG), CONFIG)
    return made


def with_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Three classes, out of the embedding, from a graph that wants token_type_ids, too."""
    head = np.random.default_rng(6).normal(size=(CONFIG["hidden_size"], 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(head, "head"))
    kinds = helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "sequence"])
    model.graph.input.append(kinds)
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["embedding", "head"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["classes"], axis=-1),
            helper.make_node("ReduceSum", ["token_type_ids"], ["kinds"], keepdims=0),
            helper.make_node("Cast", ["kinds"], ["no_kind"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["classes", "no_kind"], ["probabilities"]),
        ]
    )
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])
    model.graph.output.append(given)
    return model


def file(model: onnx.ModelProto, **metadata: str | None) -> ModelFile:
    """As a scorer takes it: with a tokenizer, the most tokens and a column; None leaves a key out."""
    columns = json.dumps(["text"])
    said = {"tokenizer": tokenizer_json(), "max_length": str(MAX_LENGTH), "columns": columns, **metadata}
    helper.set_model_props(model, {key: value for key, value in said.items() if value is not None})
    return ModelFile("m.onnx", "0" * 64, model.SerializeToString())
