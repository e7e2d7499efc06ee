"""Which job a table belongs to: records in `_owners/` of its folder, each created once.

`0.json` is the claim of the job that was the first to publish the table; `1.json`, `2.json`, … are
hand-overs, the newest of which counts. A table of a version before, that has no record, is of the job of its
newest receipt.

Publications of a table share a lock, and a hand-over takes it for itself: so none of them is half-way while
the table changes hands. The lock goes with its process, however that ends.
"""

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightscore.common import Broken, NotYet, Workspace
from nightscore.store import catalog, renames, storage
from nightscore.store.storage import Place

FOLDER = "_owners"  # readers of Delta tables, and VACUUM, pass over what begins with an underscore
PATIENCE = 5.0  # seconds that publications and a hand-over of one table wait for each other


class HandOver(BaseModel):
    """That a table belongs to job `to` from now on, who gave it from whom, and why; 0: the first claim."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    table: str
    number: int = 0
    source: str = Field(default="", alias="from")
    to: str
    by: str = ""
    because: str = ""
    at: dt.datetime

    def __str__(self) -> str:
        return (
            f"handed over from {self.source} to {self.to} by {self.by} at {self.at:%Y-%m-%d %H:%M} UTC: "
            f"{self.because}"
        )


def read_owner(workspace: Workspace, table: str, state: catalog.Pinned | None = None) -> HandOver | None:
    """Whose a table is by its newest record, else by its newest receipt; None where nobody has published it.

    Raises:
        Broken: a record can't be read.
    """
    if records := _files(workspace, table):
        return _called(workspace, table, _read(records[-1]))
    state = state or catalog.read_catalog(workspace)
    if not (job := state.publisher(table)):
        return None
    return HandOver(table=table, to=job, at=dt.datetime.fromtimestamp(0, dt.UTC))


def list_hand_overs(workspace: Workspace) -> list[HandOver]:
    """Every hand-over there was, by time."""
    tables = [home.name for home in storage.tables(workspace).glob_folders("*")]  # not all that lies in them
    found = [_read(file) for table in tables for file in _files(workspace, table)]
    return sorted((one for one in found if one.number), key=lambda one: (one.at, one.table))


def find_foreign(
    workspace: Workspace, job: str, tables: Iterable[str], state: catalog.Pinned | None = None
) -> list[HandOver]:
    """Those of some tables that are another job's."""
    owners = (read_owner(workspace, table, state) for table in tables)
    return [owner for owner in owners if owner and owner.to != job]


def read_numbers(workspace: Workspace, tables: Iterable[str]) -> dict[str, int]:
    """Table -> how often it was handed over or renamed, of those that were at all."""
    tables = list(tables)
    names = renames.last_names(workspace)
    newest = {table: files[-1] for table in tables if (files := _files(workspace, table))}
    counts = {
        table: (int(newest[table].stem) if table in newest else 0) + names.count(table) for table in tables
    }
    return {table: count for table, count in counts.items() if count}


def claim(workspace: Workspace, job: str, tables: Iterable[str]) -> list[HandOver]:
    """Claim tables for a job, those that are nobody's; gives those that are another's.

    Of two jobs that claim a table at once, one has it.
    """
    tables = list(tables)
    if not any(not _files(workspace, table) for table in tables):
        return find_foreign(workspace, job, tables)
    with renames.steady(workspace):  # so that no other table is given this name meanwhile
        state = catalog.read_catalog(workspace)
        for table in (table for table in tables if not _files(workspace, table)):
            owner = read_owner(workspace, table, state)
            if owner is None or owner.to == job:
                _write(workspace, HandOver(table=table, to=job, at=dt.datetime.now(dt.UTC)))
    return find_foreign(workspace, job, tables, state)


def record_hand_over(workspace: Workspace, note: HandOver) -> None:
    """Record a hand-over, which has the lock of its table; the claim that goes before it, too, if need be.

    Raises:
        NotYet: the table was handed over by another in this moment.
    """
    if not _files(workspace, note.table):
        _write(workspace, HandOver(table=note.table, to=note.source, at=note.at))
    _write(workspace, note)
    there = read_owner(workspace, note.table)
    if there != note:
        raise NotYet(f"table {note.table}: in this moment it was {there}; look at it again")


@contextlib.contextmanager
def sharing(workspace: Workspace, tables: Iterable[str]) -> Iterator[None]:
    """A context in which none of some tables is handed over.

    Raises:
        NotYet: one is being handed over, for longer than PATIENCE.
    """
    with contextlib.ExitStack() as stack:
        for table in tables:
            stack.enter_context(_locked(workspace, table, True, "it is being handed over now"))
        yield


@contextlib.contextmanager
def alone(workspace: Workspace, table: str) -> Iterator[None]:
    """A context in which nothing of a table is being published.

    Raises:
        NotYet: something is, for longer than PATIENCE.
    """
    with _locked(workspace, table, False, "a run is publishing it now"):
        yield


@contextlib.contextmanager
def _locked(workspace: Workspace, table: str, shared: bool, why: str) -> Iterator[None]:
    home = _home(workspace, table)
    with home.storage.lock(home.key, shared=shared, seconds=PATIENCE) as locked:
        if not locked:
            raise NotYet(f"table {table}: {why}; try again once that has ended")
        yield


def _home(workspace: Workspace, table: str) -> Place:
    return renames.table_home(workspace, table) / FOLDER


def _files(workspace: Workspace, table: str) -> list[Place]:
    """A table's records, by number."""
    found = _home(workspace, table).glob("*.json")
    return sorted((path for path in found if path.stem.isdigit()), key=lambda path: int(path.stem))


def _called(workspace: Workspace, table: str, note: HandOver) -> HandOver:
    """A record under the names of now."""
    jobs = renames.last_names(workspace).jobs
    return note.model_copy(
        update={"table": table, "source": jobs.current(note.source), "to": jobs.current(note.to)}
    )


def _write(workspace: Workspace, note: HandOver) -> None:
    path = _home(workspace, note.table) / f"{note.number}.json"
    path.create_text(note.model_dump_json(by_alias=True, indent=2))


def _read(file: Place) -> HandOver:
    try:
        return HandOver.model_validate(json.loads(file.read_text()))
    except (ValueError, ValidationError, OSError) as error:
        raise Broken(
            f"{file}: damaged; it says to which job the table belongs. Restore it from a "
            "backup; or remove it, and the record before it counts, or else the table's newest receipt"
        ) from error
