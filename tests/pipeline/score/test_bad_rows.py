"""`policy.bad_row: reject` sets the rows aside that a scorer can't score, whatever kind it is and raises."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from nightscore import Broken, NotYet, load, query, run
from tests.support.workspace import DAYS, JOB, make_workspace

REJECTING = JOB + "policy: {bad_row: reject, max_rejected: 50%}\n"
BAD = (7, 23, 24)
CODE = """\
import pyarrow as pa

from nightscore.scorers import Signature

FLOATS = pa.schema([("a", pa.float32()), ("b", pa.float32())])
SCORE = pa.schema([("score", pa.float32())])


def score(chunk):
    a = chunk.column("a").to_numpy()
    if (a < 0).any():
        {act}
    return pa.record_batch([pa.array(a + chunk.column("b").to_numpy(), pa.float32())], ["score"])


score.signature = Signature(FLOATS, SCORE)


class Rows:
    signature = score.signature

    def score(self, chunk):
        return score(chunk)


def open_scorer(model, options):
    return Rows()
"""
ACTS = {
    "a value error": 'raise ValueError("no image")',
    "an image cut short": 'raise OSError("image file is truncated (3 bytes not processed)")',
    "an assertion": "assert False",
    "an exit": "raise SystemExit(1)",
    "a type error": "raise TypeError('can not convert')",
    "a recursion": "raise RecursionError('too deep')",
    "a key": "raise KeyError('unknown word')",
}


def put_bad_rows(root: Path) -> pa.Table:
    """Forty rows of which three have an a below zero; gives them."""
    rows = pq.read_table(root / f"data/lake/rows/day={DAYS[0]}/part-0.parquet", partitioning=None)
    a = rows["a"].to_numpy().copy()
    a[list(BAD)] = -1
    rows = rows.set_column(1, "a", pa.array(a))
    pq.write_table(rows, root / f"data/lake/rows/day={DAYS[0]}/part-0.parquet")
    return rows


def with_kind(root: Path, kind: str, act: str) -> Path:
    """A workspace whose scorer raises where a row's a is below zero."""
    code = CODE.format(act=act)
    said = {"workspace": "kind: scorers/rows.py", "python": f"kind: python\n  entry: {root.name}:score"}[kind]
    job = REJECTING.replace("  path: data/models/linear.onnx\n", f"  {said}\n").replace(
        "score: y", "score: score"
    )
    make_workspace(root, rows=40, job=job)
    (root / "scorers").mkdir()
    (root / "scorers/rows.py").write_text(code)
    (root / f"{root.name}.py").write_text(code)
    return root


@pytest.mark.parametrize("kind", ["workspace", "python"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.sample(4)
def test_the_rows_at_fault_are_set_aside_and_the_others_scored(
    tmp_path: Path, kind: str, act: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Found by halving; each with what was raised; the sum of the others by NumPy."""
    name = f"rows_{kind}_{abs(hash(request.node.name))}"
    root = with_kind(tmp_path / name, kind, act)
    monkeypatch.syspath_prepend(str(root))
    rows = put_bad_rows(root)
    receipt = run(load("mini", root), DAYS[0])
    sys.modules.pop(name, None)
    assert (receipt.rows.read, receipt.rows.scored, receipt.rows.rejected) == (40, 37, 3)
    found = query("SELECT id, stage, reason FROM mini_rejects ORDER BY id", root).to_pylist()
    assert found == [{"id": id_, "stage": "score", "reason": "scorer_error"} for id_ in BAD]
    keep = ~np.isin(rows["id"].to_numpy(), BAD)
    expected = (rows["a"].to_numpy() + rows["b"].to_numpy())[keep]
    assert query("SELECT score FROM mini_scores ORDER BY id", root)["score"].to_pylist() == expected.tolist()


def test_an_error_of_the_machine_is_no_reject(tmp_path: Path) -> None:
    """A file that is not there has an errno: not yet, and nothing is published."""
    root = with_kind(tmp_path / "machine", "workspace", 'open("/no/such/file")')
    put_bad_rows(root)
    with pytest.raises(NotYet, match="what it needs of this machine"):
        run(load("mini", root), DAYS[0])


def squeezing_model(path: Path) -> None:
    """The sum of a row's columns, squeezed as torch exports it: of one row no dimension is left."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.ones((2, 1), np.float32), "W")
    nodes = [helper.make_node("MatMul", ["X", "W"], ["s"]), helper.make_node("Squeeze", ["s"], ["y"])]
    graph = helper.make_graph(nodes, "squeezed", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": '["a", "b"]'})
    path.write_bytes(model.SerializeToString())


LONE = """\
import pyarrow as pa

from nightscore.scorers import Signature


class Lone:
    signature = Signature(
        pa.schema([("a", pa.float32()), ("b", pa.float32())]), pa.schema([("score", pa.float32())])
    )

    def score(self, chunk):
        rows = chunk.num_rows if chunk.num_rows != 1 else 0  # as squeeze() leaves nothing of one row
        return pa.record_batch([pa.repeat(pa.scalar(1.0, pa.float32()), rows)], ["score"])


def open_scorer(model, options):
    return Lone()
"""


@pytest.mark.parametrize("policy", ["fail", "reject"])
def test_a_model_that_loses_a_lone_row_is_refused_by_name(tmp_path: Path, policy: str) -> None:
    """On a day of one row and by either policy: it is no fault of the row; never a crash."""
    job = JOB.replace("  path: data/models/linear.onnx\n", "  kind: scorers/lone.py\n").replace(
        "score: y", "score: score"
    )
    more = f"policy: {{bad_row: {policy}, max_rejected: 100%}}\n" if policy == "reject" else ""
    root = make_workspace(tmp_path, rows=1, job=job + more)
    (root / "scorers").mkdir()
    (root / "scorers/lone.py").write_text(LONE)
    with pytest.raises(Broken, match=r"scorers/lone\.py: gives 0 rows for 1 rows; nothing is published"):
        run(load("mini", root), DAYS[0])


def test_a_squeezing_network_and_a_day_of_one_row(tmp_path: Path) -> None:
    """What torch exports so, where one row leaves no dimension, is scored as the row beside others is."""
    root = make_workspace(tmp_path, rows=1, job=REJECTING)
    squeezing_model(root / "data/models/linear.onnx")
    run(load("mini", root), DAYS[0])
    row = pq.read_table(root / f"data/lake/rows/day={DAYS[0]}").to_pylist()[0]
    assert query("SELECT score FROM mini_scores", root).to_pylist() == [{"score": row["a"] + row["b"]}]
