"""How much memory a night needs, and how fast it is, at any number of rows.

Scores synthetic days (an int64 key, 16 float32 columns, a small neural network; seeded) through
`features: <input>` and measures, in a process of its own, the peak resident memory above that of the
interpreter at its start. The peak should not grow with the rows.

    make bench                                   5 million rows beside 1 million
    python benchmarks/memory.py --rows 20000000
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

WORK = Path(__file__).parent / "work" / "memory"
COLUMNS = [f"f{i}" for i in range(16)]
GROUP = 250_000  # rows of a row group, as a common writer makes them
LIMIT_MB = 600  # the project's promise at 5 million rows

JOB = """\
job: memory
about: Synthetic rows through a small neural network
owner: benchmarks
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
model:
  path: data/models/mlp.onnx
  outputs: {score: "y"}
"""

CHILD = """\
import json, resource, sys
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from nightscore import load, run
receipt = run(load("memory", sys.argv[1]), "2020-01-01", force=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"start": start, "peak": peak, "seconds": dict(receipt.seconds),
                  "rows": receipt.rows.published, "rows_per_second": receipt.rows_per_second}))
"""


def main() -> None:
    """Measure, print a table, and fail if the promise does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "pyarrow", "onnxruntime"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {packages}")
    print(f"{'rows':>12} {'MB above start':>15} {'scoring rows/s':>15} {'whole run s':>12}  seconds by stage")
    worst = 0.0
    for rows in options.rows:
        worst = max(worst, measure(rows))
    if worst > LIMIT_MB:
        sys.exit(f"peak memory {worst:.0f} MB is above {LIMIT_MB} MB")


def measure(rows: int) -> float:
    """Score one day of `rows` rows; prints a line; returns the peak in MB above the start."""
    root = workspace(rows)
    completed = subprocess.run(
        [sys.executable, "-c", CHILD, str(root)], capture_output=True, text=True, check=True
    )
    measured = json.loads(completed.stdout)
    above = (measured["peak"] - measured["start"]) / 1024
    stages = "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in measured["seconds"].items())
    whole = sum(measured["seconds"].values())
    print(
        f"{rows:>12,} {above:>15.0f} {measured['rows_per_second']:>15,} {whole:>12.1f}  {stages}", flush=True
    )
    shutil.rmtree(root / "data" / "tables")
    shutil.rmtree(root / "data" / "runs")
    return above


def workspace(rows: int) -> Path:
    """A workspace with one day of `rows` rows; made once."""
    root = WORK / str(rows)
    part = root / "data/lake/rows/day=2020-01-01/part-0.parquet"
    if part.exists():
        return root
    (root / "jobs/memory").mkdir(parents=True, exist_ok=True)
    (root / "jobs/memory/job.yaml").write_text(textwrap.dedent(JOB))
    network(root / "data/models/mlp.onnx")
    part.parent.mkdir(parents=True, exist_ok=True)
    temporary = part.with_suffix(".tmp")
    rng = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in COLUMNS)])
    with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            arrays = [pa.array(np.arange(start, start + count))]
            arrays += [pa.array(rng.standard_normal(count, dtype=np.float32)) for _ in COLUMNS]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP)
    temporary.rename(part)
    return root


def network(path: Path) -> None:
    """A multilayer perceptron 16-64-32-1 with seeded weights."""
    rng = np.random.default_rng(1)
    sizes = [(len(COLUMNS), 64), (64, 32), (32, 1)]
    weights, nodes, value = [], [], "X"
    for i, size in enumerate(sizes):
        scaled = (rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32)
        weights.append(numpy_helper.from_array(scaled, f"w{i}"))
        last = i == len(sizes) - 1
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], ["y" if last else f"m{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"]))
        value = f"r{i}"
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(COLUMNS)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "mlp", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(COLUMNS)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


if __name__ == "__main__":
    main()
