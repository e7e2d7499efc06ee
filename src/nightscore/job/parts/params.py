"""The parameters of a job: typed values that SQL reads by name, never pasted into it."""

import contextlib
import datetime as dt
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nightscore.common import clipped
from nightscore.job.fields import Misplaced, StrictModel

PARAM_TYPES: dict[str, type] = {
    "integer": int,
    "number": float,
    "string": str,
    "boolean": bool,
    "date": dt.date,
}
HUGE = 1 << 127  # DuckDB's largest integers are below
ParamValue = int | float | str | bool | dt.date


class Param(StrictModel):
    """One parameter of a job: SQL reads it as getvariable('name')."""

    type: Annotated[
        Literal["integer", "number", "string", "boolean", "date"], Field(description="what the values are")
    ]
    default: Annotated[ParamValue, Field(description="the value where a run sets no other")]
    minimum: Annotated[float | int | None, Field(description="the smallest integer or number allowed")] = None
    maximum: Annotated[float | int | None, Field(description="the largest integer or number allowed")] = None
    enum: Annotated[
        Annotated[list[ParamValue], Field(min_length=1)] | None, Field(description="the only values allowed")
    ] = None
    about: Annotated[str, Field(description="what the parameter does, for whoever sets it")] = ""

    @model_validator(mode="after")
    def _values_are_allowed(self) -> "Param":
        if self.type not in ("integer", "number") and (self.minimum, self.maximum) != (None, None):
            which = "minimum" if self.minimum is not None else "maximum"
            raise Misplaced((which,), f"minimum and maximum are for integer and number, not {self.type}")
        values: list[tuple[tuple[str | int, ...], ParamValue]] = [(("default",), self.default)]
        values += [(("enum", i), value) for i, value in enumerate(self.enum or ())]
        for at, value in values:
            try:
                self.check(value)
            except ValueError as error:
                raise Misplaced(at, str(error)) from error
        return self

    def check(self, value: Any) -> Any:
        """`value` as this parameter's type.

        Raises:
            ValueError: it has another type, or is not among what is allowed; says what is.
        """
        if self.type == "number" and type(value) is int:
            value = self._as_float(value)
        if type(value) is not PARAM_TYPES[self.type]:
            raise ValueError(f"{clipped(value)} is no {self.type}; {self.allowed()}")
        if type(value) is int and not -HUGE <= value < HUGE:
            raise ValueError(f"{clipped(value)} is no integer that SQL holds (128 bits); {self.allowed()}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value!r} is not a finite number; {self.allowed()}")
        if not self._within(value) or (self.enum is not None and value not in self.enum):
            raise ValueError(f"{clipped(value)} is not allowed; {self.allowed()}")
        return value

    def parse(self, text: str) -> Any:
        """The value that `text` (from a command line or a form) means.

        Raises:
            ValueError: it means none of this type, or one that is not allowed; says what is.
        """
        try:
            value = _READERS[self.type](text)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{clipped(text)} is no {self.type}; {self.allowed()}") from error
        return self.check(value)

    def _as_float(self, value: int) -> float:
        with contextlib.suppress(OverflowError):
            if int(number := float(value)) == value:
                return number
        raise ValueError(f"{clipped(value)} is no number that a DOUBLE holds; {self.allowed()}")

    def _within(self, value: Any) -> bool:
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)

    def allowed(self) -> str:
        """What this parameter takes, in words."""
        if self.enum is not None:
            return f"allowed: {', '.join(map(str, self.enum))}"
        bounds = [f">= {self.minimum}"] if self.minimum is not None else []
        bounds += [f"<= {self.maximum}"] if self.maximum is not None else []
        return f"allowed: {self.type} {' and '.join(bounds)}".rstrip()


def _number(text: str) -> int | float:
    """An integer as it is written, for `check` to hold to a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


_READERS: dict[str, Any] = {
    "integer": int,
    "number": _number,
    "string": str,
    "boolean": {"true": True, "false": False}.__getitem__,
    "date": dt.date.fromisoformat,
}
