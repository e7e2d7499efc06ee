"""A table of another engine at one snapshot: which files are its rows, and what its columns are in them.

Columns and values of partitions are those that the table's metadata says, whatever the names of files and
folders are. `delta_input` and `iceberg_input` read them.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.common import Broken, read_day
from nightscore.store.documents.folder_columns import NOTHING
from nightscore.store.lake.found import Span


@dataclass(frozen=True)
class SnapshotColumn:
    """A column of a table with its DuckDB type: in files `inside`, or `field_id` where it is given."""

    name: str
    kind: str
    inside: str
    field_id: int | None = None


@dataclass(frozen=True)
class SnapshotFile:
    """A data file all of whose rows count; `values` are columns that have one value in it (None: null)."""

    path: Path
    day: dt.date | None = None
    values: Mapping[str, str | None] = field(default_factory=dict)
    bytes: int | None = None  # as the table says
    rows: int | None = None  # so, too

    @property
    def iso_day(self) -> str:
        """Its day, "" without one."""
        return self.day.isoformat() if self.day else ""


@dataclass(frozen=True)
class TableSnapshot:
    """A table at a snapshot, as messages and receipts call it; its files are those of a span of days.

    `ignored` names partitions without a day, which the input leaves out.
    """

    name: str
    columns: tuple[SnapshotColumn, ...]
    files: tuple[SnapshotFile, ...]
    days: tuple[dt.date, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is asked of a table, which messages call `shown`: a snapshot (default: the newest), and its files.

    With a span of days those that it may have rows of: by `partition`, which gives each file its day, or by
    what is known of the values of `day_column`. Without a span, or without both, all. Rows without a day are
    of no span, and are looked for in the whole table, unless `no_day` leaves them out.
    """

    shown: str
    snapshot: int | None = None
    partition: str | None = None
    day_column: str | None = None
    span: Span | None = None
    no_day: bool = False

    def with_days(self, files: Sequence[SnapshotFile]) -> tuple[list[SnapshotFile], tuple[str, ...]]:
        """The files without those whose partition is null, and how those are named.

        Raises:
            Broken: there are some, and `no_day` does not leave them out.
        """
        without = [] if self.partition is None else [file for file in files if file.day is None]
        if not without:
            return list(files), ()
        said = (
            f"{_counted(sum(file.rows or 0 for file in without), 'row')} in {_counted(len(without), 'file')}"
        )
        if not self.no_day:
            raise Broken(
                f"{self.shown}: {said} have {self.partition} = null, which is no day; no_day: ignore in the "
                "input leaves them out, and says so"
            )
        return [f for f in files if f.day is not None], (f"{self.partition}={NOTHING} ({said})",)

    def may_see(self, file: SnapshotFile) -> bool:
        """Whether a file is of the span, as far as its partition says."""
        if self.partition is None:
            return True
        return file.day is not None and (self.span is None or self.span[0] <= file.day <= self.span[1])


def day_of(value: object, column: str, shown: str) -> dt.date | None:
    """The day that the value of a partition says; None of a null.

    Raises:
        Broken: it says none.
    """
    if value is None:
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    day = read_day(value) if isinstance(value, str) else None
    if day is None:
        raise Broken(
            f"{shown}: a partition has {column} = {value!r}, which is no day; allowed: a DATE, or a text "
            "YYYY-MM-DD, in each partition"
        )
    return day


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def value_text(value: object) -> str | None:
    """The value of a partition as a text that casts to its type.

    Raises:
        Broken: it has no such text: it is bytes.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        raise Broken(f"a partition has the bytes {value!r}; allowed: dates, moments, numbers and texts")
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat(" ") if isinstance(value, dt.datetime) else str(value)
