"""Nights in processes of their own, which are killed or frozen at a step that the test names.

Nothing is replaced by a double: a child runs the real night over real files, and SIGKILL or SIGSTOP
reaches it where a crash or a frozen machine would. The fork server imports the libraries once, so that
a child starts in a few milliseconds; it opens nothing before it forks.
"""

import functools
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

# pandas: DuckDB imports it at the first bound value, if it is installed.
IMPORTED = [
    "nightscore.cli.main",
    "nightscore.pipeline.executors",
    "nightscore.review.terminal_tables",
    "nightscore.scorers.auto",
    "nightscore.scorers.onnx.scorer",
    "nightscore.store.published.catalog",
    "onnxruntime",
    "pandas",
    "pyarrow.pandas_compat",
    "tests.behaviour.processes",
]
PATIENCE = 60.0  # seconds that a child may take for one night

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


@dataclass(frozen=True)
class Fault:
    """The signal that a night sends to itself, and where.

    `at` is a stage of the run's own progress report, or the dotted name of a function that it calls;
    the fault is at its `nth` report or call, before the call or after it. With `planned` a stage counts from
    the run's own plan on: before it, a run completes what one before has published half.
    """

    at: str
    nth: int = 1
    after: bool = False
    signal: int = signal.SIGKILL
    planned: bool = False

    def __str__(self) -> str:
        place = "" if "." not in self.at else ("after " if self.after else "before ")
        return f"{place}{self.at} {self.nth}"


@dataclass(frozen=True)
class End:
    """How a night ended: its exit code, its receipt's status and run, or its error."""

    code: int | None
    status: str = ""
    run_id: str = ""
    error: str = ""
    message: str = ""

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


@dataclass(frozen=True)
class Night:
    """A night under way."""

    process: BaseProcess
    answers: Connection

    def wait(self, patience: float = PATIENCE) -> End:
        """How it ended."""
        try:
            found = self.answers.recv() if self.answers.poll(patience) else {"error": "TimeoutError"}
        except EOFError:
            found = {}  # it was killed before it could say anything
        self.process.join(PATIENCE)
        return End(self.process.exitcode, **found)

    def frozen(self) -> bool:
        """Wait until the process has stopped itself; False where it ended instead."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        for _ in range(int(PATIENCE / 0.01)):
            if self.answers.poll():
                return False
            if stat.read_text().rpartition(")")[2].split()[0] == "T":
                return True
            time.sleep(0.01)
        return False

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.process.pid or 0, signal.SIGCONT)


def start(root: Path, day: str, fault: Fault | None = None, job: str = "mini", **options: Any) -> Night:
    """Begin one night in a process of its own. `options` are those of `nightscore.run`."""
    return spawn(_night, root, day, fault, {"job": job, **options})


def night(root: Path, day: str, fault: Fault | None = None, job: str = "mini", **options: Any) -> End:
    """Run one night in a process of its own, to whatever end."""
    return start(root, day, fault, job, **options).wait()


def spawn(act: Callable[..., None], *values: Any) -> Night:
    """Begin `act(answers, *values)` in a process of its own; it answers by sending a dict."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_act, args=(dict(os.environ), act, theirs, *values), daemon=True)
    process.start()
    theirs.close()
    return Night(process, ours)


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`nightscore ARGUMENTS…` in a process of its own, without the second or two that its imports take."""
    with tempfile.TemporaryDirectory() as folder:
        code = begin(Path(folder), *arguments).wait().code
        out, err = (Path(folder, name).read_text() for name in ("out", "err"))
    assert code is not None, f"nightscore {' '.join(arguments)} did not end"
    return subprocess.CompletedProcess(arguments, code, out, err)


def begin(folder: Path, *arguments: str) -> Night:
    """Begin the same; what it prints is in the files `out` and `err` of a folder."""
    folder.mkdir(exist_ok=True)
    return spawn(_command, folder, arguments)


def _command(_: Connection, folder: Path, arguments: tuple[str, ...]) -> None:
    from nightscore.cli.main import call

    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    code = call(list(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _act(environment: dict[str, str], act: Callable[..., None], *values: Any) -> None:
    """Act in the environment of the test; the fork server's is that of the first one."""
    os.environ.clear()
    os.environ.update(environment)
    act(*values)


def make_barrier(parties: int) -> Barrier:
    """A place where so many processes of `spawn` wait for each other."""
    return _context.Barrier(parties)


def _night(answers: Connection, root: Path, day: str, fault: Fault | None, options: dict[str, Any]) -> None:
    from nightscore import load, run
    from nightscore.common.errors import Broken, NotYet

    try:
        job = load(options.pop("job"), root)
        receipt = run(job, day, report=armed(fault), **options)
        answers.send({"status": receipt.status, "run_id": receipt.run_id})
    except NotYet as error:
        answers.send({"error": "NotYet", "message": str(error)})
    except Broken as error:
        answers.send({"error": "Broken", "message": str(error)})


def armed(fault: Fault | None) -> Callable[[str, int, int], None]:
    """A progress report that holds the fault, which is set into this process's functions if it is there."""
    if fault is None:
        return lambda *_: None
    strike = _Strike(fault)
    if "." in fault.at:
        _set_into(fault, strike)
        return lambda *_: None
    reached: set[str] = set()

    def report(stage: str, *_: int) -> None:
        reached.add(stage)
        if stage == fault.at and (not fault.planned or "plan" in reached):
            strike()

    return report


class _Strike:
    """Counts the times that a place is reached; at the nth, the process gets the signal."""

    def __init__(self, fault: Fault) -> None:
        self._fault, self._reached, self._lock = fault, 0, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._reached += 1
            if self._reached == self._fault.nth:
                os.kill(os.getpid(), self._fault.signal)


def _set_into(fault: Fault, strike: _Strike) -> None:
    home, _, name = fault.at.rpartition(".")
    owner = _found(home)
    real = getattr(owner, name)

    @functools.wraps(real)
    def struck(*args: Any, **named: Any) -> Any:
        if not fault.after:
            strike()
        result = real(*args, **named)
        if fault.after:
            strike()
        return result

    setattr(owner, name, struck)


def _found(dotted: str) -> Any:
    """A module, or a class in one."""
    try:
        return importlib.import_module(dotted)
    except ImportError:
        home, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(home), name)
