"""What several kinds of input say alike: types of columns, and which days are expected."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from nightscore.common import clipped
from nightscore.job.fields import shaped

TYPE = r"[A-Za-z][A-Za-z0-9_ ]*(\([0-9]+(, ?[0-9]+)?\))?(\[\])*"
NOT_NULL = " NOT NULL"
SqlType = Annotated[str, shaped(rf"^{TYPE}$", "a type of SQL such as BIGINT, DECIMAL(18, 2) or FLOAT[]")]
Contract = Annotated[
    str,
    shaped(
        rf"^{TYPE}( NOT NULL)?$", "a type of SQL such as BIGINT or DECIMAL(18, 2), with NOT NULL or without"
    ),
]

DAILY, NO_DAYS = "daily", "none"
CODE = re.compile(r"[A-Z0-9]{4}")


def _calendar(value: Any) -> Any:
    codes = value if isinstance(value, list) else [value]
    words = () if isinstance(value, list) else (DAILY, NO_DAYS)
    if not codes or not all(isinstance(c, str) and (c in words or CODE.fullmatch(c)) for c in codes):
        raise ValueError(
            f"{clipped(value)} is not allowed; allowed: {DAILY}, {NO_DAYS}, the code of an exchange such as "
            "XNYS, or a list of such codes"
        )
    return value


Days = Annotated[
    Annotated[str, Tag("word")] | Annotated[list[str], Tag("codes")],
    Discriminator(lambda value: "codes" if isinstance(value, list) else "word"),
]
InputCalendar = Annotated[
    Annotated[Days, BeforeValidator(_calendar)] | None,
    Field(
        description="which days of a lookback are expected: daily, none, the sessions of an exchange such as "
        "XNYS, or of several; default: the days of the job's schedule"
    ),
]
NoDay = Annotated[
    Literal["refuse", "ignore"] | None,
    Field(
        description="partitions without a day (__HIVE_DEFAULT_PARTITION__, of tables a null), or rows "
        "without one in their day_column: refuse (the default), or ignore; plans and receipts name such "
        "partitions"
    ),
]
Lookback = Annotated[int, Field(ge=1, le=100_000, description="days, the scored day included")]


def rows_of_the_day(name: str, column: str) -> str:
    """SQL for the rows of the day in an input; no cast to DATE, which rounds nanoseconds up to the next."""
    day = "getvariable('day')"
    return f'SELECT * FROM "{name}" WHERE "{column}" >= {day} AND "{column}" < {day} + 1'


class Contracted:
    """An input whose `columns` are the contract of what is read."""

    if TYPE_CHECKING:  # else pydantic would take it for the model's first field
        columns: Mapping[str, str] | None
        day_column: str | None
        no_day: str | None

    @property
    def types(self) -> dict[str, str]:
        """The DuckDB type of each column of the contract."""
        return {name: kind.removesuffix(NOT_NULL) for name, kind in (self.columns or {}).items()}

    @property
    def never_null(self) -> list[str]:
        """The columns in which each row has a value: by the contract, or because they say its day."""
        declared = [name for name, kind in (self.columns or {}).items() if kind.endswith(NOT_NULL)]
        dated = [self.day_column] if self.day_column and self.no_day != "ignore" else []
        return list(dict.fromkeys([*declared, *dated]))

    def said_of_nulls(self, column: str, nulls: int) -> str:
        """What is wrong with so many nulls in a column of `never_null`, and the way on."""
        declared = (self.columns or {}).get(column, "").endswith(NOT_NULL)
        if column == self.day_column and not declared:
            way = "it says of which day a row is; no_day: ignore in the input leaves such rows out"
        else:
            way = "its contract is NOT NULL"
        return f"column {column!r} has {nulls} null{'' if nulls == 1 else 's'}; {way}"
