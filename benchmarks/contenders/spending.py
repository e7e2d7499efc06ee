"""CPU seconds that the processes of a cluster spend, by whom they belong to."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import psutil


class Spending:
    """A context; at its end `seconds` are those of the clock, `cpu` those of the CPU, by owner.

    An owner is some processes with all that they started, however deep; those that ended meanwhile count as
    far as their parents have noticed it.
    """

    def __init__(self, owners: Mapping[str, Sequence[int]]) -> None:
        self.owners = owners
        self.seconds, self.cpu = 0.0, dict[str, float]()

    def __enter__(self) -> "Spending":
        self._before, self._began = self._now(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu = {owner: spent - self._before[owner] for owner, spent in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {owner: sum(map(_tree, pids)) for owner, pids in self.owners.items()}


def read_owners(texts: Sequence[str]) -> dict[str, list[int]]:
    """`name=PID,PID` texts of a command line."""
    pairs = (text.partition("=") for text in texts)
    return {name: [int(pid) for pid in pids.split(",")] for name, _, pids in pairs}


def _tree(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(map(_own, [process, *process.children(recursive=True)]))


def _own(process: psutil.Process) -> float:
    try:
        spent = process.cpu_times()
    except psutil.Error:  # it ended just now
        return 0.0
    return float(spent.user + spent.system + spent.children_user + spent.children_system)
