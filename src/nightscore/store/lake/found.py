"""What a walk finds in the folders of an input."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Span = tuple[dt.date, dt.date]  # a first and a last day


@dataclass(frozen=True)
class Found:
    """What lies below a folder: data files by path, the files of sums, and what `ignore` leaves out."""

    files: tuple[Path, ...] = ()
    sums: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()


class Partition(NamedTuple):
    """What has the name of a partition: the day that it says, or none, and its path below the input's."""

    day: dt.date | None
    path: str


@dataclass(frozen=True)
class Partitions:
    """The folders, or files, of an input's days, and what else lies beside them.

    By name and not by path: a run lists thousands of days, and opens those of its lookback.
    """

    found: tuple[Partition, ...]
    beside: Found
