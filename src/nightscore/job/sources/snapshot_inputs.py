"""Inputs that are tables of other engines, at a snapshot: Delta Lake and Iceberg."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from nightscore.job.fields import Column, FilePath, Misplaced, Name, RootName, StrictModel
from nightscore.job.kinds import Kind
from nightscore.job.sources.input_fields import (
    Contract,
    Contracted,
    InputCalendar,
    Lookback,
    NoDay,
    rows_of_the_day,
)


class SnapshotInput(Contracted, StrictModel, Kind):
    """A table of another engine at a snapshot: its rows are those that its metadata says."""

    layout: ClassVar[None] = None

    root: Annotated[
        RootName | None,
        Field(
            description="a root of the workspace, as workspace.yaml names it; default: the workspace itself"
        ),
    ] = None
    partition: Annotated[
        Column | None,
        Field(description="the column that the table is partitioned by, and that is the day; a DATE to SQL"),
    ] = None
    day_column: Annotated[
        Column | None,
        Field(
            description="the column (DATE or a timestamp, in UTC) that says of which day a row is, where "
            "no partition does"
        ),
    ] = None
    no_day: NoDay = None
    lookback: Lookback = 1
    columns: Annotated[
        dict[str, Contract] | None,
        Field(
            description="the contract of the table: the columns that are read, each with its DuckDB type, "
            "and NOT NULL where each row has a value; default: all that it has, as it says them"
        ),
    ] = None
    calendar: InputCalendar = None
    known_at: Annotated[
        Column | None,
        Field(description="the column (TIMESTAMPTZ or DATE) that says since when a row is known"),
    ] = None

    @property
    def address(self) -> str:
        """Where it lies, as plans and receipts write it: path, or root:path."""
        raise NotImplementedError

    @property
    def has_days(self) -> bool:
        """Whether its rows are of days: by partitions, or by a column."""
        return self.partition is not None or self.day_column is not None

    def day_select(self, name: str) -> str | None:
        """SQL for the rows of the day, called `name`; None where its files of the day are streamed."""
        if self.day_column is None:
            return None
        return rows_of_the_day(name, self.day_column)

    @model_validator(mode="after")
    def _days_need_a_column(self) -> "SnapshotInput":
        for key in ("lookback", "calendar", "no_day"):
            if not self.has_days and key in self.model_fields_set:
                raise Misplaced((key,), "needs partition or day_column: else no row is of a day")
        if self.partition is not None and self.day_column is not None:
            raise Misplaced(("day_column",), "is for a table whose partitions are no days; give one of both")
        return self


class DeltaInput(SnapshotInput):
    """A Delta Lake table of another engine."""

    example: ClassVar[str] = "{delta: …, partition: day, lookback: days}"

    delta: Annotated[FilePath, Field(description="its folder, relative to the workspace or the root")]
    version: Annotated[
        int | None, Field(ge=0, description="the version that is read; default: the newest, at each plan")
    ] = None

    @property
    def address(self) -> str:
        """Where it lies, as plans and receipts write it: path, or root:path."""
        return self.delta if self.root is None else f"{self.root}:{self.delta}"


class IcebergInput(SnapshotInput):
    """An Iceberg table of another engine."""

    example: ClassVar[str] = "{iceberg: …, partition: day, lookback: days}"

    iceberg: Annotated[
        FilePath,
        Field(
            description="its metadata file, or its folder where that has a version-hint.text, relative to "
            "the workspace or the root; with catalog its name there"
        ),
    ]
    catalog: Annotated[
        Name | None, Field(description="a catalog of pyiceberg's own configuration, which knows the table")
    ] = None
    snapshot: Annotated[
        int | None, Field(description="the snapshot that is read; default: the current one, at each plan")
    ] = None

    @property
    def address(self) -> str:
        """Where it lies, as plans and receipts write it: path, or root:path; or its name in a catalog."""
        return self.iceberg if self.root is None else f"{self.root}:{self.iceberg}"

    @model_validator(mode="after")
    def _catalog_or_root(self) -> "IcebergInput":
        if self.catalog is not None and self.root is not None:
            raise Misplaced(("root",), "is of a path, and catalog of a name; allowed: one of them")
        return self
