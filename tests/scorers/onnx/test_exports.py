"""Models as exporters write them: a ZipMap, weights beside the graph, one row at a time, float16."""

import hashlib
import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nightscore.evaluation.recipes.ensemble import Ensemble
from nightscore.scorers import Options, describe_model, lost
from nightscore.scorers.errors import ModelError
from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.trees import open_trees
from tests.scorers.models import COLUMNS, file, graph, mlp, trees

F, HALF, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
NAMES = tuple(COLUMNS)
RNG = np.random.default_rng(6)
X = RNG.normal(size=(200, 3)).astype(np.float32)
Y = np.where(X[:, 0] + X[:, 1] > 0, "stays", "leaves")
ROWS = pa.RecordBatch.from_arrays([pa.array(X[:, i]) for i in range(3)], list(NAMES))


def saved(folder: Path, model: onnx.ModelProto, **options: Any) -> ModelFile:
    """The model in a file, as a run reads it."""
    onnx.save(model, folder / "m.onnx", **options)
    return read_model(folder / "m.onnx", "m.onnx")


def scored(model: ModelFile, source: str, rows: pa.RecordBatch = ROWS) -> Any:
    """The output of a model for some rows, [rows]."""
    return OnnxScorer(model, Options({"p": source}, NAMES)).score(rows)["p"].to_numpy()


# --- ZipMap ---


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "linear": LogisticRegression,
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "stacked": lambda: StackingClassifier([("a", LogisticRegression()), ("b", LogisticRegression(C=0.1))]),
}


@pytest.mark.parametrize("made", CLASSIFIERS.values(), ids=CLASSIFIERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_classifier_with_a_zip_map_gives_its_probabilities(
    tmp_path: Path, made: Callable[[], Any], dtype: Any
) -> None:
    """They are scikit-learn's, by the exporter's name and by `probabilities`; the hash is the file's."""
    trained = made().fit(X.astype(dtype), Y)
    model = saved(tmp_path, to_onnx(trained, X[:1].astype(dtype)))
    assert model.sha256 == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    rows = pa.RecordBatch.from_arrays([pa.array(X[:, i].astype(dtype)) for i in range(3)], list(NAMES))
    for source in ("probabilities", "output_probability"):
        for index in (0, 1):
            truth = trained.predict_proba(X.astype(dtype))[:, index]
            np.testing.assert_allclose(scored(model, f"{source}[{index}]", rows), truth, atol=1e-6)


def test_trees_see_the_same_graph(tmp_path: Path) -> None:
    """LightGBM's ZipMap, which the onnxmltools write, is out of the way of our own kernel, too."""
    trained, with_maps = trees(zipmap=True)
    model = saved(tmp_path, with_maps)
    truth = trained.predict_proba(X)[:, 1]
    np.testing.assert_allclose(scored(model, "probabilities[1]"), truth, atol=1e-6)
    kernel = open_trees(model, Options({"p": "probabilities[1]"}, NAMES))
    np.testing.assert_allclose(kernel.score(ROWS)["p"].to_numpy(), truth, atol=1e-6)
    assert len(Ensemble(model).forest.roots) == trained.n_estimators_


def test_another_matrix_is_never_called_probabilities(tmp_path: Path) -> None:
    """Where an inner tensor has that name, the output is only what the exporter called it."""
    nodes = [
        helper.make_node("Neg", ["X"], ["probabilities"]),
        helper.make_node("Softmax", ["probabilities"], ["last"], axis=1),
        helper.make_node("ZipMap", ["last"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[4, 5, 6]),
    ]
    made = graph(nodes, {"X": (F, [None, 3])}, {"maps": (F, [None, 3])})
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model = saved(tmp_path, made)
    exact = np.exp(-X.astype(np.float64))
    np.testing.assert_allclose(
        scored(model, "maps[2]"), (exact / exact.sum(1, keepdims=True))[:, 2], atol=1e-6
    )
    with pytest.raises(ModelError, match=r"which the model does not have; its outputs: maps$"):
        scored(model, "probabilities[2]")


def test_the_classes_of_a_zip_map_are_said(tmp_path: Path) -> None:
    """In the order of the columns: where an index is missing, and to whoever writes a job."""
    model = saved(tmp_path, to_onnx(LogisticRegression().fit(X, Y), X[:1]))
    with pytest.raises(ModelError, match=r"for the classes leaves, stays; say which"):
        scored(model, "probabilities")
    described = describe_model(model)
    assert described.output == "probabilities[1]"
    assert "probabilities (tensor(float), [None, 2]; classes leaves, stays)" in described.outputs


# --- weights beside the graph ---


def beside(folder: Path, **options: Any) -> ModelFile:
    """A network whose weights lie in m.onnx.data."""
    return saved(
        folder, mlp(), save_as_external_data=True, location="m.onnx.data", size_threshold=0, **options
    )


def with_location(folder: Path, location: str) -> None:
    """The model of a folder with the weights said to lie elsewhere."""
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        [place] = [entry for entry in tensor.external_data if entry.key == "location"]
        place.value = location
    (folder / "m.onnx").write_bytes(model.SerializeToString())


def test_weights_beside_a_model_are_read_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of one file; the sha256 is what coreutils say of both, and another .data is another model."""
    model = beside(tmp_path)
    monkeypatch.chdir("/")
    whole = scored(file(mlp()), "y[1]")
    assert (scored(model, "y[1]") == whole).all()
    said = "(sha256sum < m.onnx; sha256sum m.onnx.data) | sha256sum"
    found = subprocess.run(["/bin/sh", "-c", said], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert model.sha256 == found.stdout.split()[0]
    data = bytearray((tmp_path / "m.onnx.data").read_bytes())
    data[3] ^= 0x80  # a sign
    (tmp_path / "m.onnx.data").write_bytes(data)
    other = read_model(tmp_path / "m.onnx", "m.onnx")
    assert other.sha256 != model.sha256
    assert (scored(other, "y[1]") != whole).any()


def test_weights_too_large_for_one_graph_are_given_to_onnx_runtime(tmp_path: Path) -> None:
    """The way of models over 2 GB, taken by a small one: what was read is what is executed."""
    beside(tmp_path)
    graph_alone, data = (tmp_path / name for name in ("m.onnx", "m.onnx.data"))
    model = ModelFile("m.onnx", "", graph_alone.read_bytes(), {data.name: data.read_bytes()})
    data.unlink()
    assert (scored(model, "y[1]") == scored(file(mlp()), "y[1]")).all()


@pytest.mark.parametrize(
    "location", ["../m.onnx.data", "/etc/passwd", "a/../../m.onnx.data", "..\\m.onnx.data", ""]
)
def test_weights_outside_of_the_folder_are_never_read(tmp_path: Path, location: str) -> None:
    """Even where a file lies there."""
    (tmp_path / "m").mkdir()
    beside(tmp_path / "m")
    (tmp_path / "m.onnx.data").write_bytes((tmp_path / "m/m.onnx.data").read_bytes())
    with_location(tmp_path / "m", location)
    with pytest.raises(
        ModelError, match=r"m.onnx: some of its weights lie in .*allowed: a file in the model's own"
    ):
        read_model(tmp_path / "m/m.onnx", "m.onnx")


def test_weights_behind_a_link_that_leaves_are_never_read(tmp_path: Path) -> None:
    """A link inside of the folder is followed."""
    (tmp_path / "m").mkdir()
    beside(tmp_path / "m")
    data = tmp_path / "m/m.onnx.data"
    data.rename(tmp_path / "m/kept.data")
    data.symlink_to("kept.data")
    read_model(tmp_path / "m/m.onnx", "m.onnx")
    (tmp_path / "m/kept.data").rename(tmp_path / "kept.data")
    data.unlink()
    data.symlink_to("../kept.data")
    with pytest.raises(
        ModelError, match=r"its weights in m.onnx.data are a link that leaves the model's folder"
    ):
        read_model(tmp_path / "m/m.onnx", "m.onnx")


def test_weights_that_are_not_there_are_said(tmp_path: Path) -> None:
    """Missing, or fewer bytes than the graph says: with the file, and what to do."""
    beside(tmp_path)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(
        ModelError, match=r"of m.onnx.data, which has \d+: not copied whole, or another export's"
    ):
        read_model(tmp_path / "m.onnx", "m.onnx")
    data.unlink()
    missing = r"some of its weights lie in m.onnx.data, in the same folder, which can't be read: No such file"
    with pytest.raises(ModelError, match=missing):
        read_model(tmp_path / "m.onnx", "m.onnx")


# --- a fixed number of rows, numbers of 16 bits, integers ---


@pytest.mark.parametrize("size", [1, 4])
def test_a_fixed_number_of_rows_is_taken_at_a_time(size: int) -> None:
    """PyTorch's export as by default: each row gets its own score, and none more comes of what fills up."""
    weights = RNG.normal(size=(3, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["X", "w"], ["y"])]
    model = file(graph(nodes, {"X": (F, [size, 3])}, {"y": (F, [size, 2])}, {"w": weights}))
    for rows in (1, 3, 8, 9):
        np.testing.assert_allclose(
            scored(model, "y[1]", ROWS.slice(0, rows)), X[:rows] @ weights[:, 1], atol=1e-6
        )


def test_one_row_without_its_axis_is_one_row() -> None:
    """What squeeze() makes of one row is its score."""
    nodes = [
        helper.make_node("ReduceSum", ["X"], ["s"], keepdims=1),
        helper.make_node("Squeeze", ["s"], ["y"]),
    ]
    model = file(graph(nodes, {"X": (F, [1, 3])}, {"y": (F, [])}))
    np.testing.assert_allclose(scored(model, "y", ROWS.slice(0, 9)), X[:9].sum(1), atol=1e-6)


def test_inputs_of_several_fixed_numbers_of_rows_are_refused() -> None:
    """No chunk could fill both."""
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)]
    model = graph(nodes, {"a": (F, [1, 1]), "b": (F, [2, 1])}, {"y": (F, [3, 1])})
    with pytest.raises(ModelError, match=r"not the same in each: {'a': 1, 'b': 2}"):
        OnnxScorer(file(model), Options({"p": "y"}))


def test_a_matrix_of_float16_takes_named_columns() -> None:
    """Each number is the nearest that 16 bits hold, as NumPy has it; the score is a float32."""
    model = file(
        graph([helper.make_node("Neg", ["X"], ["y"])], {"X": (HALF, [None, 3])}, {"y": (HALF, [None, 3])})
    )
    found = scored(model, "y[2]")
    assert found.dtype == np.float32
    assert (found == -X[:, 2].astype(np.float16).astype(np.float32)).all()


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        (
            pa.array([1.0, 65504.0, 65520.0, -1e9, 1e-9, 0.0, None, np.nan, np.inf]),
            [0, 0, 1, 1, 1, 0, 0, 0, 0],
        ),
        (pa.array([2048, 2049, 2050, 100_000, -2049, None]), [0, 1, 0, 1, 1, 0]),
    ],
)
def test_what_float16_does_not_hold_is_lost(values: pa.Array, truth: list[int]) -> None:
    """Integers that become others, what becomes infinite or 0; by IEEE 754's binary16."""
    mask = lost(values, pa.float16())
    assert mask is not None
    assert mask.astype(int).tolist() == truth


def test_a_matrix_of_integers_takes_the_columns_of_its_metadata() -> None:
    """As one of floats does."""
    model = graph([helper.make_node("Neg", ["X"], ["y"])], {"X": (I64, [None, 3])}, {"y": (I64, [None, 3])})
    found = OnnxScorer(file(model, NAMES), Options({"p": "y[0]"}))
    assert found.signature.inputs.names == list(NAMES)
    rows = pa.RecordBatch.from_pydict({name: [i, 2**60 + i] for i, name in enumerate(NAMES)})
    assert found.score(rows)["p"].to_pylist() == [0, -(2**60)]


# --- what is refused says what would mend it ---


MENDS = {
    "pytorch": "forward() that returns",
    "skl2onnx": 'options={"zipmap": False}',
    "OnnxMLTools": "zipmap=False",
    "tf2onnx": "Flatten()",
}


@pytest.mark.parametrize(("producer", "line"), MENDS.items())
def test_a_refusal_speaks_to_the_exporter(producer: str, line: str) -> None:
    """An output of rank 3, by what wrote it."""
    nodes = [helper.make_node("Unsqueeze", ["X", "axis"], ["y"])]
    made = graph(nodes, {"X": (F, [None, 3])}, {"y": (F, [None, 3, 1])}, {"axis": np.array([2])})
    made.producer_name = producer
    with pytest.raises(ModelError) as caught:
        scored(file(made), "y")
    assert line in str(caught.value)


def ubj(_: Path) -> bytes:
    """How XGBoost's binary JSON begins."""
    return b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L\x00\x00\x00\x00\x00\x00\x00\nattributes"


def a_torch_file(folder: Path) -> bytes:
    """A ZIP archive as torch.save writes it."""
    import zipfile

    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02.")
    return (folder / "m.zip").read_bytes()


def a_text_of_lightgbm(_: Path) -> bytes:
    return str(trees()[0].booster_.model_to_string()).encode()


FOREIGN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "pickle": (lambda _: pickle.dumps(LogisticRegression().fit(X, Y)), "a Python pickle.*skl2onnx.to_onnx"),
    "pickle of LightGBM": (
        lambda _: pickle.dumps(trees()[0]),
        "pickle of a LightGBM model.*convert_lightgbm",
    ),
    "XGBoost's JSON": (
        lambda _: json.dumps({"learner": {}}).encode(),
        "XGBoost's own format.*convert_xgboost",
    ),
    "XGBoost's UBJ": (ubj, "XGBoost's own format.*convert_xgboost"),
    "LightGBM's text": (a_text_of_lightgbm, "LightGBM's own format.*convert_lightgbm"),
    "CatBoost's": (lambda _: b"CBM1\x00\x01", 'CatBoost\'s own format.*format="onnx"'),
    "PyTorch's": (a_torch_file, "PyTorch's own format.*torch.onnx.export"),
    "Git LFS": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid",
        "pointer of Git LFS.*git lfs pull",
    ),
}


RUN_BY_TREES = ("XGBoost's JSON", "XGBoost's UBJ", "LightGBM's text")


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("kind", ["onnx", "trees"])
def test_another_format_is_said_with_the_line_that_makes_a_model(
    tmp_path: Path, kind: str, case: str
) -> None:
    """Files as the libraries write them, given as an .onnx; of some of them kind trees reads the trees."""
    made, says = FOREIGN[case]
    if kind == "trees" and case in RUN_BY_TREES:
        says = "m.onnx: (no output 'y'|a model of xgboost that can't be read)"
    else:
        says = f"m.onnx: .*ONNX model: it looks like .*{says}"
    (tmp_path / "m.onnx").write_bytes(made(tmp_path))
    model, options = read_model(tmp_path / "m.onnx", "m.onnx"), Options({"p": "y"}, NAMES)
    with pytest.raises(ModelError, match=says) as caught:
        open_trees(model, options) if kind == "trees" else OnnxScorer(model, options)
    assert "protobuf" not in str(caught.value).lower()
