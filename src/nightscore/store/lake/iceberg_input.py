"""Iceberg tables of other engines, read at one snapshot; the only module that imports pyiceberg.

Which files count is what the snapshot's manifests say, and columns go by their numbers, whatever they have
been called. What would need more than whole files (delete files) or is not known here is refused by its name.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.common import Broken, NightscoreError, Root, first_line
from nightscore.store.lake.bucket_tables import fetch, place_in
from nightscore.store.lake.found import Span
from nightscore.store.lake.table_snapshot import Asked, SnapshotColumn, SnapshotFile, TableSnapshot, day_of
from nightscore.store.sql.engine import arrow_types

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionField
    from pyiceberg.table import DataScan, FileScanTask, Table

HINT = "metadata/version-hint.text"
EPOCH = dt.date(1970, 1, 1)
SECRETS = re.compile("uri|secret|token|credential|password|key|sas|string|auth|header", re.IGNORECASE)


def read_iceberg(
    place: Path | str, catalog: str | None, asked: Asked, bucket: Root | None = None
) -> TableSnapshot:
    """A table at a snapshot, with the files that are asked for.

    `place` is its metadata file, its folder, or, in a `catalog` of pyiceberg's own configuration, its name.
    In a `bucket` it lies in the mirror, and all that the table names lies in that bucket.

    Raises:
        Broken: there is no such table or snapshot, it can't be read or needs what is not known here.
    """
    with _told(asked.shown, catalog):
        table = _in_bucket(bucket, Path(place), asked) if bucket else _open(place, catalog, asked.shown)
        if table.current_snapshot() is None:
            raise Broken(f"{asked.shown}: has no snapshot: nothing was ever written")
        scan = table.scan(snapshot_id=asked.snapshot)
        found = scan.snapshot()
        if found is None:
            raise Broken(f"{asked.shown}: has no snapshot {asked.snapshot}")
        named = f"snapshot {found.snapshot_id}"
        shown = f"{asked.shown}, {named}"
        columns = _columns(scan, shown)
        tasks = _tasks(table, scan, asked)
        files = [_file((table, scan, task), asked.partition, shown, bucket) for task in tasks]
        _, ignored = asked.with_days(files)
    counted = [pair for pair in zip(tasks, files, strict=True) if asked.may_see(pair[1])]
    if asked.span is not None or asked.partition is None:
        for task, _ in counted:
            _refuse_partly(task, shown)
    days = sorted({file.day for file in files if file.day})
    return TableSnapshot(named, columns, tuple(file for _, file in counted), tuple(days), ignored)


def _open(place: Path | str, catalog: str | None, shown: str) -> "Table":
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise Broken(
            f"{shown}: an Iceberg table is read by pyiceberg; pip install 'nightscore[iceberg]' ({error})"
        ) from error
    if catalog is not None:
        return load_catalog(catalog).load_table(str(place))
    return StaticTable.from_metadata(str(_metadata(Path(place), shown)))


def _in_bucket(bucket: Root, place: Path, asked: Asked) -> "Table":
    """A table whose metadata and manifests are read from the mirror of a bucket."""
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.io.pyarrow import PyArrowFileIO
    from pyiceberg.serializers import FromInputFile
    from pyiceberg.table import StaticTable

    class Mirrored(PyArrowFileIO):
        """Whatever a table's own properties say: nothing is read but from this bucket."""

        def new_input(self, location: str) -> Any:
            found = place_in(bucket, location)
            if found is None:
                raise Broken(f"{asked.shown}: {location} does not lie in {bucket.at}, as all of it has to")
            fetch(bucket, [found])
            return super().new_input(str(found))

    if not place.name.endswith(".json"):
        fetch(bucket, [place / HINT])
    file = _metadata(place, asked.shown) if not place.name.endswith(".json") else place
    at = f"{bucket.at.rstrip('/')}/{file.relative_to(bucket.folder).as_posix()}"
    io, name = Mirrored({}), "static-table"
    metadata = FromInputFile.table_metadata(io.new_input(at))
    return StaticTable((name, at), metadata, at, io, NoopCatalog(name))


def _metadata(place: Path, shown: str) -> Path:
    """A table's metadata file: of a folder the one that its hint names."""
    if not place.is_dir():
        return place
    if not (place / HINT).is_file():
        raise Broken(
            f"{shown}: has no {HINT}, and which of its metadata files counts is known to its catalog; name "
            "the file (…/metadata/….metadata.json), or the catalog and the table's name in it"
        )
    hint = (place / HINT).read_text().strip()
    return place / "metadata" / (hint if hint.endswith(".json") else f"v{hint}.metadata.json")


@contextlib.contextmanager
def _told(shown: str, catalog: str | None) -> Iterator[None]:
    """A context in which what pyiceberg can't do or read is `Broken`, without what a catalog keeps secret."""
    try:
        yield
    except NightscoreError:
        raise
    except Exception as error:  # pyiceberg's own, and whatever its parsers and catalogs raise
        text = first_line(error)
        raise Broken(f"{shown}: can't be read: {_without_secrets(text, catalog)}") from None


def _without_secrets(text: str, catalog: str | None) -> str:
    """A message without what the settings of a catalog have in it, and without users of addresses."""
    for value in _secrets(catalog) if catalog else ():
        text = text.replace(value, "…")
    return re.sub(r"(?<=//)[^/@\s]*@", "…@", text)


def _secrets(catalog: str) -> list[str]:
    """The values of a catalog's settings that may be secret, or have a secret in them; the longest first."""
    from pyiceberg.utils.config import Config

    settings = Config().get_catalog_config(catalog) or {}
    values = [str(value) for key, value in settings.items() if SECRETS.search(key)]
    return sorted((value for value in values if len(value) > 3), key=len, reverse=True)


def _columns(scan: "DataScan", shown: str) -> tuple[SnapshotColumn, ...]:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    schema = scan.projection()
    kinds = arrow_types(schema_to_pyarrow(schema, include_field_ids=False))
    for field in schema.fields:
        if getattr(field, "initial_default", None) is not None:
            raise Broken(f"{shown}: column {field.name!r} has a default, which is not heeded here")
    return tuple(SnapshotColumn(f.name, kinds[f.name], f.name, f.field_id) for f in schema.fields)


def _partition_field(table: "Table", partition: str, spec: int) -> "PartitionField | None":
    """The partition field of a spec that a name means, its own or its column's, if its values say a day."""
    fields = [f for f in table.specs()[spec].fields if str(f.transform) in ("identity", "day")]
    by_name = [f for f in fields if f.name == partition]
    by_column = [
        f for f in fields if str(f.transform) == "identity"
        and table.schema().find_column_name(f.source_id) == partition
    ]  # fmt: skip
    return next(iter([*by_name, *by_column]), None)


def _column_of_days(table: "Table", scan: "DataScan", asked: Asked) -> str | None:
    """The column that a table's files are cut by: that of the partition field, or of the input's rows."""
    if asked.partition is None:
        return asked.day_column
    field = _partition_field(table, asked.partition, table.spec().spec_id)
    if field is None:
        fields = ", ".join(f"{f.name} ({f.transform})" for f in table.spec().fields) or "none"
        raise Broken(
            f"{asked.shown}: {asked.partition!r} is no partition field by identity or day; its partition "
            f"fields: {fields}"
        )
    return scan.projection().find_column_name(field.source_id)


def _tasks(table: "Table", scan: "DataScan", asked: Asked) -> list["FileScanTask"]:
    """The files of a span of days, and those with rows without a day; manifests of others are not opened.

    Two scans: of an OR of both, pyiceberg can't work out what a null partition leaves to be filtered.
    """
    from pyiceberg.expressions import IsNull, Reference

    column = None if asked.span is None else _column_of_days(table, scan, asked)
    if column is None or asked.span is None:
        return list(scan.plan_files())
    filters = [_within(scan, column, asked.span)]
    if asked.partition is not None or not asked.no_day:
        filters.append(IsNull(term=Reference(column)))
    tasks = (task for one in filters for task in scan.filter(one).plan_files())
    return list({task.file.file_path: task for task in tasks}.values())


def _within(scan: "DataScan", column: str, span: Span) -> Any:
    """A filter by which manifests and files of other days are not opened."""
    from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan, Reference
    from pyiceberg.expressions.literals import literal

    kind = str(scan.projection().find_field(column).field_type)
    after = dt.date.max if span[1] == dt.date.max else span[1] + dt.timedelta(days=1)
    bounds = [span[0].isoformat(), after.isoformat()]
    if kind.startswith("timestamp"):
        zone = "+00:00" if kind.startswith("timestamptz") else ""
        bounds = [f"{day}T00:00:00{zone}" for day in bounds]
    first, after_last = map(literal, bounds)
    term = Reference(column)
    return And(GreaterThanOrEqual(term=term, value=first), LessThan(term=term, value=after_last))


def _file(
    read: "tuple[Table, DataScan, FileScanTask]", partition: str | None, shown: str, bucket: Root | None
) -> SnapshotFile:
    """A data file, with its day.

    Raises:
        Broken: it is no Parquet, lies in no folder, or is of no day.
    """
    table, scan, task = read
    place = place_in(bucket, task.file.file_path) if bucket else _place(task.file.file_path)
    if place is None or task.file.file_format.value != "PARQUET":
        where = bucket.at if bucket else "folders"
        raise Broken(f"{shown}: {task.file.file_path}: allowed are Parquet files in {where}")
    values = dict(_values(table, scan, task))
    day = None
    if partition is not None:
        field = _partition_field(table, partition, task.file.spec_id)
        if field is None:
            raise Broken(
                f"{shown}: {place.name} was written when the table had no partition field {partition!r} by "
                "identity or day, so its rows are of no known day; let its engine rewrite it"
            )
        at = table.specs()[task.file.spec_id].fields.index(field)
        day = day_of(_day_value(table, field, task.file.partition[at]), partition, shown)
        values[partition] = day.isoformat() if day else None
    return SnapshotFile(place, day, values, task.file.file_size_in_bytes, task.file.record_count)


def _place(address: str) -> Path | None:
    """The file that an address of a table's metadata names; its path is as it is, and not encoded."""
    path = re.sub(r"^file:(//[^/]*)?(?=/)", "", address)
    return Path(path) if path.startswith("/") else None


def _day_value(table: "Table", field: "PartitionField", value: Any) -> Any:
    """The value of a partition field that says a day: a date, a text, or None."""
    if value is None or str(field.transform) == "day":
        return None if value is None else EPOCH + dt.timedelta(days=int(value))
    return field.transform.to_human_string(table.schema().find_type(field.source_id), value)


def _refuse_partly(task: "FileScanTask", shown: str) -> None:
    """Refuse a file some of whose rows are deleted."""
    if task.delete_files:
        name = task.file.file_path.rpartition("/")[2]
        raise Broken(
            f"{shown}: rows of {name} are deleted by a delete file, which is not heeded here; its engine "
            "rewrites such files (Spark: CALL rewrite_data_files(table => …, options => "
            "map('delete-file-threshold', '1'))), and makes none with write.delete.mode = copy-on-write"
        )


def _values(table: "Table", scan: "DataScan", task: "FileScanTask") -> Iterator[tuple[str, str | None]]:
    """The columns of the snapshot that have one value in a file: those of a partition by identity.

    By number: a column of another name now is the same, and a nested field is no column.
    """
    columns = {field.field_id: field for field in scan.projection().fields}
    for place, field in enumerate(table.specs()[task.file.spec_id].fields):
        column = columns.get(field.source_id)
        if column is None or str(field.transform) != "identity":
            continue
        if str(column.field_type).startswith(("binary", "fixed")):
            continue  # its text is no literal; files have the column
        value = task.file.partition[place]
        text = None if value is None else field.transform.to_human_string(column.field_type, value)
        yield column.name, text
