"""The folders of inputs as they are walked: of a disk, or of a bucket, whose files are fetched when wanted.

A bucket has no folders; what its keys say of them is listed, a level at a time. A file that is wanted lies
afterwards in a folder of this machine, the mirror, under the path that it has in the bucket and with the time
of its object; it is fetched again as soon as the bucket has another.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nightscore.common import Broken, Root, Workspace
from nightscore.store.storage import open_bucket
from nightscore.store.storage.contract import Seen


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

    def preload(self, folders: Iterable[Path]) -> None:
        """Say which folders will be asked for: what takes a request each is asked for at once."""

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

    def preload(self, folders: Iterable[Path]) -> None:
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
        folders, objects = open_bucket(self.root).children(self._key(folder))
        found = [BucketEntry(str(folder / name)) for name in folders]
        # An empty object of a folder's name is a mark of some writers that the folder is there.
        data = [(name, seen) for name, seen in objects if seen.bytes or name not in folders]
        found += [BucketEntry(str(folder / name), seen) for name, seen in data]
        for name in {name for name, _ in data} & set(folders):
            raise Broken(
                f"{self.root.at}/{self._key(folder / name)} is an object, and others lie below it as below a "
                "folder, which no machine can have; move one of both"
            )
        self._entries |= {Path(entry.path): entry for entry in found}
        self._listed[folder] = found

    def preload(self, folders: Iterable[Path]) -> None:
        """List some folders, many at once."""
        open_bucket(self.root).each(self._list, [f for f in folders if f not in self._listed])

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


def tree_of(workspace: Workspace, path: Path) -> Tree:
    """The tree that a path lies in."""
    for root in workspace.roots.values():
        if root.is_bucket and path.is_relative_to(root.folder):
            return BucketTree(root)
    return DiskTree()


def fetched(workspace: Workspace, path: Path) -> Path:
    """A path of `Workspace.resolve`, whose file is on this machine now if it is there at all."""
    tree = tree_of(workspace, path)
    if isinstance(tree, BucketTree) and tree.kind(path) == "file":
        tree.fetch([path])
    return path
