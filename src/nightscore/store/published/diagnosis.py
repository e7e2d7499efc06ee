"""What `nightscore doctor` asks: where a workspace's roots lie, what may be done there, what is wrong."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from nightscore.common import DATA, SCRATCH, Broken, NotYet, Root, Workspace, scratch_folder
from nightscore.job import read_airflow_settings
from nightscore.store.documents.versions import library_versions
from nightscore.store.storage import open_bucket
from nightscore.store.storage.disk import free_bytes

LOW = 1_000_000_000  # bytes that should be free where a night writes


@dataclass(frozen=True)
class RootState:
    """A root as it is found: None is what was not asked, of a root that is only read.

    `free` are bytes where it is written, of a bucket where its files are fetched to; `seconds` is how long a
    request took.
    """

    name: str
    at: str
    setting: str
    readable: bool
    writable: bool | None = None
    hard_links: bool | None = None
    locks: bool | None = None
    free: int | None = None
    problem: str = ""
    seconds: float | None = None


@dataclass
class Diagnosis:
    """A workspace on this machine; `problems` say what is wrong and the way on, none where all is well.

    `scratch` is the folder of what is fetched from buckets, None where there are none and none is set; it is
    not readable where it is not there yet, and writable where it can be made.
    """

    workspace: str
    python: str
    versions: dict[str, str]
    roots: list[RootState] = field(default_factory=list)
    scratch: RootState | None = None
    problems: list[str] = field(default_factory=list)


def diagnose(workspace: Workspace) -> Diagnosis:
    """The state of a workspace. What is written on the way, in `data/` and the scratch, is removed again."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = Diagnosis(str(workspace.root), python, library_versions())
    try:
        set_roots = dict(workspace.roots)
        read_airflow_settings(workspace)
    except Broken as error:
        found.problems.append(str(error))
        return found
    set_roots[DATA] = workspace.data_root
    for name in (DATA, *sorted(set_roots.keys() - {DATA})):
        state = _state(set_roots[name])
        found.roots.append(state)
        found.problems.extend([f"root {name}: {state.problem}"] if state.problem else [])
    if os.environ.get(SCRATCH) or any(root.is_bucket for root in set_roots.values()):
        found.scratch = _scratch()
        found.problems.extend([f"scratch: {found.scratch.problem}"] if found.scratch.problem else [])
    return found


def _scratch() -> RootState:
    """The state of the folder of this machine for what is fetched from buckets."""
    set_to = os.environ.get(SCRATCH, "")
    root = Root("scratch", set_to or tempfile.gettempdir(), SCRATCH if set_to else "default")
    try:
        folder = scratch_folder()
    except Broken as error:
        return _lacking(root, str(error))
    root = replace(root, at=str(folder))
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        return _lacking(root, f"{there} is no folder; set {SCRATCH} to one of this machine's")
    if there == folder:
        return _written(root, folder)
    if not os.access(there, os.W_OK | os.X_OK):
        return _lacking(root, f"{folder} can't be made: user {os.geteuid()} needs w and x in {there}")
    return RootState(root.name, root.at, root.setting, False, True, free=free_bytes(there))


def _state(root: Root) -> RootState:
    if root.is_bucket:
        return _of_bucket(root)
    folder = root.folder
    if not folder.is_dir():
        if root.setting == "default":  # it comes with the first night
            folder = folder.parent
        else:
            return _lacking(
                root, f"{folder} is no folder; make or mount it, or set another by {root.setting}"
            )
    if not os.access(folder, os.R_OK | os.X_OK):
        return _lacking(root, f"{folder} can't be read by user {os.geteuid()}, who needs r and x there")
    if root.name == DATA:
        return _written(root, folder)
    return RootState(root.name, root.at, root.setting, readable=True)


def _of_bucket(root: Root) -> RootState:
    """The state of a bucket, by one listing: how long that took is what each request will take, about."""
    started = time.monotonic()
    try:
        open_bucket(root).children("")
    except (Broken, NotYet) as error:
        return _lacking(root, str(error))
    seconds = time.monotonic() - started
    return RootState(
        root.name, root.at, root.setting, readable=True, free=free_bytes(root.folder), seconds=seconds
    )


def _lacking(root: Root, problem: str) -> RootState:
    return RootState(root.name, root.at, root.setting, readable=False, problem=problem)


def _written(root: Root, folder: Path) -> RootState:
    """What a folder can do that is written to, as tried in a folder of its own below it."""
    free = free_bytes(folder)
    try:
        probe = Path(tempfile.mkdtemp(prefix=".doctor-", dir=folder))
    except OSError as error:
        problem = f"{folder} can't be written: {error.strerror}; a night publishes there: give it the right"
        return RootState(root.name, root.at, root.setting, True, False, free=free, problem=problem)
    try:
        links, locks = _has_links(probe), _has_locks(probe)
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    problem = "" if locks else f"{folder} has no file locks (flock): a run and gc would not see each other"
    if free < LOW and not problem:
        problem = f"{free:,} bytes are free in {folder}, less than {LOW:,}: free some (`nightscore gc`)"
    return RootState(root.name, root.at, root.setting, True, True, links, locks, free, problem)


def _has_links(folder: Path) -> bool:
    (folder / "one").write_bytes(b"1")
    with contextlib.suppress(OSError):
        os.link(folder / "one", folder / "two")
    return (folder / "two").exists()


def _has_locks(folder: Path) -> bool:
    with (folder / "lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
