"""What lies in the folders of an input: the one place that lists them.

What it can't list, or doesn't understand, is an error with its name and never left out: an absence that
nobody has noticed looks like a day with fewer rows. Light to import: a scheduler waits for folders, too.
"""

import errno
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from nightscore.common import Broken, NotYet, Workspace, has_half_a_character, read_day
from nightscore.job import Layout, Segment
from nightscore.store.documents.folder_columns import NOTHING
from nightscore.store.lake.file_names import CHECKSUM, SUMS, UNFINISHED, allowed, hint, is_data, is_hidden
from nightscore.store.lake.foreign import refuse_table, refuse_table_above
from nightscore.store.lake.found import Found, Partition, Partitions, Span
from nightscore.store.lake.trees import Entry, tree_of

KINDS = {
    stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
# What may be otherwise the next time: a disk or a network that does not answer, a folder that has just gone.
PASSING = {
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH, errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


class Walk:
    """The folder of one input, to be listed. `ignore` are patterns (`*`, `?`) of names, or of paths below it.

    Files and folders that begin with `.` or `_` don't count, but `_region=eu`, a partition, does. Links
    inside the workspace are followed.
    """

    def __init__(
        self, workspace: Workspace, root: Path, ignore: Sequence[str] = (), data: str = "parquet"
    ) -> None:
        """Begin at `root`, a path that `Workspace.resolve` gave; `data` is the format of its files.

        Raises:
            Broken: it lies in a table of this workspace or another engine's, or among what runs staged.
        """
        self._workspace, self.root, self._ignore, self._format = workspace, root, tuple(ignore), data
        self.tree = tree_of(workspace, root)
        refuse_table_above(workspace, root, self.tree)

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

    def partitions(self, layout: Layout, span: Span | None = None) -> Partitions:
        """The folders, or files, of a layout's days; they are not opened. Errors as those of `files`.

        Of a layout of several levels, folders are opened in which days of a `span` may lie (default: all).

        Raises:
            Broken: also where anything else lies beside them that is no file of sums.
        """
        found: list[Partition] = []
        sums: list[Path] = []
        ignored: list[str] = []
        for names, kind in self._level(layout, (), span):
            if kind == "ignored":
                ignored.append("/".join(names))
            elif kind == "sums":
                sums.append(self.root.joinpath(*names))
            else:
                found.append(Partition(layout.day_of(names), "/".join(names)))
        return Partitions(tuple(found), Found((), tuple(sums), tuple(ignored)))

    def _level(
        self, layout: Layout, names: tuple[str, ...], span: Span | None
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        """Partitions below a folder, what is ignored there, and files of sums, by their names below root."""
        segment, is_last = layout.segments[len(names)], len(names) + 1 == len(layout.segments)
        wanted = "file" if is_last and layout.of_files else "folder"
        entries = self._listed(self.root.joinpath(*names))
        if not is_last:
            self.tree.preload(self._opened(layout, entries, names, span))
        for entry in entries:
            path, mine = (*names, entry.name), _is_of(segment, entry.name)
            if self._is_ignored(entry):
                yield path, "ignored"
            elif mine and self._kind(entry) == wanted:
                yield from self._partition(layout, path, span)
            elif entry.name == SUMS or entry.name.endswith(CHECKSUM):
                yield from [(path, "sums")] if entry.name == SUMS else []
            elif mine or not is_hidden(entry.name):
                self._refuse_beside(Path(entry.path), layout, segment)

    def _partition(
        self, layout: Layout, names: tuple[str, ...], span: Span | None
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        """One partition, or those in a folder that holds some."""
        if len(names) == len(layout.segments) or layout.span_of(names) is None:
            yield names, "partition"
        elif _holds_some(layout, names, span):
            yield from self._level(layout, names, span)

    def _opened(
        self, layout: Layout, entries: Iterable[Entry], names: tuple[str, ...], span: Span | None
    ) -> Iterator[Path]:
        """The folders of a level that will be opened for those below; a disk does not ask for them."""
        segment = layout.segments[len(names)]
        mine = (e for e in entries if e.is_dir() and _is_of(segment, e.name) and not self._is_ignored(e))
        return (Path(e.path) for e in mine if _holds_some(layout, (*names, e.name), span))

    def at(self, partition: Partition) -> Found:
        """All of a partition: what lies below its folder, or the file that it is. Errors as `files`'s."""
        path = self.root / partition.path
        if self.tree.kind(path) == "folder":
            return self.files(path)
        return Found((path,) if self._is_wanted(path) else ())

    def holds_data(self, folder: Path) -> bool:
        """Whether something below a folder would be found, or refused; of a file whether it is there."""
        try:
            kind = self.tree.kind(folder)
            return kind == "file" or (kind == "folder" and bool(self.files(folder).files))
        except (OSError, Broken):
            return True

    def _below(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Each file below a folder, what is ignored, and each link that was followed."""
        for entry in self._listed(folder):
            if self._is_ignored(entry):
                yield Path(entry.path), "ignored"
            elif not is_hidden(entry.name):
                yield from self._entry(entry)

    def _entry(self, entry: Entry) -> Iterator[tuple[Path, str]]:
        path, kind = Path(entry.path), self._kind(entry)
        if entry.is_symlink():
            yield path, "link"
        if kind == "folder":
            yield from self._below(path)
        elif self._is_wanted(path):
            yield path, kind

    def _listed(self, folder: Path) -> list[Entry]:
        """The entries of a folder by name, hidden ones included."""
        try:
            entries = sorted(self.tree.entries(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._unread(folder, "can't be listed", error)
        refuse_table(self._workspace, folder, [entry.name for entry in entries], self.tree)
        # Of names in ASCII there is one spelling.
        shown = {entry.name: entry.name for entry in entries if entry.name.isascii()}
        for name in (e.name for e in entries if not (e.name.isascii() or is_hidden(e.name))):
            if has_half_a_character(name):
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

    def _kind(self, entry: Entry) -> str:
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
            self._refuse(
                path,
                f"{KINDS.get(stat.S_IFMT(mode), 'no regular file')}, and no file; {allowed(self._format)}",
            )
        return "folder" if stat.S_ISDIR(mode) else "file"

    def _refuse_link(self, path: Path, is_folder: bool) -> None:
        """Refuse a link that leaves the workspace, leads into a table, or to a folder that it lies in."""
        target = self._workspace.follow(path)
        if is_folder and path.parent.resolve().is_relative_to(target):
            self._refuse(path, f"a link to {self._workspace.relative(target)}, a folder that it lies in")
        refuse_table_above(self._workspace, target, self.tree)

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
        if is_data(name, self._format) or path.name == SUMS:
            return True
        if name.endswith(UNFINISHED):
            raise NotYet(
                f"{self._workspace.relative(path)}: by its name it is still being written; what is left of a "
                "writer that was stopped is to be removed, or named in the input's ignore"
            )
        if not name.endswith(CHECKSUM):
            self._refuse(
                path, f"neither data nor known beside data; {allowed(self._format)}{hint(name, self._format)}"
            )
        return False

    def _refuse_beside(self, path: Path, layout: Layout, segment: Segment) -> NoReturn:
        name, _, value = path.name.partition("=")
        key, meant = segment.hive_key or "", ""
        if value and name.strip().lower() == key.lower():
            meant = f"; the input's partition is {key!r}"
        elif read_day(value):  # the days are there: it is the job that calls them otherwise
            meant = f"; where it is a day of this input, write partition: {name}"
        self._refuse(
            path, f"lies beside the partitions {layout.shown} and is none{meant}; move it, let its name "
            "begin with . (or _, without =), or name it in the input's ignore"
        )  # fmt: skip

    def _is_ignored(self, entry: Entry) -> bool:
        if not self._ignore:
            return False
        below = Path(entry.path).relative_to(self.root).as_posix()
        return any(fnmatchcase(entry.name, p) or fnmatchcase(below, p) for p in self._ignore)

    def _refuse(self, path: Path, why: str) -> NoReturn:
        raise Broken(f"{self._workspace.relative(path)}: {why}")

    def _unread(self, path: Path, what: str, error: OSError) -> NoReturn:
        kind = NotYet if error.errno in PASSING else Broken
        raise kind(f"{self._workspace.relative(path)} {what}: {error.strerror or error}") from error


def _holds_some(layout: Layout, names: tuple[str, ...], span: Span | None) -> bool:
    """Whether a folder may hold days of a span."""
    days = layout.span_of(names)
    return days is not None and (span is None or (days[0] <= span[1] and span[0] <= days[1]))


def _is_of(segment: Segment, name: str) -> bool:
    """Whether a name is meant for a level of a layout: it matches, has its hive key, or is writers' null."""
    if name == NOTHING and segment.hive_key is None and any(part.kind != "text" for part in segment.parts):
        return True
    if is_hidden(name) and not segment.head:
        return False
    has_key = segment.hive_key is not None and name.startswith(segment.head)
    return has_key or segment.match(name) is not None
