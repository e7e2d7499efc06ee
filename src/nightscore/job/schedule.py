"""When a job runs, as its job.yaml says it."""

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from nightscore.job.fields import Name, Strict, first_of

Code = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{4}$")]


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone, such as America/Chicago or UTC") from error
    return name


class Daily(Strict):
    """Every day at a time of day; the run scores the day before."""

    daily: Annotated[
        str,
        StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
        Field(description='time of day, "HH:MM" in quotes'),
    ]
    timezone: Annotated[
        str, AfterValidator(_timezone), Field(description="IANA time zone, such as America/Chicago")
    ] = "UTC"

    def __str__(self) -> str:
        return f"daily {self.daily} {self.timezone}"


class Exchange(Strict):
    """After the close of each trading session of an exchange, or of several that all trade that day."""

    exchange: Annotated[
        Annotated[Code, Tag("code")] | Annotated[list[Code], Field(min_length=1), Tag("codes")],
        Discriminator(lambda value: "codes" if isinstance(value, list) else "code"),
        Field(description="ISO 10383 code, such as XNYS; or a list: a day counts if all of them trade"),
    ]
    after_close: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9]{1,4}m$"),
        Field(description="minutes after the close, such as 90m"),
    ] = "0m"

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The codes, in order; midnights are those of the first."""
        return (self.exchange,) if isinstance(self.exchange, str) else tuple(self.exchange)

    def __str__(self) -> str:
        return f"{' + '.join(self.exchanges)} close + {self.after_close}"


class After(Strict):
    """When every named output table has published the day."""

    after: Annotated[list[Name], Field(min_length=1, description="names of output tables")]

    def __str__(self) -> str:
        return f"after {', '.join(self.after)}"


def _schedule_kind(value: Any) -> str | None:
    if value == "none":
        return "none"
    if isinstance(value, dict):
        return first_of(value, "daily", "exchange", "after")
    return type(value).__name__.lower() if isinstance(value, Daily | Exchange | After) else None


Schedule = Annotated[
    Annotated[Daily, Tag("daily")]
    | Annotated[Exchange, Tag("exchange")]
    | Annotated[After, Tag("after")]
    | Annotated[Literal["none"], Tag("none")],
    Discriminator(
        _schedule_kind,
        custom_error_type="schedule",
        custom_error_message="a schedule is {daily: …}, {exchange: …}, {after: […]} or none",
    ),
]
