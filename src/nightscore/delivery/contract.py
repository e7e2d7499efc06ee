"""What a kind of delivery keeps to, so that its reader sees each day whole, and once.

A plug-in is a function of an entry point of the group `nightscore.deliveries`, under the name that job.yaml
has for it:

    def open_mine(settings: Mapping, connect: Callable[[str], str]) -> Channel

`connect` gives what is set for a connection's name. Nothing of it may stand in `target` or in an error.
`nightscore.delivery.testing.check_channel` holds a channel to what stands here.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 65_536  # of a batch
OWN = ("run_id", "day")  # columns of a table that the framework sets; no target has run_id


@dataclass(frozen=True)
class Parcel:
    """One published day of a table: its files, held to the receipt, and the totals that a target must have.

    `schema` has the columns that are sent, without `day` and `run_id`. `run_number` rises from run to run.
    `key_hash` gives the key hash of some columns (`key_hash.py`), over the published files. `once_jobs` and
    `once_tables` are all names that the job and the table ever had.
    """

    job: str
    table: str
    day: dt.date
    run_id: str
    run_number: int
    rows: int
    schema: pa.Schema
    files: tuple[Path, ...]
    key_hash: Callable[[tuple[str, ...]], str] = field(repr=False, compare=False)
    once_jobs: frozenset[str] = frozenset()
    once_tables: frozenset[str] = frozenset()

    def is_of(self, job: str, table: str) -> bool:
        """Whether it is of a job's table, by the names of now or those of before a rename."""
        return job in {self.job, *self.once_jobs} and table in {self.table, *self.once_tables}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the order in which they are published; pages held to their checksums."""
        for file in self.files:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                for batch in parquet.iter_batches(ROWS, columns=self.schema.names):
                    yield pa.RecordBatch.from_arrays(
                        [batch.column(name) for name in self.schema.names], schema=self.schema
                    )


@dataclass(frozen=True)
class Sent:
    """What is at the target now, counted there: `key_hash` is "" where a kind has none."""

    rows: int
    key_hash: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


class Channel(Protocol):
    """One target. Every call may be made again after a crash at any point, and then gives the same.

    Two processes never deliver one day of one delivery at once. A channel may have two attributes more:
    `late`, "skip" where a day that comes late is of no use (mail), and `knows_runs`, True where it refuses an
    older run.
    """

    @property
    def target(self) -> str:
        """Where it goes, for people: no address, and nothing secret."""

    def check(self, schema: pa.Schema) -> str:
        """Hold the columns of a table to the target without asking it; gives what is unknown here, or "".

        Raises:
            Broken: they do not fit.
        """

    def deliver(self, parcel: Parcel, *, again: bool = False) -> Sent:
        """Put a day there in the place of what is there of the day, whole, seen by nobody in between.

        A run older than the one that is there is refused; the same is done already, and counted. `again`: a
        person asks for it, so it is done whatever was withdrawn before.

        Raises:
            NotYet: the target does not answer, or holds a newer run.
            Broken: trying again won't help: a column does not fit, or what is there is not what was sent.
        """

    def withdraw(self, parcel: Parcel, before: Parcel | None) -> Sent:
        """Take a run's day away; `before`, an earlier run of the day that was delivered, stands again.

        Raises as `deliver`.
        """


OpenChannel = Callable[[Mapping[str, Any], Callable[[str], str]], Channel]


def sent_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a table that are sent."""
    return pa.schema([pa.field(c.name, c.type) for c in schema if c.name not in OWN])
