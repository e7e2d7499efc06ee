"""A value that the model can not hold ends the night, is set aside, or is counted: on every path the same.

The truth of a score is NumPy's float32 of the value; that of the counts is Python's exact integers.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from nightscore.common.errors import Broken
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.replay import replay_rejects
from nightscore.store import Receipt, catalog
from tests.support.workspace import linear_model, make_workspace

DAY = "2020-01-01"
JOB = """\
job: mini
about: A model of one column
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
model:
"""
ONNX = "  kind: onnx\n  path: data/models/linear.onnx\n  outputs: {score: y}\n"
OWN = """\
import pyarrow as pa
from nightscore.scorers import Signature

class Same:
    signature = Signature(pa.schema([("x", pa.float32())]), pa.schema([("score", pa.float32())]))
    def score(self, chunk):
        given = chunk.column("x")
        if pa.types.is_decimal(given.type):
            raise TypeError("a decimal")
        return pa.record_batch([given.cast(pa.float32())], schema=self.signature.outputs)

def open_scorer(model, options):
    return Same()
"""
FUNCTION = """\
import pyarrow as pa
from nightscore.scorers import scorer

@scorer(inputs={"x": pa.float32()}, outputs={"y": pa.float32()})
def same(chunk):
    return pa.record_batch([chunk.column("x")], names=["y"])
"""
PATHS = {
    "streamed": (ONNX, "rows"),
    "sql": (ONNX, "features.sql"),
    "auto": (ONNX.replace("  kind: onnx\n", ""), "rows"),
    "one input a column": (ONNX.replace("linear", "single"), "rows"),
    "python": ("  kind: python\n  entry: lost_same:same\n  outputs: {score: y}\n", "rows"),
    "a scorer of the workspace": ("  kind: scorers/own.py\n  outputs: {score: y}\n", "rows"),
}  # fmt: skip
COLUMNS = {
    "dates as integers": (pa.array([20240228, 20240229, 20240301, 20240302], pa.int32()), [1, 2]),
    "int64": (pa.array([2**24, 2**24 + 1, 2**53 + 1, -(2**63), 7]), [1, 2]),
    "uint64": (pa.array([2**64 - 1, 2**64 - 2, 1, 2**63, 0], pa.uint64()), [0, 1]),
    "double": (pa.array([1e300, -1e300, 1e-50, 0.1, np.inf]), [0, 1, 2]),
    "hugeint": (pa.array([2**24 + 1, 2**60, 3, 5, 0]).cast(pa.decimal128(38, 0)), [0]),
}  # fmt: skip
DATES, LOST = COLUMNS["dates as integers"]


@pytest.fixture(autouse=True)
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a function that gives what it is given."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "lost_same.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("lost_same", None)


def workspace(root: Path, column: pa.Array, path: str = "streamed", more: str = "") -> Path:
    """A day with the column x, and a model that gives it back."""
    model, features = PATHS[path]
    root = make_workspace(
        root / "w", 10, JOB.replace("features: rows", f"features: {features}") + model + more, days=()
    )
    (root / "jobs/mini/features.sql").write_text("SELECT id, x FROM rows WHERE id >= 0")
    linear_model(root / "data/models/linear.onnx", (1.0,), ("x",))
    single(root / "data/models/single.onnx")
    (root / "scorers").mkdir()
    (root / "scorers/own.py").write_text(OWN)
    put(root, column)
    return root


def single(path: Path) -> None:
    """The same model with an input of its own name."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "single", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())


def put(root: Path, column: pa.Array) -> None:
    """Write the day."""
    folder = root / f"data/lake/rows/day={DAY}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": pa.array(range(len(column))), "x": column}), folder / "a.parquet")


def scores(root: Path) -> dict[int, float]:
    """What is published, by id."""
    found = catalog.query(f"SELECT id, score FROM mini_scores WHERE day = '{DAY}' ORDER BY id", root)
    return dict(zip(*found.to_pydict().values(), strict=True))


def rejected(root: Path) -> list[tuple[int, str]]:
    """The ids that were set aside, with the reason."""
    found = catalog.query("SELECT id, reason FROM mini_rejects ORDER BY id", root)
    return list(zip(*found.to_pydict().values(), strict=True))


def night(root: Path) -> Receipt:
    return run(load("mini", root), DAY)


def as_float32(column: pa.Array) -> list[float]:
    """Each value, rounded once to a float32."""
    with np.errstate(over="ignore"):
        return [float(np.float32(float(value))) for value in column.to_pylist()]


@pytest.mark.parametrize("path", PATHS)
def test_the_night_ends_before_a_wrong_score_on_every_path(tmp_path: Path, path: str) -> None:
    """The message has the row's key, the column, the value, the type, and the three choices."""
    with pytest.raises(
        Broken, match=r"id=1: column 'x' is 20240229; the model computes with float, .*"
        r"the column is int32.*reject.*count.*fail \(and 1 more rows of this chunk\); nothing is published",
    ):  # fmt: skip
        night(workspace(tmp_path, DATES, path))
    assert not (tmp_path / "w/data/tables").exists()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.sample(2)
def test_what_is_counted_is_the_nearest_on_every_path(tmp_path: Path, path: str) -> None:
    """The receipt says of how many rows, by column."""
    root = workspace(tmp_path, DATES, path, "policy: {value_lost: count}\n")
    receipt = night(root)
    assert receipt.value_lost == {"x": 2}
    assert list(scores(root).values()) == as_float32(DATES)


INFINITE = "scoring: {nan_output: reject}\n"


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.sample(2)
def test_what_is_rejected_has_its_own_reason(tmp_path: Path, kind: str) -> None:
    """The others are scored; what of them is rounded alone is no loss, and what is infinite is no score."""
    column, lost = COLUMNS[kind]
    more = "policy: {value_lost: reject, max_rejected: 100%}\n"
    root = workspace(tmp_path, column, more=more + INFINITE)
    receipt = night(root)
    rest = {i: v for i, v in enumerate(as_float32(column)) if i not in lost}
    infinite = [(i, "nan_output") for i, value in rest.items() if np.isinf(value)]
    assert rejected(root) == sorted([(i, "value_lost") for i in lost] + infinite)
    assert scores(root) == {i: v for i, v in rest.items() if np.isfinite(v)} and receipt.value_lost == {}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.sample(2)
def test_every_type_of_column_is_counted(tmp_path: Path, kind: str) -> None:
    """Streamed, by ONNX Runtime: in rows that are published; what became infinite has no score."""
    column, lost = COLUMNS[kind]
    more = "policy: {value_lost: count, max_rejected: 100%}\n"
    root = workspace(tmp_path, column, more=more + INFINITE)
    wanted = {i: v for i, v in enumerate(as_float32(column)) if np.isfinite(v)}
    assert night(root).value_lost == {"x": len(wanted.keys() & set(lost))}
    assert scores(root) == wanted


def test_a_kept_value_is_scored_again_after_a_fix_and_the_count_goes_on(tmp_path: Path) -> None:
    """A replay adds its own to those of the rows that it carries over."""
    column = pa.array([20240229, 20240301, None], pa.int32())
    root = workspace(
        tmp_path, column, more="policy: {value_lost: count, bad_row: reject, max_rejected: 100%}\n"
    )
    assert night(root).value_lost == {"x": 2}
    put(root, pa.array([20240229, 20240301, 20240303], pa.int32()))
    receipt = replay_rejects(load("mini", root), DAY)
    assert receipt.value_lost == {"x": 3}
    assert list(scores(root).values()) == as_float32(pa.array([20240229, 20240301, 20240303]))
