"""What runs have told of themselves, by one listing; a process reads a file anew only where it has changed.

A page that shows fifty jobs and six weeks asks for two thousand attempts every half a minute, of which hardly
any has changed: each is a request of a bucket. The listing names the tag of each file, which is another one
as soon as its bytes may be others, and what was read of that tag is still so.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from nightscore.common import NightscoreError, Workspace
from nightscore.store import renames, storage
from nightscore.store.records.attempts import HOME, Attempt, read_attempt_file
from nightscore.store.records.paces import PACES_FILE, Pace, read_paces_file
from nightscore.store.storage import Place, Seen, ask_each

T = TypeVar("T")
_read: dict[str, tuple[str, Any]] = {}  # address -> the tag, and what was read
_lock = threading.Lock()


@dataclass(frozen=True)
class Told:
    """The files below `data/attempts/`, by one listing: a job's folder -> name -> what is there."""

    workspace: Workspace
    home: Place
    seen: Mapping[str, Mapping[str, Seen]]

    def last_attempts(self, since: str = "", until: str = "9") -> list[Attempt]:
        """The last attempt of each job's days from `since` to `until`, by job and day."""
        names = renames.last_names(self.workspace).jobs
        last = [file for job in sorted(self.seen) for file in self._last_of_days(job, since, until)]
        found = [one for one in self._read_each(read_attempt_file, last) if one]
        return [one.model_copy(update={"job": names.current(one.job)}) for one in found]

    def paces(self, job: str) -> list[Pace]:
        """What the last nights of a job took, the newest last; none where nothing is told."""
        folder = renames.last_names(self.workspace).jobs.origin(job)
        file = self.seen.get(folder, {}).get(PACES_FILE)
        found = self._read_each(read_paces_file, [file] if file else [])
        return found[0] if found else []

    def _last_of_days(self, job: str, since: str, until: str) -> Iterable[Seen]:
        days = {
            day: seen
            for name, seen in sorted(self.seen[job].items())
            if since <= (day := name.partition("/")[0]) <= until and name.endswith(".json") and "/" in name
        }
        return days.values()

    def _read_each(self, read: Callable[[Place], T], files: Iterable[Seen]) -> list[T]:
        """What each file holds. Those of another tag than when they were read last are read, many at once.

        What can't be read is not remembered: it may be there the next time.
        """
        files = list(files)
        known = {file.key: _read.get(self._address(file), ("", None)) for file in files}
        new = [file for file in files if known[file.key][0] != file.tag]
        for file, found in zip(new, ask_each(self._reader(read), new) if new else (), strict=True):
            known[file.key] = file.tag, found
            if found:
                with _lock:
                    _read[self._address(file)] = file.tag, found
        return [known[file.key][1] for file in files]

    def _reader(self, read: Callable[[Place], T]) -> Callable[[Seen], T]:
        return lambda file: read(Place(self.home.storage, file.key))

    @cached_property
    def _root(self) -> str:
        return self.home.storage.table_address(self.home.key)

    def _address(self, file: Seen) -> str:
        return f"{self._root}/{file.key}"

    def forget_gone(self) -> None:
        """Remember nothing of files that are not there any more: a message may have named somebody."""
        there = {self._address(seen) for names in self.seen.values() for seen in names.values()}
        with _lock:
            gone = [one for one in _read if one.startswith(f"{self._root}/") and one not in there]
            for address in gone:
                del _read[address]


def list_told(workspace: Workspace) -> Told:
    """What runs of a workspace have told, as it is now; nothing where that can't be listed."""
    home = storage.place_of(workspace, HOME)
    found: dict[str, dict[str, Seen]] = {}
    try:
        for seen in home.walk():
            job, _, name = seen.key[len(home.key) + 1 :].partition("/")
            found.setdefault(job, {})[name] = seen
    except (OSError, NightscoreError):
        found = {}
    told = Told(workspace, home, found)
    told.forget_gone()
    return told
