"""What a place for `data/` has to be able to do, so that no night is lost or half there in it.

Two kinds of objects lie there, and no third. *Data* is saved whole and never written again. *Records* are
small, created once, and decide: who creates one reads what is there, and so knows who was first. Beside them
are pages for people and notes on what is held, which are replaced at will.

A key is a path as plans and receipts write it, relative to the workspace and with `/`: `data/runs/…`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

AT_ONCE = 32  # requests that one process has under way


@dataclass(frozen=True)
class Seen:
    """One object as a look found it. `tag` is another one as soon as its bytes may be others.

    `modified` is when it was written, in seconds since the epoch, by the clock of the storage; `changed_ns`,
    in ns, is when anything about it, its names too, was last changed.
    """

    key: str
    bytes: int
    tag: str
    modified: float
    changed_ns: int


class Storage(Protocol):
    """The storage of a workspace's `data/`. Safe for threads and for processes, which may be anywhere."""

    def create(self, key: str, data: bytes) -> bytes:
        """Create a record, durably, unless there is one; gives what is there, ours or another's.

        Raises:
            NotYet: it could not be found out who was first, or there is no room.
        """

    def read(self, key: str) -> bytes:
        """A record's bytes.

        Raises:
            FileNotFoundError: there is none.
        """

    def replace(self, key: str, data: bytes) -> None:
        """Write what nobody decides by, whole and durable, instead of what may be there."""

    def put(self, key: str, file: Path) -> None:
        """Have a file's bytes under a key, whole and durable, at once instead of what may be there.

        Only for what lies elsewhere than below `data/`, and for what is erased from: else nothing there is
        written twice.
        """

    def save(self, key: str) -> AbstractContextManager[Path]:
        """A context that gives a local path: what was written there is the data `key` at the end, durably.

        A `key` that is there already is kept as it is. On an error nothing is there.

        Raises:
            NotYet: there is no room.
        """

    def save_copy(self, key: str, file: Path) -> None:
        """Save a file of elsewhere as the data `key`, durably, so that `local()` has its time of change, too.

        A `key` that is there already is kept as it is.

        Raises:
            NotYet: there is no room.
        """

    def link(self, names: Mapping[str, str]) -> None:
        """Give data second names (second -> first), durably; one that is there already is the same data."""

    def local(self, key: str, seen: Seen | None = None) -> Path:
        """The data of a key as a local file, fetched if need be; as a look found it that was just made.

        Raises:
            FileNotFoundError: there is none, where that shows without a look at its bytes.
        """

    def tail(self, seen: Seen, length: int) -> bytes:
        """The last bytes of data as a look found it: `length` of them, or all there are.

        Raises:
            FileNotFoundError: it has gone.
            NotYet: it is another now.
        """

    def local_all(self, keys: Iterable[str]) -> Sequence[Path]:
        """The same of several keys, many at once."""

    def look(self, key: str) -> Seen | None:
        """What is there under a key, None where nothing or a folder is."""

    def glob(self, key: str, patterns: Sequence[str], *, hidden: bool = False) -> list[str]:
        """The keys below a folder by patterns (`*`, `?`), one a level, sorted; hidden names if asked for.

        Raises:
            Broken: a folder can't be listed.
        """

    def first_names(self, key: str) -> list[str]:
        """Names right below a folder, of as many as the storage lists at once; [] where there is nothing."""

    def glob_folders(self, key: str, patterns: Sequence[str]) -> list[str]:
        """The same of folders alone, hidden ones left out."""

    def is_folder(self, key: str) -> bool:
        """Whether something may lie below a key."""

    def lies_in(self, key: str, folder: str) -> bool:
        """Whether a key below a folder lies there, and is not elsewhere behind a link."""

    def walk(self, key: str) -> Iterator[Seen]:
        """All data and records below a key, or the one of that very key; what goes meanwhile is left out."""

    def remove(self, key: str) -> None:
        """Remove an object, or all that is below a key, and what was fetched of it to this machine.

        What is gone, or goes meanwhile, is gone.

        Raises:
            Broken: the storage does not let us.
        """

    def hold(self, key: str) -> AbstractContextManager[None]:
        """A sign of life in a folder while a context lasts, which goes with the process, however it ends."""

    def is_held(self, key: str) -> bool:
        """Whether a process holds a folder now."""

    def lock(self, key: str, *, shared: bool, seconds: float) -> AbstractContextManager[bool]:
        """A lock of a folder while a context lasts, shared or alone; gives whether it was got in time."""

    def scratch(self, key: str) -> Path:
        """A folder of this machine, there or not, for what is temporary in the work on a key: spills."""

    def scratch_folders(self, key: str, patterns: Sequence[str]) -> list[Path]:
        """The folders of this kind that are there, of keys below a folder's by patterns."""

    def table_address(self, key: str) -> str:
        """The address by which Delta's library opens the table in a folder."""

    def now(self) -> float:
        """The time by the storage's clock, by which `modified` goes, in seconds since the epoch."""
