"""What happens to days without data and to rows that can't be scored; which values a row may have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nightscore.common import Size
from nightscore.job.fields import (
    Exact,
    Misplaced,
    RowLimit,
    StrictModel,
    number_text,
    rows_allowed,
    shaped,
)

Period = Annotated[
    str, shaped(r"^[1-9][0-9]{0,5}[smh]$", "a duration such as 90m or 2h: a number, and s, m or h")
]
"""A time such as 90m."""


def seconds_of(period: str) -> int:
    """A period in seconds."""
    return int(period[:-1]) * {"s": 1, "m": 60, "h": 3600}[period[-1]]


class Policy(StrictModel):
    """What to do with a day without data, and with a row that breaks its contract or can't be scored."""

    missing: Annotated[
        Literal["fail", "wait", "skip"],
        Field(description="the day has no partition: broken, not yet, or no run"),
    ] = "fail"
    gaps: Annotated[
        Literal["fail", "warn"],
        Field(
            description="an expected day of a lookback has no partition: broken (not yet, if missing is "
            "wait), or said in plan and receipt"
        ),
    ] = "warn"
    empty: Annotated[
        Literal["fail", "publish"], Field(description="there are no rows to score: broken, or an empty day")
    ] = "fail"
    bad_row: Annotated[
        Literal["fail", "reject"],
        Field(
            description="a row without a key, outside its domain, or that the model can't score: nothing is "
            "published, or the row goes to the table <job>_rejects instead"
        ),
    ] = "fail"
    value_lost: Annotated[
        Literal["fail", "reject", "count"],
        Field(
            description="an integer, or a finite number, that the type in which the model computes can't "
            "hold: nothing is published, or the row goes to <job>_rejects, or the nearest number is scored "
            "and the receipt counts it by column"
        ),
    ] = "fail"
    max_rejected: Annotated[
        RowLimit,
        Field(
            description="the most rows that may be rejected, a number or 0.1%; beyond it nothing is published"
        ),
    ] = 0

    def max_rejected_rows(self, rows: int) -> int:
        """The most of `rows` rows that may be rejected; of a share, its whole rows."""
        return int(rows_allowed(self.max_rejected, rows) + 1e-9)


class Limits(StrictModel):
    """The most that a day may be, however small its files are: beyond it nothing is published."""

    rows: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="rows of the input files, all together")
    ] = None
    bytes: Annotated[
        Size | None, Field(description="bytes of the input files when they are decoded, all together: 200GB")
    ] = None
    time: Annotated[
        Period | None,
        Field(description="how long one SQL statement, or the scoring of one piece, may take: 90m"),
    ] = None

    load: Annotated[
        Period,
        Field(description="how long opening the model may take, in each process that scores: 10m"),
    ] = "1h"

    @property
    def seconds(self) -> float | None:
        """The time in seconds."""
        return seconds_of(self.time) if self.time else None

    @property
    def load_seconds(self) -> float:
        """The time of opening the model, in seconds."""
        return seconds_of(self.load)


class Domain(StrictModel):
    """What values a column may have, of the features or of the model's outputs."""

    null: Annotated[bool, Field(description="false: each row has a value, no null and no NaN")] = True
    min: Annotated[Exact | None, Field(description="no value lies below")] = None
    max: Annotated[Exact | None, Field(description="no value lies above")] = None
    in_: Annotated[
        Annotated[list[str | int | bool], Field(min_length=1)] | None,
        Field(alias="in", description="the only values that there are"),
    ] = None

    @model_validator(mode="after")
    def _asks_something(self) -> "Domain":
        if self.null and self.min is None and self.max is None and self.in_ is None:
            raise Misplaced((), "allows every value; give it min, max, in or null: false")
        if self.in_ is not None and (self.min is not None or self.max is not None):
            raise Misplaced(("in",), "names the values already; leave min and max out")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Misplaced(("max",), f"{number_text(self.max)} is below min, {number_text(self.min)}")
        return self

    def __str__(self) -> str:
        limits = [f"at least {number_text(self.min)}"] if self.min is not None else []
        limits += [f"at most {number_text(self.max)}"] if self.max is not None else []
        limits += [f"one of {', '.join(map(str, self.in_))}"] if self.in_ is not None else []
        return ", ".join(limits)
