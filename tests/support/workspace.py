"""A small workspace made on the spot: real Parquet, a real ONNX model, a real job."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

DAYS = ("2020-01-01", "2020-01-02", "2020-01-03")

JOB = """\
job: mini
about: Rows scored by a linear model
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
keep: [a]
model:
  path: data/models/linear.onnx
  outputs: {score: y}
decide:
  mini_top: top.sql
params:
  n: {type: integer, default: 10, minimum: 1, maximum: 100, about: how many are chosen}
audit:
  - name: as many as asked for
    sql: SELECT count(*) = least(getvariable('n'), (SELECT count(*) FROM scores)) FROM mini_top
"""

TOP = """\
SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank
FROM scores
QUALIFY rank <= getvariable('n')
"""

FEATURES = """\
SELECT id, a, b FROM rows WHERE id % 2 = 0
"""


def rows_of(day: str, rows: int) -> pa.Table:
    """The rows of a day: id int64 0..rows-1, a and b float32 in [0, 1), the same at each call."""
    rng = np.random.default_rng(int(day.replace("-", "")))
    return pa.table(
        {
            "id": pa.array(np.arange(rows)),
            "a": rng.random(rows, dtype=np.float32),
            "b": rng.random(rows, dtype=np.float32),
        }
    )


def write_day(root: Path, day: str, rows: int, files: int = 1, group: int = 1_000) -> None:
    """One partition of the input `rows`, in some files."""
    folder = root / f"data/lake/rows/day={day}"
    folder.mkdir(parents=True, exist_ok=True)
    table = rows_of(day, rows)
    step = -(-rows // files) if rows else 0
    for i in range(files):
        pq.write_table(table.slice(i * step, step), folder / f"part-{i}.parquet", row_group_size=group)


def linear_model(
    path: Path, weights: tuple[float, ...] = (1.0, 2.0), columns: tuple[str, ...] = ("a", "b")
) -> None:
    """An ONNX model y = columns @ weights (float32), with its column names in the metadata."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(weights)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    w = numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "W")
    graph = helper.make_graph([helper.make_node("MatMul", ["X", "W"], ["y"])], "linear", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(list(columns))})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def make_workspace(root: Path, rows: int = 5_000, job: str = JOB, days: tuple[str, ...] = DAYS) -> Path:
    """A workspace with the job `mini`, its model and some days of its input."""
    folder = root / "jobs" / "mini"
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(job)
    (folder / "top.sql").write_text(TOP)
    (folder / "features.sql").write_text(FEATURES)
    linear_model(root / "data/models/linear.onnx")
    for day in days:
        write_day(root, day, rows)
    return root
