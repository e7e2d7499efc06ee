"""Where a workspace's tables and runs lie."""

import functools
from datetime import date
from pathlib import Path

from nightscore.common import Workspace
from nightscore.store.storage.contract import Storage
from nightscore.store.storage.folder import Folder
from nightscore.store.storage.place import Place


def storage_of(workspace: Workspace) -> Storage:
    """The storage of a workspace's `data/`, wherever its root `data` lies."""
    return _folder(workspace.root, workspace.data)


@functools.lru_cache(maxsize=64)
def _folder(root: Path, data: Path) -> Storage:
    return Folder(root) if data == root / "data" else Folder(root, data)


def place_of(workspace: Workspace, path: str) -> Place:
    """What a path of a plan or a receipt names."""
    return Place(storage_of(workspace), path)


def tables(workspace: Workspace) -> Place:
    """The folder of the output tables, one Delta table a folder."""
    return place_of(workspace, "data/tables")


def runs(workspace: Workspace) -> Place:
    """The folder of what runs stage, and of their receipts: `<job>/<day>/<run_id>/`."""
    return place_of(workspace, "data/runs")


def runs_of(workspace: Workspace, job: str, day: date) -> Place:
    """The folder that holds the runs of one day of one job."""
    return runs(workspace) / job / day.isoformat()
