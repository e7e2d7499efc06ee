"""Where a job's published day goes onward: `deliver`, a list of deliveries. It is no cause of any row."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from nightscore.job.fields import (
    Column,
    Columns,
    Misplaced,
    Name,
    RootName,
    StrictModel,
    shaped,
)

LATE_DAYS = 2  # after so many days a day is late, unless the job says otherwise
BUILT_IN = ("postgres", "files")
PLACEHOLDERS = ("day", "job", "table", "run")
Identifier = Column
TableName = Annotated[
    str,
    shaped(
        r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$",
        "a table, or a schema and a table, such as crm.scores",
    ),
]


class Postgres(StrictModel):
    """A table of a PostgreSQL."""

    connection: Annotated[
        RootName,
        Field(description="its name: NIGHTSCORE_CONNECTION_<NAME>, or in Airflow the connection's id"),
    ]
    table: Annotated[TableName, Field(description="TABLE or SCHEMA.TABLE; made where it is not there")]
    key: Annotated[Columns, Field(description="unique in each day; it is looked up by it")]
    mode: Annotated[
        Literal["replace_day", "upsert"],
        Field(
            description="replace_day: a row for each day and key; upsert: the newest day's row of each key"
        ),
    ] = "replace_day"

    @property
    def name(self) -> str:
        """What the delivery is called by default."""
        return f"{self.connection}_{self.table}"

    @property
    def target(self) -> str:
        """Where it goes, for people."""
        return f"{self.connection}: table {self.table}"


class Files(StrictModel):
    """A file in a root that may be written."""

    root: Annotated[RootName, Field(description="a root of workspace.yaml with write: true")]
    path: Annotated[
        str,
        Field(
            min_length=1, max_length=500,
            description="below the root, with {day} or {run} in it; {job} and {table} may be",
        ),
    ]  # fmt: skip
    format: Annotated[
        Literal["csv", "parquet", "json"], Field(description="json: an object a line; .gz of path: gzip")
    ]
    manifest: Annotated[
        bool, Field(description="a manifest beside it, written last: rows, bytes, sha256, columns")
    ] = False

    @field_validator("path")
    @classmethod
    def _stays_below(cls, path: str) -> str:
        named = re.findall(r"\{([^{}]*)\}", path)
        unknown = [name for name in named if name not in PLACEHOLDERS]
        if unknown or set("{}") & set(re.sub(r"\{[^{}]*\}", "", path)):
            raise ValueError(f"allowed in braces: {', '.join(PLACEHOLDERS)}")
        if not {"day", "run"} & set(named):
            raise ValueError("has no {day}: each day would take the place of the one before; write it in")
        parts = path.split("/")
        if path.startswith("/") or "\\" in path or any(part in ("", ".", "..") for part in parts):
            raise ValueError("is no path below the root; write names with / between them")
        return path

    @property
    def name(self) -> str:
        """What the delivery is called by default."""
        return f"{self.root}_{self.path.rpartition('/')[2]}"

    @property
    def target(self) -> str:
        """Where it goes, for people."""
        return f"{self.root}:{self.path}"


class Late(StrictModel):
    """From when on a day is of no use any more."""

    skip_after: Annotated[int, Field(ge=0, le=36_500, description="days after the day that is scored")]


class Delivery(StrictModel):
    """One delivery: of which table, to where."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, populate_by_name=True)

    name: Annotated[
        Annotated[
            str,
            shaped(
                r"^[a-z][a-z0-9_-]{0,62}$",
                "a name of small letters, digits, _ and -, a letter first, at most 63 characters",
            ),
        ]
        | None,
        Field(description="what it is called; default: of its kind and its target"),
    ] = None
    from_: Annotated[
        Name | None,
        Field(alias="from", description="a table of the job; default: its first decision, else its scores"),
    ] = None
    late: Annotated[
        Literal["send", "skip"] | Late | None,
        Field(
            description=f"of a day that comes late: send it, or skip it (after {LATE_DAYS} days; skip_after: "
            "after others); default: send, or what a plug-in says"
        ),
    ] = None
    postgres: Annotated[Postgres | None, Field(description="a table of a PostgreSQL")] = None
    files: Annotated[Files | None, Field(description="a file in a root that may be written")] = None

    @model_validator(mode="after")
    def _one_target(self) -> "Delivery":
        given = [kind for kind in BUILT_IN if getattr(self, kind) is not None]
        given += list(self.__pydantic_extra__ or {})
        if len(given) != 1:
            said = ", ".join(given) or "none"
            raise ValueError(
                f"has {said} for a target; allowed: one of {', '.join(BUILT_IN)}, or an installed plug-in's "
                "name, and beside it name, from, late"
            )
        if given[0] not in BUILT_IN and not isinstance(self.settings, Mapping):
            raise Misplaced((given[0],), "a plug-in's settings are a mapping")
        return self

    @property
    def kind(self) -> str:
        """postgres, files, or the name of a plug-in."""
        own = [kind for kind in BUILT_IN if getattr(self, kind) is not None]
        return [*own, *(self.__pydantic_extra__ or {})][0]

    @property
    def settings(self) -> Any:
        """What a plug-in is told; a part of ours as its model."""
        return getattr(self, self.kind)

    @property
    def called(self) -> str:
        """Its name, given or made of kind and target."""
        target = self.settings.name if self.kind in BUILT_IN else ""
        made = re.sub(r"[^a-z0-9_-]+", "_", f"{self.kind}_{target}".lower()).strip("_")
        return self.name or made[:63]

    @property
    def target(self) -> str:
        """Where it goes, for people; of a plug-in, whose settings are its own, its kind."""
        return str(self.settings.target) if self.kind in BUILT_IN else self.kind

    def skips_after(self, default: str = "send") -> int | None:
        """After how many days it is skipped; None where a day is sent whenever it comes."""
        late = self.late or default
        if isinstance(late, Late):
            return late.skip_after
        return LATE_DAYS if late == "skip" else None


def check_deliveries(deliveries: Sequence[Delivery], tables: Sequence[str]) -> None:
    """Hold the deliveries of a job to each other and to its tables.

    Raises:
        Misplaced: two have one name or one target, or one is of a table that the job does not publish.
    """
    seen: set[str] = set()
    targets: set[str] = set()
    for i, one in enumerate(deliveries):
        if one.called in seen:
            raise Misplaced((i,), f"there are two deliveries {one.called!r}; give one another name")
        seen.add(one.called)
        if one.kind in BUILT_IN and one.target in targets:
            raise Misplaced((i, one.kind), f"two deliveries go to {one.target}; one would undo the other")
        targets.add(one.target)
        if one.from_ is not None and one.from_ not in tables:
            raise Misplaced(
                (i, "from"), f"{one.from_!r} is no table of the job; allowed: {', '.join(tables)}"
            )
