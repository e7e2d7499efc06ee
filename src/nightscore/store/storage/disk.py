"""Room on disk: how much there is, how much may be spilled, and the folders that hold what was spilled.

Such a folder is locked by the process that spills into it, and the lock goes with the process, however it
ends. So a folder whose lock is free was left by a process that was killed.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from nightscore.common import list_paths
from nightscore.common import temporary as removed_at_a_signal

PREFIX, MAKING = ".duckdb-", ".new.duckdb-"
LOCK = "lock"
RESERVE, RESERVE_SHARE = 1_000_000_000, 0.05  # bytes that a spill leaves free, or this share of a small disk
YOUNG = 60.0  # seconds in which a folder without its lock may be one that is just being made


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write to the file system of a folder, there or not."""
    disk = os.statvfs(_existing(folder))
    return disk.f_bavail * disk.f_frsize


def spill_limit(folder: Path) -> int:
    """Bytes that may be spilled into a folder now: what is free, less a reserve."""
    disk = os.statvfs(_existing(folder))
    size, available = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return max(0, available - min(RESERVE, int(size * RESERVE_SHARE)))


class SpillFolder:
    """A new folder to spill into, below `parent`, kept by this process until it is closed.

    Who may only read there (a replica that is mounted read-only) spills into the system's temporary one.
    """

    def __init__(self, parent: Path) -> None:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(prefix=MAKING, dir=parent))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            making = Path(tempfile.mkdtemp(prefix=MAKING))
        self._lock = os.open(making / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # It has its name from the moment on in which it is locked: nobody finds it without an owner.
        self.path = making.rename(making.with_name(making.name.replace(MAKING, PREFIX, 1)))
        self._until_closed = contextlib.ExitStack()
        self._until_closed.enter_context(removed_at_a_signal(self.path))

    def close(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._until_closed.close()


def find_abandoned_spills(parents: Iterable[Path]) -> Iterator[Path]:
    """The spill folders directly below some folders whose process is gone."""
    for parent in parents:
        yield from (path for path in list_paths(parent, f"{PREFIX}*", hidden=True) if _is_abandoned(path))
        yield from (path for path in list_paths(parent, f"{MAKING}*", hidden=True) if _is_old(path))


def _is_old(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > YOUNG
    return False


def _is_abandoned(path: Path) -> bool:
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError:  # of an older version, or being removed by its owner
        return _is_old(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return path.exists()  # its owner removes it before the lock goes


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
