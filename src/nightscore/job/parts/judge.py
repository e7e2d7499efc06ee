"""What a verdict on a challenger (`nightscore judge`) needs. Light to import, as all of a job's spec."""

from typing import Annotated, Literal

from pydantic import Field

from nightscore.job.fields import Column, DecisionColumns, SqlFile, StrictModel, shaped, share_of


class Labels(StrictModel):
    """What came true of a day's rows, once it is known, and how scores are held to it."""

    sql: Annotated[
        SqlFile,
        Field(
            description="a .sql file: one SELECT of the key and `label`, from inputs up to after_days later"
        ),
    ]
    after_days: Annotated[
        int, Field(ge=0, le=3650, description="days after the scored one until its labels are complete")
    ]
    metric: Annotated[
        Literal["auc", "log_loss", "squared_error"],
        Field(description="auc and log_loss take labels of 0 and 1, squared_error takes numbers"),
    ] = "auc"
    max_drop: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="by how much the metric may be worse, with confidence"),
    ] = 0.0
    output: Annotated[
        Column | None, Field(description="the output that is held to them; default: the first")
    ] = None
    cluster: Annotated[
        Column | None,
        Field(description="rows with one value of it are one observation; default: the first key column"),
    ] = None


class Judge(DecisionColumns):
    """When a challenger is promoted, held or rejected (`nightscore judge`)."""

    days: Annotated[
        int, Field(ge=1, le=1000, description="published days, with its scores, that a verdict needs")
    ] = 14
    segments: Annotated[
        list[Column], Field(description="kept or key columns: no value of one may get worse")
    ] = []
    max_flips: Annotated[
        Annotated[str, shaped(r"^(100|[0-9]{1,2}(\.[0-9]+)?) ?%$", "a share from 0 % to 100 %, such as 5%")]
        | None,
        Field(description="the largest share of decision rows that may differ, such as 5%"),
    ] = None
    min_rank_correlation: Annotated[
        float | None, Field(ge=-1, le=1, description="of Spearman, between both models' scores, on each day")
    ] = None
    labels: Annotated[
        Labels | None, Field(description="what came true; without it max_flips has to stand in")
    ] = None
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="of intervals, two-sided")] = 0.95

    @property
    def flips(self) -> float | None:
        """The largest share of decision rows that may differ, 0 to 1."""
        return share_of(self.max_flips) if self.max_flips else None
