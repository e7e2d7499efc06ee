"""One row a text, out of one a token: the nodes behind a graph that gives [batch, sequence, n].

As sentence-transformers computes it: the mean over the tokens that the mask has, or the first token's;
divided by its length, but by no less than 1e-12. The nodes become part of the graph, and run where it does.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.outputs import parse_outputs
from nightscore.scorers.texts.settings import TextSettings

if TYPE_CHECKING:
    import onnx

POOLED = "sentence_embedding"  # the output of a graph that has all of this in it already, by its exporter
TOKENS, ROWS = 3, 2  # the ranks of an output a token and of one a text
OPSET = 13  # from which on the nodes below are what they are
FLOAT, MASK = 1, "attention_mask"  # onnx.TensorProto.FLOAT; an input of every model of texts

Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes
NUMBERS: dict[str, Any] = {
    "zero": np.array(0, np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
    "least": np.array(1e-9, np.float32), "shortest": np.array(1e-12, np.float32),
}  # fmt: skip
NODES: dict[str, list[Step]] = {
    "cls": [("Gather", ["raw", "zero"], "first", {"axis": 1}), ("Cast", ["first"], "row", {"to": FLOAT})],
    "mean": [
        ("Cast", ["raw"], "tokens", {"to": FLOAT}),
        ("Cast", [MASK], "mask", {"to": FLOAT}),
        ("Unsqueeze", ["mask", "two"], "kept", {}),
        ("Mul", ["tokens", "kept"], "masked", {}),
        ("ReduceSum", ["masked", "one"], "sum", {"keepdims": 0}),
        ("ReduceSum", ["kept", "one"], "count", {"keepdims": 0}),
        ("Max", ["count", "least"], "divisor", {}),
        ("Div", ["sum", "divisor"], "row", {}),
    ],
}
NORMALIZED: list[Step] = [
    ("Mul", ["row", "row"], "squares", {}),
    ("ReduceSum", ["squares", "one"], "square", {"keepdims": 1}),
    ("Sqrt", ["square"], "length", {}),
    ("Max", ["length", "shortest"], "by", {}),
    ("Div", ["row", "by"], "unit", {}),
]


def with_pooling(model: ModelFile, options: Options, settings: TextSettings) -> ModelFile:
    """The model, whose outputs in use have a row a text.

    Raises:
        ModelError: nothing says how tokens become a row, or what says it does not fit an output.
    """
    if not (model.about or options.settings):
        return model
    import onnx

    graph = onnx.load_model_from_string(model.data)
    ranks = {out.name: len(out.type.tensor_type.shape.dim) for out in graph.graph.output}
    used = dict.fromkeys(output.source for output in parse_outputs(options.outputs))
    pooled = [name for name in used if _is_pooled(model, name, ranks.get(name), options, settings)]
    if not pooled:
        _refuse_normalize(model, options)
        return model
    _refuse_old(model, graph)
    for name in pooled:
        _append(graph, name, settings)
    return dataclasses.replace(model, data=graph.SerializeToString(deterministic=True))


def _is_pooled(
    model: ModelFile, name: str, rank: int | None, options: Options, settings: TextSettings
) -> bool:
    said, own = options.settings.get("pooling"), settings.pooling
    if rank == TOKENS:
        if own in (None, "none"):
            raise not_pooled(model, name, own)
        return True
    if rank == ROWS and own in ("mean", "cls") and (said or name != POOLED):
        raise ModelError(
            f"{model.name}: output {name!r} has a row a text already, and pooling {own} is said by "
            f"{'the job' if said else 'its files'}; name the output that has a row a token",
            "text" if said else "outputs",
        )
    return False


def not_pooled(model: ModelFile, output: str, said: str | None) -> ModelError:
    """What is asked where an output has a row a token, and nothing is said of pooling, or none."""
    return ModelError(
        f"{model.name}: output {output!r} has a row a token, and {said or 'nothing'} is said of how they "
        "become one a text; say model.text.pooling: mean, or cls, as the model was trained (and normalize: "
        "true, where it was)",
        "text",
    )


def _refuse_normalize(model: ModelFile, options: Options) -> None:
    if options.settings.get("normalize"):
        raise ModelError(
            f"{model.name}: no output of the job has a row a token, and only what is pooled here is "
            "normalized; leave model.text.normalize out",
            "text",
        )


def _refuse_old(model: ModelFile, graph: "onnx.ModelProto") -> None:
    opset = next((entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OPSET:
        raise ModelError(
            f"{model.name}: is of opset {opset}; tokens are pooled from {OPSET} on: export again"
        )


def _append(model: "onnx.ModelProto", name: str, settings: TextSettings) -> None:
    """Put the nodes behind the output `name`, which is then what they give."""
    from onnx import numpy_helper

    graph, own = model.graph, f"nightscore.{name}."
    for node in graph.node:
        node.output[:] = [f"{own}raw" if output == name else output for output in node.output]
        node.input[:] = [f"{own}raw" if given == name else given for given in node.input]
    nodes = [*NODES[settings.pooling or ""], *(NORMALIZED if settings.normalize else ())]
    nodes.append(("Identity", [nodes[-1][2]], name, {}))
    graph.node.extend(_nodes(nodes, own, {MASK, name}))
    graph.initializer.extend(numpy_helper.from_array(value, own + key) for key, value in NUMBERS.items())
    kind = next(output for output in graph.output if output.name == name).type.tensor_type
    kind.elem_type = FLOAT
    del kind.shape.dim[1]


def _nodes(nodes: Sequence[Step], own: str, others: set[str]) -> Iterator["onnx.NodeProto"]:
    """Nodes whose names begin with `own`, but for those of `others`."""
    from onnx import helper

    def full(name: str) -> str:
        return name if name in others else own + name

    for operator, inputs, output, attributes in nodes:
        yield helper.make_node(operator, [full(one) for one in inputs], [full(output)], **attributes)
