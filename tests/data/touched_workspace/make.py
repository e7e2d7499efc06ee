"""Make touched_workspace.tar.xz: days that commit e01cff6 published with its own code, most of them wrong.

    git checkout e01cff6 && make .venv/test.stamp && .venv/bin/python make.py [FOLDER]

That commit has DuckDB 2.0.0. Each job has one cause, which its audits and `verify` did not see:

    nans        NaN compared in SQL, beside statistics that leave it out; 2020-01-02 has no NaN; closed
    texts       plain text with nulls and one other value, which DuckDB 2.0.0 takes for null everywhere
    holes       a lookback of two days; on 2020-01-04 the day before is missing
    lake        a Delta table whose deleted rows lie in the folder; read as Parquet
    others      x.PARQUET in the folder, which was not read; 2020-01-02 has none
    neighbours  a model that takes the mean of the chunk from each row
    filled      features_null: {flag: -1} of a boolean, which became true; 2020-01-02 has no null
    large       integers beyond 2**24 in float32; 2020-01-02 has none
    swapped     model.columns in another order than the list in the model
    sums        a sum of doubles: right, but its last bits depend on memory
    plain       nothing of all that, with NaN that nothing compares
    chain       as nans, of a table that plain has published
    decided     as nans, in a decision over the job's own scores
    structs     as nans, of a float in a struct
    cents       features_null: {cost: 0.005} of a DECIMAL(4, 2), which became 0.01; 2020-01-02 has no null
    listed      SHA256SUMS lists a file that had not come; on 2020-01-02 it lists what came

Rows are whole numbers or halves, so that tests compute them again with pandas.
"""

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from onnx import TensorProto, helper, numpy_helper

from jobs import load, run
from tests.mini import linear_model

WHEN = 1_577_934_000  # the time of change of every input and model: whole seconds outlive an archive
DAYS = ("2020-01-01", "2020-01-02", "2020-01-04")
JOB = """\
job: {name}
about: A day that was published before
owner: tests
inputs:
  rows: {{{inputs}}}
features: {features}
key: [id]
model:
  path: data/models/{name}.onnx
  columns: [{columns}]
  outputs: {{score: y}}
{more}"""
# name -> columns, features SQL (none: streamed), further lines, further settings of the input
JOBS = {
    "nans": (
        "big, b",
        "SELECT id, CASE WHEN a > 2 THEN 1 ELSE 0 END AS big, b FROM rows",
        "close: true\n",
        "",
    ),
    "texts": ("a, b", "SELECT id, a, b FROM rows WHERE colour IS NULL", "", ""),
    "holes": (
        "a, b",
        "SELECT id, sum(n)::INTEGER AS a, max(b) AS b FROM rows GROUP BY id",
        "",
        ", lookback: 2",
    ),
    "lake": ("a, b", "", "", ""),
    "others": ("a, b", "", "", ""),
    "neighbours": ("a, b", "", "", ""),
    "filled": ("flag, b", "", "scoring: {features_null: {flag: -1}}\n", ""),
    "large": ("n, b", "", "", ""),
    "swapped": ("b, a", "", "", ""),
    "sums": ("a, b", "SELECT id, sum(a) AS a, max(b) AS b FROM rows GROUP BY id", "", ""),
    "plain": ("b, c", "SELECT id, a, b, c FROM rows", "keep: [a, b]\n", ""),
    "chain": ("big, b", "SELECT id, CASE WHEN a > 2 THEN 1 ELSE 0 END AS big, b FROM rows", "", "table: plain_scores"),
    "decided": ("b, c", "SELECT id, a, b, c FROM rows", "keep: [a]\ndecide: {decided_big: big.sql}\n", ""),
    "structs": ("big, b", "SELECT id, CASE WHEN s.a > 2 THEN 1 ELSE 0 END AS big, b FROM rows", "", ""),
    "cents": ("cost, b", "", "scoring: {features_null: {cost: 0.005}}\n", ""),
    "listed": ("a, b", "", "verify_inputs: sha256\n", ""),
}


def rows_of(name: str, day: str) -> pd.DataFrame:
    """Twenty rows of one job's day."""
    i = np.arange(20)
    a, b = (i % 8 / 8).astype(np.float32), (i % 4 / 2).astype(np.float32)
    frame = pd.DataFrame({"id": i, "a": a, "b": b, "c": b + 1, "n": i % 5})
    frame["colour"] = pd.Series(np.where(i % 4 == 0, None, "red"), dtype=object)
    frame["flag"] = pd.Series(np.where(i % 2 == 0, True, False), dtype=object)
    if name in {"plain", "decided"} or (name in {"nans", "structs"} and day != DAYS[1]):
        frame.loc[i % 5 == 3, "a"] = np.nan
    if name == "filled" and day != DAYS[1]:
        frame.loc[i % 5 == 2, "flag"] = None
    if name == "large" and day != DAYS[1]:
        frame.loc[i % 5 == 1, "n"] = (1 << 24) + 1
    frame["cost"] = pd.Series([Decimal(25 * (k % 5) + 1000).scaleb(-2) for k in range(20)], dtype=object)
    if name == "cents" and day != DAYS[1]:
        frame.loc[i % 5 == 2, "cost"] = None
    if name == "structs":
        frame["s"] = [{"a": None if k % 7 == 6 else v} for k, v in zip(range(20), frame["a"].tolist(), strict=True)]
    return frame


def put(path: Path, frame: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({  # a NaN stays one
        name: pa.array(column.tolist()) if column.dtype == object else pa.array(column.to_numpy())
        for name, column in frame.items()
    })  # fmt: skip
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_page_checksum=True)


def write_lake(root: Path, day: str) -> None:
    """A Delta table: rows of 20 ids in two files, of which the second was deleted."""
    frame = rows_of("lake", day).drop(columns=["flag", "cost"]).assign(day=day)
    for half in (frame[:12], frame[12:]):
        table = pa.Table.from_pandas(half, preserve_index=False)
        write_deltalake(root / "data/lake/lake", table, mode="append", partition_by=["day"])
    DeltaTable(root / "data/lake/lake").delete(f"day = '{day}' AND id >= 12")


def mean_model(path: Path) -> None:
    """y = a + 2 b less the mean of that over the chunk."""
    linear_model(path, (1.0, 2.0), ("a", "b"))
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    w = numpy_helper.from_array(np.array([[1], [2]], np.float32), "W")
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["s"]),
        helper.make_node("ReduceMean", ["s"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["s", "m"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "mean", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    path.write_bytes(model.SerializeToString())


def make(root: Path) -> None:
    """The workspace, by the old version's own code."""
    for name, (columns, sql, more, settings) in JOBS.items():
        folder = root / "jobs" / name
        folder.mkdir(parents=True)
        features = "features.sql" if sql else "rows"
        source = settings if settings.startswith("table") else f"path: data/lake/{name}, partition: day{settings}"
        text = JOB.format(name=name, inputs=source, features=features, columns=columns, more=more)
        (folder / "job.yaml").write_text(text)
        if sql:
            (folder / "features.sql").write_text(sql + "\n")
        model = root / f"data/models/{name}.onnx"
        inside = ("a", "b") if name == "swapped" else tuple(columns.split(", "))
        mean_model(model) if name == "neighbours" else linear_model(model, (1.0, 2.0), inside)
        if name == "decided":
            (folder / "big.sql").write_text("SELECT id, score FROM scores WHERE a > 2\n")
        for day in DAYS if name != "chain" else ():
            if name == "lake":
                write_lake(root, day)
            else:
                put(root / f"data/lake/{name}/day={day}/part-0.parquet", rows_of(name, day))
            if name == "others" and day != DAYS[1]:
                late = rows_of(name, day)[:3].assign(id=[20, 21, 22])
                put(root / f"data/lake/{name}/day={day}/part-1.PARQUET", late)
            if name == "listed":
                file = root / f"data/lake/{name}/day={day}/part-0.parquet"
                lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}"]
                lines += [f"{'0' * 64}  part-1.parquet"] if day != DAYS[1] else []
                (file.parent / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    for path in [
        *root.glob("data/lake/*/*/*.parquet"),
        *root.glob("data/lake/*/*/*.PARQUET"),
        *root.glob("data/models/*"),
    ]:
        os.utime(path, (WHEN, WHEN))
    for name in JOBS:
        for day in DAYS:
            receipt = run(load(name, root), day)
            print(name, day, receipt.status, receipt.rows.published)
            assert receipt.status == "published"
        for file in (root / f"data/tables/{name}_scores").rglob("*.parquet"):  # chain reads them
            os.utime(file, (WHEN, WHEN))


def pack(root: Path, archive: Path) -> None:
    """The workspace as a small archive: sorted, times in whole seconds, one owner."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(info.name).name == "lock":
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with tarfile.open(archive, "w:xz", preset=9 | (1 << 31)) as file:
        file.add(root, "w", filter=plain)


def main() -> None:
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "w"
        root.mkdir()
        make(root)
        pack(root, here / "touched_workspace.tar.xz")
    print((here / "touched_workspace.tar.xz").stat().st_size)


if __name__ == "__main__":
    main()
