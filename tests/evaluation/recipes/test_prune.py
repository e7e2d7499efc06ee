"""Pruned networks are really smaller, what is left is the least-squares fit, and what is idle goes first."""

import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nightscore.evaluation.recipes import prune, weight_update
from nightscore.evaluation.recipes.network import Array, constants, run_model
from nightscore.evaluation.recipes.recipe import NoCandidate
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.testing import check_scorer
from tests.evaluation.recipes.networks import (
    accuracy,
    difference,
    digits,
    digits_file,
    loaded,
    made,
    matrices,
    named,
    node,
    of_bert,
    of_digits,
    of_mlp,
    rows,
    texts,
)  # fmt: skip
from tests.scorers.models import COLUMNS, file, floats, graph, trees

F = TensorProto.FLOAT


@pytest.mark.parametrize(("share", "first", "second"), [(75, 96, 48), (50, 64, 32), (25, 32, 16)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_digits_are_recognised_by_fewer_neurons(activation: str, share: int, first: int, second: int) -> None:
    """Matrices get smaller; on images held out, half the neurons cost 2 points of accuracy at most."""
    reference = of_digits(digits_file(activation))
    data = named(prune.recipes(reference.model))[f"{share} % of neurons"].make(reference)
    assert matrices(reference.model.data) == [(64, 128), (128, 64), (64, 10)]
    assert matrices(data) == [(64, first), (first, second), (second, 10)]
    assert len(data) < len(reference.model.data)
    assert accuracy(data) > accuracy(reference.model.data) - (0.05 if share == 25 else 0.02)


def test_the_pruned_graph_is_the_network_of_its_weights() -> None:
    """ONNX Runtime's scores of the smaller graph are those that NumPy makes of its matrices."""
    reference = of_digits()
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    proto = loaded(data)
    known, x = constants(proto), digits()[0][:50]
    for one in proto.graph.node:
        if one.op_type == "MatMul":
            x = x @ known[one.input[1]]
        elif one.op_type == "Add":
            x = x + next(known[name] for name in one.input if name in known)
        elif one.op_type == "Relu":
            x = np.maximum(x, 0)
    wanted = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    (found,) = run_model(data, [{"X": digits()[0][:50]}])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def doubled(transposed: bool) -> onnx.ModelProto:
    """A network of Gemms with 16 hidden neurons, of which the last 8 are the first 8 again."""
    rng = np.random.default_rng(0)
    first, bias = np.tile(rng.normal(size=(3, 8)), 2), np.tile(rng.normal(size=8), 2)
    second = rng.normal(size=(16, 2))
    weights = {
        "first": first,
        "b": bias,
        "second": second.T if transposed else second,
        "c": rng.normal(size=2),
    }
    nodes = [
        helper.make_node("Gemm", ["X", "first", "b"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "second", "c"], ["y"], transB=int(transposed)),
    ]
    floats_ = {name: value.astype(np.float32) for name, value in weights.items()}
    return graph(nodes, {"X": (F, [None, 3])}, {"y": (F, [None, 2])}, floats_)


@pytest.mark.parametrize("transposed", [False, True])
def test_neurons_that_say_the_same_become_one(transposed: bool) -> None:
    """Half of a network that has each neuron twice gives its scores: the next layer is fitted again."""
    reference = of_mlp(doubled(transposed), rows(2000))
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
    reference = of_mlp(graph(nodes, {"X": (F, [None, 3])}, {"y": (F, [None, 2])}, small), rows(2000))
    data = named(prune.recipes(reference.model))["50 % of neurons"].make(reference)
    assert difference(data, reference) < 0.02


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 3), st.booleans(), st.data())
def test_what_is_left_is_the_least_squares_fit(
    seed: int, count: int, size: int, biased: bool, data: st.DataObject
) -> None:
    """Weights are those that NumPy's solver finds for what stays, and what goes first costs least."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, count * size)) @ rng.normal(size=(count * size, count * size))
    moments = weight_update.gram(x)
    weights = rng.normal(size=(count * size + biased, 2))
    squares = np.diagonal(moments)[:-1]
    damped = moments + np.diag(np.append(np.full(len(squares), weight_update.DAMPING * squares.mean()), 0))
    damped = damped[: len(weights), : len(weights)]
    stay, fitted = weight_update.prune_groups(moments, weights, size, data.draw(st.integers(1, count)))
    np.testing.assert_allclose(fitted, best(damped, weights, list(stay), count * size), atol=1e-6)
    one_less, _ = weight_update.prune_groups(moments, weights, size, count - 1)
    groups = np.arange(count * size).reshape(count, size)
    costs = []
    for group in groups:
        left = [i for i in range(count * size) if i not in group]
        change = best(damped, weights, left, count * size) - weights
        costs.append(np.trace(change.T @ damped @ change))
    gone = set(range(count * size)) - set(one_less)
    assert costs[min(gone) // size] == pytest.approx(min(costs), rel=1e-6)


def best(moments: Array, weights: Array, stay: list[int], inputs: int) -> Array:
    """The weights of some inputs (and the bias) whose outputs are nearest: the normal equations."""
    kept = [*stay, *range(inputs, len(weights))]
    found = np.zeros_like(weights)
    found[kept] = np.linalg.solve(moments[np.ix_(kept, kept)], moments[kept] @ weights)
    return found


@pytest.mark.slow
def test_candidates_keep_the_contract_and_the_interface() -> None:
    """Rows that are no numbers, or huge, don't crash; where the reference gives NaN, so does a candidate."""
    odd = np.array(
        [[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf, 1, 2], [3e38, -3e38, 3e38], [0, 0, 0]], np.float32
    )
    for reference, chunk in ((of_mlp(doubled(False), rows(2000)), floats(20)), (of_bert(), texts(9))):
        before = onnx.load_model_from_string(reference.model.data)
        rungs = [one for one in prune.recipes(reference.model) if one.name.startswith("50 %")]
        for name, data in made(rungs, reference):
            after = onnx.load_model_from_string(data)
            assert after.metadata_props == before.metadata_props, name
            assert after.graph.input == before.graph.input, name
            assert after.graph.output == before.graph.output, name
            check_scorer(OnnxScorer(ModelFile("m", "0" * 64, data), reference.options), chunk, 1e-5)
            if reference.options.outputs.keys() == {"low", "high"}:
                (found,), (wanted,) = (run_model(one, [{"X": odd}]) for one in (data, reference.model.data))
                assert np.isnan(found[0]).all()
                assert np.isnan(wanted[0]).all()
                assert np.isfinite(found[4]).all()


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
