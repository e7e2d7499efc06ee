"""A table of another engine at one snapshot: which files are its rows, and what its columns are in them.

Columns and values of partitions are those that the table's metadata says, whatever the names of files and
folders are. `delta_input` and `iceberg_input` read them.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.common import Broken, read_day
from nightscore.store.found import Span


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

    @property
    def iso_day(self) -> str:
        """Its day, "" without one."""
        return self.day.isoformat() if self.day else ""


@dataclass(frozen=True)
class TableSnapshot:
    """A table at a snapshot, as messages and receipts call it; its files are those of a span of days."""

    name: str
    columns: tuple[SnapshotColumn, ...]
    files: tuple[SnapshotFile, ...]
    days: tuple[dt.date, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is asked of a table, which messages call `shown`: a snapshot (default: the newest), and its files.

    With a span of days those that it may have rows of: by `partition`, which gives each file its day, or by
    what is known of the values of `day_column`. Without a span, or without both, all.
    """

    shown: str
    snapshot: int | None = None
    partition: str | None = None
    day_column: str | None = None
    span: Span | None = None

    def may_see(self, file: SnapshotFile) -> bool:
        """Whether a file is of the span, as far as its partition says."""
        if self.span is None or self.partition is None:
            return True
        return file.day is not None and self.span[0] <= file.day <= self.span[1]


def day_of(value: object, column: str, shown: str) -> dt.date:
    """The day that the value of a partition says.

    Raises:
        Broken: it says none.
    """
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    day = read_day(value) if isinstance(value, str) else None
    if day is None:
        found = "null" if value is None else repr(value)
        raise Broken(
            f"{shown}: a partition has {column} = {found}, which is no day; allowed: a DATE, or a text "
            "YYYY-MM-DD, in each partition"
        )
    return day


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
