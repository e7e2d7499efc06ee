"""Inputs that are tables of other engines: the files of one snapshot, and what is read of each.

The plan pins the snapshot. What a day reads are the data files of its days, whatever comes later: another
snapshot is another cause only where it has other files for those days, or other columns in them.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, Root
from nightscore.job import DeltaInput, IcebergInput, Job, SnapshotInput
from nightscore.pipeline.read.parquet.files import inspect_immutable
from nightscore.pipeline.read.parquet.types import Types, column_types, contract_types
from nightscore.pipeline.read.parquet.widening import widens
from nightscore.store import (
    Asked,
    FileColumn,
    InputFile,
    SnapshotColumn,
    SnapshotFile,
    Span,
    SqlMistakes,
    TableSnapshot,
    bucket_of,
    delta_input,
    fetch_data,
    folder_values,
    iceberg_input,
    json_digest,
    refuse_own,
)

DAY = "DATE"
OF_FOLDERS = ("DATE", "VARCHAR")  # types in which a folder's name says a value as its text
INT96, MOMENT, UTC = "INT96", "TIMESTAMP", "TIMESTAMP of an INT96"  # which engines write for an instant
FIELD_ID = b"PARQUET:field_id"


def read_snapshot(job: Job, name: str, source: SnapshotInput, span: Span | None) -> TableSnapshot:
    """The table of an input at its snapshot, with the files of a span of days (default: all).

    Raises:
        Broken: it is no such table, or can't be read as one; names the line of job.yaml.
    """
    space = job.workspace
    try:
        if isinstance(source, IcebergInput) and source.catalog:
            return _iceberg(source, source.iceberg, span)
        root = space.resolve(source.address)
        refuse_own(space, root)
        bucket = bucket_of(space, root)
        if isinstance(source, DeltaInput):
            return delta_input.read_delta(root, _asked(source, source.version, span), bucket)
        return _iceberg(source, root, span, bucket)
    except Broken as error:
        job.raise_broken(("inputs", name), str(error))


def _iceberg(
    source: SnapshotInput, place: Path | str, span: Span | None, bucket: Root | None = None
) -> TableSnapshot:
    assert isinstance(source, IcebergInput)  # noqa: S101 - there is no third kind
    return iceberg_input.read_iceberg(place, source.catalog, _asked(source, source.snapshot, span), bucket)


def _asked(source: SnapshotInput, snapshot: int | None, span: Span | None) -> Asked:
    within = span if source.has_days else None
    ignores = source.no_day == "ignore"
    return Asked(source.address, snapshot, source.partition, source.day_column, within, ignores)


def resolve_snapshot(job: Job, name: str, source: SnapshotInput, span: Span | None) -> tuple[InputFile, ...]:
    """The files that a run may read of such an input: those of a span of days (default: all).

    Raises:
        Broken: the table is none that can be read; a file does not hold what the table says of its columns;
            the input's contract names what the table has not, or in a type that does not hold it.
        NotYet: a file of the newest snapshot has gone meanwhile.
    """
    snapshot = read_snapshot(job, name, source, span)
    table = _Table(job, name, source, snapshot)
    try:
        fetch_data(job.workspace, snapshot.files)
    except NotYet as error:
        table.refuse_gone(error)
    return tuple(table.resolved(file) for file in in_order(snapshot))


def in_order(snapshot: TableSnapshot) -> list[SnapshotFile]:
    """The files of a snapshot by day, then by path."""
    return sorted(snapshot.files, key=lambda file: (file.iso_day, file.path))


@dataclass(frozen=True)
class _Table:
    """An input at its snapshot."""

    job: Job
    name: str
    source: SnapshotInput
    snapshot: TableSnapshot

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The columns that are read, each with its type: those of the table, or of the contract."""
        source = self.source
        own = {c.name: c.kind for c in self.snapshot.columns}
        own |= {source.partition: DAY} if source.partition else {}
        if source.columns is None:
            return own
        at = ("inputs", self.name, "columns")
        with SqlMistakes(f"{self.job.shown}:{self.job.lines.get(at, 1)}: {'.'.join(at)}"):
            kinds = dict(contract_types(self.job.workspace, source.types))
        for column, kind in kinds.items():
            if column not in own or not widens(own[column], kind, asked=True):
                self.job.raise_broken(
                    at, f"column {column!r} is {own.get(column, 'absent')} in {source.address}, "
                    f"{self.snapshot.name}, and {kind} in its contract"
                )  # fmt: skip
        return {**kinds, **({source.partition: DAY} if source.partition else {})}

    def resolved(self, part: SnapshotFile) -> InputFile:
        """A file as it is now, with what is read of it."""
        try:
            file, leaves = inspect_immutable(self.job.workspace, part.path, part.iso_day)
        except NotYet as error:
            self.refuse_gone(error)
        own = {**column_types(self.job.workspace, part.path, leaves)}
        own |= {c: UTC for c, kind in own.items() if (kind, leaves.get(c, ("",))[0]) == (MOMENT, INT96)}
        columns = tuple(
            self._column(column, part, file.path, own)
            for column in self.snapshot.columns
            if column.name in self.kinds
        )
        if self.source.partition and all(column.name != self.source.partition for column in columns):
            columns += (FileColumn(self.source.partition, DAY, value=part.iso_day),)  # a field, and no column
        mark = json_digest(file.fingerprint, [dataclasses.asdict(column) for column in columns])
        return dataclasses.replace(file, columns=columns, fingerprint=mark, snapshot=self.snapshot.name)

    def _column(self, column: SnapshotColumn, part: SnapshotFile, shown: str, own: Types) -> FileColumn:
        kind = self.kinds[column.name]
        if column.name in part.values:
            value = part.values[column.name]
            of_folder = kind in OF_FOLDERS and _says(shown, column.name, value)
            return FileColumn(column.name, kind, value=value, of_folder=of_folder)
        place = _name_inside(column, part)
        if place not in own:
            return FileColumn(column.name, kind)
        if own[place] != UTC and not widens(own[place], column.kind):
            raise Broken(
                f"input {self.name}: {shown}: column {place!r} is {own[place]}, and the table says "
                f"{column.kind}, which does not hold each value of it"
            )
        return FileColumn(column.name, kind, place, own[place])

    def refuse_gone(self, error: NotYet) -> NoReturn:
        """Say of a file that is gone what became of the snapshot."""
        file = str(error).rpartition(": ")[0]
        text = (
            f"{self.source.address}, {self.snapshot.name}: its file {file} is gone, "
            "as a VACUUM takes those of old snapshots"
        )
        if isinstance(self.source, DeltaInput) and self.source.version is not None:
            raise Broken(f"input {self.name}: {text}; let its version be a later one") from error
        raise NotYet(f"input {self.name}: {text}; the next plan reads the newest one") from error


def _name_inside(column: SnapshotColumn, part: SnapshotFile) -> str:
    """The name of a table's column in a file: by its number, where files go by numbers."""
    if column.field_id is None:
        return column.inside
    fields = [(f.metadata or {}, str(f.name)) for f in pq.read_schema(part.path)]
    numbers = {int(said[FIELD_ID]): name for said, name in fields if FIELD_ID in said}
    if not numbers:
        raise Broken(f"{part.path}: its columns have no numbers, by which the table knows them")
    return numbers.get(column.field_id, f"no field {column.field_id}")


def _says(shown: str, key: str, value: str | None) -> bool:
    """Whether the folders of a path give a key this value, too, and no name in them is in the way."""
    try:
        values = folder_values(shown)
    except Broken:
        return False
    return value is not None and values.get(key) == value


def see_snapshots(files: Mapping[str, tuple[InputFile, ...]]) -> dict[str, str]:
    """Which snapshot is read of each input that is a table of another engine."""
    return dict(_named(files))


def _named(files: Mapping[str, tuple[InputFile, ...]]) -> Iterator[tuple[str, str]]:
    for name, input_files in files.items():
        if input_files and input_files[0].snapshot:
            yield name, input_files[0].snapshot
