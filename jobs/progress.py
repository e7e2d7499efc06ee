"""What a run says while it works: how far each stage is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Report = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done and how much there is (0: not known)."""

QUIET_SECONDS = 5.0


def silent(stage: str, done: int, total: int) -> None:
    """A report that says nothing."""


@contextmanager
def shown(out: TextIO = sys.stderr) -> Iterator[Report]:
    """A report for a person: a live bar on a terminal, else one line at most every few seconds."""
    if not out.isatty():
        yield Lines(out)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(file=out), transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total or None)

        yield report


class Lines:
    """One line per stage that lasts, at most one every few seconds: for logs."""

    def __init__(self, out: TextIO, every: float = QUIET_SECONDS) -> None:
        self._out, self._every = out, every
        self._next = time.monotonic() + min(1.0, every)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say where a stage is, unless something was said a moment ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            amount = f" {done:,} of {total:,}" if total else ""
            print(f"{stage}{amount}", file=self._out, flush=True)


class Stopwatch:
    """Wall-clock seconds by stage: each lap counts from the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap was spent on `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
