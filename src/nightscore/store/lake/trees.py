"""The folders of inputs as they are walked: of a disk, or of a bucket, whose files are fetched when wanted.

A bucket has no folders; what its keys say of them is listed, a level at a time. A file that is wanted lies
afterwards in a folder of this machine, the mirror, under the path that it has in the bucket and with the time
of its object; it is fetched again as soon as the bucket has another.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from nightscore.common import Broken, Root, Workspace
from nightscore.store.lake.file_names import is_hidden
from nightscore.store.storage import open_bucket
from nightscore.store.storage.contract import Seen

TOGETHER = 64  # folders that are listed by one request, or more where they have more than a thousand files
_look: ContextVar[dict[str, "BucketTree"] | None] = ContextVar("look", default=None)


class Entry(Protocol):
    """What a folder holds, as `os.DirEntry` says it."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def path(self) -> str:
        """Its path on this machine, there or not yet."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""

    def is_symlink(self) -> bool:
        """Whether it is a link."""

    def stat(self) -> os.stat_result:
        """What the system says of it."""


class Tree(Protocol):
    """Folders that can be walked."""

    def entries(self, folder: Path) -> Sequence[Entry]:
        """What a folder holds, hidden names included. Raises `OSError` where it can't be listed."""

    def kind(self, path: Path) -> str:
        """`file`, `folder`, or "" where nothing is. Raises `OSError` where it can't be looked at."""

    def preload(self, folders: Iterable[Path], *, deep: bool = False) -> None:
        """Say which folders will be asked for, and whether all that is in them: it is asked for at once."""

    def fetch(self, paths: Iterable[Path]) -> None:
        """Have some files on this machine as they are now. Raises `NotYet` where one changes meanwhile."""


class DiskTree:
    """The folders of this machine."""

    def entries(self, folder: Path) -> Sequence[Entry]:
        """What a folder holds."""
        with os.scandir(folder) as found:
            return list(found)

    def kind(self, path: Path) -> str:
        """What a path is, links followed."""
        try:
            return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def preload(self, folders: Iterable[Path], *, deep: bool = False) -> None:
        """A look at a folder is quick."""

    def fetch(self, paths: Iterable[Path]) -> None:
        """They are here."""


@dataclass(frozen=True)
class BucketEntry:
    """A name in a bucket; `seen` is what was listed of it, None of a folder."""

    path: str
    seen: Seen | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - there are none
        """Whether it is a folder."""
        return self.seen is None

    def is_symlink(self) -> bool:
        """There are none."""
        return False

    def stat(self) -> os.stat_result:
        """As of a file or a folder that anybody may read."""
        mode = stat.S_IFDIR if self.seen is None else stat.S_IFREG
        size, moment = (0, 0) if self.seen is None else (self.seen.bytes, int(self.seen.modified))
        return os.stat_result((mode | 0o444, 0, 0, 1, 0, 0, size, moment, moment, moment))


@dataclass
class BucketTree:
    """A bucket's keys as folders of a mirror; each folder is listed once."""

    root: Root
    _listed: dict[Path, Sequence[BucketEntry]] = field(default_factory=dict)
    _entries: dict[Path, BucketEntry] = field(default_factory=dict)  # by path, of what is listed

    def entries(self, folder: Path) -> Sequence[BucketEntry]:
        """What the bucket's keys have below a folder's, one level."""
        if folder not in self._listed:
            self._list(folder)
        if not (self._listed[folder] or folder == self.root.folder or self._is_marked(folder)):
            raise FileNotFoundError(2, "no key of the bucket begins so", str(folder))
        return self._listed[folder]

    def _is_marked(self, folder: Path) -> bool:
        """Whether a folder without keys was listed in that above: by an empty object that says it is one."""
        found = self._entries.get(folder)
        return found is not None and found.is_dir()

    def _list(self, folder: Path) -> None:
        self._keep(folder, *open_bucket(self.root).children(self._key(folder)))

    def _keep(self, folder: Path, folders: Iterable[str], objects: Iterable[tuple[str, Seen]]) -> None:
        names = dict.fromkeys(folders)
        # An empty object of a folder's name is a mark of some writers that the folder is there.
        data = [(name, seen) for name, seen in objects if seen.bytes or name not in names]
        if twice := next((name for name, _ in data if name in names), None):
            raise Broken(
                f"{self.root.at}/{self._key(folder / twice)} is an object, and others lie below it as in a "
                "folder, which no machine can have; move one of both"
            )
        found = [BucketEntry(str(folder / name)) for name in names]
        found += [BucketEntry(str(folder / name), seen) for name, seen in data]
        self._entries |= {Path(entry.path): entry for entry in found}
        self._listed[folder] = found

    def preload(self, folders: Iterable[Path], *, deep: bool = False) -> None:
        """List some folders, many at once; with all that is in them, many by one request."""
        bucket, wanted = open_bucket(self.root), [f for f in folders if f not in self._listed]
        if deep:
            bucket.each(self._list_below, list(self._neighbours(wanted)))
        bucket.each(self._list, [f for f in wanted if f not in self._listed])

    def _neighbours(self, folders: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
        """Folders that nothing lies between by name: the one that they lie in, and their names."""
        wanted = set(folders)
        for parent in {folder.parent for folder in folders} & self._listed.keys():
            run: list[str] = []
            names = sorted({entry.name for entry in self._listed[parent]})
            for name, following in zip_longest(names, names[1:], fillvalue=""):
                if parent / name in wanted and not following.startswith(name):
                    run.append(name)
                if len(run) == TOGETHER or (run and parent / following not in wanted):
                    yield parent, run
                    run = []

    def _list_below(self, run: tuple[Path, list[str]]) -> None:
        """List what lies below neighbours, but for those that may hold marks of folders."""
        parent, names = run
        for name, objects in open_bucket(self.root).below(self._key(parent), names).items():
            if not any(_may_be_folder(seen) for _, seen in objects):
                self._keep_below(parent / name, objects)

    def _keep_below(self, folder: Path, objects: Iterable[tuple[str, Seen]]) -> None:
        held: dict[Path, tuple[set[str], list[tuple[str, Seen]]]] = {folder: (set(), [])}
        for path, seen in objects:
            *folders, name = path.split("/")
            at = folder
            for below in folders:
                held[at][0].add(below)
                at = at / below
                held.setdefault(at, (set(), []))
            held[at][1].append((name, seen))
        for at, (inside, files) in held.items():
            self._keep(at, sorted(inside), sorted(files, key=lambda file: file[0]))

    def kind(self, path: Path) -> str:
        """What a path is; the bucket's own is a folder, with keys or without."""
        if path == self.root.folder:
            return "folder"
        with contextlib.suppress(FileNotFoundError):
            self.entries(path.parent)
        found = self._entries.get(path)
        return "" if found is None else "folder" if found.is_dir() else "file"

    def fetch(self, paths: Iterable[Path]) -> None:
        """Have some files in the mirror as the listing found them."""
        open_bucket(self.root).fetch({self._seen(path): path for path in paths})

    def _seen(self, path: Path) -> Seen:
        found = self._entries[path].seen
        assert found is not None  # noqa: S101 - the walk asks for files alone, which it has listed
        return found

    def _key(self, folder: Path) -> str:
        below = folder.relative_to(self.root.folder).as_posix()
        return "" if below == "." else below


def _may_be_folder(seen: Seen) -> bool:
    """Whether a listed object may be what some writers leave for a folder: nothing, under its name."""
    return seen.bytes == 0 and not is_hidden(seen.key.rpartition("/")[2])


@contextlib.contextmanager
def one_look() -> Iterator[None]:
    """A context in which each folder of a bucket is listed once, whoever asks.

    What changes meanwhile is not seen in it: what has to be as it is now is asked in a look of its own, also
    within this one.
    """
    token = _look.set({})
    try:
        yield
    finally:
        _look.reset(token)


def tree_of(workspace: Workspace, path: Path) -> Tree:
    """The tree that a path lies in: of a bucket that of this look, or, outside of one, anew."""
    root, look = bucket_of(workspace, path), _look.get()
    if root is None:
        return DiskTree()
    return BucketTree(root) if look is None else look.setdefault(root.at, BucketTree(root))


def bucket_of(workspace: Workspace, path: Path) -> Root | None:
    """The root that a path lies in, if it is a bucket."""
    roots = (root for root in workspace.roots.values() if root.is_bucket)
    return next((root for root in roots if path.is_relative_to(root.folder)), None)


def fetched(workspace: Workspace, path: Path) -> Path:
    """A path of `Workspace.resolve`, whose file is on this machine now if it is there at all."""
    tree = tree_of(workspace, path)
    if isinstance(tree, BucketTree):
        if tree.kind(path) == "file":
            tree.fetch([path])
        else:
            open_bucket(tree.root).forget(path)  # else a model that was taken away would go on scoring
    return path


def fetched_folder(workspace: Workspace, folder: Path) -> list[Path]:
    """All files below a folder of `Workspace.resolve`, on this machine now; none where it is no folder."""
    tree = tree_of(workspace, folder)
    files = list(_files_below(tree, folder))
    tree.fetch(files)
    return files


def _files_below(tree: Tree, folder: Path) -> Iterator[Path]:
    try:
        entries = tree.entries(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(tree, Path(entry.path))
        else:
            yield Path(entry.path)
