"""What several kinds of input say alike: types of columns, and which days are expected."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag

from nightscore.common import clipped

TYPE = r"[A-Za-z][A-Za-z0-9_ ]*(\([0-9]+(, ?[0-9]+)?\))?(\[\])*"
NOT_NULL = " NOT NULL"
SqlType = Annotated[str, StringConstraints(pattern=rf"^{TYPE}$")]
Contract = Annotated[str, StringConstraints(pattern=rf"^{TYPE}( NOT NULL)?$")]

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
Lookback = Annotated[int, Field(ge=1, le=100_000, description="days, the scored day included")]


class Contracted:
    """An input whose `columns` are the contract of what is read."""

    if TYPE_CHECKING:  # else pydantic would take it for the model's first field
        columns: Mapping[str, str] | None

    @property
    def types(self) -> dict[str, str]:
        """The DuckDB type of each column of the contract."""
        return {name: kind.removesuffix(NOT_NULL) for name, kind in (self.columns or {}).items()}

    @property
    def never_null(self) -> list[str]:
        """The columns in which each row has a value."""
        return [name for name, kind in (self.columns or {}).items() if kind.endswith(NOT_NULL)]
