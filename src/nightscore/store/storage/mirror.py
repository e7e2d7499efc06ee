"""The folder of this machine in which objects of a bucket lie once they are fetched, under their names.

It may be lost at any time, and processes share it: a file appears whole, with a hidden note beside it that
says which object it is, and that it is this very file. Nobody puts an older object in the place of a newer
one. It is this user's alone: who may write there decides what is scored.
"""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from nightscore.common import SCRATCH, Broken, NotYet, room_for
from nightscore.common import temporary as removed_at_a_signal
from nightscore.store.storage.contract import Seen

TAG = ".tag"  # behind the name of a fetched file, in a hidden one beside it: which object it is
State = (
    tuple[int, int] | None
)  # of a file: which one it is, and when it was changed; None where there is none


class Mirror:
    """The mirror in a folder. Safe for threads and processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_own = False

    def path(self, name: str) -> Path:
        """Where an object lies, fetched or not.

        Raises:
            Broken: another user may write there, or this one can't make the folder.
        """
        self.refuse_others()
        return self.folder / name

    def refuse_others(self) -> None:
        """Make the folder that the mirror lies in, for this user alone, or know that it is.

        Raises:
            Broken: another user may write there, or this one can't make the folder.
        """
        if self._is_own:
            return
        home = self.folder.parent
        try:
            with room_for(home):
                home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                home.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Broken(
                f"{home}: can't be made for what is fetched from buckets: {error.strerror}; set {SCRATCH} to "
                "a folder of this machine that can be written"
            ) from error
        _refuse(home, {os.geteuid()}, stat.S_IWGRP | stat.S_IWOTH)
        _refuse(home.parent, {os.geteuid(), 0}, 0 if home.parent.stat().st_uid == 0 else stat.S_IWOTH)
        self._is_own = True

    def state(self, path: Path) -> State:
        """Which file is there now."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_ctime_ns

    def holds(self, path: Path, found: Seen) -> bool:
        """Whether the file there is an object, whole, and as it was fetched."""
        try:
            return path.with_name(f".{path.name}{TAG}").read_text() == _mark(found, path.stat())
        except OSError:
            return False

    def tag(self, path: Path) -> str | None:
        """Which object the file there is; None where it is not known, or the file was changed since."""
        try:
            text, now = path.with_name(f".{path.name}{TAG}").read_text(), path.stat()
        except OSError:
            return None
        tag = text.rsplit(" ", 5)[0]
        return tag if text == f"{tag}{_of_file(now)}" else None

    @contextlib.contextmanager
    def part(self, path: Path) -> Iterator[Path]:
        """A context that gives a name beside a path for what becomes it, of which nothing is left at the end.

        Raises:
            NotYet: the disk is full.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with removed_at_a_signal(part), room_for(path):
            try:
                yield part
            finally:
                part.unlink(missing_ok=True)

    def take(self, found: Seen, part: Path, path: Path, before: State, changed_ns: int | None = None) -> bool:
        """Let a whole file be that of an object, with the object's time; gives whether it is.

        `changed_ns` is the object's time where that is not when it was put into the bucket.

        It is not where another process has put another file there since `before`: that may be a newer object.
        """
        with self._alone():
            if self.holds(path, found):
                return True
            if self.state(path) != before:
                return False
            moment = found.changed_ns if changed_ns is None else changed_ns
            os.utime(part, ns=(moment, moment))
            with part.open("rb") as file:
                part.rename(path)
                mark = _mark(found, os.fstat(file.fileno()))
            part.write_text(mark)
            part.rename(path.with_name(f".{path.name}{TAG}"))
            return True

    def forget(self, path: Path) -> None:
        """Remove the file of an object that is no longer in the bucket; one that was not fetched stays."""
        note = path.with_name(f".{path.name}{TAG}")
        if note.exists():
            with self._alone():
                path.unlink(missing_ok=True)
                note.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self.folder.with_name(f"{self.folder.name}.lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _refuse(folder: Path, owners: set[int], bits: int) -> None:
    """Refuse a folder of another user, or one whose mode lets others write (those of `bits`), or a link."""
    found = folder.lstat()
    is_open = found.st_mode & bits and not found.st_mode & stat.S_ISVTX
    if stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not is_open:
        return
    raise Broken(
        f"{folder} is of user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}: others may put there "
        f"what is scored. Allowed is a folder that only user {os.geteuid()} may write: chmod go-w it, or set "
        f"{SCRATCH} to another"
    )


def changed(shown: str) -> NotYet:
    """What is said of an object that is another than the one that was to be fetched."""
    return NotYet(f"{shown}: changed or removed while it was being read")


def _mark(found: Seen, file: os.stat_result) -> str:
    """Which object a file is, and that it is this very file: its bytes don't change but for another ctime."""
    return f"{found.tag}{_of_file(file)}"


def _of_file(file: os.stat_result) -> str:
    return f" {file.st_ino} {file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}"
