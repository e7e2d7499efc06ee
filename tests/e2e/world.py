"""The workspace of the end-to-end tests: the real retail job, and jobs that take seconds to score."""

import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from data.lakes.retail import write_lake
from nightscore import Receipt, load, query, run
from tests.behaviour.test_chain import OWN, OWN_SQL
from tests.support.workspace import FEATURES, JOB, TOP, linear_model, write_day
from tests.workspace.retail.world import add_job

REPOSITORY = Path(__file__).parents[2]
HEAVY_ROWS = 400_000  # eight pieces
WIDTH = 1024  # of the heavy model's layers: two million multiplications a row
HEAVY_DAYS = ("2020-01-01", "2020-01-02")
DAYS = [date(2020, 3, 1) + timedelta(days=i) for i in range(10)]  # of a backfill
ROWS = 2_000  # of a day that takes no time
OWN_JOBS = ("together", "backwards")  # that read their own past
HELD_AUDIT = (
    "  - {name: many, sql: SELECT count(*) > 1000000 FROM scores}\n"  # of a job that each night holds
)


def make_world(root: Path) -> Path:
    """The jobs retail_recommendations, heavy, shared (heavy in four tasks), small ones, and their data."""
    write_lake(root)
    add_job(root)
    shutil.copytree(REPOSITORY / "dags", root / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    add_heavy(root)
    linear_model(root / "data/models/linear.onnx")
    once = "catchup: none}\n"  # after a backfill the week before today counts as missed, and has no data
    add_mini(root, "daily", "schedule: {daily: '00:00', timezone: UTC, " + once, "rows")
    add_mini(root, "chicago", "schedule: {daily: '02:00', timezone: America/Chicago, " + once, "rows")
    add_mini(root, "exchange", "schedule: {exchange: XNYS, after_close: 30m, " + once, "rows")
    add_mini(root, "chained", "schedule: {after: [chicago_top]}\n", "rows")
    add_mini(root, "paused", "schedule: {after: [chicago_top, exchange_scores]}\n", "rows")
    add_mini(root, "held", HELD_AUDIT, "rows")
    add_mini(root, "afterheld", "schedule: {after: [held_top]}\n", "rows")
    for name in OWN_JOBS:
        add_own(root, name)
    for day in (*DAYS, *recent_days()):
        write_day(root, str(day), ROWS)
    return root


def add_heavy(root: Path) -> None:
    """The jobs that take some ten seconds of two cores, whatever else the machine has, and their days."""
    heavy_model(root / "data/models/heavy.onnx")
    for name, more in (
        ("heavy", "scoring: {device: cpu}\n"),
        ("shared", "scoring: {device: cpu, tasks: 4}\n"),
    ):
        add_mini(root, name, more, "heavy", "heavy.onnx")
    for day in HEAVY_DAYS:
        write_day(root / "made", day, HEAVY_ROWS)
    (root / "made/data/lake/rows").rename(root / "data/lake/heavy")


def add_mini(root: Path, name: str, more: str, lake: str, model: str = "linear.onnx") -> None:
    """The small job of tests/support/workspace.py under another name, with other settings."""
    text = JOB.replace("job: mini", f"job: {name}").replace("mini_top", f"{name}_top")
    text = text.replace("data/lake/rows", f"data/lake/{lake}").replace("linear.onnx", model)
    folder = root / "jobs" / name
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(text + more)
    (folder / "top.sql").write_text(TOP)
    (folder / "features.sql").write_text(FEATURES)


def add_own(root: Path, name: str) -> None:
    """A job that counts the nights before in its own table, and whose days wait for the ones before."""
    text = OWN.replace("job: own", f"job: {name}").replace("own_", f"{name}_")
    folder = root / "jobs" / name
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(text + "policy: {gaps: fail, missing: wait}\n")
    (folder / "top.sql").write_text(TOP)
    (folder / "features.sql").write_text(OWN_SQL)


def heavy_model(path: Path) -> None:
    """Three layers, with weights that are the same at each call."""
    rng = np.random.default_rng(7)
    shapes = [(2, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]
    weights = [
        numpy_helper.from_array((rng.random(shape, dtype=np.float32) - 0.5) / WIDTH**0.5, f"w{i}")
        for i, shape in enumerate(shapes)
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "w0"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]), helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w2"], ["y"]),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "heavy", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": '["a", "b"]'})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def recent_days() -> list[date]:
    """The days whose nightly run is due while the tests run, also across midnight."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=1), today]


def loop(source: Path, root: Path, job: str, day: str) -> Receipt:
    """The night as the plain loop, in a workspace of its own with the same jobs, models and inputs."""
    return run(load(job, copy_unpublished(source, root)), day)


def copy_unpublished(source: Path, root: Path) -> Path:
    """A workspace with the same jobs, models and inputs, in which nothing is published; once."""
    if not root.exists():
        for part in ("jobs", "scorers", "data/lake", "data/models"):
            if (source / part).exists():
                shutil.copytree(source / part, root / part)
    return root


def published(root: Path, job: str, day: str) -> dict[str, list[bytes]]:
    """A day's files, by table and number: the bytes in the file of each column but `run_id`."""
    paths = (root / "data/tables").glob(f"{job}*/day={day}/*.parquet")
    return {f"{p.parts[-3]} {p.stem.rpartition('-')[2]}": column_bytes(p) for p in paths}


def column_bytes(path: Path) -> list[bytes]:
    """The bytes of every column chunk of a Parquet file but those of `run_id`, which names the run."""
    raw, metadata = path.read_bytes(), pq.read_metadata(path)
    found = []
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            if column.path_in_schema != "run_id":
                start = min(s for s in (column.dictionary_page_offset, column.data_page_offset) if s)
                found.append(raw[start : start + column.total_compressed_size])
    return found


def receipts(root: Path, job: str) -> dict[str, int]:
    """How many receipts each day of a job has."""
    sql = f"SELECT day, count(*) AS n FROM receipts WHERE job = '{job}' GROUP BY day ORDER BY day"
    return {str(row["day"]): row["n"] for row in query(sql, root).to_pylist()}


def said(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command `nightscore`, in a process of its own."""
    done = subprocess.run(
        [Path(sys.executable).parent / "nightscore", "--workspace", root, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
