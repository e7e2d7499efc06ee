"""How much the scores and decisions of a faster way to compute a model may differ from the model's own."""

from typing import Annotated

from pydantic import Field, model_validator

from nightscore.job.fields import (
    DecisionColumns,
    RowLimit,
    SqlFile,
    StrictModel,
    rows_allowed,
    shaped,
)

Share = Annotated[str, shaped(r"^\d+(\.\d+)? ?%$", "a share such as 0.5 %")]
BUDGET_LIMITS = ("max_abs", "rank_correlation", "cosine", "decision_flips", "totals", "metric")


class Metric(StrictModel):
    """How good scores are, by labels that the inputs hold: one number, of which more is better."""

    sql: Annotated[
        SqlFile,
        Field(description="a .sql file of this folder: one SELECT of one number over scores and the inputs"),
    ]
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False, description="by how much it may fall")]
    after_days: Annotated[
        int,
        Field(
            ge=0, le=3650, description="the inputs are cut this many days after the scored day, for labels"
        ),
    ] = 0


class AccuracyBudget(DecisionColumns):
    """What a faster way to compute the model may change. Everything that is named has to hold."""

    max_abs: Annotated[
        Annotated[float, Field(ge=0, allow_inf_nan=False)] | None,
        Field(description="the largest difference of a score"),
    ] = None
    rank_correlation: Annotated[
        Annotated[float, Field(ge=-1, le=1)] | None,
        Field(description="the least rank correlation (Spearman) of a day's scores"),
    ] = None
    cosine: Annotated[
        Annotated[float, Field(ge=-1, le=1)] | None,
        Field(description="the least cosine similarity of a row's list of numbers, such as an embedding"),
    ] = None
    decision_flips: Annotated[
        RowLimit | None,
        Field(description="rows of the decision tables that may change, a number or 0.1%"),
    ] = None
    totals: Annotated[
        Share | None,
        Field(description="how far the sum of a column of money or of fractions may move: 0.1%"),
    ] = None
    metric: Annotated[Metric | None, Field(description="how good the scores are, by labels")] = None

    @model_validator(mode="after")
    def _limits_something(self) -> "AccuracyBudget":
        if not self.limits:
            raise ValueError(f"limits nothing; allowed: {', '.join(BUDGET_LIMITS)}")
        return self

    @property
    def limits(self) -> list[str]:
        """The names of what is limited."""
        return [name for name in BUDGET_LIMITS if getattr(self, name) is not None]

    def flips(self, rows: int) -> float:
        """The most of `rows` rows that may change."""
        return rows_allowed(rows if self.decision_flips is None else self.decision_flips, rows)
