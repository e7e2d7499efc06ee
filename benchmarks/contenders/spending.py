"""CPU seconds that the processes of a cluster spend, by whom they belong to."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil


class Spending:
    """A context; at its end `seconds` are those of the clock, `cpu` those of the CPU, by owner.

    An owner is some processes with all that they started, however deep; those that ended meanwhile count as
    far as their parents have noticed it. `waited` are seconds in which what works for an owner was ready and
    another process had the core: of each of its processes that started others, the main thread below it that
    waited longest.
    """

    def __init__(self, owners: Mapping[str, Sequence[int]]) -> None:
        self.owners = owners
        self.seconds, self.cpu, self.waited = 0.0, dict[str, float](), dict[str, float]()

    def __enter__(self) -> "Spending":
        self._cpu, self._waits = self._sums(), self._main_threads()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu = {owner: spent - self._cpu[owner] for owner, spent in self._sums().items()}
        waits = self._main_threads()
        self.waited = {
            owner: sum(
                max((s - self._waits[top].get(pid, 0.0) for pid, s in waits[top].items()), default=0.0)
                for top in tops
            )
            for owner, tops in self.owners.items()
        }

    def _sums(self) -> dict[str, float]:
        return {owner: sum(sum(map(_own, _tree(top))) for top in tops) for owner, tops in self.owners.items()}

    def _main_threads(self) -> dict[int, dict[int, float]]:
        tops = [top for tops in self.owners.values() for top in tops]
        return {top: {process.pid: _waited(process.pid) for process in _tree(top)} for top in tops}


def read_owners(texts: Sequence[str]) -> dict[str, list[int]]:
    """`name=PID,PID` texts of a command line."""
    pairs = (text.partition("=") for text in texts)
    return {name: [int(pid) for pid in pids.split(",")] for name, _, pids in pairs}


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _waited(pid: int) -> float:
    """Seconds that a process's main thread has waited for a core: the second number of its schedstat."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it ended just now
        return 0.0


def _own(process: psutil.Process) -> float:
    try:
        spent = process.cpu_times()
    except psutil.Error:  # it ended just now
        return 0.0
    return float(spent.user + spent.system + spent.children_user + spent.children_system)
