"""`limits.time` ends one call of a model that would go on for ever, and `limits.load` the opening of one."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nightscore.common.deadline import TimeOver, call_in_time, thread_seconds
from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.evaluation.bakeoff.runner import run_bakeoff
from nightscore.job.loader import load
from nightscore.pipeline.executors import InOrder, Threads, run
from nightscore.scorers.running import stop_calls, stoppable
from nightscore.store import catalog
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

LIMIT = "limits: {time: 1s}\n"
ROOMY = "limits: {time: 5s}\n"  # where something else has to end in time, on a busy machine
FOREVER = """\
import time

import pyarrow as pa

from nightscore.scorers import Signature


class Forever:
    def __init__(self, name):
        self.name = name
        floats = [("a", pa.float32()), ("b", pa.float32())]
        self.signature = Signature(pa.schema(floats), pa.schema([("score", pa.float32())]))

    def score(self, chunk):
        while self.name == "forever" and chunk.num_rows:
            time.sleep(0.01)
        return pa.record_batch([pa.repeat(pa.scalar(1.0, pa.float32()), chunk.num_rows)], ["score"])


def open_scorer(model, options):
    while model.data == b"never opens":
        time.sleep(0.01)
    return Forever(model.data.decode())
"""


def endless_model(path: Path) -> None:
    """Give X back, by way of a Loop of 2**60 turns."""
    scalar, value = helper.make_tensor_value_info, TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Mul", ["v", "one"], ["v2"])],
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("c", TensorProto.BOOL, []), scalar("v", value, None)],
        [scalar("c2", TensorProto.BOOL, []), scalar("v2", value, None)],
    )
    constants = [
        numpy_helper.from_array(np.array(2**60, np.int64), "turns"),
        numpy_helper.from_array(np.array(True), "go"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(np.ones((2, 1), np.float32), "W"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["x"]),
        helper.make_node("Loop", ["turns", "go", "x"], ["y"], body=body),
    ]
    x, y = scalar("X", value, [None, 2]), scalar("y", value, [None, 1])
    graph = helper.make_graph(nodes, "endless", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    helper.set_model_props(model, {"columns": json.dumps(["a", "b"])})
    path.write_bytes(model.SerializeToString())


def endless(root: Path, more: str = LIMIT, job: str = JOB) -> Path:
    make_workspace(root, rows=50, job=job + more)
    endless_model(root / "data/models/linear.onnx")
    return root


def by_file(root: Path, champion: str, challenger: str, more: str = LIMIT) -> Path:
    """A workspace whose scorer, a file of it, never returns for a model that says so."""
    models = (
        "  kind: scorers/forever.py\n  champion: data/models/m.txt\n  challengers: [data/models/next.txt]\n"
    )
    job = JOB.replace("  path: data/models/linear.onnx\n", models).replace("{score: y}", "{score: score}")
    make_workspace(root, rows=50, job=job + more)
    (root / "scorers").mkdir()
    (root / "scorers/forever.py").write_text(FOREVER)
    (root / "data/models/m.txt").write_text(champion)
    (root / "data/models/next.txt").write_text(challenger)
    return root


@pytest.mark.parametrize("executor", [InOrder(), Threads()], ids=["in order", "threads"])
@pytest.mark.sample(1)
def test_a_loop_in_a_model_ends_with_the_limit(tmp_path, executor):
    """Broken, with the limit; nothing is published, and no thread goes on."""
    root, before = endless(tmp_path), threading.active_count()
    with pytest.raises(Broken, match=r"limits\.time, 1s"):
        run(load("mini", root), DAYS[0], executor=executor)
    assert not (root / "data/tables/mini_scores").exists()
    assert threading.active_count() == before


@pytest.mark.slow
def test_the_limit_holds_where_variants_are_tried_and_for_previews(tmp_path):
    """`device: auto` measures on the first rows, before a piece is scored."""
    root = endless(tmp_path, LIMIT + "scoring: {device: auto}\n")
    for options in ({}, {"limit": 5}):
        with pytest.raises(Broken, match=r"limits\.time, 1s"):
            run(load("mini", root), DAYS[0], **options)


@pytest.mark.slow
def test_an_endless_challenger_costs_its_column_alone(tmp_path):
    """The champion's scores are published; the receipt says why there are none beside them."""
    beside = "  champion: data/models/linear.onnx\n  challengers: [data/models/next.onnx]\n"
    root = make_workspace(tmp_path, 50, JOB.replace("  path: data/models/linear.onnx\n", beside) + ROOMY)
    endless_model(root / "data/models/next.onnx")
    [one] = run(load("mini", root), DAYS[0]).challengers
    assert (one.rows, one.reason) == (0, "takes longer than limits.time, 5s")
    found = catalog.query("SELECT count(score) n, count(next__score) c FROM mini_scores", root)
    assert found.to_pylist() == [{"n": 50, "c": 0}]


def ended(root: Path, *arguments: str, patience: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nightscore", *arguments, "--workspace", str(root)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience, check=False, env={**os.environ}
    )


@pytest.mark.slow
def test_a_call_that_can_not_be_stopped_is_left_alone_and_the_command_ends(tmp_path):
    """A workspace's scorer that never returns: broken as champion, a null column as challenger."""
    root = by_file(tmp_path / "champion", "forever", "quick")
    found = ended(root, "run", "mini", "--day", DAYS[0])
    assert found.returncode == 1
    assert "limits.time, 1s" in found.stderr and "Traceback" not in found.stderr
    root = by_file(tmp_path / "challenger", "quick", "forever", ROOMY)
    found = ended(root, "run", "mini", "--day", DAYS[0], "--json")
    assert found.returncode == 0, found.stderr
    receipt = json.loads(found.stdout)
    assert receipt["rows"]["published"] == 50
    assert receipt["challengers"][0]["reason"] == "takes longer than limits.time, 5s"


@pytest.mark.slow
def test_a_bake_off_of_a_model_that_never_ends_ends(tmp_path):
    """The reference is scored in a process of its own, which the limit reaches, too."""
    root = endless(tmp_path)
    with pytest.raises(Broken, match=r"limits\.time, 1s"):
        run_bakeoff(load("mini", root), as_day(DAYS[1]))


def test_with_time_enough_the_scores_and_the_cpu_seconds_are_as_without_a_limit(tmp_path):
    """The same files, byte for byte but for the run; the work of the other thread is counted."""
    found = []
    for name, more in (("with", "limits: {time: 1h}\n"), ("without", "")):
        root = make_workspace(tmp_path / name, rows=500, job=JOB + more)
        linear_model(root / "data/models/linear.onnx")
        run(load("mini", root), DAYS[0])
        found.append(catalog.query("SELECT id, a, score FROM mini_scores ORDER BY id", root))
    assert found[0] == found[1]


def test_cpu_seconds_of_a_call_in_another_thread_are_those_of_the_caller():
    """What `thread_seconds` counts is what `process_time` has seen meanwhile."""

    def work() -> int:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
        return 7

    before = thread_seconds()
    assert call_in_time(work, 60, stop_calls) == 7
    assert 0.2 <= thread_seconds() - before < 1.0


def test_what_a_call_raises_is_raised_where_it_was_made():
    """An exit, too."""

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        call_in_time(leave, 60, stop_calls)


def test_a_call_that_says_how_it_is_stopped_is_stopped():
    """By its own event, from the thread that waited."""
    event, ended_ = threading.Event(), []

    def wait() -> None:
        with stoppable(event.set):
            ended_.append(event.wait(60))

    with pytest.raises(TimeOver):
        call_in_time(wait, 0.1, stop_calls)
    assert ended_ == [True]


LOAD = "limits: {load: 1s}\n"


@pytest.mark.sample(1)
def test_a_model_that_never_opens_ends_the_night(tmp_path: Path) -> None:
    """Broken at the model's line, with the file and the setting; nothing is published."""
    root = by_file(tmp_path, "never opens", "quick", LOAD)
    place = r"^jobs/mini/job\.yaml:\d+: model\.champion: data/models/m\.txt: opening it took longer than "
    with pytest.raises(Broken, match=place + r"limits\.load, 1s"):
        run(load("mini", root), DAYS[0])
    assert not (root / "data/tables").exists()


def test_a_challenger_that_never_opens_costs_its_column_alone(tmp_path: Path) -> None:
    """The champion's scores are published, and the receipt says why there are none beside them."""
    root = by_file(tmp_path, "quick", "never opens", LOAD)
    [one] = run(load("mini", root), DAYS[0]).challengers
    assert one.rows == 0 and "limits.load, 1s" in one.reason


@pytest.mark.slow
def test_a_command_whose_model_never_opens_ends(tmp_path: Path) -> None:
    """The call that is left to itself keeps no process alive."""
    root = by_file(tmp_path, "never opens", "quick", LOAD)
    for words in (("run", "mini", "--day", DAYS[0]), ("check", "mini"), ("plan", "mini", "--day", DAYS[0])):
        found = ended(root, *words)
        assert found.returncode == 1 and "limits.load, 1s" in found.stderr + found.stdout, words


def test_what_is_no_time_of_opening_is_refused(tmp_path: Path) -> None:
    """A number and a unit, as of all times."""
    root = make_workspace(tmp_path, 10, JOB + "limits: {load: forever}\n")
    with pytest.raises(Broken, match=r"limits\.load: .*forever.* a duration such as 90m"):
        load("mini", root)
