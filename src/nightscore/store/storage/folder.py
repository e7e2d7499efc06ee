"""`data/` in a folder: a local disk, or a file system that all machines share.

Data and records are synced, and appear whole by a hard link; signs of life and locks are flock's, so they go
with their process.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import (
    DATA,
    link_or_copy,
    list_paths,
    remove_path,
    replace_by_copy,
    replace_bytes,
    sync,
    write_once,
)
from nightscore.store.storage.contract import Seen

LOCK = "lock"
PAUSE = 0.05  # seconds between two tries of a lock


@dataclass(frozen=True)
class Folder:
    """The storage below a folder, the workspace's; see `Storage` for what each method promises.

    With `data` the keys data/… lie there, wherever that is.
    """

    root: Path
    data: Path | None = None

    def _path(self, key: str) -> Path:
        first, _, rest = key.partition("/")
        return self.root / key if self.data is None or first != DATA else self.data / rest

    def create(self, key: str, data: bytes) -> bytes:
        path = self._path(key)
        with write_once(path) as temporary:
            temporary.write_bytes(data)
        return path.read_bytes()

    def read(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def replace(self, key: str, data: bytes) -> None:
        replace_bytes(self._path(key), data)

    def put(self, key: str, file: Path) -> None:
        replace_by_copy(self._path(key), file)

    def save(self, key: str) -> contextlib.AbstractContextManager[Path]:
        return write_once(self._path(key))

    def save_copy(self, key: str, file: Path) -> None:
        with self.save(key) as target:
            shutil.copyfile(file, target)
            changed_ns = file.stat().st_mtime_ns
            os.utime(target, ns=(changed_ns, changed_ns))

    def link(self, names: Mapping[str, str]) -> None:
        folders = {self._path(second).parent for second in names}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for second, first in names.items():
            with contextlib.suppress(FileExistsError):
                link_or_copy(self._path(first), self._path(second))
        for folder in folders:
            sync(folder)

    def local(self, key: str, seen: Seen | None = None) -> Path:  # noqa: ARG002 - a look is quick
        return self._path(key)

    def tail(self, seen: Seen, length: int) -> bytes:
        with self._path(seen.key).open("rb") as file:
            file.seek(max(0, seen.bytes - length))
            return file.read(length)

    def local_all(self, keys: Iterable[str]) -> Sequence[Path]:
        return [self._path(key) for key in keys]

    def look(self, key: str) -> Seen | None:
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if self._path(key).is_dir() else _seen(key, found)

    def glob(self, key: str, patterns: Sequence[str], *, hidden: bool = False) -> list[str]:
        top = self._path(key)
        start = len(top.as_posix()) + 1
        found = (path.as_posix()[start:] for path in list_paths(top, *patterns, hidden=hidden))
        return [f"{key}/{below}" if key else below for below in found]

    def first_names(self, key: str) -> list[str]:
        return [path.name for path in list_paths(self._path(key), "*")]

    def glob_folders(self, key: str, patterns: Sequence[str]) -> list[str]:
        return [found for found in self.glob(key, patterns) if self.is_folder(found)]

    def is_folder(self, key: str) -> bool:
        return self._path(key).is_dir()

    def lies_in(self, key: str, folder: str) -> bool:
        home = self._path(folder).resolve()
        return self._path(key).resolve() == home / Path(key).relative_to(folder)

    def walk(self, key: str) -> Iterator[Seen]:
        """Not by `rglob`, which fails where another process removes something meanwhile."""
        top = self._path(key)
        start, folder = len(os.fspath(top)) + 1, f"{key}/" if key else ""
        inside = (f"{at}/{name}" for at, _, names in os.walk(top) for name in names)
        for path in inside if top.is_dir() else [os.fspath(top)]:
            with contextlib.suppress(FileNotFoundError):
                yield _seen(f"{folder}{path[start:]}" if len(path) >= start else key, os.stat(path))  # noqa: PTH116

    def remove(self, key: str) -> None:
        remove_path(self._path(key))

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        self._path(key).mkdir(parents=True, exist_ok=True)
        with (self._path(key) / LOCK).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def is_held(self, key: str) -> bool:
        try:
            with (self._path(key) / LOCK).open("a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @contextlib.contextmanager
    def lock(self, key: str, *, shared: bool, seconds: float) -> Iterator[bool]:
        kind, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + seconds
        self._path(key).mkdir(parents=True, exist_ok=True)
        with (self._path(key) / LOCK).open("a+") as file:
            while not (locked := _try_lock(file.fileno(), kind)) and time.monotonic() <= end:
                time.sleep(PAUSE)
            yield locked

    def scratch(self, key: str) -> Path:
        return self._path(key)

    def scratch_folders(self, key: str, patterns: Sequence[str]) -> list[Path]:
        return [self._path(found) for found in self.glob_folders(key, patterns)]

    def table_address(self, key: str) -> str:
        return str(self._path(key))

    def now(self) -> float:
        return time.time()


def _seen(key: str, found: os.stat_result) -> Seen:
    tag = f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    return Seen(key, found.st_size, tag, found.st_mtime, found.st_ctime_ns)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
