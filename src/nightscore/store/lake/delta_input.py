"""Delta Lake tables of other engines, at one version; with `delta` and `delta_commit` the home of deltalake.

Which files count and which values their partitions have is what the log says. What would need more than whole
files (deletion vectors) or is not known here is refused by its name.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from deltalake import DeltaTable

from nightscore.common import Broken, Root, first_line
from nightscore.store.lake.bucket_tables import log_home, place_in
from nightscore.store.lake.found import Span
from nightscore.store.lake.table_snapshot import (
    Asked,
    SnapshotColumn,
    SnapshotFile,
    TableSnapshot,
    day_of,
    value_text,
)
from nightscore.store.sql.engine import arrow_types

HEEDED = frozenset({  # features that a reader has to know
    "columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "typeWidening-preview",
    "v2Checkpoint", "vacuumProtocolCheck",
})  # fmt: skip
PURGE = (
    "its engine rewrites such files by REORG TABLE … APPLY (PURGE), and makes none with the table's property "
    "delta.enableDeletionVectors = false"
)
COMMIT = re.compile(r"(\d{20})\.json")
PHYSICAL, FIELD_ID = "delta.columnMapping.physicalName", "delta.columnMapping.id"


def read_delta(root: Path, asked: Asked, bucket: Root | None = None) -> TableSnapshot:
    """A table at a version, with the files that are asked for; in a `bucket`, which `root` is the mirror of.

    Raises:
        Broken: there is no such table or version, its log can't be read, it needs what is not known here, or
            `partition` is none of its partitions or has a value that is no day.
    """
    shown = asked.shown
    home = log_home(bucket, root) if bucket else root
    table = _open(home, shown, asked.snapshot)
    named = f"version {table.version()}"
    _refuse_unknown(table, f"{shown}, {named}")
    keys = list(table.metadata().partition_columns)
    if asked.partition is not None and asked.partition not in keys:
        raise Broken(
            f"{shown}: {asked.partition!r} is no column that the table is partitioned by; it is by "
            f"{', '.join(keys) or 'none'}"
        )
    columns = _columns(table)
    found = list(_files(table, lambda path: _place(root, path, bucket), asked, keys, columns))
    every, ignored = asked.with_days(found)
    files = [file for file in every if asked.may_see(file)]
    if asked.span is not None or asked.partition is None:
        _refuse_vectors(table, (home, root), files, f"{shown}, {named}")
    days = sorted({file.day for file in every if file.day})
    return TableSnapshot(named, columns, tuple(files), tuple(days), ignored)


def _open(root: Path, shown: str, version: int | None) -> DeltaTable:
    log = root / "_delta_log"
    if not log.is_dir():
        raise Broken(f"{shown} is no Delta Lake table: it has no folder _delta_log")
    try:
        return DeltaTable(str(root), version=version)
    except Exception as error:  # deltalake's own, and whatever its parsers raise
        there = sorted(int(found[1]) for name in log.iterdir() if (found := COMMIT.fullmatch(name.name)))
        if version is not None and there and not there[0] <= version <= there[-1]:
            raise Broken(
                f"{shown}: has no version {version}; its log has {there[0]} to {there[-1]}, and without "
                "version the newest is read"
            ) from error
        at = "" if version is None else f"version {version} "
        raise Broken(f"{shown}: {at}can't be read: {first_line(error)}") from error


def _refuse_unknown(table: DeltaTable, shown: str) -> None:
    unknown = sorted({*(table.protocol().reader_features or ())} - HEEDED)
    if unknown:
        raise Broken(
            f"{shown}: needs a reader of {', '.join(unknown)}, which is not known here; allowed: "
            f"{', '.join(sorted(HEEDED))}. Let its engine write the rows to a table without it"
        )


def _refuse_vectors(
    table: DeltaTable, homes: tuple[Path, Path], files: list[SnapshotFile], shown: str
) -> None:
    """Refuse files some of whose rows are deleted by a deletion vector.

    `homes` are where the log is read, beside which the library takes them to lie, and where files lie.
    """
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return
    try:
        found = pa.table(table.deletion_vectors().read_all())["filepath"].to_pylist()
    except Exception as error:  # deltalake's own, and whatever its parsers raise
        raise Broken(
            f"{shown}: a deletion vector can't be read, so that it is not known which rows count: "
            f"{first_line(error)}; {PURGE}"
        ) from error
    home, root = (place.resolve() for place in homes)
    lying = [Path(unquote(urlsplit(path).path)).resolve() for path in found]
    having = {root / path.relative_to(home) if path.is_relative_to(home) else path for path in lying}
    for file in files:
        if file.path.resolve() in having:
            raise Broken(
                f"{shown}: rows of {file.path.name} are deleted by a deletion vector, which is not heeded "
                f"here; {PURGE}"
            )


def _files(
    table: DeltaTable,
    place: Callable[[str], Path],
    asked: Asked,
    keys: list[str],
    columns: tuple[SnapshotColumn, ...],
) -> Iterator[SnapshotFile]:
    """The table's files, but those that, by their statistics, have no row of the span or without a day."""
    adds = pa.table(table.get_add_actions(flatten=True))
    inside = next((column.inside for column in columns if column.name == asked.day_column), "")
    told = {f"min.{inside}", f"max.{inside}", nulls := f"null_count.{inside}", "num_records"}
    wanted = ["path", "size_bytes", *(f"partition.{key}" for key in keys)]
    for row in adds.select([*wanted, *(name for name in adds.column_names if name in told)]).to_pylist():
        bounds = [row.get(f"{bound}.{inside}") for bound in ("min", "max")]
        every_row_has_a_day = asked.no_day or row.get(nulls) == 0
        if every_row_has_a_day and not _may_hold(bounds, asked.span):
            continue
        values = {key: row[f"partition.{key}"] for key in keys}
        day = day_of(values[asked.partition], asked.partition, asked.shown) if asked.partition else None
        texts = {key: value_text(v) for key, v in values.items()}
        rows = row.get("num_records")
        yield SnapshotFile(place(row["path"]), day, texts, row["size_bytes"], rows)


def _may_hold(bounds: list[Any], span: Span | None) -> bool:
    """Whether the least and the greatest value of a column leave room for a row of a span."""
    if span is None or not all(isinstance(value, dt.date) for value in bounds):
        return True
    least, most = (value.date() if isinstance(value, dt.datetime) else value for value in bounds)
    return bool(least <= span[1] and most >= span[0])


def _place(root: Path, path: str, bucket: Root | None) -> Path:
    """Where a file lies: in the log, paths are addresses, below the table or absolute."""
    address = urlsplit(path)
    if bucket and (address.scheme or address.path.startswith("/")):
        if found := place_in(bucket, unquote(path)):
            return found
        raise Broken(f"{path}: does not lie in {bucket.at}, as a table's files have to")
    if address.scheme not in ("", "file"):
        raise Broken(f"{path}: lies in no folder; a table's files have to lie in the workspace")
    return root / unquote(address.path)


def _columns(table: DeltaTable) -> tuple[SnapshotColumn, ...]:
    """The table's columns: with column mapping, files have them by other names or by numbers."""
    fields: list[Mapping[str, Any]] = json.loads(table.schema().to_json())["fields"]
    kinds = arrow_types(pa.schema(table.schema()))
    by_id = table.metadata().configuration.get("delta.columnMapping.mode") == "id"
    return tuple(
        SnapshotColumn(
            f["name"], kinds[f["name"]], f["metadata"].get(PHYSICAL, f["name"]),
            f["metadata"].get(FIELD_ID) if by_id else None,
        )
        for f in fields
    )  # fmt: skip
