"""What a reader pays for the days that are published: CPU seconds of commands, by published days.

python benchmarks/published_days.py --beside /path/of/another/checkout/.venv/bin/python

A history is written by nightscore's own writer, 25 days a commit; on top of it are twenty nights. `--beside`
measures another version in turns with this one, each in workspaces that it wrote itself.
"""

import argparse
import datetime as dt
import importlib
import inspect
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

WORK = Path(os.environ.get("BENCH_WORK", Path(__file__).parent / "work")) / "published-days"
DAYS = (0, 20, 500, 5_000, 10_000)
NIGHTS = 20  # real ones, on top of a history
ROUNDS, SPARE = 5, 40  # days of the lake that are not published yet
TOGETHER = 25  # days in one commit of a history
LAST = dt.date(2026, 6, 30)  # the last published day
JOB = """\
job: daily
about: Rows scored by a linear model
owner: benchmarks
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
model: {path: data/models/linear.onnx, columns: [a, b], outputs: {score: y}}
decide: {daily_top: top.sql}
"""
TOP = "SELECT id, score FROM scores ORDER BY score DESC, id LIMIT 10"


def main() -> None:
    """Measure and print; or, called by itself in another version's interpreter, build or open a workspace."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", type=Path, help="the interpreter of another version")
    parser.add_argument("--days", type=int, nargs="+", default=DAYS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(Path(options.build[0]), int(options.build[1]))
    elif options.open:
        print(cpu_of_opening(Path(options.open)))
    else:
        pythons = {"this version": Path(sys.executable)}
        pythons |= {"before": options.beside} if options.beside else {}
        report(pythons, options.days, options.rounds)


def report(pythons: dict[str, Path], sizes: Sequence[int], rounds: int) -> None:
    """One table: a line for each command and version, a column for each number of published days."""
    found: dict[tuple[str, str], list[str]] = {}
    for days in sizes:
        roots = {name: WORK / f"{days}-{name.replace(' ', '-')}" for name in pythons}
        for name, python in pythons.items():
            subprocess.run([str(python), __file__, "--build", str(roots[name]), str(days)], check=True)
        seconds = measured(pythons, roots, rounds)
        for key, values in seconds.items():
            found.setdefault(key, []).append(f"{statistics.median(values):.2f}" if values else "")
        for root in roots.values():
            shutil.rmtree(root)
        print(f"{days} published days: measured", file=sys.stderr, flush=True)
    print(f"CPU seconds, user and system, of a process; medians of {rounds}.\n")
    print(f"| command | | {' | '.join(f'{days:,} days' for days in sizes)} |\n|---|---|{'---|' * len(sizes)}")
    for (command, name), medians in found.items():
        print(f"| {command} | {name} | {' | '.join(medians)} |", flush=True)


def measured(
    pythons: dict[str, Path], roots: dict[str, Path], rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Command and version -> CPU seconds of each round; the versions take turns."""
    days = {name: after(LAST) for name in pythons}
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(-1, rounds):  # the first, which compiles and fills caches, is not counted
        for name in list(pythons) if turn % 2 else list(pythons)[::-1]:
            for command, call in ways(pythons[name], roots[name], days[name]).items():
                found.setdefault((command, name), []).extend([seconds := call()][: turn >= 0])
                del seconds
    return dict(sorted(found.items(), key=lambda one: list(ORDER).index(one[0][0])))


ORDER = {
    "open the catalogue": 0, "query of one day": 1, "run of a new day": 2, "run, unchanged": 3, "jobs": 4,
    "receipts of a day": 5, "late, 30 days": 6,
}  # fmt: skip


def ways(python: Path, root: Path, days: Iterator[dt.date]) -> dict[str, Callable[[], float]]:
    """Command -> what runs it once and gives its CPU seconds."""
    day, since = LAST.isoformat(), (LAST - dt.timedelta(days=29)).isoformat()
    count = f"SELECT count(*) FROM daily_scores WHERE day = DATE '{day}'"

    def called(*arguments: str) -> Callable[[], float]:
        return lambda: cpu([str(python.with_name("nightscore")), *arguments, "--workspace", str(root)])

    new = next(days).isoformat()
    ran = {
        "run of a new day": called("run", "daily", "--day", new),
        "run, unchanged": called("run", "daily", "--day", new),
        "jobs": called("jobs"),
    }
    if not (root / "data/tables/daily_scores").exists():
        return ran
    return {
        "open the catalogue": lambda: float(output([str(python), __file__, "--open", str(root)])),
        "query of one day": called("query", count),
        **ran,
        "receipts of a day": called("receipts", "daily", "--day", day),
        "late, 30 days": called("late", "daily", "--since", since, "--list-only"),
    }


def after(day: dt.date) -> Iterator[dt.date]:
    """The days behind a day."""
    for number in range(1, SPARE + 1):
        yield day + dt.timedelta(days=number)


def cpu(command: list[str]) -> float:
    """CPU seconds of a process, and of those that it waited for."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=without_pandas()
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return usage.ru_utime + usage.ru_stime


def output(command: list[str]) -> str:
    """What a process prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=without_pandas()).stdout


def without_pandas() -> dict[str, str]:
    """This environment without pandas, which pyarrow imports where it is there; nightscore needs it not."""
    folder = WORK / "without"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pandas.py").write_text("raise ImportError")
    return {**os.environ, "PYTHONPATH": str(folder)}


def cpu_of_opening(root: Path) -> float:
    """CPU seconds of the first catalogue of a process, libraries loaded."""
    from nightscore.common import open_workspace
    from nightscore.store import catalog, delta, query_resources, storage

    workspace = open_workspace(root)
    delta.table_exists(storage.tables(workspace))
    query_resources(workspace)
    started = time.process_time()
    catalog.read_catalog(workspace)
    return time.process_time() - started


# --- a history ---


def build(root: Path, days: int) -> None:
    """A workspace with so many published days; the last NIGHTS are runs, the others committed in bulk."""
    from nightscore import load, run

    shutil.rmtree(root, ignore_errors=True)
    published = [LAST - dt.timedelta(days=number) for number in reversed(range(days))]
    make_workspace(root, [*published, *after(LAST)])
    job = load("daily", root)
    history, nights = published[:-NIGHTS], published[-NIGHTS:]
    if history:
        first = run(job, history[0])
        for start in range(1, len(history), TOGETHER):
            commit_days(job, first, history[start : start + TOGETHER])
    for night in nights:
        run(job, night)


def make_workspace(root: Path, days: Sequence[dt.date]) -> None:
    """The job, its model, and a partition a day: the same rows each, under many names."""
    texts = {"jobs/daily/job.yaml": JOB, "jobs/daily/top.sql": TOP}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    w = numpy_helper.from_array(np.ones((2, 1), np.float32), "W")
    graph = helper.make_graph([helper.make_node("MatMul", ["X", "W"], ["y"])], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    (root / "data/models").mkdir(parents=True)
    onnx.save(model, root / "data/models/linear.onnx")
    rng = np.random.default_rng(0)
    floats = {name: rng.random(1_000, dtype=np.float32) for name in ("a", "b")}
    rows = root / "data/rows.parquet"
    pq.write_table(pa.table({"id": pa.array(np.arange(1_000)), **floats}), rows)
    for day in days:
        folder = root / f"data/lake/rows/day={day}"
        folder.mkdir(parents=True)
        (folder / "rows.parquet").hardlink_to(rows)


def commit_days(job: "object", first: "object", days: Sequence[dt.date]) -> None:
    """Publish days like the first one: files, receipts and commits by what writes those of a night."""
    from nightscore.pipeline.publish import commit
    from nightscore.store import RECEIPTS, storage, write_rows

    tables = job.workspace.tables  # type: ignore[attr-defined]
    for name in first.tables:  # type: ignore[attr-defined]
        source = next((tables / name).glob(f"day={first.day}/*.parquet"))  # type: ignore[attr-defined]
        files = {day: tables / name / f"day={day}" / f"{run_id(day)}-0.parquet" for day in days}
        for path in files.values():
            path.parent.mkdir(exist_ok=True)
            path.hardlink_to(source)
        version = commit_together(tables / name, job.name, {day: (path, {}) for day, path in files.items()})  # type: ignore[attr-defined]
    receipts = [like(first, day, version) for day in days]
    rows = {}
    for day, receipt in zip(days, receipts, strict=True):
        path = tables / RECEIPTS / f"day={day}" / f"{run_id(day)}-0123abcd.parquet"
        row = commit._row(receipt)
        write_rows(storage.place_of(job.workspace, path.relative_to(job.workspace.root).as_posix()), row)
        rows[day] = path, commit.told_row(row) if hasattr(commit, "told_row") else {}
    commit_together(tables / RECEIPTS, job.name, rows)  # type: ignore[attr-defined]


def commit_together(root: Path, job: str, files: dict[dt.date, tuple[Path, dict[str, object]]]) -> int:
    """One commit that adds a file to each of some days; gives its version."""
    from deltalake import CommitProperties, Transaction

    delta = importlib.import_module("nightscore.store.tables.delta")
    try:
        delta_commit = importlib.import_module("nightscore.store.tables.delta_commit")
    except ImportError:  # of a version before
        delta_commit = delta
    tells = len(inspect.signature(delta_commit._add).parameters) > 3
    table_root: Any = named(root)
    adds = []
    for day, (path, row) in files.items():
        file = named(path)
        if hasattr(delta_commit, "_read_footer"):  # which a version before read by itself
            file = delta_commit._read_footer(table_root, file)
        adds.append(delta_commit._add(table_root, file, day.isoformat(), *([row] if tells else [])))
    table = (delta.open_table if hasattr(delta, "open_table") else delta._open)(table_root)
    version = int(table.version()) + 1
    table.create_write_transaction(
        adds, mode="append", schema=table.schema(), partition_by=["day"],
        commit_properties=CommitProperties(
            app_transactions=[Transaction(f"{job}/{day}", number(day)) for day in files]
        ),
    )  # fmt: skip
    return version


def named(path: Path) -> Any:
    """A path as the store of a version names it."""
    try:
        from nightscore.store.storage import Folder, Place
    except ImportError:  # of a version before
        return path
    return Place(Folder(Path("/")), path.relative_to("/").as_posix())


def like(first: "object", day: dt.date, version: int) -> "object":
    """The receipt of a night that read, scored and published what the first one did."""
    inputs = [
        one.model_copy(update={"path": one.path.replace(first.day, day.isoformat())})  # type: ignore[attr-defined]
        for one in first.inputs  # type: ignore[attr-defined]
    ]
    tables = {
        name: one.model_copy(update={"version": version})
        for name, one in first.tables.items()  # type: ignore[attr-defined]
    }
    moment = dt.datetime.combine(day, dt.time(22, 0, 0, 123456), dt.UTC)
    changed = {
        "day": day.isoformat(), "run_id": run_id(day), "run_number": number(day), "inputs": tuple(inputs),
        "tables": tables, "started_at": moment, "published_at": moment,
    }  # fmt: skip
    return first.model_copy(update=changed)  # type: ignore[attr-defined]


def run_id(day: dt.date) -> str:
    """The name of a day's run."""
    return f"{day:%Y%m%d}T220000-0123abcd-{day.toordinal():06x}"


def number(day: dt.date) -> int:
    """The number of a day's run: milliseconds, as those of runs are."""
    return int(dt.datetime.combine(day, dt.time(22), dt.UTC).timestamp() * 1000)


if __name__ == "__main__":
    main()
