"""Pieces on a real Ray cluster: the same day, whatever dies meanwhile, and a message for what is wrong."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from nightscore import load, run
from nightscore.common.errors import NotYet
from nightscore.common.units import as_day
from nightscore.pipeline.executors import InOrder
from nightscore.pipeline.on_ray import executor as ray_executor
from nightscore.pipeline.on_ray.executor import Ray
from nightscore.pipeline.steps import plan_day
from nightscore.pipeline.testing import check_executor, check_parts_executor
from nightscore.store.places.run_folder import folder_of_plan
from tests.behaviour.world import ours, receipts, staged
from tests.e2e.servers import until
from tests.support.hidden import hiding
from tests.support.ray_cluster import Cluster
from tests.support.s3 import BUCKET, become_client, into_bucket, start_server
from tests.support.workspace import JOB, make_workspace

ray = pytest.importorskip("ray")

DAY, ROWS, PIECES, SLOTS = "2020-01-02", 8_000, 8, 2
SLOW = """\
\"\"\"A scorer that takes its time, and writes down who scored what.\"\"\"
import os
import time

import pyarrow as pa
from nightscore.scorers import Signature

FLOATS = pa.schema([("a", pa.float32()), ("b", pa.float32())])


class Rows:
    signature = Signature(FLOATS, pa.schema([("score", pa.float32())]))

    def score(self, chunk):
        a = chunk.column("a").to_numpy()
        if len(a) > 500:
            with open({log!r}, "a") as log:
                log.write(f"{{os.getpid()}} {{float(a[0])!r}}\\n")
            time.sleep({seconds})
            if {broken}:
                raise ValueError("no such row")
        return pa.record_batch([pa.array(a + chunk.column("b").to_numpy(), pa.float32())], ["score"])


def open_scorer(model, options):
    return Rows()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head, and two nodes of one slot each; one that a test kills it replaces."""
    made = Cluster()
    try:
        made.add()
        made.add()
        yield made
    finally:
        ray.shutdown()
        made.stop()


def slow_workspace(root: Path, seconds: float = 1.0, broken: str = "False") -> Path:
    """The small job with a scorer that sleeps in each of its eight pieces."""
    job = JOB.replace("  path: data/models/linear.onnx\n", "  kind: scorers/slow.py\n").replace(
        "score: y", "score: score"
    )
    make_workspace(root, ROWS, job + f"scoring: {{piece_rows: {ROWS // PIECES}, device: cpu}}\n", days=(DAY,))
    (root / "scorers").mkdir()
    (root / "scorers/slow.py").write_text(SLOW.format(log=str(root / "log"), seconds=seconds, broken=broken))
    return root


def command(root: Path, cluster: Cluster, *more: str) -> subprocess.Popen[str]:
    """`nightscore run mini --on ray`, as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "nightscore", "--workspace", str(root), "run", "mini", "--day", DAY,
         "--on", "ray", *more],
        env={**os.environ, "RAY_ADDRESS": cluster.address}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def scored(root: Path) -> list[str]:
    """What the scorer wrote down: a process and the first value of a piece, in the order of the calls."""
    log = root / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_it_keeps_the_contract(cluster: Cluster, tmp_path: Path) -> None:
    """The shipped suite: the bytes of the plain loop, order, progress, refusals."""
    job = load("mini", make_workspace(tmp_path, 99_000, days=(DAY,)))
    check_executor(lambda: Ray(cluster.address), job, plan_day(job, as_day(DAY)))


def test_a_day_is_what_the_plain_loop_publishes(cluster: Cluster, tmp_path: Path) -> None:
    """Through the command line, on both nodes: published, with the sha256 of the plain loop's files."""
    there, here = slow_workspace(tmp_path / "there", 1.5), slow_workspace(tmp_path / "here", 0.0)
    code, output = ended(command(there, cluster))
    assert code == 0, output
    assert "published" in output and "Traceback" not in output and "ray::" not in output
    run(load("mini", here), DAY, executor=InOrder())
    assert ours(there, "mini_scores").rows == ours(here, "mini_scores").rows
    assert len({line.split()[0] for line in scored(there)}) == 2, "both nodes took part"


def test_a_killed_worker_costs_its_piece_once_more(cluster: Cluster, tmp_path: Path) -> None:
    """Kill -9 of a process that scores a piece: that piece is scored again, and the day is published once."""
    root = slow_workspace(tmp_path)
    process = command(root, cluster)
    until(lambda: len(scored(root)) >= 3, 120, "a third piece is begun")
    os.kill(int(scored(root)[-1].split()[0]), signal.SIGKILL)
    code, output = ended(process)
    assert code == 0, output
    assert len(scored(root)) == PIECES + 1 and len(receipts(root)) == 1


def test_a_killed_node_costs_no_day(cluster: Cluster, tmp_path: Path) -> None:
    """Kill -9 of a raylet: what is left of the cluster scores all, and the day is published once."""
    root = slow_workspace(tmp_path)
    process = command(root, cluster)
    until(lambda: len(scored(root)) >= 3, 120, "a third piece is begun")
    cluster.raylet(cluster.started[-1]).kill()
    code, output = ended(process)
    cluster.add()
    assert code == 0, output
    assert PIECES <= len(scored(root)) <= PIECES + 2 and len(receipts(root)) == 1


def test_a_killed_driver_is_taken_up(cluster: Cluster, tmp_path: Path) -> None:
    """Kill -9 of the command: called again it publishes, and no finished piece is scored again."""
    root = slow_workspace(tmp_path)
    process = command(root, cluster)
    until(lambda: len(staged(root)) >= 2, 120, "two pieces are staged")
    process.kill()
    kept = staged(root)  # what a task that outlives the command for a moment stages may be staged again
    ended(process)
    until(lambda: not cluster.workers(), 60, "its tasks are ended")
    code, output = ended(command(root, cluster))
    assert code == 0, output
    assert kept.items() <= staged(root).items()
    assert len(receipts(root)) == 1


@pytest.mark.slow
def test_a_head_that_is_killed_is_told(tmp_path: Path) -> None:
    """Kill -9 of the cluster's head: not yet, by a message of ours; with another head no piece is lost."""
    root = slow_workspace(tmp_path)
    one = Cluster()
    try:
        one.add()
        process = command(root, one)
        until(lambda: len(staged(root)) >= 2, 120, "two pieces are staged")
        [gcs] = [p for p in psutil.Process(one.head.pid).children(recursive=True) if p.name() == "gcs_server"]
        gcs.kill()
        code, output = ended(process)
        kept = staged(root)
    finally:
        one.stop()
    assert code == 75 and "does not answer any more" in output and "Traceback" not in output, output
    other = Cluster()
    try:
        other.add()
        code, output = ended(command(root, other))
    finally:
        other.stop()
    assert code == 0, output
    assert kept.items() <= staged(root).items() and len(receipts(root)) == 1


@pytest.mark.slow
def test_broken_ends_the_run_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """A row that can't be scored: exit code 1, its message names the node, the other pieces are not begun."""
    root = slow_workspace(tmp_path, broken="a[0] == chunk.column('a')[0].as_py() and True")
    code, output = ended(command(root, cluster))
    assert code == 1 and "no such row" in output and "on node" in output and "Traceback" not in output
    assert len(scored(root)) <= 2 * SLOTS * 2 and not (root / "data/tables").exists()


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_is_the_one_of_the_plain_loop(cluster: Cluster, tmp_path: Path) -> None:
    """A file where a node's folder has to be: the same error, of one line, and no traceback of Ray's."""
    job = load("mini", make_workspace(tmp_path, days=(DAY,)))
    plan = plan_day(job, as_day(DAY))
    (folder_of_plan(job.workspace, plan).path / "scores").local().write_text("in the way")
    said = []
    for executor in (InOrder(), Ray(cluster.address)):
        with pytest.raises(OSError, match="scores") as told:
            executor.map(job, plan, plan.pieces)
        said.append((type(told.value), told.value.errno, str(told.value).count("\n")))
    assert said[0] == said[1] and said[0][2] == 0


PARTS = 6
PARTED = f"features: {{sql: features.sql, split_by: id, parts: {PARTS}}}\n"
BIG = """
WITH pairs AS (SELECT id, one.a, one.b, {work} AS work FROM rows AS one)
SELECT id, a, b, work, (SELECT count(*) FROM rows) AS rows FROM pairs
"""
WORK = "(SELECT sum(x) FROM range({n} + id % 2) AS r (x))"  # of each row: a part takes its time


def parted_workspace(root: Path, work: str = "0") -> Path:
    """The small job, its features made in parts; `work` is SQL that takes time in each row."""
    job = JOB.replace("features: rows\n", PARTED) + "scoring: {piece_rows: 1000}\n"
    make_workspace(root, ROWS, job, days=(DAY,))
    (root / "jobs/mini/features.sql").write_text(BIG.format(work=work))
    return root


def parts_of(root: Path) -> dict[str, int]:
    """The snapshots of parts that are there, by name, with the number of each's file."""
    found = root.glob(f"data/runs/mini/{DAY}/*/features-*.parquet")
    return {path.name: path.stat().st_ino for path in found}


def test_parts_of_features_are_tasks(cluster: Cluster, tmp_path: Path) -> None:
    """The snapshots of the plain loop, byte for byte, and the whole query is compared beside the pieces."""
    there, here = parted_workspace(tmp_path / "there"), parted_workspace(tmp_path / "here")
    code, output = ended(command(there, cluster))
    assert code == 0, output
    receipt = run(load("mini", here), DAY, executor=InOrder())
    assert receipt.parts and receipt.parts.parts == PARTS
    assert ours(there, "mini_scores").rows == ours(here, "mini_scores").rows
    contents = [
        {path.name: path.read_bytes() for path in root.glob(f"data/runs/mini/{DAY}/*/features-*.parquet")}
        for root in (there, here)
    ]
    assert len(contents[0]) == PARTS and contents[0] == contents[1]


def test_parts_keep_the_contract(cluster: Cluster, tmp_path: Path) -> None:
    """The shipped suite for parts: the bytes of one after the other, order, progress, refusals."""
    job = load("mini", parted_workspace(tmp_path))
    check_parts_executor(lambda: Ray(cluster.address), job, plan_day(job, as_day(DAY)))


@pytest.mark.slow
def test_a_driver_killed_among_parts_is_taken_up(cluster: Cluster, tmp_path: Path) -> None:
    """Kill -9 of the command while it makes features: called again, no finished part is made again."""
    root = parted_workspace(tmp_path, WORK.format(n=60_000))
    process = command(root, cluster)
    until(lambda: len(parts_of(root)) >= 2, 120, "two parts are made")
    process.kill()
    kept = parts_of(root)
    ended(process)
    assert len(kept) < PARTS, "killed too late to tell"
    until(lambda: not cluster.workers(), 60, "its tasks are ended")
    code, output = ended(command(root, cluster))
    assert code == 0, output
    assert kept.items() <= parts_of(root).items() and len(parts_of(root)) == PARTS
    assert len(receipts(root)) == 1


@pytest.mark.slow
def test_parts_that_are_not_the_whole_end_the_run(cluster: Cluster, tmp_path: Path) -> None:
    """SQL that gives a row otherwise in a part than in the whole: broken, by the task beside the pieces."""
    root = parted_workspace(tmp_path)
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("split_by: id, ", ""))
    (root / "jobs/mini/features.sql").write_text(
        "SELECT id, a + getvariable('parts') AS a, b FROM rows "
        "WHERE id % getvariable('parts') = getvariable('part')"
    )
    code, output = ended(command(root, cluster))
    assert code == 1 and "other rows than the whole query" in output and "on node" in output, output
    assert not (root / "data/tables").exists()


@pytest.mark.slow
def test_other_libraries_on_a_node_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """A plan that was made with another onnxruntime is not scored: the message names both and the node."""
    job = load("mini", make_workspace(tmp_path, days=(DAY,)))
    plan = plan_day(job, as_day(DAY))
    other = dataclasses.replace(plan, versions={**plan.versions, "onnxruntime": "0.0.1"})
    with pytest.raises(NotYet, match=r"on node .*onnxruntime 0\.0\.1 \(here: 1\."):
        Ray(cluster.address).map(job, other, other.pieces)


@pytest.mark.slow
def test_a_gpu_that_the_cluster_has_not_is_waited_for_and_said(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant on a GPU: on nodes without one nothing is scored, and the wait says what is missing."""
    monkeypatch.setattr(ray_executor, "SAYS_AFTER", 1.0)
    job = load("mini", make_workspace(tmp_path, days=(DAY,)))
    plan = plan_day(job, as_day(DAY))
    gpu = dataclasses.replace(plan, variant=dataclasses.replace(plan.variant, device="cuda"))
    said: list[str] = []

    def report(stage: str, _done: int, _total: int) -> None:
        said.append(stage)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Ray(cluster.address).map(job, gpu, gpu.pieces, report)
    assert said == ["score: waiting, no node of the cluster has 1 CPU and a GPU"]


@pytest.mark.slow
def test_many_runs_share_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Ten commands at once: each publishes its own day."""
    roots = [make_workspace(tmp_path / f"{i}", ROWS, days=(DAY,)) for i in range(10)]
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda root: ended(command(root, cluster)), roots))
    assert [code for code, _ in results] == [0] * 10, results
    first = ours(roots[0], "mini_scores").rows
    assert all(ours(root, "mini_scores").rows == first for root in roots)


@pytest.mark.slow
def test_data_that_the_nodes_do_not_see_is_told(tmp_path: Path) -> None:
    """A data root on a disk of the driver's own: broken, with the variable that moves it."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    blind = hiding(hidden)
    root = make_workspace(tmp_path / "w", days=(DAY,))
    one = Cluster()
    try:
        one.add(before=blind)
        process = subprocess.Popen(
            [sys.executable, "-m", "nightscore", "--workspace", str(root), "run", "mini", "--day", DAY,
             "--on", "ray"],
            env={**os.environ, "RAY_ADDRESS": one.address, "NIGHTSCORE_ROOT_DATA": str(hidden)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        (hidden / "models").mkdir()
        (hidden / "models/linear.onnx").write_bytes((root / "data/models/linear.onnx").read_bytes())
        (root / "data/lake").rename(hidden / "lake")
        code, output = ended(process)
    finally:
        one.stop()
    assert code == 1 and "does not see the data" in output and "NIGHTSCORE_ROOT_DATA" in output


@pytest.mark.slow
def test_data_lies_in_a_bucket_and_its_server_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes with scratch folders of their own; the server is killed meanwhile: not yet, then published.

    The day is, byte for byte, the one of the plain loop on disk.
    """
    (tmp_path / "s3").mkdir()
    server = start_server(tmp_path / "s3")
    become_client(monkeypatch, server.port, tmp_path / "scratch")
    there, here = slow_workspace(tmp_path / "there", 1.0), slow_workspace(tmp_path / "here", 0.0)
    address = f"s3://{BUCKET}/ray"
    into_bucket(there, address, tmp_path / "writer")
    one = Cluster(server.environment)
    try:
        for name in ("one", "two"):
            one.add(environment={"NIGHTSCORE_SCRATCH": str(tmp_path / name)})
        monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
        process = command(there, one)
        until(lambda: len(scored(there)) >= 3, 120, "a third piece is begun")
        server.kill()
        code, output = ended(process)
        assert code == 75 and "Traceback" not in output, output
        server.start_again()
        code, output = ended(command(there, one))
        assert code == 0, output
        published = ours(there, "mini_scores").rows
    finally:
        one.stop()
        server.kill()
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA")
    run(load("mini", here), DAY, executor=InOrder())
    assert published == ours(here, "mini_scores").rows


@pytest.mark.slow
def test_a_cluster_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own authentication: with the token a day is published, without it or with another it is told."""
    root = make_workspace(tmp_path, days=(DAY,))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-tests-only-" + "0" * 32}
    one = Cluster(token)
    try:
        one.add()
        for more in ({}, {**token, "RAY_AUTH_TOKEN": "another-" + "1" * 32}):
            with monkeypatch.context() as patch:
                patch.delenv("RAY_AUTH_MODE", raising=False)
                for name, value in more.items():
                    patch.setenv(name, value)
                code, output = ended(command(root, one))
            assert code in (1, 75) and "Traceback" not in output and "of-tests-only" not in output
            assert "RAY_ADDRESS" in output, output
        for name, value in token.items():
            monkeypatch.setenv(name, value)
        code, output = ended(command(root, one))
    finally:
        one.stop()
    assert code == 0, output
