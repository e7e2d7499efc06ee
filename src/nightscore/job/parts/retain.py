"""How long what a job has published is kept. No cause of its rows.

Light to import, as all of a job's spec.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from nightscore.job.fields import Misplaced, Name, StrictModel

PERIOD = re.compile(r"([1-9][0-9]{0,4}) days?")


def _period(value: Any) -> Any:
    if not (isinstance(value, str) and PERIOD.fullmatch(value.strip())):
        raise ValueError(f"{value!r} is not allowed; allowed: a number of days, such as 90 days")
    return value.strip()


Period = Annotated[str, BeforeValidator(_period)]
"""A number of days, written out: `90 days`."""


class Retain(StrictModel):
    """How long what a job publishes is kept; as a word, `days` alone. Without a period it is kept for ever.

    `nightscore gc` removes what is older. Receipts are never removed.
    """

    days: Annotated[
        Period | None, Field(description="of every table: a day is kept for so long after its date")
    ] = None
    tables: Annotated[
        dict[Name, Period], Field(description="table -> how long its days are kept, instead of `days`")
    ] = {}
    versions: Annotated[
        Period | None,
        Field(description="what a later run has replaced, for time travel: for so long after that run"),
    ] = None
    rejects: Annotated[
        Period | None, Field(description="rows and lines that were set aside, instead of `days`")
    ] = None
    features: Annotated[
        Period | None, Field(description="snapshots of features, of which `recheck` scores again")
    ] = None
    reports: Annotated[Period | None, Field(description="pages of `nightscore report`")] = None

    @model_validator(mode="after")
    def _says_something(self) -> "Retain":
        if not self.model_fields_set:
            raise Misplaced((), "says no period; such as retain: 90 days, or leave it out")
        return self

    def of_table(self, table: str, *, set_aside: bool = False) -> int | None:
        """For how many days a table keeps each of its days; None: for ever. `set_aside`: it holds rejects."""
        usual = self.rejects or self.days if set_aside else self.days
        return in_days(self.tables.get(table, usual))


def in_days(period: str | None) -> int | None:
    """A period in days; None of none."""
    found = PERIOD.fullmatch(period) if period else None
    return int(found[1]) if found else None


def read_retain_word(value: Any) -> Any:
    """What stands under `retain`: a mapping as it is, and a word as the period of every table."""
    return value if isinstance(value, Mapping | Retain) or value is None else {"days": value}
