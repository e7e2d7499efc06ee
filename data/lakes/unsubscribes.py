"""Who wants no mail any more, as a mail system tells it: a partition a day, with that day's alone.

The Complete Journey knows no mail, so these are **seeded**: each household has a lot, the md5 of its number,
and about one in twenty draws a day of the year and a reason. On a day without any the file has no rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

from data.lakes import lake

SHARE = 0.05  # of all households, within the year
REASONS = ("unsubscribed", "unsubscribed", "unsubscribed", "complained", "bounced")
SCHEMA = pa.schema([("household_id", pa.int32()), ("reason", pa.string())])


def write_unsubscribes(root: Path, households: Iterable[int], first: date, last: date, stamp: bytes) -> None:
    """Write ``day=YYYY-MM-DD/part-0.parquet`` for each day from ``first`` to ``last``, once.

    Columns: ``household_id`` int32, ``reason`` text; rows by household_id. ``stamp`` says what
    writes the lake.
    """
    if lake.is_written(_path(root, last), stamp):  # the last that is written
        return
    of_day: dict[date, list[dict[str, object]]] = defaultdict(list)
    for household in sorted(households):
        lot = int.from_bytes(hashlib.md5(f"unsubscribes|{household}".encode()).digest(), "big")  # noqa: S324
        if lot % 10_000 < SHARE * 10_000:
            day = first + timedelta(days=lot // 10_000 % ((last - first).days + 1))
            of_day[day].append({"household_id": household, "reason": REASONS[lot // 10**8 % len(REASONS)]})
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        lake.write(_path(root, day), pa.Table.from_pylist(of_day[day], SCHEMA), stamp)


def _path(root: Path, day: date) -> Path:
    return root / f"day={day}" / "part-0.parquet"
