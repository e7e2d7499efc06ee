"""What lies in the folders of an input: the one place that lists them.

What it can't list, or doesn't understand, is an error with its name and never left out: an absence that
nobody has noticed looks like a day with fewer rows. Light to import: a scheduler waits for folders, too.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from nightscore.common import Broken, NotYet, Workspace, read_day
from nightscore.store.foreign import refuse_table, refuse_table_above

DATA = (".parquet", ".parq", ".pq")  # endings of data, in any case
SUMS = "SHA256SUMS"  # as `sha256sum *.parquet > SHA256SUMS` writes it
CHECKSUM = ".crc"  # Hadoop's, beside a file
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".inprogress", "._copying_", ".writing")
ALLOWED = (
    f"allowed are {', '.join('*' + ending for ending in DATA)}, {SUMS}, *{CHECKSUM}, and names that begin "
    "with . or _, which are left out; move it, or name it in the input's ignore"
)
KINDS = {
    stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
# What may be otherwise the next time: a disk or a network that does not answer, a folder that has just gone.
PASSING = {
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH, errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What lies below a folder: data files by path, the files of sums, and what `ignore` leaves out."""

    files: tuple[Path, ...] = ()
    sums: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partitions:
    """The folders `<key>=<value>` right below an input's, as (value, name), and what else lies beside them.

    By name and not by path: a run lists thousands of days, and opens those of its lookback.
    """

    folders: tuple[tuple[str, str], ...]
    beside: Found


class Walk:
    """The folder of one input, to be listed. `ignore` are patterns (`*`, `?`) of names, or of paths below it.

    Files and folders that begin with `.` or `_` don't count, but `_region=eu`, a partition, does. Links
    inside the workspace are followed.
    """

    def __init__(self, workspace: Workspace, root: Path, ignore: Sequence[str] = ()) -> None:
        """Begin at `root`, a path that `Workspace.resolve` gave.

        Raises:
            Broken: it lies in a table of this workspace or another engine's, or among what runs staged.
        """
        self._workspace, self.root, self._ignore = workspace, root, tuple(ignore)
        refuse_table_above(workspace, root)

    def files(self, folder: Path | None = None) -> Found:
        """All below a folder of the input (default: its own).

        Raises:
            Broken: a folder can't be listed; a link leads nowhere, outside, above itself or to what is there
                already; a file is no data and nothing known beside data; two names look the same.
            NotYet: a folder does not answer, or a file is still being written.
        """
        files: list[Path] = []
        sums: list[Path] = []
        ignored: list[str] = []
        linked = False
        for path, kind in self._below(folder or self.root):
            if kind == "ignored":
                ignored.append(path.relative_to(self.root).as_posix())
            elif kind == "link":
                linked = True
            elif path.name == SUMS:
                sums.append(path)
            else:
                files.append(path)
        if linked:
            self._refuse_doubles(files)
        return Found(tuple(sorted(files)), tuple(sorted(sums)), tuple(sorted(ignored)))

    def partitions(self, key: str) -> Partitions:
        """The folders of the partitions by `key`; they are not opened. Errors as those of `files`.

        Raises:
            Broken: also where anything else lies beside them that is no file of sums.
        """
        folders, sums, ignored = [], [], []
        for entry in self._listed(self.root):
            name, mark, value = entry.name.partition("=")
            mine = name == key and bool(mark)
            if self._is_ignored(entry):
                ignored.append(entry.name)
            elif mine and self._kind(entry) == "folder":
                folders.append((value, entry.name))
            elif entry.name == SUMS or entry.name.endswith(CHECKSUM):
                sums += [Path(entry.path)] if entry.name == SUMS else []
            elif mine or not _is_hidden(entry.name):
                self._refuse_beside(Path(entry.path), key)
        return Partitions(tuple(folders), Found((), tuple(sums), tuple(ignored)))

    def holds_data(self, folder: Path) -> bool:
        """Whether there is something below a folder that reading it would find, or refuse."""
        try:
            folder.stat()
            return bool(self.files(folder).files)
        except FileNotFoundError:
            return False
        except (OSError, Broken):
            return True

    def _below(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Each file below a folder, what is ignored, and each link that was followed."""
        for entry in self._listed(folder):
            if self._is_ignored(entry):
                yield Path(entry.path), "ignored"
            elif not _is_hidden(entry.name):
                yield from self._entry(entry)

    def _entry(self, entry: os.DirEntry[str]) -> Iterator[tuple[Path, str]]:
        path, kind = Path(entry.path), self._kind(entry)
        if entry.is_symlink():
            yield path, "link"
        if kind == "folder":
            yield from self._below(path)
        elif self._is_wanted(path):
            yield path, kind

    def _listed(self, folder: Path) -> list[os.DirEntry[str]]:
        """The entries of a folder by name, hidden ones included."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self._unread(folder, "can't be listed", error)
        refuse_table(self._workspace, folder, [entry.name for entry in entries])
        # Of names in ASCII there is one spelling.
        shown = {entry.name: entry.name for entry in entries if entry.name.isascii()}
        for name in (e.name for e in entries if not (e.name.isascii() or _is_hidden(e.name))):
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                self._refuse(
                    folder, f"holds a name that is no UTF-8, {name.encode(errors='replace')!r}; rename it"
                )
            other = shown.setdefault(unicodedata.normalize("NFC", name), name)
            if other != name:
                self._refuse(
                    folder, f"holds {other!a} and {name!a}, one name in two spellings of Unicode: "
                    "as a copy by another system makes them; remove one"
                )  # fmt: skip
        return entries

    def _kind(self, entry: os.DirEntry[str]) -> str:
        """Whether an entry is a folder or a file, by what it links to; nothing else is either."""
        if entry.is_dir(follow_symlinks=False):  # as the listing says: no look at each of thousands
            return "folder"
        path = Path(entry.path)
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            if not entry.is_symlink():
                self._unread(path, "can't be looked at", error)
            self._refuse(path, f"a link to {path.readlink()}, which can't be read: {error.strerror}")
        if entry.is_symlink():
            self._refuse_link(path, stat.S_ISDIR(mode))
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            self._refuse(path, f"{KINDS.get(stat.S_IFMT(mode), 'no regular file')}, and no file; {ALLOWED}")
        return "folder" if stat.S_ISDIR(mode) else "file"

    def _refuse_link(self, path: Path, is_folder: bool) -> None:
        """Refuse a link that leaves the workspace, leads into a table, or to a folder that it lies in."""
        target = self._workspace.resolve(path.as_posix())
        if is_folder and path.parent.resolve().is_relative_to(target):
            self._refuse(path, f"a link to {self._workspace.relative(target)}, a folder that it lies in")
        refuse_table_above(self._workspace, target)

    def _refuse_doubles(self, files: Sequence[Path]) -> None:
        """Refuse two names of one file: its rows would count twice."""
        first: dict[Path, Path] = {}
        for path in files:
            other = first.setdefault(path.resolve(), path)
            if other != path:
                self._refuse(
                    path, f"the same file as {self._workspace.relative(other)}, through a link: its rows "
                    "would count twice; remove the link, or name it in the input's ignore"
                )  # fmt: skip

    def _is_wanted(self, path: Path) -> bool:
        """Whether a file is data or sums; False for what is known beside data. Refuses all others."""
        name = path.name.lower()
        if name.endswith(DATA) or path.name == SUMS:
            return True
        if name.endswith(UNFINISHED):
            raise NotYet(
                f"{self._workspace.relative(path)}: by its name it is still being written; what is left of a "
                "writer that was stopped is to be removed, or named in the input's ignore"
            )
        if not name.endswith(CHECKSUM):
            self._refuse(path, f"neither data nor known beside data; {ALLOWED}")
        return False

    def _refuse_beside(self, path: Path, key: str) -> NoReturn:
        name, _, value = path.name.partition("=")
        meant = ""
        if value and name.strip().lower() == key.lower():
            meant = f"; the input's partition is {key!r}"
        elif read_day(value):  # the days are there: it is the job that calls them otherwise
            meant = f"; where it is a day of this input, write partition: {name}"
        self._refuse(
            path, f"lies beside the partitions {key}=YYYY-MM-DD and is none{meant}; move it, let its name "
            "begin with . (or _, without =), or name it in the input's ignore"
        )  # fmt: skip

    def _is_ignored(self, entry: os.DirEntry[str]) -> bool:
        if not self._ignore:
            return False
        below = Path(entry.path).relative_to(self.root).as_posix()
        return any(fnmatchcase(entry.name, p) or fnmatchcase(below, p) for p in self._ignore)

    def _refuse(self, path: Path, why: str) -> NoReturn:
        raise Broken(f"{self._workspace.relative(path)}: {why}")

    def _unread(self, path: Path, what: str, error: OSError) -> NoReturn:
        kind = NotYet if error.errno in PASSING else Broken
        raise kind(f"{self._workspace.relative(path)} {what}: {error.strerror or error}") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)
