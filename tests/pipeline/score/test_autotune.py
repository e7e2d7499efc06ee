"""Which variant scores a night: measured, held to the plain one, kept, and written into the receipt.

The variants are real scorers: ONNX Runtime's, and kinds of a package that pip installed for these tests.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nightscore.job.loader import Job, load
from nightscore.pipeline.executors import run
from nightscore.pipeline.score import autotune as module
from nightscore.pipeline.score import open_model
from nightscore.scorers import auto
from nightscore.scorers.hardware import find_installed_devices, read_hardware
from nightscore.scorers.onnx import scorer as onnx
from nightscore.scorers.registry import variants_of_kind
from nightscore.scorers.variant import PLAIN_ONNX, Variant
from nightscore.store.documents.receipt import Receipt
from tests.support.packages import installed
from tests.support.workspace import JOB, linear_model, make_workspace

DAY = "2020-01-01"
CODE = """
import os
import time
import numpy as np
import pyarrow as pa
from nightscore.scorers.onnx.scorer import OnnxScorer
from nightscore.scorers.contract import Options
from dataclasses import replace

class Right(OnnxScorer):
    "The same scores."
    def __init__(self, model, options):
        super().__init__(model, replace(options, device="cpu"))

class Slow(Right):
    "The plain one takes a multiple of its time here, so that the others are faster."
    def score(self, chunk):
        for _ in range(20):
            found = super().score(chunk)
        return found

class Off(Right):
    "Scores that are a thousandth away."
    def score(self, chunk):
        y = super().score(chunk).column(0).to_numpy() + np.float32(0.001)
        return pa.RecordBatch.from_arrays([pa.array(y)], schema=self.signature.outputs)

class NaN(Right):
    "One score is missing."
    def score(self, chunk):
        y = super().score(chunk).column(0).to_numpy().copy()
        y[:1] = np.nan
        return pa.RecordBatch.from_arrays([pa.array(y)], schema=self.signature.outputs)

class Fails(Right):
    "A driver that gives up."
    def score(self, chunk):
        raise RuntimeError("out of memory\\nwith a long trace")

class Waits(Right):
    "One that compiles for a minute when it is first called."
    def score(self, chunk):
        time.sleep(60)
        return super().score(chunk)

class Ends(Right):
    "A driver that takes the process with it."
    def score(self, chunk):
        os._exit(9)

def closed(model, options):
    raise OSError("no such device")
"""
KINDS = {
    "right": "Right",
    "slow": "Slow",
    "off": "Off",
    "missing": "NaN",
    "fails": "Fails",
    "waits": "Waits",
    "ends": "Ends",
    "closed": "closed",
}
Offer = Callable[..., None]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kinds above, installed."""
    target = installed(tmp_path_factory.mktemp("variants"), "variant_kinds", CODE, KINDS)
    sys.path.insert(0, str(target))
    yield target
    sys.path.remove(str(target))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of 3,000 rows, whose scoring is worth a choice all the same."""
    monkeypatch.setattr(module, "WORTH_IT", 0.0)
    monkeypatch.setattr(module, "EACH", 0.05)
    return load("mini", make_workspace(tmp_path, 3_000, days=(DAY,)))


@pytest.fixture
def offer(package: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Sets the variants that a machine has, the plain one among them."""

    def offered(*found: Variant) -> None:
        for part in (module, open_model):
            monkeypatch.setattr(part, "variants_of", lambda *_: list(found))
        monkeypatch.setattr(open_model, "plain_variant_of", lambda *_: found[0])
        open_model.close_models()

    return offered


def scores(job: Job) -> list[float]:
    files = (job.workspace.tables / "mini_scores").rglob("*.parquet")
    newest = max(files, key=lambda path: path.stat().st_mtime)
    return pq.read_table(newest, partitioning=None)["score"].to_pylist()  # type: ignore[no-any-return]


def refusals(receipt: Receipt) -> dict[str, str]:
    return {one.variant: one.refused for one in receipt.tried}


SLOW, RIGHT = Variant("slow"), Variant("right")


def test_the_fastest_that_is_right_scores_the_night(job: Job, offer: Offer) -> None:
    """The receipt says which, why, and what came of each; the scores are the plain variant's."""
    plain = run(job, DAY)
    wanted = scores(job)
    offer(SLOW, Variant("off"), RIGHT)
    found = run(job, DAY, force=True)
    assert found.variant and (found.variant.kind, found.variant.device) == ("right", "cpu")
    assert found.variant.why.endswith("times as fast as slow on cpu")
    assert refusals(found) == {
        "slow on cpu": "",
        "off on cpu": "its scores are 0.001 away; the job's tolerance is 1e-05",
        "right on cpu": "",
    }
    speed = {one.variant: one.rows_per_second for one in found.tried}
    assert speed["right on cpu"] > speed["slow on cpu"] > 0
    assert scores(job) == wanted and found.key_hash == plain.key_hash


def test_a_tolerance_lets_another_one_in(job: Job, offer: Offer, tmp_path: Path) -> None:
    """What the job's owner takes for the same is the owner's to say; a NaN is never the same."""
    text = job.file.read_text()
    job.file.write_text(text + "scoring: {tolerance: 0.01}\n")
    offer(SLOW, Variant("off"), Variant("missing"))
    found = run(load("mini", tmp_path), DAY)
    assert found.variant and found.variant.kind == "off"
    assert refusals(found)["missing on cpu"].startswith("its scores are inf away")
    assert {one.variant: one.difference for one in found.tried}["missing on cpu"] == -1


def test_what_fails_costs_a_line_and_never_a_night(job: Job, offer: Offer) -> None:
    """At opening, or at scoring; the first line of what it said is in the receipt."""
    offer(PLAIN_ONNX, Variant("closed"), Variant("fails"), Variant("nothing"))
    found = run(job, DAY)
    assert found.status == "published" and found.variant and found.variant.kind == "onnx"
    said = refusals(found)
    assert (said["closed on cpu"], said["fails on cpu"]) == ("no such device", "out of memory")
    assert said["nothing on cpu"].startswith("unknown kind of scorer 'nothing'")


def test_little_faster_is_not_taken(job: Job, offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bits have to be worth it."""
    monkeypatch.setattr(module, "FASTER", 5.0)
    offer(PLAIN_ONNX, RIGHT)
    found = run(job, DAY)
    assert found.variant and found.variant.kind == "onnx"
    assert found.variant.why == "none of the others was a tenth faster"


def test_a_choice_is_kept_for_the_next_nights(
    job: Job, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By model and machine: a second night measures nothing, another model is measured again."""
    offer(SLOW, RIGHT)
    first = run(job, DAY)
    [kept] = (job.workspace.root / "data/choices").glob("*.json")
    monkeypatch.setattr(module, "_Trial", None)
    again = run(job, DAY, force=True)
    assert again.variant == first.variant and again.tried == first.tried
    monkeypatch.undo()
    monkeypatch.setattr(module, "WORTH_IT", 0.0)
    offer(SLOW, RIGHT)
    linear_model(job.workspace.root / "data/models/linear.onnx", (3.0, 4.0))
    run(job, DAY)
    assert len(list(kept.parent.glob("*.json"))) == 2


@pytest.mark.slow
def test_a_kept_choice_that_can_not_be_read_is_made_again(job: Job, offer: Offer) -> None:
    """It is no more than a saving of time."""
    offer(SLOW, RIGHT)
    run(job, DAY)
    [kept] = (job.workspace.root / "data/choices").glob("*.json")
    for spoilt in ("", "{", '{"variant": {"kind": 3, "x": 1}}', "[]"):
        kept.write_text(spoilt)
        found = run(job, DAY, force=True)
        assert found.variant and found.variant.kind == "right", spoilt


@pytest.mark.slow
def test_a_device_that_ended_the_process_is_not_tried_again(job: Job, offer: Offer, package: Path) -> None:
    """The night that it ended is lost; the next one goes on without it, and says so."""
    import subprocess

    child = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from nightscore import load, run; from nightscore.pipeline.score import autotune\n"
        "from nightscore.scorers.variant import PLAIN_ONNX, Variant\n"
        "autotune.WORTH_IT = 0.0\n"
        "autotune.variants_of = lambda *_: [PLAIN_ONNX, Variant('ends', 'npu')]\n"
        f"run(load('mini', sys.argv[1]), '{DAY}')\n"
    )
    root = str(job.workspace.root)
    ended = subprocess.run(
        [sys.executable, "-c", child, root, str(package)], capture_output=True, check=False
    )
    assert ended.returncode == 9, ended.stderr
    offer(PLAIN_ONNX, Variant("ends", "npu"))
    found = run(job, DAY)
    assert found.status == "published"
    assert refusals(found)["ends on npu"].startswith("the process ended when it was tried; remove ")


def test_a_day_of_few_rows_is_not_measured(job: Job, offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying would take longer than scoring."""
    monkeypatch.setattr(module, "WORTH_IT", 2.0)
    offer(PLAIN_ONNX, RIGHT)
    found = run(job, DAY)
    assert found.variant and found.variant.why == "3,000 rows are too few to try others on"
    assert found.tried == () and not list((job.workspace.root / "data/choices").glob("*.json"))


@pytest.mark.slow
def test_when_the_time_is_over_the_rest_is_not_tried(
    job: Job, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds, or a share of a long night."""
    monkeypatch.setattr(module, "SECONDS", 0.02)
    offer(SLOW, Variant("off", "cpu"), RIGHT)
    found = run(job, DAY)
    assert refusals(found)["right on cpu"] == "not tried: the time for trying was over"
    # A machine that was busy for one night does not choose for all others.
    monkeypatch.setattr(module, "SECONDS", 60.0)
    again = run(job, DAY, force=True)
    assert refusals(again)["right on cpu"] == ""
    assert again.variant and again.variant.kind == "right"


def test_one_that_is_not_ready_in_time_is_left(
    job: Job, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kernel that is compiled on a busy machine: the night goes on, and another one tries again."""
    monkeypatch.setattr(module, "SECONDS", 0.5)
    offer(PLAIN_ONNX, Variant("waits", "cpu"))
    started = time.monotonic()
    found = run(job, DAY)
    assert time.monotonic() - started < 60, "no longer than the variant's first call"
    assert refusals(found)["waits on cpu"] == "not tried: the time for trying was over"
    assert found.variant and found.variant.kind == "onnx"
    assert not list(job.workspace.choices.glob("*.json"))


NAMED = {
    "a kind": ("kind: onnx", "cpu", [PLAIN_ONNX]),
    "a kind, any device": (
        "kind: onnx",
        "auto",
        [PLAIN_ONNX, Variant("onnx", "cpu", 4), Variant("onnx", "cuda")],
    ),
    "auto": (
        "kind: auto",
        "auto",
        [
            PLAIN_ONNX,
            Variant("trees"),
            Variant("networks"),
            Variant("onnx", "cpu", 4),
            Variant("onnx", "cuda"),
        ],
    ),
    "auto on the cpu": (
        "kind: auto",
        "cpu",
        [PLAIN_ONNX, Variant("trees"), Variant("networks"), Variant("onnx", "cpu", 4)],
    ),
    "a named device": ("kind: auto", "cuda", [Variant("onnx", "cuda")]),
}
WAYS = {"onnx": onnx.ways, "auto": auto.ways}


@pytest.mark.parametrize(("kind", "device", "wanted"), NAMED.values(), ids=NAMED.keys())
def test_what_is_named_is_used(kind: str, device: str, wanted: list[Variant]) -> None:
    """A named device is the only one; a named kind has its own variants alone."""
    assert WAYS[kind.removeprefix("kind: ")](device, ["cpu", "cuda"], 4) == wanted


@pytest.mark.parametrize("kind", ["auto", "onnx", "trees", "networks", "topk", "text", "python"])
@pytest.mark.parametrize("device", ["auto", "cpu", "npu"])
def test_each_kind_gives_its_own_variants(kind: str, device: str) -> None:
    """Those of this machine, the plain one first; a kind that offers none has that alone."""
    found, first = variants_of_kind(kind, device), Variant("onnx" if kind == "auto" else kind)
    assert found[0] == (first if device != "npu" else replace(first, device="npu"))
    assert len(set(found)) == len(found)
    if device == "npu" or kind not in WAYS:
        assert len(found) == 1
    else:
        assert found == WAYS[kind](device, find_installed_devices(), read_hardware().cores)


def test_on_one_core_there_are_no_threads_to_share() -> None:
    """And at once are as many pieces as there are cores for."""
    assert onnx.ways("auto", ["cpu"], 1) == [PLAIN_ONNX]
    assert [Variant("onnx", "cpu", threads).at_once(4) for threads in (1, 2, 3, 4, 8)] == [4, 2, 1, 1, 1]


def test_a_job_that_names_its_kind_has_nothing_to_choose(tmp_path: Path) -> None:
    """And the receipt says so."""
    text = JOB.replace("model:\n", "model:\n  kind: onnx\n") + "scoring: {device: cpu}\n"
    found = run(load("mini", make_workspace(tmp_path, 100, text, days=(DAY,))), DAY)
    assert found.variant and found.variant.kind == "onnx"
