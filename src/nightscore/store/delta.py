"""Output tables: Delta Lake tables partitioned by day, as readers find them.

The modules that import deltalake are this one, `delta_commit`, which publishes, and `delta_input`, which
reads the tables of others.
"""

import re

import pyarrow as pa
from deltalake import DeltaTable

from nightscore.common import Broken, NightscoreError, NotYet, first_line
from nightscore.store import snapshots
from nightscore.store.snapshots import KeptSnapshots, LiveFile, Snapshot
from nightscore.store.storage import Place, answer_of
from nightscore.store.table_schema import is_optional, with_day

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


def check_table_schema(root: Place, schema: pa.Schema) -> None:
    """Refuse to publish other columns than the table has: Delta would take the new schema silently.

    Optional columns may come and go, but keep their type.

    Raises:
        Broken: names the first difference.
    """
    if not table_exists(root):
        return
    published = read_snapshot(root).schema
    there = {f.name: f.type for f in published}
    here = {f.name: f.type for f in with_day(schema)}
    may_lack = {f.name for f in (*published, *schema) if is_optional(f)}
    for name in sorted(there.keys() | here.keys()):
        if name in may_lack and not (name in there and name in here):
            continue
        if there.get(name) != here.get(name):
            raise Broken(
                f"table {root.name}: column {name!r} is {there.get(name, 'absent')} in the published table "
                f"and would be {here.get(name, 'absent')}; keep its columns, or give the job another name"
                f"{_as_before(here.get(name), there.get(name))}"
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
