"""Types of values that several parts of a job.yaml share."""

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

WORDS: dict[str, str] = {}  # pattern -> what a text of that form is, for people


def shaped(
    pattern: str, words: str, *, min_length: int | None = None, max_length: int | None = None
) -> StringConstraints:
    """Texts of a form, which a message about another text says in words."""
    WORDS[pattern] = words
    return StringConstraints(pattern=pattern, min_length=min_length, max_length=max_length)


NAME = r"^[a-z][a-z0-9_]{0,62}$"  # of jobs and tables
Name = Annotated[
    str, shaped(NAME, "a name of small letters, digits and _, a letter first, at most 63 characters")
]
Column = Annotated[
    str,
    shaped(
        r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        "a name of letters, digits and _, no digit first, at most 63 characters",
    ),
]
Columns = Annotated[list[Column], Field(min_length=1)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=500)]
RootName = Annotated[
    str,
    shaped(
        r"^[a-z][a-z0-9_-]{0,30}$",
        "a name of small letters, digits, _ and -, a letter first, at most 31 characters",
    ),
]
SqlFile = Annotated[
    str, shaped(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.sql$", "the name of a .sql file beside job.yaml")
]
TimeOfDay = Annotated[
    str, shaped(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "a time of day as HH:MM, 00:00 to 23:59")
]
Minutes = Annotated[str, shaped(r"^[0-9]{1,4}m$", "minutes such as 90m")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _exact(value: Any, as_float: ValidatorFunctionWrapHandler) -> float:
    """A number; an integer that no float is stays the integer that it was written as."""
    number: float = as_float(value)
    return value if type(value) is int and int(number) != value else number


Number = Annotated[float, WrapValidator(_exact), PlainSerializer(lambda n: n)]
"""A number that meets the values of a column."""
Exact = Annotated[float, Field(allow_inf_nan=False), WrapValidator(_exact), PlainSerializer(lambda n: n)]
"""The same, finite."""
SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%")


class StrictModel(BaseModel):
    """A part of a job.yaml: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DecisionColumns(StrictModel):
    """Which columns of decision tables are the decision, for a bake-off as for the judge."""

    decision_columns: Annotated[
        dict[Name, Columns],
        Field(
            description="decision table -> the columns that are a decision, beside the key; default: all but "
            "floating-point numbers"
        ),
    ] = {}
    ignore: Annotated[
        list[Column], Field(description="columns of decisions in which a difference is no decision change")
    ] = []


class Misplaced(ValueError):
    """A mistake of one value that shows only beside others; `at` is the way to it from where it is raised."""

    def __init__(self, at: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.at = at


def _row_limit(value: Any) -> Any:
    share = SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    is_share = share is not None and float(share[1]) <= 100
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not (is_share or is_number):
        raise ValueError(f"{value!r} is not allowed; allowed: a number, or a share such as 0.1%")
    return value


RowLimit = Annotated[int | str, BeforeValidator(_row_limit)]
"""The most rows of a day that something may happen to: a number of them, or a share such as 0.1%."""


def share_of(text: str) -> float:
    """A share such as 0.1% as a fraction."""
    return float(text.strip(" %")) / 100


def rows_allowed(limit: int | str, rows: int) -> float:
    """How many of `rows` rows a RowLimit allows; of a share, not rounded."""
    return float(limit) if isinstance(limit, int) else float(limit.strip(" %")) * rows / 100


def number_text(number: float) -> str:
    """A number of job.yaml in a message: in six digits where they are all, else in as many as it has."""
    short = f"{number:g}"
    return short if float(short) == number else str(number)
