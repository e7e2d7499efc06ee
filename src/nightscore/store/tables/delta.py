"""Output tables: Delta Lake tables partitioned by day, as readers find them.

The modules that import deltalake are this one, `delta_commit`, which publishes, and `delta_input`, which
reads the tables of others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable

from nightscore.common import Broken, NightscoreError, NotYet, first_line
from nightscore.store.storage import Place, answer_of
from nightscore.store.tables import snapshots
from nightscore.store.tables.snapshots import KeptSnapshots, LiveFile, Snapshot
from nightscore.store.tables.table_schema import is_optional, is_wider, may_go, optional_field, with_day

# In errors of requests to a storage, which quote address and answer; some answers stay what they are.
REQUEST, REFUSED = re.compile(r"HTTP error|non-2xx status code"), re.compile(r"\b40[0134] [A-Z]")
LOGGED = re.compile(r"\d{20}\.(.+\.)?(json|crc|parquet)")  # a log's commits and checkpoints, and their like
SNAPSHOTS = KeptSnapshots()
file_run_id = snapshots.file_run_id
COLUMNS = {
    "path": "path", "partition.day": "day", "num_records": "rows", "size_bytes": "bytes",
    "modification_time": "modified",
}  # fmt: skip


def table_exists(root: Place) -> bool:
    """Whether a folder holds a table: its log has a commit or a checkpoint.

    Not by `DeltaTable.is_deltatable`, which says the same but keeps the GIL (deltalake 1.6): while a network
    file system hangs, no other thread of the process would run, nor would a signal be seen.
    """
    return any(LOGGED.fullmatch(name) for name in root.storage.first_names(f"{root.key}/_delta_log"))


def list_live_files(root: Place, version: int | None = None) -> list[LiveFile]:
    """The files of a table as of a version (default: the newest), by day and name; [] without a table.

    Raises:
        Broken: the table has no such version, or can't be read.
    """
    if not table_exists(root):
        return []
    return [file for files in read_snapshot(root, version).by_day.values() for file in files]


def live_files_of(root: Place, day: str, version: int | None = None) -> list[LiveFile]:
    """The same of one day, whatever the number of days."""
    return read_snapshot(root, version).of_day(day) if table_exists(root) else []


def read_snapshot(root: Place, version: int | None = None) -> Snapshot:
    """A table at a version (default: the newest), as its log says; kept while the process runs.

    Raises:
        Broken: the table has no such version, or can't be read.
    """
    return SNAPSHOTS.get(root, version, lambda root, version: snapshot_of(open_table(root, version), root))


def optional_columns(root: Place) -> set[str]:
    """The columns of a table that some of its files may not have; none without a table."""
    if not table_exists(root):
        return set()
    return {f.name for f in read_snapshot(root).schema if is_optional(f)}


def check_table_schema(
    root: Place, schema: pa.Schema, *, evolve: bool = False, job: str = "JOB", table: str = ""
) -> None:
    """Refuse to publish other columns than the table has: Delta would take the new schema silently.

    Optional columns may come and go, but keep their type. With `evolve` all may, and a type may be narrower
    than the table's; but not one go and another of its type come, which is a rename. `table` is what the
    table is called now.

    Raises:
        Broken: names each difference, and the ways on.
    """
    found = schema_differences(root, schema)
    if evolve:
        refused = [one for one in found if one.is_of_type and not one.fits]
        refused = refused or _renamed(root, schema, found)
    else:
        refused = found
    if refused:
        one, found_in = refused[0], table or root.name
        raise Broken(
            f"table {found_in}: {'; '.join(map(str, refused))}; keep its columns, or give the job another "
            f"name{_way_on(refused, evolve, job)}{_as_before(one.here, one.there)}"
        )


@dataclass(frozen=True)
class ColumnDifference:
    """A column that a table has (`there`), and as it would be published (`here`); None: not at all."""

    name: str
    there: pa.DataType | None
    here: pa.DataType | None

    @property
    def is_of_type(self) -> bool:
        """Whether the column is there, and stays, in another type."""
        return self.there is not None and self.here is not None

    @property
    def fits(self) -> bool:
        """Whether the table's type holds each value of the other."""
        return self.there is not None and self.here is not None and is_wider(self.there, self.here)

    def __str__(self) -> str:
        there, here = self.there or "absent", self.here or "absent"
        return f"column {self.name!r} is {there} in the published table and would be {here}"


def schema_differences(root: Place, schema: pa.Schema) -> list[ColumnDifference]:
    """How columns to be published differ from a table's, by name; but for those that may come or go."""
    if not table_exists(root):
        return []
    published = read_snapshot(root).schema
    there = {f.name: f.type for f in published}
    here = {f.name: f.type for f in with_day(schema)}
    may_lack = {f.name for f in published if may_go(f)} | {f.name for f in schema if is_optional(f)}
    pairs = [ColumnDifference(n, there.get(n), here.get(n)) for n in sorted(there.keys() | here.keys())]
    return [
        one for one in pairs
        if one.there != one.here and not (one.name in may_lack and None in (one.there, one.here))
    ]  # fmt: skip


def as_table_has(root: Place, schema: pa.Schema) -> pa.Schema:
    """The columns of a file of a table that may evolve: in the table's types, where they hold all values.

    What the table has not, or not in each file, bears the mark of a column that files may lack.
    """
    if not table_exists(root):
        return schema
    there = {f.name: f for f in read_snapshot(root).schema}
    fields = []
    for field in schema:
        has = there.get(field.name)
        if has is None or is_optional(has):
            field = optional_field(field.name, field.type, given=not may_go(field))  # noqa: PLW2901
        if has is not None and is_wider(has.type, field.type):
            field = field.with_type(has.type)  # noqa: PLW2901
        fields.append(field)
    return pa.schema(fields)


def _renamed(root: Place, schema: pa.Schema, found: Sequence[ColumnDifference]) -> list[ColumnDifference]:
    """A column that goes and one of its type that comes: nobody can tell that from a rename."""
    gone = [one for one in found if one.here is None]
    if not gone:
        return []
    have = read_snapshot(root).schema.names
    come = [ColumnDifference(field.name, None, field.type) for field in schema if field.name not in have]
    pairs = ([one, other] for one in gone for other in come if one.there == other.here)
    return next(pairs, [])


def _way_on(refused: Sequence[ColumnDifference], evolve: bool, job: str) -> str:
    """What lets a table have other columns, where anything does."""
    hand = f"`nightscore evolve {job} --because TEXT --by NAME`"
    if evolve and None in (refused[0].here, refused[0].there):
        return f"; a column that is renamed is null from then on under its old name: if it is to be, {hand}"
    if any(one.is_of_type and not one.fits for one in refused):
        return (
            "; a type that holds less, or more, than the table's is never taken: what files of before have "
            "in it most engines could not read"
        )
    return (
        f"; or let the table have them: {hand} does so once, `on_schema_change: evolve` in job.yaml each "
        "time: a new column is null for days before, one that goes is null from then on"
    )


def _as_before(now: pa.DataType | None, before: pa.DataType | None) -> str:
    """The way on where a column has changed its type, as it does where the producer of an input widens it."""
    if now is None or before is None:
        return ""
    return (
        "; a type that has come with other files of an input is kept by the input's columns (its contract), "
        "or by a cast in the features SQL, which fails where a value does not fit"
    )


def open_table(root: Place, version: int | None = None) -> DeltaTable:
    """Open a table at a version. `Broken` where there is no such version, or its log can't be read."""
    try:
        return DeltaTable(root.storage.table_address(root.key), version=version)
    except Exception as error:  # deltalake's own, and whatever its parsers raise
        raise unreadable(root, version, error) from None


def unreadable(root: Place, version: int | None, error: Exception) -> NightscoreError:
    """Why a table can't be opened; `NotYet` where a request to its storage has failed, and may not next time.

    No text of such an error is handed on: it quotes the request, whose address may bear a signature.
    """
    text = str(error)
    if REQUEST.search(text):
        if REFUSED.search(text):
            return Broken(f"table {root.name}: its storage does not let us read it; see `nightscore doctor`")
        return NotYet(f"table {root.name}: its storage {answer_of(error)}; try again later")
    reason = first_line(error)
    at = "" if version is None else f"has no version {version}, or "
    return Broken(f"table {root.name}: {at}can't be read: {reason}")


def snapshot_of(table: DeltaTable, root: Place) -> Snapshot:
    """What a table that was opened holds."""
    adds = pa.table(table.get_add_actions(flatten=True))
    statistics = [name for name in adds.column_names if name.startswith(("min.", "max.", "null_count."))]
    named = adds.select([*COLUMNS, *statistics]).rename_columns([*COLUMNS.values(), *statistics])
    days = named["day"].cast(pa.string())
    return Snapshot(root, table.version(), pa.schema(table.schema()), named.set_column(1, "day", days))
