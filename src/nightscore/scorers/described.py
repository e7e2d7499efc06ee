"""What a model takes and gives, for whoever writes a job for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nightscore.scorers.contract import serves


@dataclass(frozen=True)
class DescribedModel:
    """The columns that a model takes, and an output to begin with.

    `takes` has a column for each, unless the model takes one matrix whose columns nothing names: then
    `unnamed` says how many they are, 0 where the file does not say it. `output` is what a job writes, such as
    `probabilities[1]`; `outputs` are all that the model has, with type and shape, for a person. What
    `nightscore.export` wrote says more of itself: `scores`, the outputs that a job is to have, by their
    names, `days`, the columns that are dates, as the number of days since 1970-01-01, and `nullable`, the
    columns of which training had rows without a value, or could have had. `domain` says of columns what the
    library does not score, as a job's `domain` does.
    """

    takes: pa.Schema
    unnamed: int | None
    output: str
    outputs: tuple[str, ...]
    scores: Mapping[str, str] = field(default_factory=dict)
    days: frozenset[str] = frozenset()
    nullable: frozenset[str] = frozenset()
    domain: Mapping[str, Any] = field(default_factory=dict)

    def can_take(self, column: str, kind: pa.DataType) -> bool:
        """Whether values of a type can stand for a column."""
        if column in self.days and (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            return True
        return serves(kind, self.takes.field(column).type)
