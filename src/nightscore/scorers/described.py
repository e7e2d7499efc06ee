"""What a model takes and gives, for whoever writes a job for it.

Each kind that knows a model of its own from the file has a module `described` with a function

    def describe_mine(model: ModelFile) -> DescribedModel | None

which gives None for a model of another kind. The registry asks them in its order (`registry.describe_model`).
"""

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

    `kind` is what a job says, empty where it need say nothing. A model with `one` takes one column of this
    type, called as the job likes, or as `takes` has it. `settings` are what the job says under the name of
    the kind, as far as the model tells it; `asks` are what it can't tell and a person has to say, in the
    words of the scorer that asks for it. `names` are those of the outputs.
    """

    takes: pa.Schema
    unnamed: int | None
    output: str
    outputs: tuple[str, ...]
    scores: Mapping[str, str] = field(default_factory=dict)
    days: frozenset[str] = frozenset()
    nullable: frozenset[str] = frozenset()
    domain: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    one: pa.DataType | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def can_take(self, column: str, kind: pa.DataType) -> bool:
        """Whether values of a type can stand for a column of `takes`."""
        if column in self.days and (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            return True
        return serves(kind, self.takes.field(column).type)
