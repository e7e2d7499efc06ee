"""The inputs of a job, as its job.yaml says them: files of the workspace, or an output table of a job.

The contract of an input's columns is what the trade calls a data contract.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from nightscore.job.fields import Column, FilePath, Misplaced, Name, StrictModel
from nightscore.job.kinds import Kind, one_of

TYPE = r"[A-Za-z][A-Za-z0-9_ ]*(\([0-9]+(, ?[0-9]+)?\))?(\[\])*"
NOT_NULL = " NOT NULL"
SqlType = Annotated[str, StringConstraints(pattern=rf"^{TYPE}$")]
Contract = Annotated[str, StringConstraints(pattern=rf"^{TYPE}( NOT NULL)?$")]


class PathInput(StrictModel, Kind):
    """Parquet files of the workspace: hive partitions by day, or (without `partition`) one table."""

    example: ClassVar[str] = "{path: …, partition: day, lookback: days}"

    path: Annotated[FilePath, Field(description="a folder or a file, relative to the workspace")]
    partition: Annotated[
        Column | None, Field(description="hive key of the partitions: day for day=2017-11-01")
    ] = None
    lookback: Annotated[int, Field(ge=1, le=100_000, description="days, the scored day included")] = 1
    columns: Annotated[
        dict[str, Contract] | None,
        Field(
            description="the contract of the files: their columns, these and no others, each with its DuckDB "
            "type, and NOT NULL where each row has a value"
        ),
    ] = None

    known_at: Annotated[
        Column | None,
        Field(
            description="the column (TIMESTAMPTZ or DATE) that says since when a row is known: a run with "
            "--known-at TIME sees those known by then"
        ),
    ] = None

    @property
    def types(self) -> dict[str, str]:
        """The DuckDB type of each column of the contract."""
        return {name: kind.removesuffix(NOT_NULL) for name, kind in (self.columns or {}).items()}

    @property
    def never_null(self) -> list[str]:
        """The columns in which each row has a value."""
        return [name for name, kind in (self.columns or {}).items() if kind.endswith(NOT_NULL)]

    @model_validator(mode="after")
    def _lookback_needs_partition(self) -> "PathInput":
        if self.partition is None and "lookback" in self.model_fields_set:
            raise Misplaced(("lookback",), "needs partition: a table without partitions has no days")
        return self


class TableInput(StrictModel, Kind):
    """An output table of another job, or of this one (then only days before the scored one)."""

    example: ClassVar[str] = "{table: …}"

    table: Annotated[Name, Field(description="the output table's name")]
    lookback: Annotated[int, Field(ge=1, le=100_000, description="days, the scored day included")] = 1
    columns: Annotated[
        dict[Column, SqlType] | None,
        Field(description="DuckDB types of the columns, for the nights before the table has a day"),
    ] = None


KINDS: Mapping[str, type[PathInput | TableInput]] = {"path": PathInput, "table": TableInput}
if TYPE_CHECKING:
    Input = PathInput | TableInput
else:
    Input = one_of("an input", KINDS)
