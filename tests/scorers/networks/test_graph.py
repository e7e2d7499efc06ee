"""Which graphs are light networks: what exporters write; all else is refused by name."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ModelError
from nightscore.scorers.networks import NotNetwork, open_networks
from nightscore.scorers.networks.network import MOST_BYTES, MOST_STEPS
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.registry import variants_of_kind
from nightscore.scorers.variant import PLAIN_ONNX, Variant
from tests.scorers.models import file, graph, trees
from tests.scorers.networks.drawn import chunk, drawn, names, numbers, opened

FLOAT, DOUBLE, INTEGER = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
Node = tuple[str, list[str], dict[str, Any]]  # operator, its inputs, its attributes; outputs are v0, v1, …, y
WEIGHTS = {
    "w": np.ones((3, 2), np.float32), "b": np.ones(2, np.float32), "one": np.float32(1),
    "square": np.ones((3, 3), np.float32), "tall": np.ones((3, 1), np.float32),
    "deep": np.ones((1, 1, 3), np.float32),
    "rows": np.array([-1], np.int64), "whole": np.ones((3, 2), np.float64), "no": np.array(False),
    "cut": np.array([3, -1], np.int64), "three": np.ones(3, np.float32),
}  # fmt: skip
GEMM: Node = ("Gemm", ["X", "w", "b"], {})


def made(*nodes: Node, kind: int = FLOAT, shape: Any = (None, 3), opset: int = 17) -> onnx.ModelProto:
    """A graph of nodes one after the other, over a matrix X."""
    outputs = [*(f"v{i}" for i in range(len(nodes) - 1)), "y"]
    each = [
        helper.make_node(
            op, inputs, [out], domain="ai.onnx.ml" if op in ("Scaler", "ZipMap") else "", **attributes
        )
        for (op, inputs, attributes), out in zip(nodes, outputs, strict=True)
    ]
    weights = {name: np.asarray(value) for name, value in WEIGHTS.items()}
    model = graph(each, {"X": (kind, list(shape))}, {"y": (FLOAT, [None, None])}, weights)
    model.opset_import[0].version = opset
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return model


def rows(count: int, columns: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, columns)).astype(np.float32)


def scikit(model: Any, labels: Callable[[npt.NDArray[Any]], Any]) -> tuple[Any, onnx.ModelProto]:
    """A trained model of scikit-learn's, and what its exporter makes of it."""
    x = rows(200, 4)
    fitted = model.fit(x, labels(x[:, 0] + x[:, 1] * x[:, 2]))
    options = {} if not hasattr(fitted, "predict_proba") else {"zipmap": False}
    return fitted, to_onnx(fitted, x[:1], options={id(fitted): options} if options else None)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_what_scikit_learn_exports(activation: str, classes: int) -> None:
    """Regressors, and classifiers of two classes and of three, behind a scaler: the library's own scores."""
    kind = MLPClassifier if classes else MLPRegressor
    network = kind(hidden_layer_sizes=(12, 7), activation=activation, max_iter=20, random_state=0)
    fitted, model = scikit(
        make_pipeline(StandardScaler(), network) if classes != 2 else network,
        lambda y: np.digitize(y, np.linspace(-1, 1, classes + 1)[1:-1]) if classes else y,
    )
    output = "probabilities[*]" if classes else "variable[*]"
    x = rows(150, 4)
    ours, theirs = (numbers(scorer.score(chunk(x))) for scorer in opened(model, 4, output))
    truth = fitted.predict_proba(x) if classes else fitted.predict(x)[:, None]
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_what_pytorch_exports() -> None:
    """As torch.onnx writes it: rows of weights, a Dropout of inference, Flatten, one value a row."""
    network = drawn(5, [(8, "gemm of rows", "dropout", "Relu"), (1, "gemm of rows", "flatten", "Sigmoid")], 2)
    for op, axes in (("Squeeze", [-1]), ("Squeeze", [1]), ("Reshape", [-1])):
        once = drawn(
            5, [(8, "gemm of rows", "dropout", "Relu"), (1, "gemm of rows", "flatten", "Sigmoid")], 2
        )
        once.add(op, np.array(axes, np.int64))
        ours, theirs = opened(once.model([None]), 5, "y")
        assert ours.signature == theirs.signature
        x = rows(100, 5)
        np.testing.assert_allclose(numbers(ours.score(chunk(x))), network.truth(x), atol=1e-6)


def test_columns_with_inputs_of_their_own() -> None:
    """Doubles and integers that are cast, side by side in another order than that of the inputs."""
    nodes = [
        helper.make_node("Concat", ["c", "a"], ["whole"], axis=1),
        helper.make_node("Cast", ["whole"], ["floats"], to=FLOAT),
        helper.make_node("Cast", ["b"], ["count"], to=FLOAT),
        helper.make_node("Concat", ["floats", "count"], ["all"], axis=-1),
        helper.make_node("MatMul", ["all", "w"], ["y"]),
    ]
    given = {"a": (DOUBLE, [None, 1]), "b": (INTEGER, [None, 1]), "c": (DOUBLE, [None, 1])}
    weights = np.array([[1], [10], [100]], np.float32)
    model = file(graph(nodes, given, {"y": (FLOAT, [None, 1])}, {"w": weights}))
    batch = pa.RecordBatch.from_pydict({"b": [1, 2, 3], "a": [0.5, -1.0, 1 / 3], "c": [0.25, 7.0, 1e-3]})
    ours, theirs = (kind(model, Options({"y": "y"})) for kind in (open_networks, open_onnx))
    expected = np.array([100.0 + 5.25, 200 - 10 + 7, 300 + 10 / 3 + 1e-3])
    np.testing.assert_allclose(numbers(ours.score(batch))[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(numbers(ours.score(batch)), numbers(theirs.score(batch)), rtol=1e-6)
    assert {field.name: field.type for field in ours.signature.inputs} == {
        field.name: field.type for field in theirs.signature.inputs
    }


REFUSED: Mapping[str, tuple[onnx.ModelProto, str]] = {
    "alpha": (made(("Gemm", ["X", "w", "b"], {"alpha": 0.5})), "Gemm with alpha 0.5"),
    "beta": (made(("Gemm", ["X", "w", "b"], {"beta": 2.0})), "Gemm with beta 2.0"),
    "transA": (made(("Gemm", ["X", "w", "b"], {"transA": 1}), shape=(None, 3)), "Gemm with transA 1"),
    "weights first": (made(("MatMul", ["square", "X"], {})), "MatMul whose input 2"),
    "weights of a product": (made(("MatMul", ["X", "three"], {})), r"weights of shape \[3\]"),
    "a bias a row": (made(GEMM, ("Add", ["v0", "tall"], {})), r"shape \[3, 1\] for 2 columns"),
    "a number a row": (made(("Mul", ["X", "tall"], {})), r"shape \[3, 1\] for 3 columns"),
    "a constant of rank 3": (made(("Add", ["X", "deep"], {}), ("Gemm", ["v0", "w", "b"], {})), "rank|shape"),
    "more columns": (made(("Gemm", ["X", "tall"], {}), ("Add", ["v0", "three"], {})), "for 1 columns"),
    "two values": (made(GEMM, ("Add", ["v0", "v0"], {})), "Add of several values"),
    "two layers": (made(GEMM, GEMM, ("Concat", ["v0", "v1"], {"axis": 1})), "Concat after the first layer"),
    "a number by columns": (made(GEMM, ("Div", ["one", "v0"], {})), "Div of a constant by columns"),
    "another activation": (made(GEMM, ("LeakyRelu", ["v0"], {"alpha": 0.1})), "LeakyRelu"),
    "softmax over rows": (made(GEMM, ("Softmax", ["v0"], {"axis": 0})), "Softmax with axis 0"),
    "a flat matrix": (made(GEMM, ("Flatten", ["v0"], {"axis": 0})), "Flatten with axis 0"),
    "rows cut": (made(("Reshape", ["X", "cut"], {})), r"Reshape to \[3, -1\]"),
    "all in one row": (made(GEMM, ("Reshape", ["v0", "rows"], {})), r"Reshape to \[-1\] of 2 columns"),
    "an arg max": (made(GEMM, ("ArgMax", ["v0"], {"axis": 1})), "ArgMax"),
    "a cast": (made(GEMM, ("Cast", ["v0"], {"to": DOUBLE})), "Cast with to 11"),
    "a dropout told": (made(GEMM, ("Dropout", ["v0", "one", "no"], {})), "Dropout"),
    "in doubles": (made(("MatMul", ["X", "whole"], {}), kind=DOUBLE), "computes in float64"),
    "weights in doubles": (made(("MatMul", ["X", "whole"], {})), "of float64"),
    "a fixed number of rows": (made(GEMM, shape=(4, 3)), "any number of rows"),
    "of any width": (made(GEMM, shape=(None, None)), "neither a column nor"),
    "no layer": (made(("Relu", ["X"], {})), "no layer with weights"),
    "an old one": (made(GEMM, opset=8), "opset 8"),
    "trees": (trees()[1], "no output 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.sample(40)
def test_other_graphs_are_refused(name: str) -> None:
    """By name, and with the kind that runs them."""
    model, why = REFUSED[name]
    with pytest.raises(NotNetwork, match=why) as refused:
        open_networks(file(model), Options({"y": "y"}, names(3)))
    assert "the kind onnx runs it" in str(refused.value)


def test_a_layer_with_a_bias_of_one_number_is_none_of_those() -> None:
    """What the table above would refuse if anything were refused: the same nodes, with nothing wrong."""
    for nodes in ([GEMM], [GEMM, ("Add", ["v0", "one"], {})], [GEMM, ("Softmax", ["v0"], {"axis": 1})]):
        ours, theirs = opened(made(*nodes), 3, "y[1]")
        x = rows(70, 3)
        np.testing.assert_allclose(numbers(ours.score(chunk(x))), numbers(theirs.score(chunk(x))), rtol=1e-6)


def test_a_large_network_is_refused() -> None:
    """Its weights belong in no cache, and ONNX Runtime has blocks for that."""
    for times, why in (
        (1, "3.* MB of weights, of at most 3"),
        (2, "not for the kind networks: 6.* MB, of at most 6"),
    ):
        side = int(np.sqrt(times * MOST_BYTES / 4)) + 1
        model = drawn(side, [(side, "matmul", "nothing", "")], 1).model()
        with pytest.raises(NotNetwork, match=why):
            open_networks(file(model), Options({"y": "y[0]"}, names(side)))


def test_a_norm_that_trains_and_functions_of_a_models_own_are_refused() -> None:
    """More outputs of a normalization are those of training; a function may call itself Relu."""
    model = made(("BatchNormalization", ["X", "three", "three", "three", "three"], {}), GEMM, opset=9)
    model.graph.node[0].output.extend(["mean", "variance"])
    model.graph.node[1].input[0] = "v0"
    with pytest.raises(NotNetwork, match="as in training"):
        open_networks(file(model), Options({"y": "y[0]"}, names(3)))
    model = made(GEMM)
    relu = helper.make_node("Abs", ["x"], ["z"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["z"], [relu], opsets))
    with pytest.raises(NotNetwork, match="functions of its own"):
        open_networks(file(model), Options({"y": "y[0]"}, names(3)))


def test_a_deep_network_is_refused() -> None:
    """Its code would take longer to compile than a night to score."""
    model = drawn(3, [(3, "gemm", "nothing", "Tanh")] * (MOST_STEPS // 2 + 1), 1).model()
    with pytest.raises(NotNetwork, match=f"{MOST_STEPS + 2} steps, of at most {MOST_STEPS}"):
        open_networks(file(model), Options({"y": "y[0]"}, names(3)))


def test_what_is_asked_for_wrongly() -> None:
    """Outputs, indices, columns and devices that there are not; two outputs at once."""
    model = file(drawn(3, [(2, "gemm", "nothing", "")], 1).model())
    mistakes = [
        (Options({"y": "z"}, names(3)), "no output 'z'"), (Options({"y": "y"}, names(3)), "say which"),
        (Options({"y": "y[2]"}, names(3)), "index 2"), (Options({"y": "y[0]"}, names(2)), "takes 3 columns"),
        (Options({"y": "y[0]"}), "takes one matrix"), (Options({"y": "y[0]"}, names(3), "cuda"), "CPU"),
        (Options({"y": "y[0]", "z": "z"}, names(3)), "2 of its outputs"),
    ]  # fmt: skip
    for options, why in mistakes:
        with pytest.raises(ModelError, match=why):
            open_networks(model, options)
    with pytest.raises(NotNetwork, match="not an ONNX model"):
        open_networks(file(b"PK\x03\x04"), Options({"y": "y"}))


def test_weights_outside_of_the_file_are_refused() -> None:
    """What lies beside a file that is none of the job's is not read."""
    model = made(GEMM)
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    tensor.CopyFrom(numpy_helper.from_array(WEIGHTS["w"], "w"))
    onnx.external_data_helper.set_external_data(tensor, "w.bin")
    with pytest.raises(NotNetwork, match="outside of the model file"):
        open_networks(file(model), Options({"y": "y[0]"}, names(3)))


def test_auto_tries_it() -> None:
    """Behind ONNX Runtime, to which it is held."""
    first, *others = variants_of_kind("auto", "cpu")
    assert first == PLAIN_ONNX and Variant("networks") in others


def test_nothing_waits_for_numba(tmp_path: Path) -> None:
    """Which takes longer to load, let alone to compile, than a small night is scored in."""
    (tmp_path / "m.onnx").write_bytes(REFUSED["alpha"][0].SerializeToString())
    (tmp_path / "n.onnx").write_bytes(made(GEMM).SerializeToString())
    code = (
        "import sys; from pathlib import Path; from nightscore.scorers.contract import Options;"
        "from nightscore.scorers.networks import NotNetwork, open_networks; import pyarrow as pa;"
        "from nightscore.scorers.files.model_file import read_model;"
        "options = Options({'y': 'y[0]'}, ['a', 'b', 'c'])\n"
        "for name in ('m.onnx', 'n.onnx'):\n"
        "    try: scorer = open_networks(read_model(Path(name), name), options)\n"
        "    except NotNetwork: print('refused')\n"
        "print(scorer.score(pa.record_batch({n: [0.5] for n in 'abc'}))['y'], 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused", "[", "2.5", "]", "False"]
