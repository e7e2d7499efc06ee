"""A job that may use a GPU, on a real Ray cluster whose GPUs are pretended: Ray counts them as real ones.

What computes on one is pretended, too: a scorer that says it has a GPU where Ray has given its process one
(CUDA_VISIBLE_DEVICES), and is then quicker. What a real GPU does is not tested here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightscore import load, run
from nightscore.common.errors import Broken
from nightscore.pipeline.executors import InOrder
from nightscore.pipeline.on_ray import executor as ray_executor
from nightscore.pipeline.on_ray.executor import Ray
from tests.behaviour.world import ours
from tests.support.ray_cluster import Cluster
from tests.support.workspace import JOB, make_workspace

ray = pytest.importorskip("ray")

DAY, ROWS = "2020-01-02", 8_000
KIND = "scorers/pretended.py"
PRETENDED = """\
\"\"\"a + b; on the CPU as if each row took its time, on a GPU of this process at once; and where.\"\"\"
import os
import time

import pyarrow as pa
from nightscore.scorers import ModelError, Signature, Variant

FLOATS = pa.schema([("a", pa.float32()), ("b", pa.float32())])


def gpu():
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


class Sum:
    signature = Signature(FLOATS, pa.schema([("score", pa.float32())]))

    def __init__(self, device):
        self.device = device

    def score(self, chunk):
        with open({log!r}, "a") as log:
            log.write(f"{{os.getpid()}} {{self.device}} {{gpu()}} {{chunk.num_rows}}\\n")
        if self.device != "cuda":
            time.sleep({seconds} * chunk.num_rows)
        a, b = (chunk.column(name).to_numpy() for name in ("a", "b"))
        return pa.record_batch([pa.array(a + b, pa.float32())], ["score"])


def variants(device):
    return [Variant("scorers/pretended.py", "cuda")] if device == "auto" and gpu() else []


def open_scorer(model, options):
    if options.device == "cuda" and not gpu():
        raise ModelError("no GPU was given to this process")
    return Sum(options.device)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head, and a node of one slot without a GPU; a wait is told after a second."""
    monkeypatch.setattr(ray_executor, "SAYS_AFTER", 1.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = Cluster()
    try:
        made.add()
        yield made
    finally:
        ray.shutdown()
        made.stop()


def workspace(root: Path, device: str, seconds: float = 0.0006) -> Path:
    """The small job with the pretended scorer; a second or more a piece, on the CPU."""
    job = JOB.replace("  path: data/models/linear.onnx\n", f"  kind: {KIND}\n").replace(
        "score: y", "score: score"
    )
    make_workspace(root, ROWS, job + f"scoring: {{piece_rows: 2000, device: {device}}}\n", days=(DAY,))
    (root / "scorers").mkdir()
    (root / KIND).write_text(PRETENDED.format(log=str(root / "log"), seconds=seconds))
    return root


def wrote(root: Path) -> list[tuple[str, str, int]]:
    """Of each chunk that was scored: on which device, with which GPU, how many rows."""
    lines = (line.split(" ") for line in (root / "log").read_text().splitlines())
    return [(device, gpu, int(rows)) for _, device, gpu, rows in lines]


def test_the_choice_is_made_where_there_is_a_gpu(cluster: Cluster, tmp_path: Path) -> None:
    """`device: auto`: the GPU is tried on a node that has one, and taken; this machine has none."""
    cluster.add(gpus=1)
    root, here = workspace(tmp_path / "there", "auto"), workspace(tmp_path / "here", "auto", 0.0)
    receipt = run(load("mini", root), DAY, executor=Ray(cluster.address))
    assert receipt.status == "published" and receipt.variant.device == "cuda"
    assert [tried.variant for tried in receipt.tried] == [f"{KIND} on cpu", f"{KIND} on cuda"]
    pieces = [(device, gpu) for device, gpu, rows in wrote(root) if rows == 2_000]
    assert pieces == [("cuda", "0")] * (ROWS // 2_000)
    assert receipt.score_sample and receipt.score_sample.by == f"{KIND} on cpu"
    alone = run(load("mini", here), DAY, executor=InOrder())
    assert alone.variant.device == "cpu"
    assert ours(root, "mini_scores").rows == ours(here, "mini_scores").rows


@pytest.mark.slow
def test_a_gpu_that_is_named_is_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    """`device: cuda`: nothing is scored on a CPU; that no node has a GPU is said, and that all are taken."""
    job = load("mini", workspace(tmp_path, "cuda"))
    nowhere = "choose: waiting, no node of the cluster has 1 CPU and a GPU"
    taken = "choose: waiting for 1 CPU and a GPU, all of the cluster are taken"
    then: dict[str, Callable[[], object]] = {nowhere: lambda: cluster.add(gpus=1)}

    def report(stage: str, _done: int, _total: int) -> None:
        if stage in then:
            then.pop(stage)()

    receipt = run(job, DAY, executor=Ray(cluster.address), report=report)
    assert not then, "it was said"
    assert receipt.status == "published" and receipt.variant.device == "cuda"
    assert [(device, gpu) for device, gpu, rows in wrote(tmp_path) if rows == 2_000] == [("cuda", "0")] * 4
    holder = ray.remote(Holder).options(num_gpus=1).remote()
    ray.get(holder.is_here.remote())
    then[taken] = lambda: ray.kill(holder)
    receipt = run(job, DAY, executor=Ray(cluster.address), report=report, force=True)
    assert not then, "it was said"
    assert receipt.status == "published"


def test_on_this_machine_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Without a cluster `device: cuda` is broken here, as ever: only where others score need this one not."""
    with pytest.raises(Broken, match=r"has no device 'cuda'|no GPU was given"):
        run(load("mini", workspace(tmp_path, "cuda")), DAY, executor=InOrder())


class Holder:
    """Another job's actor that has a GPU."""

    def is_here(self) -> bool:
        """Once it has been placed."""
        return True
