"""What a run says while it works: how far each stage is."""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

ProgressCallback = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done and how much there is (0: not known)."""

QUIET_SECONDS = 5.0


def silent(stage: str, done: int, total: int) -> None:
    """A report that says nothing."""


@contextmanager
def show_progress(out: TextIO | None = None) -> Iterator[ProgressCallback]:
    """A report for a person on stderr: a live bar on a terminal, else a line at most every few seconds."""
    out = out or sys.stderr
    if not out.isatty():
        yield ProgressLines(out)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(file=out), transient=True) as progress:
        task, pace = progress.add_task("", total=None, state=""), Pace()

        def report(stage: str, done: int, total: int) -> None:
            state = pace(stage, done, total)
            progress.update(task, description=stage, completed=done, total=total or None, state=state)

        yield report


class ProgressLines:
    """One line per stage that lasts, at most one every few seconds: for logs."""

    def __init__(self, out: TextIO, every: float = QUIET_SECONDS) -> None:
        self._out, self._every, self._pace = out, every, Pace()
        self._next = time.monotonic() + min(1.0, every)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print where a stage is, unless a line was printed a moment ago."""
        state = self._pace(stage, done, total)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            print(f"{stage} {state}".rstrip(), file=self._out, flush=True)


class Pace:
    """How far a stage is, how fast it was in the last seconds, and how long it takes at that pace."""

    WINDOW = 10.0  # seconds

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, stage: str, done: int, total: int) -> str:
        """The state in words: `120,000 of 530,000, 60,000/s, 7 s left`; empty where nothing is counted."""
        speed = self.rate(stage, done, total)
        left = f", {speed:,.0f}/s, {_duration((total - done) / speed)} left" if speed else ""
        return f"{done:,} of {total:,}{left}" if total else ""

    def rate(self, stage: str, done: int, total: int) -> float:
        """How many of a stage were done a second in the last WINDOW seconds; 0.0 where that is not known."""
        if not total:
            return 0.0
        now = self._clock()
        if stage != self._stage:
            self._stage, self._seen = stage, deque()
        self._seen.append((now, done))
        while now - self._seen[0][0] > self.WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (now - since) if done > before and now > since else 0.0


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Stopwatch:
    """Wall-clock seconds, and CPU seconds of this process, by stage: each lap counts from the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._last, self._cpu = time.perf_counter(), time.process_time()

    def lap(self, stage: str) -> None:
        """The time since the last lap was spent on `stage`."""
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds[stage], self.cpu_seconds[stage] = now - self._last, cpu - self._cpu
        self._last, self._cpu = now, cpu


class RowCounter:
    """Rows that several threads have done, reported one call at a time."""

    def __init__(self, stage: str, total: int, report: ProgressCallback) -> None:
        self._stage, self._total, self._report = stage, total, report
        self._done, self._lock = 0, threading.Lock()

    def __call__(self, rows: int) -> None:
        """Add `rows` to what is done, and report it."""
        with self._lock:
            self._done += rows
            self._report(self._stage, self._done, self._total)
