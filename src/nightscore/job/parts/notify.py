"""Who is told what of a job's days: `notify`, a list. It is no cause of any row, and names no secret.

Light to import, as all of a job's spec.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nightscore.job.fields import (
    Misplaced,
    RootName,
    StrictModel,
    shaped,
)

Event = Literal["failed", "held", "overdue", "at_risk", "degraded", "published"]
OF_A_DEADLINE: frozenset[Event] = frozenset({"overdue", "at_risk"})
USUAL: list[Event] = ["failed", "held", "overdue", "at_risk", "degraded"]
TARGETS = ("webhook", "slack", "email")
Address = Annotated[
    str, shaped(r"^[^@\s,;<>\"]+@[^@\s,;<>\"]+$", "one address such as nights@example.com", max_length=254)
]
Connection = RootName


class Notify(StrictModel):
    """One target, and when it is told. Its connection is named here, and set elsewhere."""

    webhook: Annotated[Connection | None, Field(description="connection of a URL that takes JSON")] = None
    slack: Annotated[Connection | None, Field(description="connection of an incoming webhook of Slack")] = (
        None
    )
    email: Annotated[Connection | None, Field(description="connection of an SMTP server")] = None
    to: Annotated[list[Address], Field(description="of email: who gets it")] = []
    when: Annotated[
        Annotated[list[Event], Field(min_length=1)],
        Field(description="of what it is told; default: all but published"),
    ] = USUAL

    @model_validator(mode="after")
    def _one_target(self) -> "Notify":
        given = [kind for kind in TARGETS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise Misplaced((), f"has {', '.join(given) or 'none'} for a target; allowed: one of {_LIST}")
        if self.email is not None and not self.to:
            raise Misplaced((), "email has nobody to get it; name them: to: [nights@example.com]")
        if self.email is None and self.to:
            raise Misplaced(("to",), f"is of email alone; {given[0]} goes where its connection says")
        return self

    @property
    def kind(self) -> str:
        """webhook, slack or email."""
        return next(kind for kind in TARGETS if getattr(self, kind) is not None)

    @property
    def connection(self) -> str:
        """The name of its connection."""
        return str(getattr(self, self.kind))

    @property
    def target(self) -> str:
        """Where it goes, for people."""
        return f"{self.kind} {self.connection}{' to ' + ', '.join(self.to) if self.to else ''}"


_LIST = ", ".join(TARGETS)


def check_notify(notify: list[Notify], *, has_deadline: bool, has_overdue: bool) -> None:
    """Hold the targets of a job to each other and to its deadline.

    Raises:
        Misplaced: two are the same, or one waits for a deadline, or for rungs, that the job has not.
    """
    seen: set[str] = set()
    for i, one in enumerate(notify):
        if one.target in seen:
            raise Misplaced((i,), f"{one.target} stands twice; say all of `when` in one")
        seen.add(one.target)
        waits = sorted(OF_A_DEADLINE & set(one.when)) if "when" in one.model_fields_set else []
        if waits and not has_deadline:
            raise Misplaced((i, "when"), f'{waits[0]} needs a deadline of the job, such as deadline: "06:00"')
        if "when" in one.model_fields_set and "degraded" in one.when and not has_overdue:
            raise Misplaced((i, "when"), "degraded needs overdue of the job, what a late night goes on with")
