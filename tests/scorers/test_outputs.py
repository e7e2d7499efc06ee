"""Two sources that say different things of a model: each with both named, and one way on.

The truth of what a model gives is NumPy's product; what it says of itself is written into its file.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from nightscore.scorers.contract import Options
from nightscore.scorers.errors import ContractError, ModelError
from nightscore.scorers.functions.python import open_python, read_python_model
from nightscore.scorers.onnx.scorer import open_onnx
from nightscore.scorers.registry import open_scorer
from tests.scorers.models import COLUMNS, file, floats, graph

WEIGHTS = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
FUNCTION = """\
import pyarrow as pa
from nightscore.scorers import scorer

@scorer(
    inputs={"a": pa.float32(), "b": pa.float32()},
    outputs={"y": pa.list_(pa.float32()), "z": pa.float32()},
)
def two(chunk):
    a, b = (chunk.column(name).to_pylist() for name in "ab")
    y = pa.array([[p, q] for p, q in zip(a, b)], pa.list_(pa.float32()))
    return pa.record_batch([y, chunk.column("a")], names=["y", "z"])
"""


def product(declared: Sequence[int | None]) -> bytes:
    """Y = X @ weights, two columns, whatever it declares."""
    nodes = [helper.make_node("MatMul", ["X", "w"], ["y"])]
    model = graph(
        nodes, {"X": (TensorProto.FLOAT, [None, 3])}, {"y": (TensorProto.FLOAT, declared)}, {"w": WEIGHTS}
    )
    return file(model, COLUMNS).data


def opened(declared: Sequence[int | None], output: str) -> pa.RecordBatch:
    model = file(product(declared))
    return open_onnx(model, Options({"s": output})).score(floats(5))


@pytest.mark.parametrize("declared", [[None, 1], [None], [None, 2], [None, None]], ids=str)
def test_an_output_of_two_columns_is_never_one(declared: list[int | None]) -> None:
    """Refused when it is opened, with what it says and what it gives."""
    said = rf"is declared as {re.escape(str(declared))} and gives \[2, 2\] for 2 rows"
    if declared == [None, 2]:
        said = r"has shape \[None, 2\]"
    with pytest.raises(ModelError, match=rf"'y' {said}; say which, such as y\[1\], or y\[\*\] for a list"):
        opened(declared, "y")


@pytest.mark.parametrize("declared", [[None, 1], [None], [None, 2], [None, None], [None, 3]], ids=str)
def test_a_column_that_is_asked_for_is_the_one_that_is_given(declared: list[int | None]) -> None:
    """By its number, or all of them as a list, whatever the file declares."""
    wanted = np.column_stack([column.to_numpy() for column in floats(5).columns]) @ WEIGHTS
    np.testing.assert_allclose(opened(declared, "y[1]").column(0).to_numpy(), wanted[:, 1], rtol=1e-6)
    np.testing.assert_allclose(np.array(opened(declared, "y[*]").column(0).to_pylist()), wanted, rtol=1e-6)
    with pytest.raises(ModelError, match="index 2 is not among 0 to 1"):
        opened(declared, "y[2]")


def test_what_shows_in_the_rows_alone_breaks_the_contract() -> None:
    """A model that gives as many columns as rows: two tries tell nothing, the first chunk does."""
    nodes = [
        helper.make_node("Transpose", ["X"], ["t"]),
        helper.make_node("MatMul", ["X", "t"], ["y"]),
    ]
    model = graph(nodes, {"X": (TensorProto.FLOAT, [None, 3])}, {"y": (TensorProto.FLOAT, [None, None])})
    scorer = open_onnx(file(model, COLUMNS), Options({"s": "y[1]"}))
    with pytest.raises(ContractError, match=r"output 'y' is declared as .* and gives \[1, 1\] for 1 rows"):
        scorer.score(floats(1))


def test_a_function_s_list_has_an_index_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a model's output of rank 2; a value that is no list has none."""
    (tmp_path / "two_lists.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = read_python_model("two_lists:two")
    found = open_python(model, Options({"q": "y[1]", "all": "y[*]", "z": "z"})).score(floats(4))
    assert found.column("q").to_pylist() == floats(4).column("b").to_pylist()
    assert [row[1] for row in found.column("all").to_pylist()] == found.column("q").to_pylist()
    with pytest.raises(ContractError, match="output 'y' has lists without a value number 2"):
        open_python(model, Options({"q": "y[2]"})).score(floats(4))
    with pytest.raises(ModelError, match="output 'z' is float, one value a row; it takes no index"):
        open_python(model, Options({"q": "z[0]"}))
    with pytest.raises(ModelError, match=r"takes the columns \['a', 'b'\], .*model.columns are \['b', 'a'\]"):
        open_python(model, Options({"z": "z"}, ["b", "a"]))


def stump() -> bytes:
    """One tree: 1 where a is above 0.5, else 0."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["X"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], target_treeids=[0, 0],
        target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[0.0, 1.0],
    )  # fmt: skip
    model = graph([node], {"X": (TensorProto.FLOAT, [None, 3])}, {"y": (TensorProto.FLOAT, [None, 1])})
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return file(model, COLUMNS).data


DIFFER = {
    "order": (["c", "b", "a"], "in number 1: c and a"),
    "set": (["a", "b", "x"], "in number 3: x and c"),
    "fewer": (["a", "b"], "in number 3: nothing and c"),
    "more": (["a", "b", "c", "d"], "in number 4: d and nothing"),
}


@pytest.mark.parametrize(("columns", "says"), DIFFER.values(), ids=DIFFER.keys())
@pytest.mark.parametrize("kind", ["onnx", "trees"])
def test_the_job_s_columns_are_the_model_s(kind: str, columns: list[str], says: str) -> None:
    """Both lists and the first difference; one key says that the job's are meant."""
    data, output = (stump(), "y") if kind == "trees" else (product([None, 2]), "y[1]")
    both = rf"model.columns are \[{', '.join(columns)}\], and the model's own .* are \[a, b, c\]; .*{says}; "
    with pytest.raises(ModelError, match=both + ".*columns_override: true"):
        open_scorer(kind, file(data), Options({"s": output}, columns))
    same = open_scorer(kind, file(data), Options({"s": output}, list(COLUMNS)))
    assert same.signature.inputs.names == list(COLUMNS)
    if len(columns) == len(COLUMNS):
        other = open_scorer(kind, file(data), Options({"s": output}, columns, columns_override=True))
        assert other.signature.inputs.names == columns
