"""ONNX models score as ONNX Runtime does, and a model or a chunk that does not fit is told why."""

# ruff: noqa: E501 - a row of a table of cases is one line

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from nightscore.scorers.arrays import SCORER_BATCH_ROWS
from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ChunkError, ContractError, ModelError
from nightscore.scorers.files.model_file import ModelFile, read_model
from nightscore.scorers.hardware import find_installed_devices
from nightscore.scorers.onnx import runtime
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.testing import check_scorer
from tests.scorers.models import COLUMNS, file, floats, graph, mixed, mlp, one_op, pipeline, trees

F, D, I64, S = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
PAIR = {"low": "y[0]", "high": "y[1]"}


def open_onnx(model: ModelFile, outputs: Mapping[str, str], **options: Any) -> OnnxScorer:
    return OnnxScorer(model, Options(outputs, **options))


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


GOOD: dict[str, tuple[ModelFile, dict[str, str], pa.RecordBatch, float]] = {
    "a network in float": (file(mlp(), COLUMNS), PAIR, floats(100), 1e-6),
    "a network in double": (file(mlp(D), COLUMNS), PAIR, floats(100), 1e-14),
    "a network, more rows than a micro-batch": (file(mlp(), COLUMNS), PAIR, floats(SCORER_BATCH_ROWS + 7), 1e-6),
    "trees, labels and probabilities": (file(trees()[1], COLUMNS), {"is": "label", "p": "probabilities[1]"}, floats(100), 0),
    "a pipeline of texts and numbers": (file(pipeline()[1]), {"is": "label", "p": "probabilities[1]"}, mixed(100), 1e-6),
    "texts in and out": (file(one_op("Identity", S)), {"t": "y"}, batch(x=["a", "ü", ""]), 0),
    "integers in and out": (file(one_op("Neg", I64)), {"t": "y"}, batch(x=[2**62, -1, 0]), 0),
    "booleans in and out": (file(one_op("Not", TensorProto.BOOL)), {"t": "y"}, batch(x=[True, False, True]), 0),
    "a column of rank 2": (file(one_op("Neg", F, shape=(None, 1))), {"t": "y"}, floats(9, ("x",)), 0),
    "a column of doubles": (file(one_op("Neg", D)), {"t": "y"}, floats(9, ("x",), np.float64), 0),
}  # fmt: skip


@pytest.mark.parametrize(("model", "outputs", "chunk", "tolerance"), GOOD.values(), ids=GOOD.keys())
@pytest.mark.sample(3)
def test_models_keep_the_contract(
    model: ModelFile, outputs: dict[str, str], chunk: pa.RecordBatch, tolerance: float
) -> None:
    """One row out for each row in, in order, the same for any chunking and from several threads."""
    scorer = open_onnx(model, outputs)
    assert scorer.signature.outputs.names == list(outputs)
    check_scorer(scorer, chunk, tolerance)


def direct(model: ModelFile, feeds: Mapping[str, Any]) -> list[Any]:
    """What ONNX Runtime itself gives, with nothing of ours in between."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.data, options, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("rows", [1, 2, 1000, SCORER_BATCH_ROWS])
def test_scores_are_what_onnx_runtime_gives(rows: int) -> None:
    """Bit for bit, on the same rows, for a network, for trees and for a pipeline."""
    chunk = floats(rows)
    x = np.column_stack([chunk.column(c).to_numpy() for c in COLUMNS])
    [y] = direct(file(mlp()), {"X": x})
    found = open_onnx(file(mlp(), COLUMNS), PAIR).score(chunk)
    np.testing.assert_array_equal(np.column_stack([found.column("low"), found.column("high")]), y)
    _, p = direct(file(trees()[1]), {"X": x})
    np.testing.assert_array_equal(
        open_onnx(file(trees()[1], COLUMNS), {"p": "probabilities[1]"}).score(chunk).column("p"), p[:, 1]
    )
    rows_ = mixed(rows)
    feeds = {
        name: np.array(rows_.column(name).to_pylist(), kind).reshape(-1, 1)
        for name, kind in (("city", object), ("x", np.float32), ("n", np.int64))
    }
    label, _ = direct(file(pipeline()[1]), feeds)
    np.testing.assert_array_equal(
        open_onnx(file(pipeline()[1]), {"l": "label"}).score(rows_).column("l"), label
    )


def test_scores_are_what_the_training_library_gives() -> None:
    """ONNX against LightGBM and scikit-learn themselves, missing values and unknown texts included."""
    values = np.random.default_rng(6).random((500, 3)).astype(np.float32)
    values[::7, 1] = np.nan
    chunk = pa.RecordBatch.from_arrays(
        [pa.array(values[:, i], from_pandas=True) for i in range(3)], list(COLUMNS)
    )
    found = open_onnx(file(trees()[1], COLUMNS), {"p": "probabilities[1]"}).score(chunk)
    np.testing.assert_allclose(found.column("p"), trees()[0].predict_proba(values)[:, 1], atol=1e-6)
    rows = mixed(500)
    given = open_onnx(file(pipeline()[1]), {"p": "probabilities[1]"}).score(rows)
    np.testing.assert_allclose(
        given.column("p"), pipeline()[0].predict_proba(rows.to_pandas())[:, 1], atol=1e-5
    )


def test_columns_go_by_name() -> None:
    """The order of the chunk's columns, and others beside them, change nothing; the job's order does."""
    scorer = open_onnx(file(mlp(), COLUMNS), PAIR)
    chunk = floats(10)
    shuffled = chunk.select(["c", "a", "b"]).append_column("z", pa.array(["x"] * 10))
    assert scorer.score(shuffled).equals(scorer.score(chunk))
    other = open_onnx(file(mlp(), COLUMNS), PAIR, columns=["c", "b", "a"], columns_override=True)
    assert other.signature.inputs.names == ["c", "b", "a"]
    assert not other.score(chunk).equals(scorer.score(chunk))


@pytest.mark.parametrize(
    "kind",
    ["int8", "int16", "int32", "int64", "uint8", "uint64", "float64", "bool", "decimal128(9, 3)", "float16"],
)
def test_every_kind_of_number_fills_a_matrix(kind: str) -> None:
    """Integers, decimals and booleans score as the floats of the same value."""
    plain = batch(a=[0.0, 1.0, 1.0], b=[1.0, 0.0, 1.0], c=[0.5, 0.25, 0.125])
    wanted = open_onnx(file(mlp(), COLUMNS), PAIR)
    values = plain.column("a")
    typed = (
        values.cast(pa.decimal128(9, 3))
        if kind.startswith("dec")
        else values.cast(pa.type_for_alias(kind.partition("(")[0]))
    )
    given = plain.set_column(0, "a", typed)
    assert wanted.signature.misfits(given.schema) == []
    assert wanted.score(given).equals(wanted.score(plain))


# --- tensors ---

SUM = graph(
    [helper.make_node("ReduceSum", ["X", "axes"], ["y"], keepdims=0)],
    {"X": (F, [None, 2, 3])}, {"y": (F, [None])}, {"axes": np.array([1, 2])},
)  # fmt: skip
IMAGE = graph(
    [
        helper.make_node("Cast", ["X"], ["f"], to=F),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[1, 2, 3], keepdims=0),
    ],
    {"X": (TensorProto.UINT8, [None, 4, 4, 3])},
    {"y": (F, [None])},
)
WHOLE = graph([helper.make_node("Neg", ["X"], ["y"])], {"X": (F, [None, 3])}, {"y": (F, [None, 3])})
VALUES = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32(), 6), pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int16(), 6)],
)
@pytest.mark.sample(1)
def test_a_list_a_row_is_a_tensor(kind: pa.DataType) -> None:
    """An embedding column of any width of number fills [rows, 2, 3], the last axis running fastest."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(VALUES), 6).cast(kind)
    scorer = open_onnx(file(SUM), {"s": "y"})
    assert scorer.signature.inputs.field("X").type == pa.list_(pa.float32(), 6)
    chunk = pa.RecordBatch.from_arrays([column], ["X"])
    assert scorer.signature.misfits(chunk.schema) == []
    check_scorer(scorer, chunk)
    wanted = VALUES.reshape(4, 6).sum(axis=1)
    np.testing.assert_array_equal(scorer.score(chunk).column("s"), wanted)
    np.testing.assert_array_equal(scorer.score(chunk.slice(1, 2)).column("s"), wanted[1:3])


def test_bytes_are_an_image() -> None:
    """A model that takes uint8 is fed from a binary column, a row an image."""
    images = np.random.default_rng(3).integers(0, 256, (5, 48), dtype=np.uint8)
    chunk = batch(X=pa.array([row.tobytes() for row in images]))
    scorer = open_onnx(file(IMAGE), {"m": "y"})
    check_scorer(scorer, chunk, 1e-4)
    np.testing.assert_allclose(scorer.score(chunk).column("m"), images.mean(axis=1), rtol=1e-5)


def test_all_columns_of_an_output_are_a_list() -> None:
    """`name[*]` gives the embedding; `name[i]` one number of it."""
    scorer = open_onnx(file(WHOLE), {"all": "y[*]", "last": "y[2]"})
    chunk = pa.RecordBatch.from_arrays([pa.FixedSizeListArray.from_arrays(pa.array(VALUES), 3)], ["X"])
    found = scorer.score(chunk)
    assert found.schema == pa.schema([("all", pa.list_(pa.float32())), ("last", pa.float32())])
    assert found.column("all").to_pylist() == (-VALUES.reshape(8, 3)).tolist()
    assert [row[2] for row in found.column("all").to_pylist()] == found.column("last").to_pylist()
    assert scorer.score(chunk.slice(0, 0)).num_rows == 0


TENSORS = {
    "too short": (
        pa.array([[1.0] * 6, [1.0] * 5]),
        r"^column 'X' holds 5 values in row 1 of the chunk; the model needs 6$",
    ),
    "a null row": (pa.array([[1.0] * 6, None]), r"^column 'X' has 1 null values; a tensor has none$"),
    "bytes too long": (
        pa.array([b"x" * 47]),
        r"^column 'X' holds 47 values in row 0 of the chunk; the model needs 48$",
    ),
}


@pytest.mark.parametrize(("column", "says"), TENSORS.values(), ids=TENSORS.keys())
def test_a_tensor_of_another_size_is_refused(column: pa.Array, says: str) -> None:
    """With the row of the chunk and both sizes."""
    model = IMAGE if pa.types.is_binary(column.type) else SUM
    with pytest.raises(ChunkError, match=says):
        open_onnx(file(model), {"p": "y"}).score(pa.RecordBatch.from_arrays([column], ["X"]))


def test_what_can_not_be_a_tensor_is_a_misfit() -> None:
    """Before a row is read: a wrong fixed size, texts, bytes for floats, no such column."""
    needs = open_onnx(file(SUM), {"p": "y"}).signature
    for kind in (pa.list_(pa.float32(), 5), pa.list_(pa.string()), pa.binary(), pa.float32()):
        [said] = needs.misfits(pa.schema([("X", kind)]))
        assert said.startswith(f"column 'X' is {kind}; the model needs fixed_size_list<")
    [said] = needs.misfits(pa.schema([("Z", pa.float32())]))
    assert said.endswith("(it takes 6 numbers a row: a list, or columns named in the job's model.columns)")


# --- devices ---


def test_binding_gives_what_a_plain_run_gives() -> None:
    """The way to a GPU, from and to this process's memory, taken on the CPU."""
    model, chunk = file(mlp(), COLUMNS), floats(1_000)
    plain, other = open_onnx(model, PAIR), open_onnx(model, PAIR)
    other._device = "elsewhere"
    assert other.score(chunk).equals(plain.score(chunk))
    check_scorer(other, chunk, 1e-6)


def test_devices_are_what_onnx_runtime_lists() -> None:
    """The CPU comes first; each name stands for a provider that is available."""
    found = runtime.find_devices()
    assert found[0].name == "cpu" and found[0].kind == "CPU"
    assert {one.provider for one in found} <= set(ort.get_available_providers())
    assert set(runtime.find_plugin_problems()) <= set(find_installed_devices())


# --- models that do not fit ---

RANK3 = graph(
    [helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, 2, 2])}, {"y": (F, [None, 2, 2])}
)
LOOSE = graph(
    [helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, 2, None])}, {"y": (F, [None, 2, None])}
)
NAMED = graph([helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, 3])}, {"y": (F, [None, 3])})
ANY_WIDTH = graph(
    [helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, None])}, {"y": (F, [None, None])}
)
SCALAR = graph(
    [helper.make_node("ReduceSum", ["X"], ["y"], keepdims=0)], {"X": (F, [None, 3])}, {"y": (F, [])}
)
ODD_METADATA = graph(
    [helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, 3])}, {"y": (F, [None, 3])}
)
helper.set_model_props(ODD_METADATA, {"columns": "a, b, c"})
WIDE = ["a", "b", "c"]

MISFITS: dict[str, tuple[ModelFile, dict[str, Any], str]] = {
    "no names of columns": (file(ANY_WIDTH), {"outputs": {"p": "y[0]"}}, "takes one matrix, and nothing says which columns it is made of: name them"),
    "metadata that is no JSON list": (file(ODD_METADATA), {"outputs": {"p": "y[0]"}}, "nothing says which columns it is made of"),
    "too few columns": (file(mlp()), {"columns": ["a", "b"]}, "takes 3 columns; 2 are named: ['a', 'b']"),
    "too many columns in the metadata": (file(mlp(), ["a", "b", "c", "d"]), {}, "takes 3 columns; 4 are named"),
    "a column twice": (file(mlp()), {"columns": ["a", "b", "a"]}, "a column stands twice in ['a', 'b', 'a']"),
    "columns for one input per column": (file(one_op("Neg", I64)), {"columns": ["z"], "outputs": {"p": "y"}}, "columns ['z'] given, but the model has one input per column: ['x']"),
    "an output of rank 3": (file(RANK3), {"outputs": {"p": "y"}}, "output 'y' is tensor(float) of shape"),
    "an input of sizes that are not fixed": (file(LOOSE), {"outputs": {"p": "y"}}, "input 'X' is tensor(float) of shape [None, 2, None]; allowed: one float or int matrix"),
    "a list of a column": (file(one_op("Neg", F)), {"outputs": {"p": "y[*]"}}, "a rank-1 output takes no index"),
    "an input of a type that is not served": (file(one_op("Identity", TensorProto.UINT64)), {"outputs": {"p": "y"}}, "input 'x' is tensor(uint64) of shape [None]; allowed: one float or int matrix"),
    "a matrix of integers": (file(one_op("Neg", I64, shape=(None, 3))), {"columns": WIDE, "outputs": {"p": "y"}}, "say which, such as y[1]"),
    "an output that is not there": (file(mlp(), COLUMNS), {"outputs": {"p": "z"}}, "output 'p' asks for 'z', which the model does not have; its outputs: y"),
    "an index that is missing": (file(mlp(), COLUMNS), {"outputs": {"p": "y"}}, "say which, such as y[1]"),
    "an index out of range": (file(mlp(), COLUMNS), {"outputs": {"p": "y[2]"}}, "index 2 is not among 0 to 1"),
    "an index of a column": (file(one_op("Neg", F)), {"outputs": {"p": "y[0]"}}, "a rank-1 output takes no index"),
    "a source that is none": (file(mlp(), COLUMNS), {"outputs": {"p": "y[x]"}}, "output 'p': 'y[x]' is no output's name, or name[index], or name[*]"),
    "a scalar output": (file(SCALAR, COLUMNS), {"outputs": {"p": "y"}}, "output 'y' is tensor(float) of shape []; allowed: rank 1 or 2"),
    "an unknown device": (file(mlp(), COLUMNS), {"device": "tpu"}, "device 'tpu' is not known; devices here: cpu"),
    "a device that is not here": (file(mlp(), COLUMNS), {"device": "qnn"}, "device 'qnn' needs ONNX Runtime's QNNExecutionProvider, which is not installed; devices here: cpu"),
    "a text": (file(b"this is no model"), {}, "m.onnx: ONNX Runtime can't load it: "),
    "a truncated model": (file(mlp().SerializeToString()[:-40]), {}, "m.onnx: ONNX Runtime can't load it: "),
    "bytes of zero": (file(bytes(500)), {}, "m.onnx: ONNX Runtime can't load it: "),
}  # fmt: skip


@pytest.mark.parametrize(("model", "options", "says"), MISFITS.values(), ids=MISFITS.keys())
def test_a_model_that_does_not_fit_says_why(model: ModelFile, options: dict[str, Any], says: str) -> None:
    """Opening it is refused with what it has and what is allowed; no chunk is scored first."""
    with pytest.raises(ModelError) as caught:
        open_onnx(model, **{"outputs": PAIR, **options})
    assert says in str(caught.value)


def test_a_matrix_of_any_width_takes_the_named_columns() -> None:
    """A model that does not say how wide it is gets the columns that are named."""
    model = graph(
        [helper.make_node("Identity", ["X"], ["y"])], {"X": (F, [None, "width"])}, {"y": (F, [None, "width"])}
    )
    scorer = open_onnx(file(model), {"first": "y[0]", "second": "y[1]"}, columns=["b", "a"])
    assert scorer.score(batch(a=[1.0], b=[2.0])).to_pylist() == [{"first": 2.0, "second": 1.0}]


def test_a_named_device_is_kept() -> None:
    """A session has the one provider that was asked for."""
    scorer = open_onnx(file(mlp(), COLUMNS), PAIR, device="cpu")
    assert scorer._session._session.get_providers() == ["CPUExecutionProvider"]


def test_a_model_file_is_its_bytes(tmp_path: Path) -> None:
    """The hash is of what is executed; an empty file and one that is not there are told."""
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"^x: can't be read: No such file"):
        read_model(path, "x")
    path.touch()
    with pytest.raises(ModelError, match=r"^x: the file is empty$"):
        read_model(path, "x")
    path.write_bytes(b"abc")
    found = read_model(path, "x")
    assert (found.data, found.sha256[:8], len(found.sha256)) == (b"abc", "ba7816bf", 64)


# --- chunks that can't be scored ---


def test_a_null_is_missing_in_floats_alone() -> None:
    """In a float column it is NaN; in any other it is refused with the column and the remedy."""
    scorer = open_onnx(file(trees()[1], COLUMNS), {"p": "probabilities[1]"})
    plain = batch(a=pa.array([0.5, None], pa.float32()), b=[0.1, 0.2], c=[0.3, 0.4])
    nan = plain.set_column(0, "a", pa.array([0.5, float("nan")], pa.float32()))
    assert scorer.score(plain).equals(scorer.score(nan))
    decimal = plain.set_column(0, "a", pa.array([0.5, None], pa.float64()).cast(pa.decimal128(9, 3)))
    assert scorer.score(decimal).equals(scorer.score(plain))
    for kind in (pa.int64(), pa.int8(), pa.bool_()):
        chunk = plain.set_column(0, "a", pa.array([1, None], pa.int64()).cast(kind))
        with pytest.raises(ChunkError, match=rf"^column 'a' \({kind}\) has 1 null values; give it a value"):
            scorer.score(chunk)


NULLS = {
    "a text": (
        file(one_op("Identity", S)),
        pa.array(["a", None]),
        r"column 'x' \(string\) has 1 null values",
    ),
    "an integer": (file(one_op("Neg", I64)), pa.array([1, None]), r"column 'x' \(int64\) has 1 null values"),
    "a boolean": (
        file(one_op("Not", TensorProto.BOOL)),
        pa.array([True, None]),
        r"column 'x' \(bool\) has 1 null",
    ),
}


@pytest.mark.parametrize(("model", "column", "says"), NULLS.values(), ids=NULLS.keys())
def test_a_null_in_a_column_of_its_own_is_refused(model: ModelFile, column: pa.Array, says: str) -> None:
    """No value stands for a missing text, integer or boolean."""
    with pytest.raises(ChunkError, match=says):
        open_onnx(model, {"p": "y"}).score(pa.RecordBatch.from_arrays([column], ["x"]))


ROWS = {
    "fewer rows": graph([helper.make_node("Unique", ["x"], ["y"])], {"x": (F, [None])}, {"y": (F, [None])}),
    "one row": graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)], {"x": (F, [None])}, {"y": (F, [None])}
    ),
    "more rows": graph(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], {"x": (F, [None])}, {"y": (F, [None])}
    ),
}


@pytest.mark.parametrize("model", ROWS.values(), ids=ROWS.keys())
def test_another_number_of_rows_is_refused(model: onnx.ModelProto) -> None:
    """A model that gives not one row for each row is no scorer: said with both numbers."""
    with pytest.raises(
        ContractError, match=r"output 'y' has shape \(\d,\) for 3 rows; a scorer gives one row for each"
    ):
        open_onnx(file(model), {"p": "y"}).score(batch(x=pa.array([1.0, 1.0, 2.0], pa.float32())))


def test_what_fails_inside_the_model_is_a_chunk_error() -> None:
    """ONNX Runtime's own error comes through as ours, with the model's name."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    model = graph([node], {"x": (I64, [None])}, {"y": (F, [None])}, {"table": np.ones(3, np.float32)})
    scorer = open_onnx(file(model), {"p": "y"})
    assert scorer.score(batch(x=[0, 2])).num_rows == 2
    with pytest.raises(ChunkError, match=r"^m.onnx: .*out of"):
        scorer.score(batch(x=[0, 3]))


def test_narrow_integers_are_widened() -> None:
    """An int8 column serves a model that takes int64, with the same values."""
    scorer = open_onnx(file(one_op("Neg", I64)), {"p": "y"})
    for kind in (pa.int8(), pa.int32(), pa.uint8(), pa.uint32()):
        chunk = batch(x=pa.array([1, 100], kind))
        assert scorer.signature.misfits(chunk.schema) == []
        assert scorer.score(chunk).column("p").to_pylist() == [-1, -100]
