"""The rows of the table `receipts`, as far as every reader needs them; one file a run, and thousands of runs.

A run's file has one row, so the least and the greatest value of a column in the file's statistics are the
row: the table's log, which its checkpoints hold in one file, tells all rows, and no receipt is opened. A file
whose statistics don't (of an older version, or written by another engine) is read.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, first_line
from nightscore.store.documents.formats import LaterFormat
from nightscore.store.documents.receipt import Receipt
from nightscore.store.records.removals import Removal
from nightscore.store.records.renames import AS_WRITTEN, Names
from nightscore.store.storage import Place
from nightscore.store.tables.snapshots import Snapshot, erased_meanwhile

RECEIPTS = "receipts"
LOGGED = ("job", "run_id", "run_number", "published_at", "tables")  # the columns whose statistics are the row
OWN_END = "-0123abcd.parquet"  # how the file of a run ends: `day=D/<run_id>-<8 digits>.parquet`


@dataclass(frozen=True)
class CatalogEntry:
    """What readers need of one receipt: which run published a day, and the version of each table.

    The receipt itself is read on demand from `file`, which may hold others too: it names every input file,
    and there is one a night. Job and tables are called as they are now, in the receipt, too.
    """

    job: str
    day: str
    run_id: str
    run_number: int
    published_at: dt.datetime
    versions: Mapping[str, int]
    file: Place
    removed: Mapping[str, Removal] = field(default_factory=dict)  # of the tables that it named, those gone
    names: Names = field(default=AS_WRITTEN, repr=False, compare=False)

    def called(self, names: Names) -> "CatalogEntry":
        """The same under the names of now."""
        if not names.renames:
            return self
        job, versions = names.jobs.current(self.job), names.by_table(self.versions)
        return replace(self, job=job, versions=versions, names=names)

    def read_receipt(self) -> Receipt:
        """The whole receipt.

        Raises:
            LaterFormat: (Broken) a later version wrote it.
            Broken: it is damaged.
            NotYet: somebody was erased of it since the catalogue was read.
        """
        try:
            receipt = Receipt.model_validate_json(read_receipt_text(self.file, self.run_id))
            return self._as_listed(self.names.receipt(receipt))
        except LaterFormat as error:
            raise LaterFormat(
                f"the receipt of {self.job} {self.day}, run {self.run_id}, is {error}"
            ) from error
        except (OSError, pa.ArrowException, ValueError, IndexError, TypeError) as error:
            if isinstance(error, FileNotFoundError) and self.file.parent.glob(f"{self.run_id}-*.parquet"):
                raise NotYet(erased_meanwhile(f"the receipt of {self.job} {self.day}")) from error
            raise Broken(
                f"table {RECEIPTS}: {self.file.name}, the receipt of {self.job} {self.day}, is damaged: "
                f"{first_line(error)}"
            ) from error

    def _as_listed(self, receipt: Receipt) -> Receipt:
        """The receipt; `ValueError` where it is not what readers go by: the statistics in the table's log."""
        told = {name: table.version for name, table in receipt.tables.items()}
        # A view of the catalogue may leave tables out: those that it has count.
        versions = {name: told.get(name) for name in self.versions}
        said = {"job": self.job, "day": self.day, "run_id": self.run_id, "versions": dict(self.versions)}
        for name, value in said.items():
            found = versions if name == "versions" else getattr(receipt, name)
            if found != value:
                raise ValueError(f"its {name} is {found!r}, and the log of the table says {value!r}")
        return receipt

    def has_of_others(self, table: str, files: int) -> bool:
        """Whether so many files are its day's though they are not named by its run, by the receipt itself.

        So it is where another engine's were accepted, and where the day has none any more. Errors as those of
        `read_receipt`.
        """
        receipt = self.read_receipt()
        return receipt.tables[table].files == files and (receipt.accepted is not None or not files)

    def read_receipt_or_reason(self) -> Receipt:
        """The whole receipt; where it can't be read, one of status `unreadable` with the reason.

        For lists, which one receipt must not stop.
        """
        try:
            return self.read_receipt()
        except Broken as error:
            named = {"job": self.job, "day": self.day, "run_id": self.run_id, "run_number": self.run_number}
            return Receipt(**named, status="unreadable", reason=str(error), published_at=self.published_at)


def read_rows(snapshot: Snapshot) -> list[CatalogEntry]:
    """The rows of the table `receipts` at a version, by run number.

    Raises:
        Broken: a file that has to be read is damaged or gone.
    """
    told, others = _split(snapshot.adds)
    rows = [*_in_log(snapshot.root, told)]
    for path, day in zip(others["path"].to_pylist(), others["day"].to_pylist(), strict=True):
        rows += _in_file(snapshot.root / path, day)
    return sorted(rows, key=lambda row: (row.run_number, row.run_id))


def told_row(row: pa.Table) -> dict[str, object]:
    """Of a receipt's row, what its file's statistics in the log have to tell."""
    return {name: row[name][0].as_py() for name in LOGGED}


def untold(snapshot: Snapshot) -> dict[str, Mapping[str, object]]:
    """Path in the log -> its row, of each file of a run of ours whose row the log does not tell.

    Errors as those of `read_rows`.
    """
    _, others = _split(snapshot.adds)
    found: dict[str, Mapping[str, object]] = {}
    for path in others["path"].to_pylist():
        columns = _columns(snapshot.root / path)
        own = f"{path.partition('/')[0]}/{columns['run_id'][0]}" if len(columns["run_id"]) == 1 else None
        if path[: -len(OWN_END)] == own:
            found[path] = {name: values[0] for name, values in columns.items()}
    return found


def read_receipt_text(file: Place, run_id: str) -> str:
    """The receipt of a run as JSON text, in a file of the table `receipts`.

    Raises:
        OSError, pa.ArrowException: the file is damaged or gone.
        IndexError: the run has no row in it.
    """
    with pq.ParquetFile(file.local(), page_checksum_verification=True, pre_buffer=False) as parquet:
        for group in range(parquet.num_row_groups):
            runs = parquet.read_row_group(group, ["run_id"])["run_id"].to_pylist()
            if run_id in runs:
                texts = parquet.read_row_group(group, ["receipt"])["receipt"]
                return str(texts[runs.index(run_id)].as_py())
    raise IndexError(f"it has no row of run {run_id}")


def _split(adds: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The files whose row the log tells, and the others."""
    if not all(f"min.{name}" in adds.column_names for name in LOGGED):
        return adds.slice(0, 0), adds
    told = pc.equal(adds["rows"], 1)
    for name in LOGGED:
        same = pc.equal(adds[f"min.{name}"], adds[f"max.{name}"])
        told = pc.and_(told, pc.and_(same, pc.equal(adds[f"null_count.{name}"], 0)))
    # Another engine may cut long texts in its statistics, all alike. So a file has to have a name of ours,
    # and of its texts the longest has to be whole: `tables`, whose brace is its end.
    whole = pc.ends_with(adds["min.tables"], "}")
    longest = pc.less_equal(pc.utf8_length(adds["min.job"]), pc.utf8_length(adds["min.tables"]))
    named = pc.utf8_slice_codeunits(adds["path"], 0, -len(OWN_END))
    ours = pc.equal(named, pc.binary_join_element_wise("day=", adds["day"], "/", adds["min.run_id"], ""))
    told = pc.fill_null(pc.and_(pc.and_(told, ours), pc.and_(whole, longest)), False)
    return adds.filter(told), adds.filter(pc.invert(told))


def _in_log(root: Place, adds: pa.Table) -> Iterator[CatalogEntry]:
    if not len(adds):
        return
    jobs, runs, numbers, moments, versions = (adds[f"min.{name}"].to_pylist() for name in LOGGED)
    days, paths = adds["day"].to_pylist(), adds["path"].to_pylist()
    for job, day, run_id, number, at, tables, path in zip(
        jobs, days, runs, numbers, moments, versions, paths, strict=True
    ):
        file = root / path
        yield CatalogEntry(job, day, run_id, number, at, _versions(tables, file), file)


def _in_file(file: Place, day: str) -> Iterator[CatalogEntry]:
    columns = _columns(file)
    for job, run_id, number, at, tables in zip(*(columns[name] for name in LOGGED), strict=True):
        yield CatalogEntry(job, day, run_id, number, at, _versions(tables, file), file)


def _versions(tables: str, file: Place) -> dict[str, int]:
    try:
        return dict(json.loads(tables))
    except (ValueError, TypeError) as error:
        raise _damaged(file, error) from error


def _columns(file: Place) -> dict[str, Sequence[Any]]:
    try:
        with pq.ParquetFile(file.local(), page_checksum_verification=True, pre_buffer=False) as parquet:
            columns: dict[str, Sequence[Any]] = parquet.read(list(LOGGED)).to_pydict()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(file, error) from error
    return columns


def _damaged(file: Place, error: Exception) -> Broken:
    return Broken(f"table {RECEIPTS}: {file.parent.name}/{file.name} is damaged: {first_line(error)}")
