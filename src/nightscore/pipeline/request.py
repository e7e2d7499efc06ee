"""What a run is asked for: the command line, Airflow's form and Python each make a `RunRequest`."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightscore.common import Broken
from nightscore.store import Restate


@dataclass(frozen=True)
class RunRequest:
    """What a run of a day is asked for, beside the job and the day.

    Attributes:
        params: values of the job's parameters, instead of their defaults.
        force: run although nothing has changed.
        limit: score only the first `limit` rows and publish nothing: a preview.
        model: another model file of the workspace (a path relative to it).
        device: a device instead of the job's, such as cpu or cuda.
        known_at: leave out rows that became known later, by the `known_at` of the job's
            inputs; a time without a zone is UTC.
        restate: publish a day again that is published, closed or not; says why, and who does it.

    Raises:
        Broken: `limit` is no whole number of rows, or less than one; `model` or `device` is empty.
        TypeError: `restate` or `known_at` is of another type.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    limit: int | None = None
    model: str | None = None
    device: str | None = None
    known_at: dt.datetime | str | None = None
    restate: Restate | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.restate, Restate | None):
            raise TypeError(f"restate is {self.restate!r}; allowed: Restate(because, by), or None")
        if not isinstance(self.known_at, dt.datetime | str | None):
            raise TypeError(f"known_at is {self.known_at!r}; allowed: a datetime, a text (ISO 8601), or None")
        for name in ("model", "device"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise Broken(f"{name} {value!r} is not allowed: name one, or leave it out (None)")
        whole = isinstance(self.limit, int) and not isinstance(self.limit, bool)
        if self.limit is not None and not (whole and self.limit >= 1):
            raise Broken(f"limit {self.limit!r} is not allowed: a preview has at least one row")

    def but(self, **options: Any) -> "RunRequest":
        """A copy with other values of some fields.

        Raises:
            TypeError: a name is no field of a request.
        """
        unknown = options.keys() - {option.name for option in dataclasses.fields(self)}
        if unknown:
            allowed = ", ".join(option.name for option in dataclasses.fields(self))
            raise TypeError(f"a run can't be asked for {min(unknown)!r}; allowed: {allowed}")
        return dataclasses.replace(self, **{**options, "params": options.get("params") or self.params})


DEFAULT_REQUEST = RunRequest()
"""A run as a scheduler asks for it: the job as it is, nothing forced."""
