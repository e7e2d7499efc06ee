"""An audit as it is asked of a day: bound before data is read, answered over the staged day.

Each answer says what was measured, whether the audit has passed or not.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, NoReturn, TypeVar

from nightscore.job import SCORES, Audit, Job, audit_place
from nightscore.store import Engine, catalog, is_number, quote_identifier

A = TypeVar("A", bound=Audit)


class Answer(NamedTuple):
    """Whether an audit has passed, and what was measured."""

    passed: bool
    detail: str


class Question(ABC, Generic[A]):
    """One audit of a job. Each kind of audit has a class of its own in `nightscore.pipeline.audits.kinds`."""

    def __init__(self, audit: A, job: Job, index: int) -> None:
        self.audit, self.job, self.index = audit, job, index

    @property
    def place(self) -> str:
        """The audit as error messages name it: file, line, name."""
        return audit_place(self.job, self.index)

    def check(self) -> None:
        """Hold it to what can be known without inputs and model.

        Raises:
            Broken: it can't be asked at all.
        """

    def bind(self, engine: Engine) -> None:
        """Hold it to the columns of the engine's views, before there is any data.

        Raises:
            Broken: a column is not there, or holds what it can't be asked of.
        """

    @abstractmethod
    def answer(self, engine: Engine) -> Answer:
        """Answer it over the day whose staged tables the engine sees."""

    def raise_broken(self, at: tuple[str | int, ...], message: str) -> NoReturn:
        """Raise Broken, naming the line of job.yaml where the audit's value at `at` stands."""
        self.job.raise_broken(("audit", self.index, *at), message)

    def type_of(self, engine: Engine, at: tuple[str | int, ...], table: str, column: str) -> str:
        """The DuckDB type of a table's column, named at `at` in the audit. Broken where there is none."""
        types = engine.types(f"SELECT * FROM {quote_identifier(table)}")
        if column not in types:
            self.raise_broken(at, f"{table} has no column {column!r}; its columns: {', '.join(types)}")
        return types[column]

    def refuse_type(
        self, engine: Engine, at: tuple[str | int, ...], column: str, also: Collection[str] = ()
    ) -> None:
        """Raise `Broken` unless a column of the scores holds numbers, or is of a type in `also`."""
        kind = self.type_of(engine, at, SCORES, column)
        if not (is_number(kind) or kind in also):
            more = "".join(f", {other}" for other in sorted(also))
            self.raise_broken(at, f"{column!r} is {kind}; allowed: a number{more}")

    def previous(self, engine: Engine) -> "Previous | None":
        """The day to compare with the one that the engine sees; None if there is none."""
        return read_previous_day(self.job, engine.rows("SELECT getvariable('day')")[0][0])


@dataclass(frozen=True)
class Previous:
    """The job's last published day before the scored one: its rows, and the files of its scores."""

    day: str
    rows: int
    files: tuple[Path, ...]


def read_previous_day(job: Job, day: dt.date) -> Previous | None:
    """The last published day of a job before this one, from the receipts in force; None if there is none."""
    state = catalog.read_catalog(job.workspace)
    entry = state.previous(job.name, day)
    if entry is None:
        return None
    files = state.files_of(entry, job.spec.scores_table)
    return Previous(entry.day, sum(file.rows for file in files), tuple(file.path.local() for file in files))
