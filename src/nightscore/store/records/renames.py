"""What jobs and tables are called: records in `data/renames/`, each created once, one a rename.

Receipts are never written again, and no storage renames a folder at once. So a rename moves nothing: it says
that what was called `old` is called `new` from now on. Receipts of before are read under the new name, and
runs and tables of it lie where they lay, in folders of the first name that they had. A name that was given
up is never another's: in a receipt it means one job, or one table, for ever.

Who publishes a table for the first time holds the folder's lock shared, who renames has it alone: so no name
is taken by both.
"""

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nightscore.common import Broken, NotYet, Workspace
from nightscore.store import storage
from nightscore.store.documents.receipt import Receipt
from nightscore.store.storage import Place, ask_each

HOME = "data/renames"
T = TypeVar("T")
PATIENCE = 5.0  # seconds that a rename and a table's first publication wait for each other


class Rename(BaseModel):
    """That a job, with the tables named after it, or one table has another name; who said so, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int
    kind: Literal["job", "table"]
    old: str
    new: str
    tables: Mapping[str, str]
    by: str
    because: str
    at: dt.datetime

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.old} was renamed to {self.new} by {self.by} at {self.at:%Y-%m-%d %H:%M} UTC: "
            f"{self.because}"
        )


@dataclass(frozen=True)
class _Called:
    """Every name of some things: `first` gives the one that each had first, `now` that one's name of now."""

    first: Mapping[str, str]
    now: Mapping[str, str]

    @classmethod
    def by(cls, renamed: Iterable[tuple[str, str]]) -> "_Called":
        first: dict[str, str] = {}
        now: dict[str, str] = {}
        for old, new in renamed:
            origin = first.setdefault(old, old)
            first.setdefault(new, origin)
            now[origin] = new
        return cls(first, now)

    def origin(self, name: str) -> str:
        return self.first.get(name, name)

    def current(self, name: str) -> str:
        return self.now.get(self.origin(name), name)

    def every(self, name: str) -> frozenset[str]:
        origin = self.origin(name)
        return frozenset({origin, *(other for other, its in self.first.items() if its == origin)})


@dataclass(frozen=True, eq=False)
class Names:
    """What each job and table is called, by all renames there were, in their order."""

    renames: tuple[Rename, ...] = ()

    @cached_property
    def jobs(self) -> _Called:
        """The names of jobs."""
        return _Called.by((one.old, one.new) for one in self.renames if one.kind == "job")

    @cached_property
    def tables(self) -> _Called:
        """The names of tables."""
        return _Called.by(pair for one in self.renames for pair in one.tables.items())

    def last_of(self, kind: str, name: str) -> Rename | None:
        """The rename that gave a job or a table that was ever called `name` its name of now."""
        called = self.jobs if kind == "job" else self.tables
        every = called.every(name)
        found = (one for one in reversed(self.renames) if self._gives(one, kind) & every)
        return next(found, None)

    def _gives(self, one: Rename, kind: str) -> set[str]:
        if kind == "job":
            return {one.new} if one.kind == "job" else set()
        return set(one.tables.values())

    def count(self, table: str) -> int:
        """How often a table was renamed."""
        return sum(bool(self.tables.every(table) & {*one.tables}) for one in self.renames)

    def receipt(self, receipt: Receipt) -> Receipt:
        """A receipt under the names of now."""
        if not self.renames:
            return receipt
        update: dict[str, object] = {
            "job": self.jobs.current(receipt.job), "tables": self.by_table(receipt.tables),
            "foreign": self.by_table(receipt.foreign),
        }  # fmt: skip
        if again := receipt.restatement:
            update["restatement"] = again.model_copy(update={"tables": self.by_table(again.tables)})
        if receipt.erased:
            told = (
                one.model_copy(update={"table": self.tables.current(one.table)}) for one in receipt.erased
            )
            update["erased"] = tuple(told)
        if taken := receipt.accepted:
            update["accepted"] = taken.model_copy(update={"table": self.tables.current(taken.table)})
        return receipt.model_copy(update=update)

    def by_table(self, values: Mapping[str, T]) -> dict[str, T]:
        """Some values by table, under the names of now."""
        return {self.tables.current(table): value for table, value in values.items()}


AS_WRITTEN = Names()
_last: dict[Place, Names] = {}  # as this process has read them last


def read_names(workspace: Workspace) -> Names:
    """What jobs and tables are called now.

    Raises:
        Broken: a record can't be read.
    """
    home = storage.place_of(workspace, HOME)
    files = sorted((file for file in home.glob("*.json") if file.stem.isdigit()), key=_number)
    texts = ask_each(lambda file: (file.key, file.read_text()), files) if files else []
    _last[home] = names = _names(tuple(texts))
    return names


def last_names(workspace: Workspace) -> Names:
    """The same as they were read last in this process, for where things lie.

    That is never another folder once a name has one; who publishes reads them anew (`claim_or_explain`).
    """
    return _last.get(storage.place_of(workspace, HOME)) or read_names(workspace)


def table_home(workspace: Workspace, table: str) -> Place:
    """The folder of a table, whatever it was called when it was made."""
    return storage.tables(workspace) / last_names(workspace).tables.origin(table)


def runs_home(workspace: Workspace, job: str) -> Place:
    """The folder of a job's runs, whatever it was called when it had its first: `<day>/<run_id>/`."""
    return storage.runs(workspace) / last_names(workspace).jobs.origin(job)


def record_rename(workspace: Workspace, rename: Rename) -> None:
    """Record a rename, from when on it holds for everybody; who calls it has `alone`.

    Raises:
        NotYet: another has recorded one in this moment.
    """
    text = rename.model_dump_json(indent=2)
    if (storage.place_of(workspace, HOME) / f"{rename.number}.json").create_text(text) != text:
        raise NotYet("something else was renamed in this moment; look again, and try again")
    read_names(workspace)


@contextlib.contextmanager
def steady(workspace: Workspace) -> Iterator[None]:
    """A context in which nothing is renamed, and in which the names are those of now.

    Raises:
        NotYet: something is being renamed, for longer than PATIENCE.
    """
    with _locked(workspace, True, "something is being renamed now"):
        yield


@contextlib.contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """A context in which nothing else is renamed, and no table is published for the first time.

    Raises:
        NotYet: it is, for longer than PATIENCE.
    """
    with _locked(workspace, False, "a table is being published for the first time, or something renamed"):
        yield


@contextlib.contextmanager
def _locked(workspace: Workspace, shared: bool, why: str) -> Iterator[None]:
    home = storage.place_of(workspace, HOME)
    with home.storage.lock(home.key, shared=shared, seconds=PATIENCE) as locked:
        if not locked:
            raise NotYet(f"{home}: {why}; try again once that has ended")
        read_names(workspace)
        yield


def _number(file: Place) -> int:
    return int(file.stem)


@lru_cache(maxsize=16)
def _names(texts: tuple[tuple[str, str], ...]) -> Names:
    return Names(tuple(_read(key, text) for key, text in texts)) if texts else AS_WRITTEN


def _read(key: str, text: str) -> Rename:
    try:
        return Rename.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise Broken(
            f"{key}: damaged; it says what a job or a table is called, and nothing is read without it: "
            "restore it from a backup"
        ) from error
