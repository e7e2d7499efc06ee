"""What a night does when it is late, only if the job asks: `overdue`, a ladder of at most two rungs.

Light to import, as all of a job's spec.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from nightscore.job.fields import Misplaced, StrictModel
from nightscore.job.parts.policy import Period, seconds_of

FASTEST: Literal["fastest within budget"] = "fastest within budget"
MADE_BY = "made_by"  # the column of a job's tables that says which rung made a row; of such jobs alone
FULL = "full"  # and what stands there for a row that was made as every night
VARIANT_BEFORE, CARRY_BEFORE = "30m", "5m"
RUNGS = ("variant", "carry_forward")  # in the order in which a night takes them


def read_fastest_word(value: object) -> object:
    """`fastest` is short for `fastest within budget`: no other is ever taken."""
    return FASTEST if value == "fastest" else value


class Rung(StrictModel):
    """One rung: what the night goes on with, and how long before the deadline it begins to."""

    variant: Annotated[
        Annotated[Literal["fastest within budget"], BeforeValidator(read_fastest_word)] | None,
        Field(
            description="pieces that are not scored yet are scored by the variant that `nightscore bakeoff` "
            "took, the fastest within the job's budget; until then the job's own model scores"
        ),
    ] = None
    carry_forward: Annotated[
        Literal["yesterday"] | None,
        Field(
            description="the rows of the day before, by the job's schedule, are published again as this day's"
        ),
    ] = None
    before: Annotated[
        Period | None,
        Field(description="how long before the deadline: 45m; default: 30m of variant, 5m of carry_forward"),
    ] = None

    @model_validator(mode="after")
    def _one_rung(self) -> "Rung":
        given = [kind for kind in RUNGS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise Misplaced(
                (), f"is {' and '.join(given) or 'no rung'}; allowed: one of variant: {FASTEST}, "
                "carry_forward: yesterday, with or without before: 30m",
            )  # fmt: skip
        return self

    @property
    def kind(self) -> str:
        """Variant or carry_forward."""
        return next(kind for kind in RUNGS if getattr(self, kind) is not None)

    @property
    def seconds(self) -> int:
        """How long before the deadline it begins, in seconds."""
        return seconds_of(self.before or (VARIANT_BEFORE if self.variant else CARRY_BEFORE))


def check_overdue(rungs: Sequence[Rung], *, has_deadline: bool, has_model: bool) -> None:
    """Hold the rungs of a job to each other, to its deadline and its model.

    Raises:
        Misplaced: there is no deadline, a rung stands twice or in the wrong order, or has nothing to choose.
    """
    if rungs and not has_deadline:
        raise Misplaced((), 'needs a deadline of the job, such as deadline: "06:00"')
    kinds = [rung.kind for rung in rungs]
    for i, kind in enumerate(kinds):
        if kind in kinds[:i]:
            raise Misplaced((i, kind), f"{kind} stands twice; say it once")
    if kinds == list(reversed(RUNGS)):
        raise Misplaced((1,), "stands below carry_forward, after which nothing is left to do; put it first")
    if len(rungs) > 1 and rungs[0].seconds <= rungs[1].seconds:
        raise Misplaced(
            (0, "before"),
            f"variant begins {rungs[0].seconds // 60} minutes before the deadline, and carry_forward "
            f"{rungs[1].seconds // 60}: the first rung would never be taken; begin it earlier",
        )
    if "variant" in kinds and not has_model:
        raise Misplaced(
            (kinds.index("variant"), "variant"), "is about a model, and the job has none (model: none)"
        )
