"""What queries leave behind for some minutes: a folder each, in one of its user's, among temporary files.

All processes of an API server on a machine share them.

asked.json   the SQL, and which DAGs its user might read
rows.arrow   the first rows of its result, once it has one
cancel       its user wants no result any more

Whoever may no longer read one of those DAGs doesn't get the rows either.
"""

import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightscore.airflow.web.query_worker import MORE, ROWS
from nightscore.common import Broken

MINUTES = 10  # how long a result is kept
OF_A_USER = 5  # results of one person
BYTES = 2_000_000_000  # of all results together; the oldest go first
PAGE_ROWS = 200
ASKED, CANCEL = "asked.json", "cancel"


@dataclass(frozen=True)
class KeptPage:
    """Some rows of a result: the page's number from 1, of how many, the number of its first row from 1."""

    rows: pa.Table
    number: int
    pages: int
    first: int
    total: int
    more: bool  # than are kept


def new_folder(user: str, sql: str, readable: Collection[str]) -> Path:
    """A folder for a query of a user, whose id is its name; and those that are too old are removed."""
    prune()
    path = _home(user) / secrets.token_urlsafe(12)
    path.mkdir(mode=0o700)
    (path / ASKED).write_text(json.dumps({"sql": sql, "readable": sorted(readable)}))
    later = threading.Timer(MINUTES * 60 + 1, prune)
    later.daemon = True
    later.start()
    return path


def find_folder(user: str, asked: str, readable: Collection[str]) -> Path | None:
    """The folder of one of a user's queries; None where he has no such, or may not read all that he might."""
    home = _home(user)
    names = {path.name for path in home.iterdir()}  # an id from an address is only compared
    if asked not in names or _is_old(home / asked):
        return None
    return home / asked if set(_asked(home / asked)["readable"]) <= set(readable) else None


def read_sql(folder: Path) -> str:
    """The query of a folder."""
    return str(_asked(folder)["sql"])


def read_page(folder: Path, number: int) -> KeptPage | None:
    """A page of a result; the last one where there are fewer. None: there is no result yet."""
    try:
        source = pa.memory_map(str(folder / ROWS))
    except FileNotFoundError:
        return None
    with source, pa.ipc.open_file(source) as reader:
        rows = reader.read_all()
        pages = max(1, -(-rows.num_rows // PAGE_ROWS))
        number = min(max(1, number), pages)
        start = (number - 1) * PAGE_ROWS
        more = MORE in (reader.schema.metadata or {})
        return KeptPage(rows.slice(start, PAGE_ROWS), number, pages, start + 1, rows.num_rows, more)


def ask_to_cancel(folder: Path) -> None:
    """Leave a mark by which the process that runs a query ends it."""
    (folder / CANCEL).touch()


def is_cancelled(folder: Path) -> bool:
    """Whether that mark is there."""
    return (folder / CANCEL).exists()


def remove_folder(folder: Path) -> None:
    """Remove what a query has left."""
    shutil.rmtree(folder, ignore_errors=True)


def prune() -> None:
    """Remove results that are too old, too many of one user, or too large together."""
    left: list[Path] = []
    for home in _root().iterdir():
        newest = sorted(home.iterdir(), key=_time, reverse=True)
        for number, folder in enumerate(newest):
            if _is_old(folder) or (number >= OF_A_USER and (folder / ROWS).exists()):
                remove_folder(folder)
            else:
                left.append(folder)
    size = 0
    for folder in sorted(left, key=_time, reverse=True):
        size += _bytes(folder / ROWS)
        if size > BYTES:
            remove_folder(folder)


def _root() -> Path:
    """The folder of all, readable by this system's user alone.

    Raises:
        Broken: somebody else has made it.
    """
    root = Path(tempfile.gettempdir()) / f"nightscore-queries-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Broken(f"{root} is not a folder of the API server's user alone; remove it, or set TMPDIR")
    return root


def _home(user: str) -> Path:
    home = _root() / hashlib.sha256(user.encode()).hexdigest()
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def _asked(folder: Path) -> dict[str, Any]:
    try:
        asked: dict[str, Any] = json.loads((folder / ASKED).read_text())
    except (OSError, ValueError):  # removed, or not written, meanwhile
        return {"sql": "", "readable": [""]}  # no DAG has that name, so that nobody may read it
    return asked


def _time(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _is_old(folder: Path) -> bool:
    return time.time() - _time(folder) > MINUTES * 60


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
