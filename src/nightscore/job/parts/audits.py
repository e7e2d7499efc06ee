"""What a job asks of a day before it is published, as its job.yaml says it: SQL of its own, or built in.

A new kind is a class here with its line in `KINDS`, and what answers it in
`nightscore.pipeline.audits.kinds`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from nightscore.job.fields import (
    Column,
    Columns,
    Exact,
    Finite,
    Misplaced,
    Name,
    SqlFile,
    StrictModel,
    Text,
    number_text,
)
from nightscore.job.kinds import Kind, one_of

Previous = Annotated[
    Literal["previous"], Field(description="the job's last published day before the scored one")
]
Severity = Annotated[
    Literal["fail", "warn"], Field(description="fail: nothing is published; warn: it is only noted")
]

SCORES = "scores"  # the day's scored rows, as SQL sees them


@dataclass(frozen=True)
class Known:
    """The names that a job's audits may use: columns of its scores (no key), tables it makes, inputs."""

    columns: tuple[str, ...]
    made: tuple[str, ...]
    inputs: tuple[str, ...]


class RowsBetween(StrictModel):
    """The rows of the day, as a share of another day's."""

    between: Annotated[
        list[Annotated[Finite, Field(ge=0)]],
        Field(min_length=2, max_length=2, description="smallest and largest share that pass: [0.8, 1.25]"),
    ]
    of: Previous = "previous"

    @model_validator(mode="after")
    def _is_an_interval(self) -> "RowsBetween":
        low, high = self.between
        if low > high:
            raise Misplaced(("between",), f"[{low:g}, {high:g}] holds no share; allowed: [smallest, largest]")
        return self

    def __str__(self) -> str:
        low, high = self.between
        return f"the rows are {low:g} to {high:g} times those of the day before"


class Drift(StrictModel):
    """How far the values of some columns may have moved since another day."""

    columns: Annotated[
        Columns, Field(description="columns of the scores: kept ones, or outputs of the model")
    ]
    psi: Annotated[
        Finite, Field(gt=0, description="the largest Population Stability Index that always passes")
    ] = 0.2
    confidence: Annotated[
        float,
        Field(
            ge=0.9,
            lt=1,
            description="a column fails whose index is above psi and above that of this share of equal days, "
            "whose values differ by chance alone",
        ),
    ] = 0.99
    of: Previous = "previous"

    def __str__(self) -> str:
        return f"{', '.join(self.columns)}: psi of at most {self.psi:g} against the day before"


class Bounds(StrictModel):
    """Between what bounds a score lies, and how many different values it has at least."""

    column: Annotated[Column, Field(description="a column of numbers of the scores, kept or an output")]
    min: Annotated[Exact | None, Field(description="no row lies below")] = None
    max: Annotated[Exact | None, Field(description="no row lies above")] = None
    distinct: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="at least this many different values")
    ] = None

    @model_validator(mode="after")
    def _asks_something(self) -> "Bounds":
        if (self.min, self.max, self.distinct) == (None, None, None):
            raise Misplaced((), "asks nothing; give it min, max or distinct")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Misplaced(("max",), f"{number_text(self.max)} is below min, {number_text(self.min)}")
        return self

    def __str__(self) -> str:
        limits = [f"at least {number_text(self.min)}"] if self.min is not None else []
        limits += [f"at most {number_text(self.max)}"] if self.max is not None else []
        limits += [f"{self.distinct:,} different values or more"] if self.distinct else []
        return f"{self.column}: {', '.join(limits)}"


class Coverage(StrictModel):
    """What share of the keys of one table stands in another."""

    of: Annotated[Name, Field(description="an input, as the job sees it on the day; scores; or a decision")]
    key: Annotated[Columns, Field(description="columns of both; their different values without null count")]
    at_least: Annotated[float, Field(gt=0, le=1, description="the smallest share that passes")]
    in_: Annotated[Name, Field(alias="in", description="scores, or a decision table")] = SCORES

    def __str__(self) -> str:
        return f"{self.at_least * 100:.10g} % of the {', '.join(self.key)} of {self.of} are in {self.in_}"


class Parity(StrictModel):
    """A second query that has to give the very rows of a table, on some of the days."""

    full: Annotated[
        SqlFile,
        Field(description="a .sql file of the folder: one SELECT over the inputs that gives the same rows"),
    ]
    of: Annotated[Name, Field(description="scores, or a decision table: whose rows they have to be")] = SCORES
    every: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="asked on one day in so many, by a hash of the day, so that reruns agree; and on "
            "each day for which the job's own tables have none to go on from, or days of an input lie "
            "between them and its lookback",
        ),
    ] = 30
    lookback: Annotated[
        dict[Name, Annotated[int, Field(ge=1, le=100_000)]],
        Field(description="input -> the days, the scored one included, that the full query sees of it"),
    ] = {}

    def __str__(self) -> str:
        often = f", asked on one day in {self.every:,}" if self.every > 1 else ""
        return f"the rows of {self.of} are those of {self.full}{often}"


class SqlAudit(StrictModel, Kind):
    """One SELECT that gives one boolean; a failed one with severity `fail` stops the publish."""

    example: ClassVar[str] = "{name: …, sql: …}"

    name: Annotated[Text, Field(description="what holds when the audit passes")]
    sql: Annotated[
        str,
        StringConstraints(min_length=1),
        Field(description="one SELECT of one boolean over scores, the decision tables and the inputs"),
    ]
    severity: Severity = "fail"

    def __str__(self) -> str:
        return self.name

    def check_names(self, known: Known) -> None:
        """Check nothing: only DuckDB knows what the SQL names."""


class BuiltInAudit(StrictModel, Kind):
    """A question that the framework answers by itself."""

    name: Annotated[
        Text | None, Field(description="what holds when the audit passes; default: its settings in words")
    ] = None
    severity: Severity = "fail"

    def check_names(self, known: Known) -> None:
        """Check the names that it uses against those of its job.

        Raises:
            Misplaced: it names one that is not there.
        """


class RowsAudit(BuiltInAudit):
    """As many rows as on another day, about."""

    example: ClassVar[str] = "{rows: {between: [low, high]}}"

    rows: Annotated[RowsBetween, Field(description="the rows of the day, as a share of another day's")]

    def __str__(self) -> str:
        return self.name or str(self.rows)


class DriftAudit(BuiltInAudit):
    """Values that have not moved since another day, more than a little and more than by chance."""

    example: ClassVar[str] = "{drift: {columns: […]}}"

    drift: Annotated[Drift, Field(description="how far the values of columns may have moved")]

    def __str__(self) -> str:
        return self.name or str(self.drift)

    def check_names(self, known: Known) -> None:
        """Raise `Misplaced` unless each column is one of the scores."""
        for i, column in enumerate(self.drift.columns):
            _known(("drift", "columns", i), column, known.columns, "no column of the scores that can drift")


class ScoresAudit(BuiltInAudit):
    """A score within its bounds, and not the same everywhere."""

    example: ClassVar[str] = "{scores: {column: …}}"

    scores: Annotated[Bounds, Field(description="the bounds of a score, and its different values")]

    def __str__(self) -> str:
        return self.name or str(self.scores)

    def check_names(self, known: Known) -> None:
        """Raise `Misplaced` unless the column is one of the scores."""
        _known(
            ("scores", "column"), self.scores.column, known.columns, "no column of the scores that has bounds"
        )


class CoverageAudit(BuiltInAudit):
    """Nearly every key of one table in another."""

    example: ClassVar[str] = "{coverage: {of: …, key: […], at_least: …}}"

    coverage: Annotated[Coverage, Field(description="what share of a table's keys another one holds")]

    def __str__(self) -> str:
        return self.name or str(self.coverage)

    def check_names(self, known: Known) -> None:
        """Raise `Misplaced` unless the job's SQL sees the one table and makes the other."""
        coverage = self.coverage
        _known(("coverage", "of"), coverage.of, (*known.inputs, *known.made), "no input or table of the job")
        _known(("coverage", "in"), coverage.in_, known.made, "no table that the job makes")


class ParityAudit(BuiltInAudit):
    """The rows of a table are, one by one, those that another query gives, which reads more."""

    example: ClassVar[str] = "{parity: {full: …}}"

    parity: Annotated[Parity, Field(description="the other query, and on which days it is asked")]

    def __str__(self) -> str:
        return self.name or str(self.parity)

    def check_names(self, known: Known) -> None:
        """Raise `Misplaced` unless the job makes the table, and has the inputs."""
        _known(("parity", "of"), self.parity.of, known.made, "no table that the job makes")
        for name in self.parity.lookback:
            _known(("parity", "lookback", name), name, known.inputs, "no input of the job")


def _known(at: tuple[str | int, ...], name: str, allowed: Collection[str], wrong: str) -> None:
    if name not in allowed:
        raise Misplaced(at, f"{name!r} is {wrong}; allowed: {', '.join(allowed)}")


KINDS: Mapping[str, type[SqlAudit | BuiltInAudit]] = {
    "sql": SqlAudit,
    "rows": RowsAudit,
    "drift": DriftAudit,
    "scores": ScoresAudit,
    "coverage": CoverageAudit,
    "parity": ParityAudit,
}
if TYPE_CHECKING:
    Audit = SqlAudit | BuiltInAudit
else:
    Audit = one_of("an audit", KINDS)
