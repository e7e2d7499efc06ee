"""What a table holds at a version of its log, read once a process: versions never change.

What is kept is held to the log each time: the commit that it was read from must be the same file, and for the
newest version there must be no next one. So a process that lives long sees what others publish, and a table
that was removed, rolled back or restored is read anew.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.store.storage import Place
from nightscore.store.storage.contract import Seen

REPLACEMENT = re.compile(
    r".+-[0-9A-Za-z]*x[0-9a-f]{8}\.parquet"
)  # behind the run's name, as an erasure gives
KEPT_SNAPSHOTS = 12  # some MB each, of a table of 10,000 days


@dataclass(frozen=True)
class LiveFile:
    """One data file of a table, of one day, written by one run: `day=D/<run_id>-<number>.parquet`.

    `rows`, `bytes` and `modified`, its time of change in ms, are those that the table's log says.
    """

    path: Place
    day: str
    rows: int
    bytes: int
    modified: int

    @property
    def run_id(self) -> str:
        """The run that published the file."""
        return file_run_id(self.path.name)


def file_run_id(name: str) -> str:
    """The run that a published file belongs to, by the file's name."""
    return PurePosixPath(name).stem.rpartition("-")[0]


def is_replacement(name: str) -> bool:
    """Whether a file stands in the place of another, of which somebody was erased, by its name."""
    return REPLACEMENT.fullmatch(name) is not None


def was_replaced(path: Path) -> bool:
    """Whether a file of a table on this machine is gone and another of its run stands in its place."""
    if path.exists():
        return False
    others = path.parent.glob(f"{file_run_id(path.name)}-*.parquet")
    return any(is_replacement(other.name) for other in others)


def erased_meanwhile(name: str) -> str:
    """What is said to a reader whose file was replaced while it was read."""
    return f"{name}: somebody was erased from it while it was being read; try again"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A table at one version. `adds` has a row for each file: path, size, time, rows, day, statistics."""

    root: Place
    version: int
    schema: pa.Schema
    adds: pa.Table

    @cached_property
    def by_day(self) -> dict[str, list[LiveFile]]:
        """Day -> its files, by name; the days in order."""
        days: dict[str, list[LiveFile]] = {}
        for file in _files(self.root, self.adds):
            days.setdefault(file.day, []).append(file)
        return days

    def of_day(self, day: str) -> list[LiveFile]:
        """The files of one day, by name; without a look at the others."""
        if "by_day" in self.__dict__:
            return list(self.by_day.get(day, ()))
        return _files(self.root, self.adds.filter(pc.equal(self.adds["day"], day)))


Read = Callable[[Place, int | None], Snapshot]


class KeptSnapshots:
    """The snapshots that were read last. Safe for threads: what is kept is replaced, never changed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Place, int], tuple[str, Snapshot]] = {}
        self._newest: dict[Place, int] = {}

    def get(self, root: Place, version: int | None, read: Read) -> Snapshot:
        """The snapshot of a table at a version (default: the newest), read only if it is not kept."""
        if found := self._find(root, version):
            return found
        began = time.time_ns()
        snapshot = read(root, version)
        seen = _look(root, snapshot.version)
        if seen is None or seen.changed_ns > began:  # cleaned away; or another table's, which came meanwhile
            return snapshot
        at = (root, snapshot.version)
        kept = [*((k, v) for k, v in self._kept.items() if k != at), (at, (seen.tag, snapshot))]
        self._kept = dict(kept[-KEPT_SNAPSHOTS:])
        if version is None:
            self._newest[root] = snapshot.version
        return snapshot

    def _find(self, root: Place, version: int | None) -> Snapshot | None:
        wanted = self._newest.get(root, -1) if version is None else version
        mark, snapshot = self._kept.get((root, wanted), (None, None))
        seen = _look(root, wanted) if snapshot else None
        if seen is None or seen.tag != mark:
            return None
        return None if version is None and _look(root, wanted + 1) else snapshot


def _look(root: Place, version: int) -> Seen | None:
    return (root / "_delta_log" / f"{version:020}.json").look()


def _files(root: Place, adds: pa.Table) -> list[LiveFile]:
    """The files in some rows of `adds`, by day and name."""
    columns = (adds[name].to_pylist() for name in ("path", "day", "rows", "bytes", "modified"))
    files = [
        LiveFile(root / path, day, rows or 0, size, modified)
        for path, day, rows, size, modified in zip(*columns, strict=True)
    ]
    return sorted(files, key=lambda file: (file.day, file.path.name))
