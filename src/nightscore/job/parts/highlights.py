"""What a job's report shows first: `highlights`, a list of SELECTs over the day's own tables.

They are no cause of any row. What runs them is `nightscore.pipeline.highlights`.
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from nightscore.common import ALLOWED_FORMATS, HTML, is_format
from nightscore.job.fields import Column, Columns, Misplaced, SqlFile, StrictModel, Text

Place = tuple[str | int, ...]

SHOWN_ROWS, SHOWN_COLUMNS = 50, 12  # of a highlight, at most
SHOWN_HIGHLIGHTS = 12  # of a job, at most


def _format(text: str) -> str:
    if not is_format(text):
        raise ValueError(f"{text!r} is no format; allowed: {ALLOWED_FORMATS}")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Listed = Annotated[Columns | None, BeforeValidator(_listed, json_schema_input_type=str | list[str])]
Format = Annotated[str, AfterValidator(_format), Field(description=f"what a column holds: {ALLOWED_FORMATS}")]


class Highlight(StrictModel):
    """A few numbers of the day: one SELECT, how its columns are written, and what they are held against."""

    title: Annotated[Text, Field(description="what the numbers are; it stands above them")]
    sql: Annotated[
        Annotated[str, StringConstraints(min_length=1)] | None,
        Field(description="one SELECT over scores and the job's other tables of the day, and params"),
    ] = None
    file: Annotated[
        SqlFile | None, Field(description="the same as a .sql file of the folder, instead of sql")
    ] = None
    format: Annotated[
        dict[Column, Format],
        Field(
            description="column -> what its numbers are; default: a float is a number, an integer an "
            "integer, a DECIMAL a decimal"
        ),
    ] = {}
    by: Annotated[
        Listed,
        Field(
            description="the columns that name a row, such as a desk: by them rows of two days are matched; "
            "default: the SELECT gives one row"
        ),
    ] = None
    against: Annotated[
        Literal["day before"] | None,
        Field(
            description="day before: the same SELECT is run over the job's last published day before, and "
            "each number is shown with its change"
        ),
    ] = None

    chart: Annotated[
        Listed,
        Field(
            description="columns of numbers that the report draws above the table, each as a line over the "
            "rows in their order, such as the days of a measure"
        ),
    ] = None

    @model_validator(mode="after")
    def _says_its_sql(self) -> "Highlight":
        if (self.sql is None) == (self.file is None):
            raise Misplaced((), "gives its SELECT by one of sql and file")
        for name in sorted(self.format.keys() & set(self.by or ())):
            raise Misplaced(("format", name), f"{name!r} names a row (by) and is written as it is")
        return self

    def check_columns(self, columns: Collection[str], numbers: Collection[str]) -> None:
        """Hold it to the columns that its SELECT gives, of which some hold numbers.

        Raises:
            Misplaced: it names one that is not there or holds no numbers, or there are too many.
        """
        if len(columns) > SHOWN_COLUMNS:
            raise Misplaced((), f"gives {len(columns)} columns; allowed: {SHOWN_COLUMNS} at most")
        lists = {"by": self.by or (), "chart": self.chart or ()}
        named: list[tuple[Place, str]] = [
            ((key, i), n) for key, names in lists.items() for i, n in enumerate(names)
        ]
        for at, name in [*named, *((("format", name), name) for name in self.format)]:
            if name not in columns:
                raise Misplaced(at, f"the SELECT gives no column {name!r}; it gives {', '.join(columns)}")
        self._check_formats(numbers)
        self._check_chart(numbers)
        if self.against and not set(numbers) - set(self.by or ()):
            raise Misplaced(("against",), "no column beside those of by holds numbers that could change")

    def _check_formats(self, numbers: Collection[str]) -> None:
        for name, form in self.format.items():
            if form == HTML and name in numbers:
                raise Misplaced(("format", name), f"{name!r} holds numbers, and no HTML")
            if form != HTML and name not in numbers:
                shown = ", ".join(numbers) or "none"
                raise Misplaced(("format", name), f"{name!r} holds no numbers; columns that do: {shown}")

    def _check_chart(self, numbers: Collection[str]) -> None:
        for i, name in enumerate(self.chart or ()):
            if name in (self.by or ()):
                raise Misplaced(("chart", i), f"{name!r} names a row (by) and is no line")
            if name not in numbers:
                shown = ", ".join(numbers) or "none"
                raise Misplaced(("chart", i), f"{name!r} holds no numbers; columns that do: {shown}")
