"""Neurons and heads are found where they can be taken out, and only there."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nightscore.evaluation.recipes import prune
from nightscore.evaluation.recipes.heads import find_heads
from nightscore.evaluation.recipes.layers import neurons
from nightscore.evaluation.recipes.network import Array, constants, set_constant
from nightscore.evaluation.recipes.recipe import NoCandidate
from tests.evaluation.recipes.networks import (
    HEADS,
    INNER,
    SIZE,
    WIDTH,
    bert,
    difference,
    matrices,
    named,
    node,
    of_bert,
    of_mlp,
    rows,
)  # fmt: skip
from tests.scorers.models import graph

F = TensorProto.FLOAT


def idle(proto: onnx.ModelProto, axis: int, unit: int, groups: int) -> onnx.ModelProto:
    """The BERT, whose later layers don't look at some heads, or at some inner neurons."""
    shape = (WIDTH, WIDTH) if axis else (INNER, WIDTH)
    names = [
        node.input[1]
        for node in proto.graph.node
        if node.op_type == "MatMul" and constants(proto).get(node.input[1], np.zeros(0)).shape == shape
    ]
    for name in names[3::4] if axis else names:
        weight = constants(proto)[name].copy()
        weight[: unit * groups] = 0
        set_constant(proto, name, weight)
    return proto


@pytest.mark.parametrize(
    ("name", "axis", "unit", "groups"), [("heads", 1, SIZE, HEADS // 2), ("neurons", 0, 1, INNER // 2)]
)
def test_what_nobody_looks_at_goes_first(name: str, axis: int, unit: int, groups: int) -> None:
    """A transformer of whose heads, or inner neurons, half are idle gives the same with the other half."""
    reference = of_bert(idle(bert(), axis, unit, groups))
    data = named(prune.recipes(reference.model))[f"50 % of {name}"].make(reference)
    assert difference(data, reference) < 1e-4
    expected = [(WIDTH, WIDTH // 2)] * 3 + [(WIDTH // 2, WIDTH)] if axis else [(WIDTH, WIDTH)] * 4
    inner = INNER if axis else INNER // 2
    assert matrices(data) == [*[*expected, (WIDTH, inner), (inner, WIDTH)] * 2, (WIDTH, 1)]


def test_heads_and_neurons_go_together() -> None:
    """One ladder of three rungs for each, and one for both; sizes fall from rung to rung."""
    reference = of_bert()
    recipes = [one for one in prune.recipes(reference.model) if one.ladder]
    ladders = [one.ladder for one in recipes]
    assert ladders == ["neurons"] * 3 + ["heads"] * 3 + ["neurons and heads"] * 3
    sizes = {one.name: len(one.make(reference)) for one in recipes}
    for ladder in dict.fromkeys(ladders):
        rungs = [sizes[one.name] for one in recipes if one.ladder == ladder]
        assert sorted({len(reference.model.data), *rungs}, reverse=True) == [
            len(reference.model.data),
            *rungs,
        ]


def refused(nodes: list[onnx.NodeProto], outputs: dict[str, int], **weights: Array) -> onnx.ModelProto:
    shapes = {name: (F, [None, width]) for name, width in outputs.items()}
    rng = np.random.default_rng(0)
    every = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(4, 3)), **weights}
    return graph(nodes, {"X": (F, [None, 3])}, shapes, {n: w.astype(np.float32) for n, w in every.items()})


LEFT_ALONE: dict[str, Callable[[], onnx.ModelProto]] = {
    "an output": lambda: refused(
        [node("MatMul", "X", "a", "h"), node("MatMul", "h", "b", "y")], {"h": 4, "y": 3}
    ),
    "one layer": lambda: refused([node("MatMul", "X", "a", "y")], {"y": 4}),
    "a softmax between": lambda: refused(
        [node("MatMul", "X", "a", "h"), node("Softmax", "h", "s"), node("MatMul", "s", "b", "y")], {"y": 3}
    ),
    "a residual": lambda: refused(
        [node("MatMul", "X", "c", "h"), node("Add", "h", "X", "r"), node("MatMul", "r", "c", "y")],
        {"y": 3}, c=np.eye(3),
    ),
    "two functions of one": lambda: refused(
        [
            node("MatMul", "X", "a", "h"), node("Tanh", "h", "t"), node("MatMul", "h", "b", "p"),
            node("MatMul", "t", "b", "q"), node("Add", "p", "q", "y"),
        ], {"y": 3},
    ),
    "a product that is scaled": lambda: refused(
        [node("Gemm", "X", "a", "h"), node("Gemm", "h", "b", "y", alpha=0.5)], {"y": 3}
    ),
}  # fmt: skip


@pytest.mark.parametrize("proto", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_neurons_that_others_see_are_left_alone(proto: Callable[[], onnx.ModelProto]) -> None:
    """And the reason is said."""
    assert not list(neurons(proto()))
    reference = of_mlp(proto(), rows(99))
    with pytest.raises(NoCandidate, match="no hidden neurons to take out"):
        named(prune.recipes(reference.model))["neurons"].make(reference)


def test_a_weight_that_two_layers_share_is_cut_in_each_alone() -> None:
    """Three layers with one square matrix: the middle one loses rows and columns, the others one of them."""
    shared = np.random.default_rng(2).normal(size=(3, 3))
    nodes = [
        node("MatMul", "X", "c", "h"), node("Tanh", "h", "t"), node("MatMul", "t", "c", "i"),
        node("Tanh", "i", "u"), node("MatMul", "u", "c", "y"),
    ]  # fmt: skip
    reference = of_mlp(refused(nodes, {"y": 3}, c=shared), rows(99))
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    assert matrices(data) == [(3, 2), (2, 2), (2, 3)]


def test_a_mask_for_each_head_keeps_heads_where_they_are() -> None:
    """A bias of the scores that differs by head would no longer fit; a mask for all of them does."""

    def masked(shape: tuple[int, ...]) -> onnx.ModelProto:
        proto = bert()
        for one in list(proto.graph.node):
            if one.op_type == "Softmax":
                add = helper.make_node(
                    "Add", [one.input[0], "mask"], [f"{one.input[0]}_masked"], f"{one.name}_mask"
                )
                one.input[0] = add.output[0]
                proto.graph.node.insert(list(proto.graph.node).index(one), add)
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "mask"))
        return proto

    assert len(list(find_heads(masked((1, 1, 12, 12))))) == 2
    assert len(list(find_heads(masked((12, 12))))) == 2
    assert not list(find_heads(masked((1, HEADS, 12, 12))))
