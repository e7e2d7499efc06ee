"""A BERT encoder that embeds sentences, as an ONNX graph, out of its weights; no framework is needed.

The network is that of Devlin et al., 2019 (https://arxiv.org/abs/1810.04805), section 3, with exact GELU; its
last layer is averaged over the tokens and scaled to length 1 (Reimers and Gurevych, 2019,
https://arxiv.org/abs/1908.10084, section 3). Operators are ONNX's own of opset 17; heads are split and masked
as PyTorch's exporter writes them: the pattern that ONNX Runtime fuses, and that quantizers look for.

    inputs   input_ids, attention_mask   int64 [batch, sequence]; 0 in the mask is padding
    output   embedding                   float [batch, width], of length 1
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, npt.NDArray[np.float32]]
MASKED = -10_000.0  # added to the score of a token of padding: its exponential is 0 in float32


def bert(weights: Weights, config: Mapping[str, Any]) -> onnx.ModelProto:
    """The graph.

    Args:
        weights: named as Hugging Face's BertModel names them; those of layers are [out, in].
        config: its config.json: num_hidden_layers, num_attention_heads, layer_norm_eps, hidden_act (gelu).
    """
    if config["hidden_act"] != "gelu":
        raise ValueError(f"hidden_act is {config['hidden_act']!r}; allowed: gelu")
    graph = _Graph(weights, config["num_attention_heads"], config["layer_norm_eps"])
    hidden, mask = graph.embeddings(), graph.mask()
    for number in range(config["num_hidden_layers"]):
        hidden = graph.layer(hidden, mask, f"encoder.layer.{number}.")
    graph.pooled(hidden)
    return graph.model()


class _Graph:
    """Nodes and initializers as they come; a method that adds nodes gives the name of what they give."""

    def __init__(self, weights: Weights, heads: int, epsilon: float) -> None:
        self.weights, self.heads, self.epsilon = weights, heads, epsilon
        self.width = weights["embeddings.word_embeddings.weight"].shape[1]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node, named by its kind and number."""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """A constant, once."""
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, value: float) -> str:
        """A float."""
        return self.constant(f"float_{value}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Integers in one dimension."""
        return self.constant("int_" + "_".join(map(str, values)), np.array(values, np.int64))

    def embeddings(self) -> str:
        """Of words, places and the one kind of sentence that there is, added and normalised."""
        words = self.constant("word_embeddings", self.weights["embeddings.word_embeddings.weight"])
        sentence = self.weights["embeddings.token_type_embeddings.weight"][0]
        places = self.weights["embeddings.position_embeddings.weight"] + sentence
        # Places are cut off at the sequence's length, which hides shapes from ONNX Runtime, and that is well:
        # SkipLayerNormalization, which it would fuse, takes 14 % more of the CPU's time (1.31, measured).
        shape = self.add("Shape", ["input_ids"])
        length = self.add("Slice", [shape, self.integers(1), self.integers(2)])
        here = self.add(
            "Slice", [self.constant("places", places), self.integers(0), length, self.integers(0)]
        )
        both = self.add("Add", [self.add("Gather", [words, "input_ids"]), here])
        return self.normalised(both, "embeddings.LayerNorm.")

    def mask(self) -> str:
        """0 for a token, MASKED for padding: float [batch, 1, 1, sequence]."""
        rows = self.add("Unsqueeze", ["attention_mask", self.integers(1)])
        spread = self.add("Cast", [self.add("Unsqueeze", [rows, self.integers(2)])], to=TensorProto.FLOAT)
        return self.add("Mul", [self.add("Sub", [self.number(1.0), spread]), self.number(MASKED)])

    def layer(self, hidden: str, mask: str, at: str) -> str:
        """Attention and the feed-forward network, each added to its input and normalised."""
        mixed = self.dense(
            self.attention(hidden, mask, f"{at}attention.self."), f"{at}attention.output.dense."
        )
        attended = self.normalised(self.add("Add", [mixed, hidden]), f"{at}attention.output.LayerNorm.")
        inner = self.gelu(self.dense(attended, f"{at}intermediate.dense."))
        outer = self.add("Add", [self.dense(inner, f"{at}output.dense."), attended])
        return self.normalised(outer, f"{at}output.LayerNorm.")

    def attention(self, hidden: str, mask: str, at: str) -> str:
        """softmax(Q K' / sqrt(size of a head) + mask) V, head by head."""
        size = self.width // self.heads
        query, value = (self.split(hidden, f"{at}{name}.", [0, 2, 1, 3]) for name in ("query", "value"))
        key = self.split(hidden, f"{at}key.", [0, 2, 3, 1])
        scores = self.add("Div", [self.add("MatMul", [query, key]), self.number(float(np.sqrt(size)))])
        shares = self.add("Softmax", [self.add("Add", [scores, mask])], axis=-1)
        joined = self.add("Transpose", [self.add("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        return self.add("Reshape", [joined, self.integers(0, 0, self.width)])

    def split(self, hidden: str, at: str, order: list[int]) -> str:
        """A projection, cut into heads: [batch, sequence, heads, size], with its dimensions in an order."""
        shape = self.integers(0, 0, self.heads, self.width // self.heads)
        return self.add("Transpose", [self.add("Reshape", [self.dense(hidden, at), shape])], perm=order)

    def dense(self, hidden: str, at: str) -> str:
        """A linear layer."""
        weight = self.constant(f"{at}weight", self.weights[f"{at}weight"].T)
        product = self.add("MatMul", [hidden, weight])
        return self.add("Add", [product, self.constant(f"{at}bias", self.weights[f"{at}bias"])])

    def gelu(self, hidden: str) -> str:
        """The Gaussian error linear unit, x (1 + erf(x / sqrt 2)) / 2."""
        erf = self.add("Erf", [self.add("Div", [hidden, self.number(float(np.sqrt(2)))])])
        product = self.add("Mul", [hidden, self.add("Add", [erf, self.number(1.0)])])
        return self.add("Mul", [product, self.number(0.5)])

    def normalised(self, hidden: str, at: str) -> str:
        """Layer normalisation."""
        names = [self.constant(f"{at}{part}", self.weights[f"{at}{part}"]) for part in ("weight", "bias")]
        return self.add("LayerNormalization", [hidden, *names], axis=-1, epsilon=self.epsilon)

    def pooled(self, hidden: str) -> None:
        """The mean of the tokens that are no padding, of length 1; of a text without a token, zeros."""
        spread = self.add("Unsqueeze", ["attention_mask", self.integers(2)])
        kept = self.add("Cast", [spread], to=TensorProto.FLOAT)
        total = self.add("ReduceSum", [self.add("Mul", [hidden, kept]), self.integers(1)], keepdims=0)
        count = self.add(
            "Max", [self.add("ReduceSum", [kept, self.integers(1)], keepdims=0), self.number(1e-9)]
        )
        mean = self.add("Div", [total, count])
        length = self.add("Max", [self.add("ReduceL2", [mean], axes=[1], keepdims=1), self.number(1e-12)])
        self.nodes.append(helper.make_node("Div", [mean, length], ["embedding"], name="embedding"))

    def model(self) -> onnx.ModelProto:
        """What was added, as a model."""
        tokens = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ]
        given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self.width])
        graph = helper.make_graph(self.nodes, "bert", tokens, [given], list(self.constants.values()))
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 9
        onnx.checker.check_model(made, full_check=True)
        return made
