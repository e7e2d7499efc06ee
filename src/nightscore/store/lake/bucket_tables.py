"""Tables of other engines in a bucket, as folders of this machine: libraries of tables see these alone.

So one client reads buckets, by one chain of credentials. What a table's log or metadata names is fetched as
the bucket has it, and held to the size that is said of it.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nightscore.common import Broken, NotYet, Root, Workspace, room_for
from nightscore.store.lake.table_snapshot import SnapshotFile
from nightscore.store.lake.trees import bucket_of
from nightscore.store.storage import open_bucket
from nightscore.store.storage.contract import Seen

LOG = "_delta_log"
KEPT = 86_400.0  # seconds that the folder of an older log stays: another process may be reading it


def log_home(root: Root, table: Path) -> Path:
    """A folder with the log of a Delta table as the bucket has it now, and nothing else.

    Not the mirror's own: what has gone from the bucket may lie there still, a commit of a former table, too.

    Raises:
        NotYet: the log is changing; the disk is full.
        Broken: no log lies there.
    """
    bucket, key = open_bucket(root), table.relative_to(root.folder).as_posix()
    listed = sorted(bucket.list_all(f"{key}/{LOG}/"), key=lambda seen: seen.key)
    if not listed:
        raise Broken(f"{root.at}/{key} is no Delta Lake table: nothing lies below {LOG}/ there")
    mark = hashlib.sha256(repr([(seen.key, seen.tag) for seen in listed]).encode()).hexdigest()[:24]
    top = bucket.scratch("logs") / hashlib.sha256(key.encode()).hexdigest()[:16]
    home = top / mark
    if not home.is_dir():
        files = {seen: table / LOG / seen.key.rpartition(f"/{LOG}/")[2] for seen in listed}
        bucket.fetch(files)
        _copy(top, home, {path.relative_to(table): path for path in files.values()})
    os.utime(home)
    return home


def _copy(top: Path, home: Path, files: dict[Path, Path]) -> None:
    top.mkdir(parents=True, exist_ok=True)
    with room_for(home), tempfile.TemporaryDirectory(dir=top, prefix=".") as folder:
        for name, file in files.items():
            target = Path(folder) / "table" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        with contextlib.suppress(OSError):  # another process was first: the same files
            (Path(folder) / "table").rename(home)
    for other in top.iterdir():
        with contextlib.suppress(OSError):
            if other != home and other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other)


def place_in(root: Root, address: str) -> Path | None:
    """Where an address of a bucket lies in its mirror; None where it is not of this root."""
    top = root.at.rstrip("/") + "/"
    scheme, _, rest = address.partition("://")
    known, _, below = top.partition("://")
    if scheme.rstrip("a") != known.rstrip("a") or not rest.startswith(below):  # s3a:// is Hadoop's s3://
        return None
    place = root.folder / rest[len(below) :]
    return place if ".." not in place.parts else None


def fetch(root: Root, places: Sequence[Path]) -> dict[Path, Seen]:
    """Have objects in the mirror as the bucket has them now; gives those that are there.

    Raises:
        NotYet: one changes meanwhile; the disk is full.
    """
    bucket = open_bucket(root)
    found: dict[Path, Seen] = {}

    def look(place: Path) -> None:
        if seen := bucket.look(place.relative_to(root.folder).as_posix()):
            found[place] = seen

    bucket.each(look, places)
    bucket.fetch({seen: place for place, seen in found.items()})
    return found


def bring(workspace: Workspace, paths: Iterable[Path]) -> None:
    """Have files of buckets on this machine that are not here yet: another one has planned, or fetched them.

    Raises:
        NotYet: one changes meanwhile; the disk is full.
    """
    groups: dict[str, tuple[Root, list[Path]]] = {}
    for path in paths:
        if (root := bucket_of(workspace, path)) and not path.exists():
            groups.setdefault(root.at, (root, []))[1].append(path)
    for root, places in groups.values():
        fetch(root, places)


def object_mark(workspace: Workspace, path: Path) -> str | None:
    """Of a file of a bucket which object it is, the same on each machine; None of others."""
    root = bucket_of(workspace, path)
    tag = open_bucket(root).tag(path) if root else None
    return hashlib.sha256(tag.encode()).hexdigest()[:16] if tag else None


def fetch_data(workspace: Workspace, files: Sequence[SnapshotFile]) -> None:
    """Have the data files of a snapshot on this machine, where they lie in a bucket.

    Raises:
        NotYet: one is gone, or changes meanwhile.
        Broken: one has another size than the table says.
    """
    for root, group in _by_root(workspace, files):
        there = fetch(root, [file.path for file in group])
        for file in group:
            shown = workspace.relative(file.path)
            seen = there.get(file.path)
            if seen is None:
                raise NotYet(f"{shown}: has gone since the table was read")
            if file.bytes is not None and seen.bytes != file.bytes:
                raise Broken(
                    f"{shown}: has {seen.bytes} bytes, and the table says {file.bytes}: it is not the file "
                    "that was committed"
                )


def _by_root(
    workspace: Workspace, files: Sequence[SnapshotFile]
) -> Iterator[tuple[Root, list[SnapshotFile]]]:
    groups: dict[str, tuple[Root, list[SnapshotFile]]] = {}
    for file in files:
        if root := bucket_of(workspace, file.path):
            groups.setdefault(root.at, (root, []))[1].append(file)
    yield from groups.values()
