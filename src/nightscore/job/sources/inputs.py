"""The inputs of a job, as its job.yaml says them: files of the workspace, or an output table of a job.

The contract of an input's columns is what the trade calls a data contract.
"""

import datetime as dt
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from nightscore.common import clipped
from nightscore.job.fields import (
    Column,
    FilePath,
    Minutes,
    Misplaced,
    Name,
    RootName,
    RowLimit,
    StrictModel,
    shaped,
)
from nightscore.job.kinds import Kind, one_of
from nightscore.job.sources.csv_form import CsvForm
from nightscore.job.sources.input_fields import (
    Contract,
    Contracted,
    InputCalendar,
    Lookback,
    NoDay,
    SqlType,
    rows_of_the_day,
)
from nightscore.job.sources.layout import ALLOWED, Layout, parse_layout
from nightscore.job.sources.snapshot_inputs import DeltaInput, IcebergInput

QUOTED = "partition: 'dt={day:%Y%m%d}'"
OF_IMAGES = {"file": "VARCHAR", "content": "BLOB"}  # the columns of an input of images, a file a row


def _partition(value: Any) -> Any:
    problem = "" if isinstance(value, str) else f"{clipped(value)} is not allowed; {ALLOWED}"
    if isinstance(value, Mapping):
        problem = f"is a template without quotes, which YAML takes for a mapping; quote it: {QUOTED}"
    if problem:
        raise ValueError(problem)
    parse_layout(value)
    return value


Partition = Annotated[
    str,
    BeforeValidator(_partition),
    StringConstraints(min_length=1, max_length=200),
]


class Ready(StrictModel):
    """When a day of an input is complete; of several rules all have to hold."""

    file: Annotated[
        str | None,
        shaped(r"^[^/]+$", "a name without /", min_length=1, max_length=200),
        Field(
            description="a file that says so, in the day's folder, such as _SUCCESS; beside a file a day its "
            "name may hold the day: 'customers_{day:%Y%m%d}.done'"
        ),
    ] = None
    count: Annotated[
        int | None, Field(ge=1, description="this many folders with data below the day's, or files")
    ] = None
    rows: Annotated[int | None, Field(ge=1, description="at least this many rows, by the files' footers")] = (
        None
    )
    age: Annotated[
        Minutes | None,
        Field(description="no file of the day is newer than this many minutes, such as 10m"),
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> "Ready":
        if not self.model_fields_set:
            raise ValueError("says nothing; allowed: file, count, rows, age")
        if "{" in (self.file or ""):
            parse_layout(self.file or "")
        return self

    def mark(self, day: dt.date) -> str:
        """The name of the file that says that a day is complete; empty where none does."""
        name = self.file or ""
        return (parse_layout(name).path_of(day) or "") if "{" in name else name

    @property
    def pattern(self) -> list[str]:
        """What is left out as no data, as a pattern of `ignore`."""
        return [re.sub(r"\{[^}]*\}", "*", self.file)] if self.file else []


class PathInput(Contracted, StrictModel, Kind):
    """Parquet files of the workspace, or of a root: partitions by day, or (without `partition`) one table."""

    example: ClassVar[str] = "{path: …, partition: day, lookback: days}"

    path: Annotated[FilePath, Field(description="a folder or a file, relative to the workspace or the root")]
    partition: Annotated[
        Partition | None,
        Field(
            description="how the days lie: the hive key of the partitions (day for day=2017-11-01), or a "
            "template of names in quotes, such as 'dt={day:%Y%m%d}', "
            "'year={day:%Y}/month={day:%m}/day={day:%d}', "
            "'region=*/day={day}' or 'customers_{day:%Y%m%d}.parquet'"
        ),
    ] = None
    lookback: Lookback = 1
    columns: Annotated[
        dict[str, Contract] | None,
        Field(
            description="the contract of the files: their columns, these and no others, each with its DuckDB "
            "type, and NOT NULL where each row has a value; and the types of what folders give, else text"
        ),
    ] = None

    root: Annotated[
        RootName | None,
        Field(
            description="a root of the workspace, as workspace.yaml names it; default: the workspace itself"
        ),
    ] = None
    partition_column: Annotated[
        Literal["folder", "file"] | None,
        Field(
            description="which counts where a column stands in the files and in the names of their folders: "
            "folder, or file (then folders give no columns); default: broken where they differ"
        ),
    ] = None
    ignore: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=200)]],
        Field(
            description="patterns (*, ?) of names, or of paths below `path`, that are left out; plans and "
            "receipts name what they match"
        ),
    ] = []
    day_column: Annotated[
        Column | None,
        Field(
            description="the column (DATE or a timestamp, in UTC) that says of which day a row is, where "
            "files have no partitions: a run sees the rows of its days alone"
        ),
    ] = None
    format: Annotated[
        Literal["parquet", "csv", "json", "image"],
        Field(
            description="parquet; csv (with a header) or json (lines), also .gz and .zst, "
            "whose `columns` have to be given; or image, PNG and JPEG files, each a row of `file`, its path "
            "below `path`, and `content`, its bytes"
        ),
    ] = "parquet"
    csv: Annotated[
        CsvForm | None,
        Field(
            description="how CSV files are written, such as {delimiter: ';', decimal: ','}; default: with "
            "commas, double quotes, points and UTF-8"
        ),
    ] = None
    bad_lines: Annotated[
        RowLimit | None,
        Field(
            description="the most lines of csv or json, a number or 0.1%, that may be left out since they "
            "can't be read, or hold a value that is none of its column's type: they go to <job>_bad_lines; "
            "default: the first one stops the run"
        ),
    ] = None
    no_day: NoDay = None
    ready: Annotated[
        Ready | None,
        Field(
            description="when the day's partition is complete; until then the run is not yet, whatever "
            "policy.missing says"
        ),
    ] = None
    calendar: InputCalendar = None
    known_at: Annotated[
        Column | None,
        Field(
            description="the column (TIMESTAMPTZ or DATE) that says since when a row is known: a run with "
            "--known-at TIME sees those known by then"
        ),
    ] = None

    since: Annotated[
        Column | None,
        Field(
            description="the column (DATE) that says from which day on a row holds, of a table in one file: "
            "a run sees the rows up to its day, and no later one is a cause of it"
        ),
    ] = None

    @property
    def address(self) -> str:
        """Where it lies, as plans and receipts write it: path, or root:path."""
        return self.path if self.root is None else f"{self.root}:{self.path}"

    @cached_property
    def layout(self) -> Layout | None:
        """How its days lie below `path`; None without partitions."""
        return None if self.partition is None else parse_layout(self.partition)

    @property
    def has_days(self) -> bool:
        """Whether its rows are of days: by partitions, or by a column."""
        return self.layout is not None or self.day_column is not None

    @property
    def is_text(self) -> bool:
        """Whether its files are lines of text."""
        return self.format in ("csv", "json")

    @property
    def types(self) -> dict[str, str]:
        """The DuckDB type of each column of the contract; of images those that each input of them has."""
        return dict(OF_IMAGES) if self.format == "image" else super().types

    def day_select(self, name: str) -> str | None:
        """SQL for the rows of the day, called `name`; None where its files of the day are streamed."""
        if self.day_column is not None:
            return rows_of_the_day(name, self.day_column)
        if self.format == "parquet" or self.layout is None:
            return None
        return f'SELECT * FROM "{name}" WHERE "{self.layout.column}" = getvariable(\'day\')'

    @property
    def never_null(self) -> list[str]:
        """The columns in which each row has a value: also that which says from when on it holds."""
        since = [self.since] if self.since else []
        return list(dict.fromkeys([*super().never_null, *since]))

    @model_validator(mode="after")
    def _lookback_needs_partition(self) -> "PathInput":
        for key in ("lookback", "calendar", "partition_column", "no_day", "ready"):
            said = key in self.model_fields_set and getattr(self, key) is not None
            by_column = key in ("lookback", "calendar", "no_day") and self.day_column is not None
            if self.partition is None and said and not by_column:
                raise Misplaced((key,), "needs partition: a table without partitions has no days")
        for key in ("since", "day_column"):
            if self.partition is not None and getattr(self, key) is not None:
                raise Misplaced((key,), "is for a table without partitions: of those no later day is seen")
        if self.since is not None and self.day_column is not None:
            raise Misplaced(("since",), "and day_column both cut the rows at the day; give one")
        return self

    @model_validator(mode="after")
    def _text_needs_columns(self) -> "PathInput":
        if not self.is_text:
            return self
        if not self.columns:
            raise Misplaced(("format",), f"{self.format} has no types of its own: give them as columns")
        if self.partition_column == "file":
            raise Misplaced(("partition_column",), f"file: of {self.format} folders give the day")
        if self.day_column is not None and self.day_column not in self.columns:
            raise Misplaced(("day_column",), f"{self.day_column!r} is none of columns")
        return self

    @model_validator(mode="after")
    def _rows_have_a_time(self) -> "PathInput":
        for key in ("since", "known_at", *(() if self.is_text else ("day_column",))):
            if self.format != "parquet" and getattr(self, key) is not None:
                raise Misplaced((key,), f"needs Parquet files, and the format is {self.format}")
        return self

    @model_validator(mode="after")
    def _images_have_their_columns(self) -> "PathInput":
        for key in ("columns", "partition_column"):
            if self.format == "image" and getattr(self, key) is not None:
                raise Misplaced((key,), f"of images a row has {' and '.join(OF_IMAGES)}; leave {key} out")
        return self

    @model_validator(mode="after")
    def _csv_is_of_csv(self) -> "PathInput":
        if self.csv is not None and self.format != "csv":
            raise Misplaced(("csv",), f"says how CSV files are written, and the format is {self.format}")
        return self

    @model_validator(mode="after")
    def _bad_lines_are_of_text(self) -> "PathInput":
        if self.bad_lines is not None and not self.is_text:
            raise Misplaced(("bad_lines",), f"are of csv and json, and the format is {self.format}")
        return self

    @model_validator(mode="after")
    def _footers_are_of_parquet(self) -> "PathInput":
        if self.format != "parquet" and self.ready and self.ready.rows is not None:
            raise Misplaced(("ready", "rows"), f"are counted by footers, and {self.format} has none")
        return self


class TableInput(StrictModel, Kind):
    """An output table of another job, or of this one (then only days before the scored one)."""

    example: ClassVar[str] = "{table: …}"

    table: Annotated[Name, Field(description="the output table's name")]
    lookback: Lookback = 1
    columns: Annotated[
        dict[Column, SqlType] | None,
        Field(description="DuckDB types of the columns, for the nights before the table has a day"),
    ] = None
    calendar: InputCalendar = None
    as_reported: Annotated[
        bool,
        Field(
            description="each day as it was first published, whatever was published again since, as "
            "`nightscore query --as-reported` reads it"
        ),
    ] = False


KINDS: Mapping[str, type[PathInput | TableInput | DeltaInput | IcebergInput]] = {
    "path": PathInput, "table": TableInput, "delta": DeltaInput, "iceberg": IcebergInput,
}  # fmt: skip
if TYPE_CHECKING:
    Input = PathInput | TableInput | DeltaInput | IcebergInput
else:
    Input = one_of("an input", KINDS)
