"""`data/` in a folder: a local disk, or a file system that all machines share.

Data and records are synced, and appear whole by a hard link; signs of life and locks are flock's, so they go
with their process.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import (
    link_or_copy,
    list_paths,
    remove_path,
    replace_bytes,
    sync,
    write_once,
)
from nightscore.store import disk
from nightscore.store.storage.contract import Seen

LOCK = "lock"
PAUSE = 0.05  # seconds between two tries of a lock


@dataclass(frozen=True)
class Folder:
    """The storage below a folder, the workspace's; see `Storage` for what each method promises."""

    root: Path

    def create(self, key: str, data: bytes) -> bytes:
        path = self.root / key
        with write_once(path) as temporary:
            temporary.write_bytes(data)
        return path.read_bytes()

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def replace(self, key: str, data: bytes) -> None:
        replace_bytes(self.root / key, data)

    def save(self, key: str) -> contextlib.AbstractContextManager[Path]:
        return write_once(self.root / key)

    def link(self, names: Mapping[str, str]) -> None:
        folders = {(self.root / second).parent for second in names}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for second, first in names.items():
            with contextlib.suppress(FileExistsError):
                link_or_copy(self.root / first, self.root / second)
        for folder in folders:
            sync(folder)

    def local(self, key: str) -> Path:
        return self.root / key

    def look(self, key: str) -> Seen | None:
        try:
            found = (self.root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if (self.root / key).is_dir() else _seen(key, found)

    def glob(self, key: str, patterns: Sequence[str], *, hidden: bool = False) -> list[str]:
        start = len(self.root.as_posix()) + 1
        return [path.as_posix()[start:] for path in list_paths(self.root / key, *patterns, hidden=hidden)]

    def glob_folders(self, key: str, patterns: Sequence[str]) -> list[str]:
        return [found for found in self.glob(key, patterns) if self.is_folder(found)]

    def is_folder(self, key: str) -> bool:
        return (self.root / key).is_dir()

    def lies_in(self, key: str, folder: str) -> bool:
        home = (self.root / folder).resolve()
        return (self.root / key).resolve() == home / Path(key).relative_to(folder)

    def walk(self, key: str) -> Iterator[Seen]:
        """Not by `rglob`, which fails where another process removes something meanwhile."""
        top = self.root / key
        inside = (Path(at, name) for at, _, names in os.walk(top) for name in names)
        for path in inside if top.is_dir() else [top]:
            with contextlib.suppress(FileNotFoundError):
                yield _seen(path.relative_to(self.root).as_posix(), path.stat())

    def remove(self, key: str) -> None:
        remove_path(self.root / key)

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        (self.root / key).mkdir(parents=True, exist_ok=True)
        with (self.root / key / LOCK).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def is_held(self, key: str) -> bool:
        try:
            with (self.root / key / LOCK).open("a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @contextlib.contextmanager
    def lock(self, key: str, *, shared: bool, seconds: float) -> Iterator[bool]:
        kind, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + seconds
        (self.root / key).mkdir(parents=True, exist_ok=True)
        with (self.root / key / LOCK).open("a+") as file:
            while not (locked := _try_lock(file.fileno(), kind)) and time.monotonic() <= end:
                time.sleep(PAUSE)
            yield locked

    def scratch(self, key: str) -> Path:
        return self.root / key

    def scratch_folders(self, key: str, patterns: Sequence[str]) -> list[Path]:
        return [self.root / found for found in self.glob_folders(key, patterns)]

    def now(self) -> float:
        return time.time()

    def free_bytes(self, key: str) -> int:
        return disk.free_bytes(self.root / key)


def _seen(key: str, found: os.stat_result) -> Seen:
    tag = f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    return Seen(key, found.st_size, tag, found.st_mtime, found.st_ctime_ns)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
