"""Files that are written once, completely or not at all, and read with a fingerprint."""

import contextlib
import errno
import fnmatch
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from nightscore.common.errors import Broken, NotYet
from nightscore.common.signals import temporary as removed_at_a_signal

BLOCK = 1 << 20  # bytes that are hashed at once


@contextlib.contextmanager
def write_once(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on a clean exit its file becomes `path`, durably.

    A `path` that exists already is kept as it is: no path is ever written twice, so whoever reads
    it reads one file from beginning to end. On an error the temporary file is removed.

    Raises:
        NotYet: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary, room_for(path):
        yield temporary
        sync(temporary)
        with contextlib.suppress(FileExistsError):
            link_or_copy(temporary, path)
        sync(path.parent)


def write_text_once(path: Path, text: str) -> None:
    """`text` as the file `path`, complete and durable, or nothing; an existing file is kept."""
    with write_once(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """`text` as the file `path`, complete and durable, instead of what may be there."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes) -> None:
    """`data` as the file `path`, complete and durable, instead of what may be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        temporary.write_bytes(data)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def replace_by_copy(path: Path, source: Path) -> None:
    """A copy of a file as the file `path`, complete and durable, instead of what may be there.

    Raises:
        NotYet: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary, room_for(path):
        shutil.copyfile(source, temporary)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links.

    Raises:
        FileExistsError: `target` exists.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """A copy that appears whole: whoever is killed while copying leaves nothing under the name."""
    if target.exists():
        raise FileExistsError(target)
    with _temporary(target) as temporary:
        shutil.copyfile(source, temporary)
        sync(temporary)
        temporary.rename(target)  # over what another process copied in this moment: the same bytes


@contextlib.contextmanager
def room_for(path: Path) -> Iterator[None]:
    """A context in which a disk that is full is `NotYet`, with the numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        disk = os.statvfs(path.parent)
        raise NotYet(
            f"the disk is full: {path.parent} has {byte_size(disk.f_bavail * disk.f_frsize)} free, too "
            f"little for {path.name}; free some there, and run again"
        ) from error


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` for what becomes it; whatever ends the work, nothing is left there."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with removed_at_a_signal(temporary):
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_path(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; what is gone, or goes meanwhile, is gone.

    Raises:
        Broken: the system does not let us.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, onerror=_unless_gone)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Broken(f"{error.filename or path} can't be removed: {error.strerror or error}") from error


def _unless_gone(_: object, __: str, caught: tuple[type[BaseException], BaseException, object]) -> None:
    """What rmtree does about an error: nothing where another process was first."""
    if not isinstance(caught[1], FileNotFoundError):
        raise caught[1]


def list_paths(folder: Path, *patterns: str, hidden: bool = False) -> list[Path]:
    """What lies in a folder by patterns (`*`, `?`), one a level, sorted; hidden names if asked for.

    What another process removes meanwhile is left out. `Path.glob` fails then (Python 3.11), and takes for
    empty what it may not list.

    Raises:
        Broken: a folder can't be listed.
    """
    found = [folder]
    for pattern in patterns:
        found = [path for above in found for path in _entries(above, pattern, hidden)]
    return found


def _entries(folder: Path, pattern: str, hidden: bool) -> list[Path]:
    """What lies in a folder by a pattern, sorted by name. As names, for a night lists a hundred folders."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Broken(f"{folder} can't be listed: {error.strerror}") from error
    matched = names if pattern == "*" else fnmatch.filter(names, pattern)
    return [folder / name for name in sorted(matched) if hidden or not name.startswith(".")]


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_data_path(path: Path, below: Path) -> bool:
    """Whether a file counts as data: no part of its path below `below` starts with `.` or `_`."""
    return not any(part.startswith((".", "_")) for part in path.relative_to(below).parts)


def byte_size(count: int) -> str:
    """A number of bytes for a person: `3.39 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
