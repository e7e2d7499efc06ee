"""That each row ends somewhere: `accounts_for`, what a job promises of the rows that come in.

Light to import, as all of a job's spec.
"""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from nightscore.job.fields import Columns, Misplaced, Name, StrictModel


class AccountsFor(StrictModel):
    """Each row of one table ends in exactly one of some others: rows in = rows out + rows with a reason."""

    input: Annotated[
        Name,
        Field(
            description="whose rows they are: an input (its rows of the scored day, where it has days), "
            "scores, or a decision table; each row has a key of its own"
        ),
    ]
    tables: Annotated[
        list[Name],
        Field(
            min_length=1,
            description="where they end: scores, decision tables, the table of rejects; one of them may have "
            "several rows of a key, two of them none in common",
        ),
    ]
    key: Annotated[
        Columns | None, Field(description="the columns of all of them that say which row it is; default: key")
    ] = None

    def check_names(self, inputs: Collection[str], own: Collection[str], made: Collection[str]) -> None:
        """Hold the names to those of the job: its inputs, those of them that it makes itself, what it makes.

        Raises:
            Misplaced: one is not there, stands twice, or is a table that the rows of the day can't be of.
        """
        if self.input in own:
            raise Misplaced(
                ("input",),
                f"{self.input!r} is a table of this job, which has no rows of the day before its run",
            )
        _refuse(("input",), self.input, [*inputs, *made])
        for i, table in enumerate(self.tables):
            _refuse(("tables", i), table, made)
            if table in (self.input, *self.tables[:i]):
                raise Misplaced(("tables", i), f"{table!r} stands twice")


def _refuse(at: tuple[str | int, ...], name: str, allowed: Collection[str]) -> None:
    if name not in allowed:
        raise Misplaced(at, f"{name!r} is none of {', '.join(allowed)}")
