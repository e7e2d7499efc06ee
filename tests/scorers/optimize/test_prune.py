"""Pruned networks are really smaller, what is left is the least-squares fit, and what is idle goes first."""

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from scorers.contract import Options
from scorers.model import ModelFile
from scorers.onnx import OnnxScorer
from scorers.optimize import prune, surgeon
from scorers.optimize.heads import heads
from scorers.optimize.layers import neurons
from scorers.optimize.network import Array, constants, read, results, set_constant
from scorers.optimize.recipe import Material, NoCandidate
from scorers.testing import check_scorer
from tests.scorers.models import COLUMNS, file, floats, graph, trees
from tests.scorers.optimize.networks import (
    HEADS, INNER, SIZE, WIDTH, accuracy, bert, digits, digits_file, made, material, named, of_bert, of_digits, texts
)  # fmt: skip

F = TensorProto.FLOAT


def loaded(data: bytes) -> onnx.ModelProto:
    return read(ModelFile("m", "0" * 64, data))


def matrices(data: bytes) -> list[tuple[int, ...]]:
    """The shapes of the weights, in the order of the layers."""
    proto = loaded(data)
    known = constants(proto)
    return [
        known[node.input[1]].shape
        for node in proto.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in known
    ]


def difference(data: bytes, other: Material) -> float:
    """The largest difference of an output, over all feeds."""
    pairs = zip(results(data, other.feeds), results(other.model.data, other.feeds), strict=True)
    return max(float(np.abs(found - wanted).max()) for found, wanted in pairs)


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def of_mlp(proto: onnx.ModelProto) -> Material:
    return material(file(proto, COLUMNS), Options({"low": "y[0]", "high": "y[1]"}), ({"X": rows(2000)},))


@pytest.mark.parametrize(("share", "shapes"), [
    (75, [(64, 96), (96, 48), (48, 10)]), (50, [(64, 64), (64, 32), (32, 10)]), (25, [(64, 32), (32, 16), (16, 10)]),
])  # fmt: skip
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_digits_are_recognised_by_fewer_neurons(activation: str, share: int, shapes: list[tuple[int, int]]) -> None:
    """Matrices get smaller; on images held out, half the neurons cost 2 hundredths of the accuracy at most."""
    reference = of_digits(digits_file(activation))
    data = named(prune.recipes(reference.model))[f"{share} % of neurons"].make(reference)
    assert matrices(reference.model.data) == [(64, 128), (128, 64), (64, 10)]
    assert matrices(data) == shapes
    assert len(data) < len(reference.model.data)
    assert accuracy(data) > accuracy(reference.model.data) - (0.05 if share == 25 else 0.02)


def test_the_pruned_graph_is_the_network_of_its_weights() -> None:
    """ONNX Runtime's scores of the smaller graph are those that NumPy makes of its matrices."""
    reference = of_digits()
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    proto = loaded(data)
    known, x = constants(proto), digits()[0][:50]
    for node in proto.graph.node:
        if node.op_type == "MatMul":
            x = x @ known[node.input[1]]
        elif node.op_type == "Add":
            x = x + next(known[name] for name in node.input if name in known)
        elif node.op_type == "Relu":
            x = np.maximum(x, 0)
    wanted = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    (found,) = results(data, [{"X": digits()[0][:50]}])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def doubled(transposed: bool) -> onnx.ModelProto:
    """A network of Gemms with 16 hidden neurons, of which the last 8 are the first 8 again."""
    rng = np.random.default_rng(0)
    first, bias = np.tile(rng.normal(size=(3, 8)), 2), np.tile(rng.normal(size=8), 2)
    second = rng.normal(size=(16, 2))
    weights = {"first": first, "b": bias, "second": second.T if transposed else second, "c": rng.normal(size=2)}
    nodes = [
        helper.make_node("Gemm", ["X", "first", "b"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "second", "c"], ["y"], transB=int(transposed)),
    ]
    floats_ = {name: value.astype(np.float32) for name, value in weights.items()}
    return graph(nodes, {"X": (F, [None, 3])}, {"y": (F, [None, 2])}, floats_)


@pytest.mark.parametrize("transposed", [False, True])
def test_neurons_that_say_the_same_become_one(transposed: bool) -> None:
    """Half of a network that has each neuron twice gives its scores: the next layer's weights are fitted again."""
    reference = of_mlp(doubled(transposed))
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    assert matrices(data) == [(3, 8), (2, 8) if transposed else (8, 2)]
    assert difference(data, reference) < 0.02


def test_what_constant_neurons_add_goes_to_the_bias() -> None:
    """Neurons that always give the same go first; without a bias behind them there is nowhere to put it."""
    rng = np.random.default_rng(1)
    first, bias = rng.normal(size=(3, 8)), np.zeros(8)
    first[:, 4:], bias[4:] = 0, 2
    weights = {"first": first, "b": bias, "second": rng.normal(size=(8, 2)), "c": np.zeros(2)}
    nodes = [
        helper.make_node("MatMul", ["X", "first"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "second"], ["n"]),
        helper.make_node("Add", ["n", "c"], ["y"]),
    ]
    small = {name: value.astype(np.float32) for name, value in weights.items()}
    reference = of_mlp(graph(nodes, {"X": (F, [None, 3])}, {"y": (F, [None, 2])}, small))
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    assert difference(data, reference) < 0.02


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 3), st.booleans(), st.data())
def test_what_is_left_is_the_least_squares_fit(
    seed: int, count: int, size: int, biased: bool, data: st.DataObject
) -> None:
    """Weights are those that NumPy's solver finds for the inputs that stay, and the first to go costs least."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, count * size)) @ rng.normal(size=(count * size, count * size))
    moments = surgeon.gram(x)
    weights = rng.normal(size=(count * size + biased, 2))
    squares = np.diagonal(moments)[:-1]
    damped = moments + np.diag(np.append(np.full(len(squares), surgeon.DAMPING * squares.mean()), 0))
    damped = damped[: len(weights), : len(weights)]
    stay, fitted = surgeon.remaining(moments, weights, size, data.draw(st.integers(1, count)))
    np.testing.assert_allclose(fitted, best(damped, weights, list(stay), count * size), atol=1e-6)
    one_less, _ = surgeon.remaining(moments, weights, size, count - 1)
    groups = np.arange(count * size).reshape(count, size)
    costs = []
    for group in groups:
        left = [i for i in range(count * size) if i not in group]
        change = best(damped, weights, left, count * size) - weights
        costs.append(np.trace(change.T @ damped @ change))
    gone = set(range(count * size)) - set(one_less)
    assert costs[min(gone) // size] == pytest.approx(min(costs), rel=1e-6)


def best(moments: Array, weights: Array, stay: list[int], inputs: int) -> Array:
    """The weights of some inputs (and the bias) whose outputs are nearest to those of all: normal equations."""
    kept = [*stay, *range(inputs, len(weights))]
    found = np.zeros_like(weights)
    found[kept] = np.linalg.solve(moments[np.ix_(kept, kept)], moments[kept] @ weights)
    return found


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


@pytest.mark.parametrize(("name", "axis", "unit", "groups"), [("heads", 1, SIZE, HEADS // 2), ("neurons", 0, 1, INNER // 2)])
def test_what_nobody_looks_at_goes_first(name: str, axis: int, unit: int, groups: int) -> None:
    """A transformer of whose heads, or inner neurons, half are idle gives the same with the other half."""
    reference = of_bert(idle(bert(), axis, unit, groups))
    data = named(prune.recipes(reference.model))[f"50 % of {name}"].make(reference)
    assert difference(data, reference) < 1e-4
    expected = [(WIDTH, WIDTH // 2)] * 3 + [(WIDTH // 2, WIDTH)] if axis else [(WIDTH, WIDTH)] * 4
    inner = INNER if axis else INNER // 2
    assert matrices(data) == [*(expected + [(WIDTH, inner), (inner, WIDTH)]) * 2, (WIDTH, 1)]


def test_heads_and_neurons_go_together() -> None:
    """One ladder of three rungs for each, and one for both; sizes fall from rung to rung."""
    reference = of_bert()
    recipes = [one for one in prune.recipes(reference.model) if one.ladder]
    ladders = [one.ladder for one in recipes]
    assert ladders == ["neurons"] * 3 + ["heads"] * 3 + ["neurons and heads"] * 3
    sizes = {one.name: len(one.make(reference)) for one in recipes}
    for ladder in dict.fromkeys(ladders):
        rungs = [sizes[one.name] for one in recipes if one.ladder == ladder]
        assert sorted({len(reference.model.data), *rungs}, reverse=True) == [len(reference.model.data), *rungs]


def test_every_candidate_keeps_the_contract_and_the_interface() -> None:
    """Rows that are no numbers, or huge, don't crash; where the reference gives NaN, so does a candidate."""
    odd = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf, 1, 2], [3e38, -3e38, 3e38], [0, 0, 0]], np.float32)
    for reference, chunk in ((of_mlp(doubled(False)), floats(20)), (of_bert(), texts(9))):
        before = onnx.load_model_from_string(reference.model.data)
        for name, data in made(prune.recipes(reference.model), reference):
            after = onnx.load_model_from_string(data)
            assert after.metadata_props == before.metadata_props, name
            assert after.graph.input == before.graph.input, name
            assert after.graph.output == before.graph.output, name
            check_scorer(OnnxScorer(ModelFile("m", "0" * 64, data), reference.options), chunk, 1e-5)
            if reference.options.outputs.keys() == {"low", "high"}:
                (found,), (wanted,) = (results(one, [{"X": odd}]) for one in (data, reference.model.data))
                assert np.isnan(found[0]).all()
                assert np.isnan(wanted[0]).all()
                assert np.isfinite(found[4]).all()


def refused(nodes: list[onnx.NodeProto], outputs: dict[str, int], **weights: Array) -> onnx.ModelProto:
    shapes = {name: (F, [None, width]) for name, width in outputs.items()}
    rng = np.random.default_rng(0)
    every = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(4, 3)), **weights}
    return graph(nodes, {"X": (F, [None, 3])}, shapes, {n: w.astype(np.float32) for n, w in every.items()})


def node(op: str, *names: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, names[:-1], names[-1:], **attributes)


LEFT_ALONE: dict[str, Callable[[], onnx.ModelProto]] = {
    "an output": lambda: refused([node("MatMul", "X", "a", "h"), node("MatMul", "h", "b", "y")], {"h": 4, "y": 3}),
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
    reference = of_mlp(proto())
    with pytest.raises(NoCandidate, match="no hidden neurons to take out"):
        named(prune.recipes(reference.model))["neurons"].make(reference)


def test_a_weight_that_two_layers_share_is_cut_in_each_alone() -> None:
    """Three layers with one square matrix: the middle one loses rows and columns, the others one of them."""
    shared = np.random.default_rng(2).normal(size=(3, 3))
    nodes = [
        node("MatMul", "X", "c", "h"), node("Tanh", "h", "t"), node("MatMul", "t", "c", "i"),
        node("Tanh", "i", "u"), node("MatMul", "u", "c", "y"),
    ]  # fmt: skip
    reference = of_mlp(refused(nodes, {"y": 3}, c=shared))
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    assert matrices(data) == [(3, 2), (2, 2), (2, 3)]


def test_a_mask_for_each_head_keeps_heads_where_they_are() -> None:
    """A bias of the scores that differs by head would no longer fit; a mask for all of them does."""
    def masked(shape: tuple[int, ...]) -> onnx.ModelProto:
        proto = bert()
        for one in list(proto.graph.node):
            if one.op_type == "Softmax":
                add = helper.make_node("Add", [one.input[0], "mask"], [f"{one.input[0]}_masked"], f"{one.name}_mask")
                one.input[0] = add.output[0]
                proto.graph.node.insert(list(proto.graph.node).index(one), add)
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "mask"))
        return proto

    assert len(list(heads(masked((1, 1, 12, 12))))) == 2
    assert len(list(heads(masked((12, 12))))) == 2
    assert not list(heads(masked((1, HEADS, 12, 12))))


def test_zeros_alone_are_refused() -> None:
    reference = of_digits()
    with pytest.raises(NoCandidate, match="zeros alone don't run faster"):
        named(prune.recipes(reference.model))["zeros"].make(reference)


def test_zeros_alone_run_no_faster() -> None:
    """Nine tenths of the weights at zero: the same processor time, within what a busy machine makes of it."""
    rng = np.random.default_rng(0)
    full = [rng.normal(size=(512, 512)).astype(np.float32) / 22 for _ in range(3)]
    sparse = [np.where(rng.random(w.shape) < 0.9, np.float32(0), w) for w in full]
    sessions = [chain_of(weights) for weights in (full, sparse)]
    x, taken = {"X": rng.normal(size=(512, 512)).astype(np.float32)}, ([], [])
    for _ in range(40):
        for session, times in zip(sessions, taken, strict=True):
            start = time.process_time()
            session.run(None, x)
            times.append(time.process_time() - start)
    assert min(taken[1]) > 0.7 * min(taken[0])


def chain_of(weights: list[Array]) -> ort.InferenceSession:
    nodes = [node("MatMul", f"x{i}" if i else "X", f"w{i}", f"x{i + 1}") for i in range(3)]
    named_ = {f"w{i}": weight for i, weight in enumerate(weights)}
    model = graph(nodes, {"X": (F, [None, 512])}, {"x3": (F, [None, 512])}, named_)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_trees_have_nothing_to_prune_here() -> None:
    assert not prune.recipes(file(trees()[1], COLUMNS))
