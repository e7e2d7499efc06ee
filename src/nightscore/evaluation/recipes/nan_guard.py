"""What is no number stays no number: integers have no NaN, so a quantized network needs to be told."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from nightscore.evaluation.recipes.network import FLOATS, graph_inputs, observe_tensors, set_constant, wiring
from nightscore.evaluation.recipes.recipe import Feeds


def add_nan_guard(proto: onnx.ModelProto, reference: onnx.ModelProto, row: Feeds) -> onnx.ModelProto:
    """The graph, giving NaN where a NaN in a feature makes the reference give NaN; for infinities, too.

    QuantizeLinear makes a number out of a NaN (ONNX leaves open which), and a run would publish a score
    for a row without features. With s the sum of the features that the reference passes on, s - s is 0
    for numbers and NaN for all else; it is added to the outputs.

    Args:
        proto: a graph with the reference's inputs and outputs, of opset 13 or later.
        reference: the graph that it stands for.
        row: rows that the reference takes, of finite numbers; the first is tried with NaNs.
    """
    zeros = [
        _zero(proto, feature.name, columns, row[feature.name][0].size)
        for feature in graph_inputs(reference)
        if feature.type.tensor_type.elem_type == TensorProto.FLOAT
        and (columns := passed_on(reference, feature.name, row))
    ]
    outputs = [info for info in proto.graph.output if info.type.tensor_type.elem_type == TensorProto.FLOAT]
    for output in outputs if zeros else []:
        rank = len(output.type.tensor_type.shape.dim)
        set_constant(proto, f"{output.name}_guard_shape", np.array([-1] + [1] * (rank - 1), np.int64))
        bare = f"{output.name}_unguarded"
        _rename(proto, output.name, bare)
        proto.graph.node.append(helper.make_node("Sum", zeros, [f"{bare}_all"], f"{bare}_all"))
        proto.graph.node.append(
            helper.make_node(
                "Reshape", [f"{bare}_all", f"{output.name}_guard_shape"], [f"{bare}_zero"], f"{bare}_zero"
            )
        )
        proto.graph.node.append(helper.make_node("Add", [bare, f"{bare}_zero"], [output.name], f"{bare}_add"))
    return proto


def passed_on(reference: onnx.ModelProto, name: str, row: Feeds) -> list[int]:
    """The numbers of an input's row of which a NaN reaches an output of the reference."""
    size = row[name][0].size
    feeds = {key: np.repeat(value[:1], size, axis=0) for key, value in row.items()}
    feeds[name].reshape(size, -1)[np.diag_indices(size)] = np.nan
    outputs = [
        output.name for output in reference.graph.output if output.type.tensor_type.elem_type in FLOATS
    ]
    if not outputs:
        return []
    observed = next(observe_tensors(reference, [feeds], outputs))
    lost = np.any([np.isnan(array).reshape(size, -1).any(axis=1) for array in observed.values()], axis=0)
    return [int(i) for i in np.flatnonzero(lost)]


def _zero(proto: onnx.ModelProto, name: str, columns: list[int], width: int) -> str:
    """Nodes for s - s, where s is the sum of some numbers of each row: [rows]."""
    at = f"{name}_guard"
    for part, value in (("flat", [0, -1]), ("columns", columns), ("axis", [1])):
        set_constant(proto, f"{at}_{part}", np.array(value, np.int64))

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        output = f"{at}_{op}"
        proto.graph.node.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    taken = add("Reshape", name, f"{at}_flat")
    if len(columns) < width:
        taken = add("Gather", taken, f"{at}_columns", axis=1)
    total = add("ReduceSum", taken, f"{at}_axis", keepdims=0)
    return add("Sub", total, total)


def _rename(proto: onnx.ModelProto, old: str, new: str) -> None:
    wires = wiring(proto)
    for node in [wires.maker[old], *wires.takers.get(old, ())]:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                if name == old:
                    field[i] = new
