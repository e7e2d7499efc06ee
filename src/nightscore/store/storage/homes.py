"""Where a workspace's tables and runs lie."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from nightscore.common import DATA, Broken, Root, Workspace
from nightscore.store.storage.contract import Storage
from nightscore.store.storage.folder import Folder
from nightscore.store.storage.place import Place

if TYPE_CHECKING:
    from nightscore.store.storage.objects import Objects


def storage_of(workspace: Workspace) -> Storage:
    """The storage of a workspace's `data/`, wherever its root `data` lies."""
    root = workspace.roots.get(DATA)
    return open_bucket(root) if root and root.is_bucket else _folder(workspace.root, workspace.data)


def open_bucket(root: Root) -> "Objects":
    """The objects of a root that is a bucket.

    Raises:
        Broken: the extra `objects` is not installed, or there is no such kind of address.
    """
    return _bucket(root.at, root.folder, f"{DATA}/" if root.name == DATA else "")


@functools.lru_cache(maxsize=16)
def _bucket(address: str, mirror: Path, drop: str) -> "Objects":
    try:
        from nightscore.store.storage.objects import open_objects
    except ModuleNotFoundError as error:
        raise Broken(f"{address}: buckets need the extra: pip install 'nightscore[objects]'") from error
    return open_objects(address, mirror, drop)


@functools.lru_cache(maxsize=64)
def _folder(root: Path, data: Path) -> Storage:
    return Folder(root) if data == root / DATA else Folder(root, data)


def locate(workspace: Workspace, path: str) -> Path:
    """The local file that a path of a plan or a receipt names; what runs stage and publish is fetched for it.

    A file of an input has been fetched where it was listed. `FileNotFoundError` where there is none, now or
    when it is opened.
    """
    staged = path.startswith((f"{DATA}/runs/", f"{DATA}/tables/"))
    return place_of(workspace, path).local() if staged else workspace.locate(path)


def place_of(workspace: Workspace, path: str) -> Place:
    """What a path of a plan or a receipt names."""
    return Place(storage_of(workspace), path)


def tables(workspace: Workspace) -> Place:
    """The folder of the output tables, one Delta table a folder; by a table's name: `renames.table_home`."""
    return place_of(workspace, "data/tables")


def runs(workspace: Workspace) -> Place:
    """The folder of what runs stage, and of their receipts; by a job's name: `renames.runs_home`."""
    return place_of(workspace, "data/runs")
