"""Layers are left out by need, as few as keep the budget; calibration takes rows that are numbers."""

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nightscore.evaluation.recipes import quantize
from nightscore.evaluation.recipes.calibration import TOKENS, calibration_batches
from nightscore.evaluation.recipes.network import operators
from nightscore.evaluation.recipes.recipe import NoCandidate
from nightscore.evaluation.recipes.sensitivity import fewest
from tests.evaluation.recipes.networks import bert, difference, loaded, named, of_bert, of_mlp, rows
from tests.scorers.models import graph, mlp

SHARP = "int8 static, min-max, sensitive layers left out"


def uneven() -> onnx.ModelProto:
    """Four layers; the first takes an amount in the ten thousands beside a ratio on which all depends."""
    rng = np.random.default_rng(3)
    weights = {f"w{i}": rng.normal(size=(16, 16)).astype(np.float32) / 4 for i in (1, 2)}
    weights["w0"] = (rng.normal(size=(3, 16)) * [[1e-4], [3.0], [1.0]]).astype(np.float32)
    weights["y0"] = rng.normal(size=(16, 2)).astype(np.float32)
    nodes, x = [], "X"
    for i in range(3):
        nodes.append(helper.make_node("MatMul", [x, f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Tanh", [f"m{i}"], [f"h{i}"]))
        x = f"h{i}"
    nodes.append(helper.make_node("MatMul", [x, "y0"], ["y"]))
    kind = TensorProto.FLOAT
    return graph(nodes, {"X": (kind, [None, 3])}, {"y": (kind, [None, 2])}, weights)


def test_the_layer_that_suffers_stays_in_float() -> None:
    """Where one scale for all features wipes one out, that layer is left out and the others are int8."""
    x = rows(400) * np.array([2e4, 0.5, 0.5], np.float32)
    probes = []

    def keeps(data: bytes) -> bool:
        probes.append(difference(data, reference))
        return probes[-1] < 0.2

    reference = of_mlp(uneven(), x, keeps)
    recipes = named(quantize.recipes(reference.model))
    whole = recipes["int8 static, min-max"].make(reference)
    assert difference(whole, reference) > 0.2
    data = recipes[SHARP].make(reference)
    assert difference(data, reference) < 0.2
    assert len(probes) <= 8
    makers = {node.output[0]: node.op_type for node in onnx.load_model_from_string(data).graph.node}
    layers = [node for node in onnx.load_model_from_string(data).graph.node if node.op_type == "MatMul"]
    assert [makers.get(node.input[1]) for node in layers] == [None] + ["DequantizeLinear"] * 3


def test_no_layer_is_left_out_without_need() -> None:
    reference = of_mlp(mlp(), rows(100))
    with pytest.raises(NoCandidate, match="the budget is kept with all of them quantized"):
        named(quantize.recipes(reference.model))[SHARP].make(reference)


def test_a_budget_that_no_layer_keeps_is_said() -> None:
    reference = of_mlp(mlp(), rows(100), lambda _: False)
    with pytest.raises(NoCandidate, match="breaks even with all layers but the most robust one"):
        named(quantize.recipes(reference.model))[SHARP].make(reference)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(0, 70))
def test_the_fewest_are_found_by_a_few_probes(total: int, needed: int) -> None:
    """Bisection finds the least number that keeps the budget, or that none does, in log2(total) + 1."""
    probes = []
    found = fewest(total, lambda k: k, lambda k: (probes.append(k), k >= needed)[1])
    least = max(needed, 1)
    assert found == ((least, least) if least < total else None)
    assert len(probes) <= math.log2(total) + 1


def test_calibration_leaves_out_rows_that_are_no_numbers() -> None:
    """One NaN would be the range of every layer; without any rows there is no candidate."""
    x = rows(100)
    x[::2, 1], x[3, 0] = np.nan, np.inf
    found = calibration_batches([{"X": x}], 4)
    assert sum(len(piece["X"]) for piece in found) == 49
    assert all(np.isfinite(piece["X"]).all() for piece in found)
    with pytest.raises(NoCandidate, match="no rows to calibrate with"):
        calibration_batches([{"X": x[:1]}], 4)


def test_calibration_takes_texts_in_small_pieces() -> None:
    """A token is a long vector in every layer, all of which are in memory at once."""
    feeds = [{"ids": np.ones((500, 64), np.int64), "mask": np.ones((500, 64), np.int64)}] * 9
    found = calibration_batches(feeds, 16)
    assert len(found) == 16
    assert all(piece["ids"].size <= TOKENS for piece in found)


def test_a_gemm_and_a_table_are_left_out_like_any_layer() -> None:
    """quantize_dynamic makes a MatMul of a Gemm first; what is left out keeps its float32 weights."""
    reference = of_bert(bert(gemm=True))
    with quantize._quantizer(reference, quantize.SCHEMES["int8 dynamic, per channel"]) as (layers, make):
        whole, partly, none = (operators(loaded(make(some))) for some in (layers, layers[1:-1], layers[-1:]))
    assert whole["MatMulInteger"] == 13
    assert partly["MatMulInteger"] == 12
    assert none["MatMulInteger"] == 1
    assert [counts["DequantizeLinear"] for counts in (whole, partly, none)] == [1, 0, 0]
