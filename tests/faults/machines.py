"""Machines that work on one bucket: processes with a workspace and a scratch folder of their own each."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORK = """
import json, os, sys, time
shift = float(os.environ.get("CLOCK_SHIFT", "0"))
if shift:
    real, real_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: real() + shift, lambda: real_ns() + int(shift * 1e9)
from nightscore import load, open_workspace, run
from nightscore.common import NightscoreError, NotYet, as_day
from nightscore.pipeline.publish.hand_over import hand_over_table
from nightscore.pipeline.publish.hold import discard_day, release_day
from nightscore.store import collect_garbage
root, act, at, day = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
who = {"by": f"machine of {act}", "because": "a test"}
space = open_workspace(root)
job, grace = load("mini", root), float(os.environ.get("GRACE", "0"))
acts = {
    "run": lambda: run(job, day).status,
    "force": lambda: run(job, day, force=True).status,
    "release": lambda: release_day(space, "mini", as_day(day), **who).status,
    "discard": lambda: discard_day(space, "mini", as_day(day), **who).receipt.status,
    "gc": lambda: sorted(one.path for one in collect_garbage(space, grace_hours=grace)),
    "hand over": lambda: hand_over_table(space, "mini_scores", source="mini", target="other", **who).to,
}
print("ready", flush=True)
sys.stdin.readline()
time.sleep(at) if at else None
try:
    print(json.dumps({"said": acts[act]()}), flush=True)
except NightscoreError as error:
    name = "NotYet" if isinstance(error, NotYet) else "Broken"
    print(json.dumps({"error": name, "message": str(error)}), flush=True)
"""


@dataclass
class Machine:
    """A process that is ready, and does one thing when it is told to."""

    process: subprocess.Popen[str]

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What it said at its end; {} where it was killed."""
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode in (0, -9), err
        found: dict[str, Any] = json.loads(out.splitlines()[-1]) if self.process.returncode == 0 else {}
        return found


def start(
    jobs: Path,
    folder: Path,
    act: str,
    day: str,
    *,
    after: float = 0.0,
    inside: Sequence[str] = (),
    **environment: str,
) -> Machine:
    """A machine that has `jobs` and nothing else, ready to act some seconds after it is told to.

    `inside` is what its command begins with, such as that of a network.
    """
    if not folder.exists():
        shutil.copytree(jobs, folder / "ws/jobs")
    said = os.environ | {"NIGHTSCORE_SCRATCH": str(folder / "scratch")} | environment
    command = [*inside, sys.executable, "-c", WORK, str(folder / "ws"), act, str(after), day]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=said
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line == "ready\n", (line, process.stderr and process.stderr.read())
    return Machine(process)


def together(*machines: Machine) -> list[dict[str, Any]]:
    """What machines say that begin at once."""
    for machine in machines:
        machine.go()
    return [machine.end() for machine in machines]
