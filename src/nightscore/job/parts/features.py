"""What makes a job's rows: a .sql file or an input, and whether the SQL is run in parts.

Light to import, as all of a job's spec.
"""

import re
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from nightscore.job.fields import Column, Misplaced, StrictModel


class Features(StrictModel):
    """Where the rows come from; as a word, the SQL or the input alone."""

    sql: Annotated[str, Field(description="a .sql file of this folder, or an input's name")]
    split_by: Annotated[
        Column | None,
        Field(
            description="a column of the result: a part has the rows whose text of it has an md5 in the "
            "part's range; without it the SQL itself reads getvariable('part') and getvariable('parts')"
        ),
    ] = None
    parts: Annotated[
        Annotated[int, Field(ge=1, le=10_000)] | None,
        Field(description="in how many parts the SQL is run, each a task of its own; default: as one"),
    ] = None

    @field_validator("sql")
    @classmethod
    def _sql_or_input(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.sql|[a-z][a-z0-9_]{0,62}", value):
            raise ValueError(f"{value!r} is not allowed: a .sql file of this folder, or an input's name")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Features":
        if self.split_by is not None and self.parts is None:
            raise Misplaced(("split_by",), "says how parts differ, and there are none; add parts: N")
        if self.parts is not None and not self.sql.endswith(".sql"):
            raise Misplaced(
                ("parts",), f"{self.sql!r} is an input, which is streamed as it is; only SQL is run in parts"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> Any:
        """A word where it could be one, so that a job without parts is the job that it was."""
        return self.sql if self.parts is None else whole(self)

    @property
    def asks_part(self) -> bool:
        """Whether the SQL itself says which rows a part has, by getvariable('part')."""
        return self.parts is not None and self.split_by is None


def read_features_word(value: Any) -> Any:
    """What stands under `features`: a mapping as it is, and a word as the SQL or the input."""
    return value if isinstance(value, dict | Features) else {"sql": value}
