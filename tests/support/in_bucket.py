"""A test whose workspaces have their `data/` in a bucket of a real S3 server, line by line as on disk.

Each workspace below the test's own folder gets a `workspace.yaml` that sets its root `data` to an address of
its own. What the test writes by hand below `data/` (a lake, a model, damage) is put into the bucket before
the product is called, also in mid-run; what the product did there is fetched when it has returned. So a test
looks at files as on disk, and sees what lies in the bucket; the product itself sees the bucket alone. With
the mark `keeps_times` each file has there the time of change that it has here, as `storage copy` puts it.

A test fails that never reached the bucket, or whose product wrote into the folder beside it.
"""

import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import obstore
import pytest
import yaml
from obstore.store import S3Store, from_url

from nightscore.common import roots
from nightscore.store.storage import homes
from nightscore.store.storage.fetches import said_time
from tests.support.s3 import BUCKET, become_client

LEFT_OUT = (
    "/lock/",
    ".nightscore/",
)  # what the storage keeps for itself; a folder's locks are files, not put
MADE = ("runs/", "tables/")  # what nobody writes below data/ but the product
OURS = ("copy", "make_workspace", "spawn", "ask", "told")
State = tuple[int, int, int]  # of a local file: inode, bytes, time of change


class Shadow:
    """The folder `data/` of one workspace beside its bucket, as they were when they were last the same."""

    def __init__(self, root: Path, keeps_times: bool) -> None:
        self.folder, self._keeps_times = root / roots.DATA, keeps_times
        self.address = f"s3://{BUCKET}/{hashlib.sha256(str(root).encode()).hexdigest()[:20]}"
        self._store: Any = from_url(self.address, client_options={"allow_http": True})
        assert isinstance(self._store, S3Store)
        self._here: dict[str, State] = {}
        self._there: dict[str, str] = {}

    def changed(self) -> tuple[dict[str, State], set[str]]:
        """What was written below the folder since, and what has gone."""
        now = self._look()
        return {k: v for k, v in now.items() if self._here.get(k) != v}, self._here.keys() - now.keys()

    def push(self) -> None:
        """Bring what was done by hand to the bucket."""
        written, gone = self.changed()
        for key, state in written.items():
            said = said_time(self.folder / key) if self._keeps_times else {}
            obstore.put(self._store, key, (self.folder / key).read_bytes(), attributes=said)
            self._here[key] = state
        for key in gone:
            obstore.delete(self._store, key)
            self._here.pop(key)
            self._there.pop(key, None)
        if written:
            there = self._list()
            self._there |= {key: there[key] for key in written}

    def pull(self) -> bool:
        """Fetch what was done in the bucket; gives whether anything was."""
        there = self._list()
        for key in sorted(key for key, mark in there.items() if self._there.get(key) != mark):
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # another file, as on disk: nothing there is written twice
            path.write_bytes(bytes(obstore.get(self._store, key).bytes()))
            self._here[key] = _state(path)
        for key in self._there.keys() - there.keys():
            (self.folder / key).unlink(missing_ok=True)
            self._here.pop(key, None)
            self._remove_empty((self.folder / key).parent)
        was_changed, self._there = self._there != there, there
        return was_changed

    def made_beside(self) -> list[str]:
        """What was written below the folder, where the product alone writes, and is in no bucket."""
        return [k for k in self.changed()[0] if k.startswith(MADE) and k not in self._here]

    def _look(self) -> dict[str, State]:
        found = (Path(at, name) for at, _, names in os.walk(self.folder) for name in names if name != "lock")
        return {path.relative_to(self.folder).as_posix(): _state(path) for path in found}

    def _list(self) -> dict[str, str]:
        return {
            one["path"]: f"{one['e_tag']} {one['last_modified']}"
            for page in obstore.list(self._store)
            for one in page
            if not any(part in f"/{one['path']}" for part in LEFT_OUT)
        }

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.folder and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _state(path: Path) -> State:
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class InBucket:
    """The workspaces of one test."""

    def __init__(self, top: Path, keeps_times: bool) -> None:
        self._top, self._keeps_times = top, keeps_times
        self._shadows: dict[Path, Shadow] = {}
        self._lock = threading.RLock()
        self._may_differ = False
        self.was_reached = False

    def reach(self) -> None:
        """Before a bucket is opened, here or by a child: what was written by hand is there."""
        self._may_differ = True
        self.push()

    def push(self) -> None:
        """Give each workspace its bucket, with what it holds."""
        with self._lock:
            for root in self._workspaces():
                self._of(root).push()

    def pull(self) -> None:
        """Fetch what was done, if a bucket was opened."""
        with self._lock:
            if self._may_differ:
                self._may_differ = False
                for shadow in self._shadows.values():
                    assert not (beside := shadow.made_beside()), f"written beside the bucket: {beside}"
                    self.was_reached |= shadow.pull()

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the product, or one that has a child do it, as the test calls it."""
        before = self.push if call.__module__.startswith("nightscore") else self.reach

        @functools.wraps(call)
        def called(*args: Any, **named: Any) -> Any:
            before()
            try:
                return call(*args, **named)
            finally:
                self.pull()
                self.push()  # of a workspace that was made

        return called

    def _workspaces(self) -> Iterator[Path]:
        for pattern in ("jobs", "*/jobs", "*/*/jobs"):
            yield from (path.parent for path in self._top.glob(pattern) if path.is_dir())

    def _of(self, root: Path) -> Shadow:
        if root not in self._shadows:
            self._shadows[root] = Shadow(root, self._keeps_times)
        _set_root(root / roots.WORKSPACE_FILE, self._shadows[root].address)
        return self._shadows[root]


def _set_root(file: Path, address: str) -> None:
    """Set the root `data` of a workspace.yaml, whatever other roots it names."""
    written = yaml.safe_load(file.read_text()) if file.exists() else {}
    if written.get("roots", {}).get(roots.DATA) != address:
        written.setdefault("roots", {})[roots.DATA] = address
        file.write_text(yaml.safe_dump(written))


def in_bucket(request: pytest.FixtureRequest) -> Iterator[InBucket]:
    """Let one test have its workspaces in a bucket."""
    server, monkeypatch = request.getfixturevalue("s3_server"), request.getfixturevalue("monkeypatch")
    scratch = request.getfixturevalue("tmp_path_factory").mktemp("scratch")
    become_client(monkeypatch, server.port, scratch)
    keeps_times = request.node.get_closest_marker("keeps_times") is not None
    space = InBucket(request.getfixturevalue("tmp_path"), keeps_times)
    _hook(space, monkeypatch)
    for module in _modules_of(request.module):
        for name, value in _bracketed(module).items():
            monkeypatch.setattr(module, name, space.around(value))
    yield space
    homes._bucket.cache_clear()
    assert space.was_reached, "this test never reached its bucket: mark it disk_only, and say why"


def _hook(space: InBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push before each opening of a bucket and each child; fetch once a child is heard of."""
    from tests.behaviour import processes

    opened = homes._bucket

    @functools.wraps(opened)
    def reached(*args: Any) -> Any:
        space.was_reached = True
        space.reach()
        return opened(*args)

    reached.cache_clear = opened.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(homes, "_bucket", reached)

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            space.reach()
            super().__init__(*args, **options)

        def wait(self, timeout: float | None = None) -> int:
            found = super().wait(timeout)
            space.reach()
            space.pull()
            return found

    monkeypatch.setattr(subprocess, "Popen", Popen)
    spawn = processes.spawn

    def spawned(*args: Any) -> Any:
        space.reach()
        return spawn(*args)

    monkeypatch.setattr(processes, "spawn", spawned)
    for name in ("wait", "frozen"):
        heard = getattr(processes.Night, name)

        def hear(*args: Any, heard: Any = heard, **named: Any) -> Any:
            found = heard(*args, **named)
            space.reach()
            space.pull()
            return found

        monkeypatch.setattr(processes.Night, name, hear)


def _modules_of(module: ModuleType) -> list[ModuleType]:
    """A module of tests, and those that it has names of."""
    named = {getattr(value, "__module__", "") or "" for value in vars(module).values()}
    named |= {v.__name__ for v in vars(module).values() if isinstance(v, ModuleType)}
    return [module, *(sys.modules[n] for n in named if n.startswith("tests.") and n != module.__name__)]


def _bracketed(module: ModuleType) -> Mapping[str, FunctionType]:
    """What a module has of the product, of what makes workspaces, and of what asks children."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, FunctionType)}
    return {
        name: value
        for name, value in found.items()
        if value.__module__.startswith("nightscore") or name in OURS
    }
