"""One candidate in a process of its own: what it needs is its own, and what ends it ends nothing else.

The process reads orders, a JSON object a line, and answers each with one: `{"plan": file, "seconds": s}`
scores the plan's pieces again and again for s seconds; `{"plan": file, "adversarial": true}` scores rows that
nobody expects. An answer with `error` says why it could not.
"""

import contextlib
import json
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nightscore.common import Broken, first_line, open_workspace
from nightscore.evaluation.bakeoff.stress import find_adversarial_difference
from nightscore.job import Job, load
from nightscore.pipeline import LOCAL_THREADS
from nightscore.store import Plan, peak_memory, run_folder, trials


class TrialFailed(Broken):
    """A candidate could not be scored; the message says why, in one line."""


@dataclass(frozen=True)
class Speed:
    """What scoring a day took: rows per wall-clock second, CPU seconds per million rows, peak bytes."""

    rows_per_second: float
    cpu_seconds_per_million_rows: float
    peak_memory: int


class Trial:
    """A process that scores by one candidate. A context; the process ends with it."""

    def __init__(self, job: Job, plan: Plan, patience: float) -> None:
        self.job, self.plan, self.patience = job, plan, patience
        run = run_folder.folder_of_plan(job.workspace, plan)
        self._file = trials.write_plan(run, plan)
        self._errors = trials.open_log(run)
        command = [
            sys.executable,
            "-P",  # a module of the folder that one happens to be in must not stand before the installed ones
            "-m",
            "nightscore.evaluation.bakeoff.worker",
            str(job.workspace.root),
            job.name,
        ]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a job that exists
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._orders: IO[str] = self._process.stdin  # type: ignore[assignment] # a pipe, as asked for
        self._answers: IO[str] = self._process.stdout  # type: ignore[assignment]

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def speed(self, seconds: float) -> Speed:
        """Score the pieces again and again for that time, at least once."""
        answer = self._ask(seconds=seconds)
        return Speed(answer["rows_per_second"], answer["cpu"], answer["peak_memory"])

    def find_adversarial_difference(self) -> str:
        """How the candidate answers rows that nobody expects otherwise than the reference; empty if alike."""
        return str(self._ask(adversarial=True)["surprised"])

    def _ask(self, **order: Any) -> dict[str, Any]:
        line = ""
        with contextlib.suppress(OSError):  # the process has ended
            self._orders.write(json.dumps({"plan": str(self._file), **order}) + "\n")
            self._orders.flush()
            line = self._answer()
        if not line:
            raise TrialFailed(self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TrialFailed(answer["error"])
        return answer

    def _answer(self) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            if not selector.select(self.patience):
                raise TrialFailed(f"it was given up after {self.patience:.0f} s")
        return self._answers.readline()

    def _end(self) -> str:
        code = self._process.wait(10)
        self._errors.seek(0)
        last = [line for line in self._errors.read().splitlines() if line.strip()][-1:]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}" + (f": {last[0].strip()}" if last else "")


def main(root: str, name: str) -> None:
    """Answer orders until there are no more."""
    job = load(name, open_workspace(root))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            plan = trials.read_plan(Path(order["plan"]))
            answer = (
                {"surprised": find_adversarial_difference(job, plan)}
                if "adversarial" in order
                else _scored(job, plan, order)
            )
        except Exception as error:  # whatever a candidate raises is a line of the table
            answer = {"error": first_line(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _scored(job: Job, plan: Plan, order: dict[str, Any]) -> dict[str, Any]:
    run = run_folder.folder_of_plan(job.workspace, plan)
    rows, started, cpu = 0, time.perf_counter(), time.process_time()
    while not rows or time.perf_counter() - started < order["seconds"]:
        run.remove_scored()
        LOCAL_THREADS.map(job, plan, plan.pieces)
        rows += max(plan.rows, 1)
    spent = time.perf_counter() - started
    return {
        "rows_per_second": rows / spent,
        "cpu": (time.process_time() - cpu) / rows * 1e6,
        "peak_memory": _peak_memory(),
    }


def _peak_memory() -> int:
    """The most bytes of physical memory that this process has had.

    Not ru_maxrss: a process that was just started has that of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return peak_memory()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
