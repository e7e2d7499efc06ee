"""Quantized networks keep the interface, their rows' independence and their NaNs."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from nightscore.evaluation.recipes import quantize
from nightscore.evaluation.recipes.network import Array, operators, parse_model, run_model
from nightscore.evaluation.recipes.recipe import Material, NoCandidate
from nightscore.scorers.contract import Options
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.testing import check_scorer
from tests.evaluation.recipes.networks import (
    DIGITS,
    SCORE,
    accuracy,
    bert,
    difference,
    digits,
    digits_file,
    made,
    material,
    named,
    of_bert,
    of_digits,
    of_mlp,
    rows,
    texts,
)  # fmt: skip
from tests.scorers.models import COLUMNS, file, floats, graph, mlp, trees


def opened(data: bytes, options: Options) -> OnnxScorer:
    return OnnxScorer(ModelFile("m", "0" * 64, data), options)


def test_trees_are_told_why_int8_does_nothing() -> None:
    """onnxruntime#11436: quantize_dynamic gives the same trees back, and says nothing."""
    reference = material(file(trees()[1], COLUMNS), Options({"p": "probabilities[1]"}), ())
    recipe = named(quantize.recipes(reference.model))["int8"]
    with pytest.raises(
        NoCandidate, match=r"int8 does nothing for .*TreeEnsembleClassifier.*no MatMul, Gemm or Conv"
    ):
        recipe.make(reference)


def test_doubles_are_told_why_int8_does_nothing() -> None:
    reference = of_mlp(mlp(TensorProto.DOUBLE), rows(10).astype(np.float64))
    with pytest.raises(NoCandidate, match="takes float32; the weights of MatMul_0, MatMul_2 are float64"):
        named(quantize.recipes(reference.model))["int8"].make(reference)


CASES: dict[str, Callable[[], Material]] = {
    "a network": of_digits,
    "a network of tanh": lambda: of_digits(digits_file("tanh")),
    "a network of an old opset": lambda: of_digits(digits_file(opset=11)),
    "a transformer": of_bert,
    "a transformer with a Gemm": lambda: of_bert(bert(gemm=True)),
}


@pytest.mark.parametrize("reference", CASES.values(), ids=CASES.keys())
@pytest.mark.sample(1)
def test_every_candidate_takes_the_references_place(reference: Callable[[], Material]) -> None:
    """Inputs, outputs and metadata are the reference's, the file is smaller, scores are near."""
    one = reference()
    network = one.options is DIGITS
    before = onnx.load_model_from_string(one.model.data)
    candidates = dict(made(quantize.recipes(one.model), one))
    wanted = {"int8 static, min-max", "int8 static, percentile", "int8 static, entropy", "float16"}
    assert set(candidates) == wanted | (set() if network else {"int8 dynamic", "int8 dynamic, per channel"})
    for name, data in candidates.items():
        after = onnx.load_model_from_string(data)
        assert after.metadata_props == before.metadata_props, name
        assert after.graph.input == before.graph.input, name
        assert after.graph.output == before.graph.output, name
        assert len(data) < len(one.model.data), name
        assert difference(data, one) < (0.2 if network else 0.7), name


@pytest.mark.slow
def test_every_candidate_keeps_the_scorers_contract() -> None:
    """Static int8 and float16 to the last bits, whatever a row's neighbours are.

    One scale a batch makes a row of a transformer depend on its neighbours, within the error of 8 bits.
    """
    for reference, chunk in ((of_mlp(mlp(), rows(300)), floats(20)), (of_bert(), texts(9))):
        for name, data in made(quantize.recipes(reference.model), reference):
            check_scorer(opened(data, reference.options), chunk, 0.3 if "dynamic" in name else 2e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_digits_are_recognised_as_before(activation: str) -> None:
    """On images held out, int8 and float16 lose a hundredth of the accuracy at most, and are smaller."""
    reference = of_digits(digits_file(activation))
    before = accuracy(reference.model.data)
    assert before > 0.93
    for name, data in made(quantize.recipes(reference.model), reference):
        assert accuracy(data) > before - 0.01, name
        assert len(data) < len(reference.model.data) * (0.7 if name == "float16" else 0.4), name


def test_one_scale_for_a_batch_is_refused_where_features_are_floats() -> None:
    """What the reason says is so: with quantize_dynamic an outlier moves other rows, infinity ends them."""
    reference = of_digits()
    for name in ("int8 dynamic", "int8 dynamic, per channel"):
        with pytest.raises(NoCandidate, match="one outlier changes its neighbours' scores"):
            named(quantize.recipes(reference.model))[name].make(reference)
    with quantize.quiet_scratch_folder() as folder:
        quantize_dynamic(onnx.load_model_from_string(reference.model.data), folder / "q.onnx")
        dynamic = (folder / "q.onnx").read_bytes()
    plain = digits()[0][:64]
    odd = [spoilt(plain, 0, np.inf), spoilt(plain, 0, 1e3)]
    wanted, lost, moved = run_model(dynamic, [{"X": plain}, *({"X": x} for x in odd)])
    assert np.isnan(lost).all()
    assert np.abs(moved[1:] - wanted[1:]).max() > 0.1


def spoilt(x: Array, column: int, value: float) -> Array:
    """The rows with another value in the first of them."""
    found = x.copy()
    found[0, column] = value
    return found


def imputed() -> onnx.ModelProto:
    """A network that has a number for a missing value of its first column."""
    given, model = ("X", "x"), mlp()
    for node in model.graph.node:
        node.input[:] = [given[1] if name == given[0] else name for name in node.input]
    first = np.array([[True, False, False]])
    model.graph.initializer.extend(
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(np.float32(0.5), "instead")]
    )
    nodes = [
        helper.make_node("IsNaN", ["X"], ["missing"]),
        helper.make_node("And", ["missing", "first_column"], ["filled"]),
        helper.make_node("Where", ["filled", "instead", "X"], ["x"]),
        *model.graph.node,
    ]
    model.graph.initializer[-2].name = "first_column"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("imputes", [False, True])
def test_a_nan_stays_one(imputes: bool) -> None:
    """Integers have no NaN: without care a row without features gets a score, and nobody hears of it.

    Nor is an infinity a number. Where the reference has a number for a missing value, so has the candidate.
    """
    reference = of_mlp(imputed() if imputes else mlp(), rows(500))
    plain = rows(6)
    odd = plain.copy()
    odd[0, 0], odd[1, 1], odd[2, 2], odd[3, :] = np.nan, np.nan, np.inf, 3e38
    (wanted,) = run_model(reference.model.data, [{"X": odd}])
    candidates = dict(made(quantize.recipes(reference.model), reference))
    assert len(candidates) == 4
    for name, data in candidates.items():
        if name == "float16":
            continue
        (found,) = run_model(data, [{"X": odd}])
        assert np.isnan(found[:3]).tolist() == np.isnan(wanted[:3]).tolist(), name
        assert np.isnan(found[0]).any() != imputes
        (alone,) = run_model(data, [{"X": plain}])
        np.testing.assert_array_equal(found[4:], alone[4:], err_msg=name)


def test_full_range_weights_do_not_saturate_here_unless_said_so() -> None:
    """Sums of 8-bit products are exact on processors with VNNI; without it weights get 7 bits."""
    left, right = np.full((64, 256), 255, np.uint8), np.full((256, 64), 127, np.int8)
    node = helper.make_node("MatMulInteger", ["X", "W"], ["y"])
    model = graph(
        [node], {"X": (TensorProto.UINT8, [None, 256])}, {"y": (TensorProto.INT32, [None, 64])}, {"W": right}
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    exact = bool((session.run(None, {"X": left})[0] == 255 * 127 * 256).all())
    assert exact or quantize._saturates()


def test_a_convolution_is_quantized_with_what_lies_around_it() -> None:
    """An image network: normalization folded into the convolution, which runs on integers."""
    rng = np.random.default_rng(5)
    weights = {
        name: (np.abs(rng.normal(size=size)) + least).astype(np.float32)
        for names, size, least in ((("scale", "shift", "mean", "spread"), 4, 1), (("w",), (144, 2), 0))
        for name in names
    }
    weights["k"] = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["X", "k"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "spread"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    kind = TensorProto.FLOAT
    model = graph(nodes, {"X": (kind, [None, 1, 8, 8])}, {"y": (kind, [None, 2])}, weights)
    feeds = ({"X": rng.normal(size=(200, 1, 8, 8)).astype(np.float32)},)
    reference = material(file(model), Options({"low": "y[0]", "high": "y[1]"}), feeds)
    data = named(quantize.recipes(reference.model))["int8 static, min-max"].make(reference)
    counts = operators(onnx.load_model_from_string(data))
    assert not counts["BatchNormalization"]
    spread = float(run_model(reference.model.data, feeds)[0].std())
    assert difference(data, reference) < 0.2 * spread
    odd = feeds[0]["X"][:3].copy()
    odd[1, 0, 4, 4] = np.nan
    assert np.isnan(run_model(data, [{"X": odd}])[0]).any(axis=1).tolist() == [False, True, False]


def test_what_is_quantized_is_no_candidate_again() -> None:
    """A quantized file has no layer with float32 weights left: the reason is said instead."""
    reference = of_bert()
    data = named(quantize.recipes(reference.model))["int8 dynamic, per channel"].make(reference)
    assert set(operators(parse_model(ModelFile("m", "0" * 64, data)))) >= {
        "MatMulInteger",
        "DynamicQuantizeLinear",
    }
    again = ModelFile("m", "0" * 64, data)
    with pytest.raises(NoCandidate, match="int8 does nothing"):
        named(quantize.recipes(again))["int8"].make(of_bert(model=again))


def test_nothing_is_printed_or_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    reference = material(file(bert()), SCORE, of_bert().feeds)
    assert dict(made(quantize.recipes(reference.model), reference))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
