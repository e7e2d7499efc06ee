"""The options of the commands: what each is called, what it says in the help, what it may be."""

import datetime as dt
import getpass
import re
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from nightscore.common import Broken, Workspace, as_day, open_workspace

if TYPE_CHECKING:
    from nightscore.job import Job
    from nightscore.pipeline import Executor
    from nightscore.store import Restate

Form = Literal["table", "csv", "json", "parquet"]


chosen: ContextVar[Path | None] = ContextVar("chosen", default=None)
"""What --workspace says, for the commands of this call."""


class Misuse(Broken):
    """An option has a value that it can't have."""

    exit_code: ClassVar[int] = 2


JobName = Annotated[str, Parameter(help="The job's name, as `nightscore jobs` lists it.")]
Day = Annotated[str, Parameter(help="The business date to score, YYYY-MM-DD.")]
PublishedDay = Annotated[str, Parameter(help="A published day, YYYY-MM-DD.")]
RunId = Annotated[
    str | None,
    Parameter(help="One certain run of the day, also one that was replaced; default: the run in force."),
]
OutFile = Annotated[
    Path | None,
    Parameter(help="The file to write; default: report.html in the run's folder, data/runs/JOB/DAY/RUN/."),
]
OpenIt = Annotated[bool, Parameter(negative="", help="Open the page in the browser.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document, nothing else.")]
Settings = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="NAME=VALUE: a parameter of the job; may be repeated."),
]
Force = Annotated[bool, Parameter(negative="", help="Run although nothing has changed.")]


On = Annotated[
    Literal["ray"] | None,
    Parameter(
        help="Where the pieces are scored, and parts of features are made: ray, on the cluster at "
        "RAY_ADDRESS (auto: that of this machine); "
        "default: in this process."
    ),
]


def executor(on: Literal["ray"] | None) -> "Executor":
    """Who scores the pieces, as --on says; a cluster is there before anything is planned."""
    from nightscore.pipeline import LOCAL_THREADS, Ray

    if on is None:
        return LOCAL_THREADS
    cluster = Ray()
    cluster.connect()
    return cluster


def whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """An option's number, as it is written: 1.5 is not rounded."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", tokens[0].value):
        raise ValueError(f"{tokens[0].value!r} is no whole number")
    return int(tokens[0].value)


def count(about: str, least: int = 1) -> Parameter:
    """An option that is a number of things: a whole one, no less than `least`."""
    return Parameter(converter=whole_number, validator=Number(gte=least), help=about)


Limit = Annotated[
    int | None,
    Parameter(converter=whole_number, help="Score only the first N rows and publish nothing: a preview."),
]
KnownAt = Annotated[
    str | None,
    Parameter(
        help="See only rows known by then (ISO 8601, default UTC), by the `known_at` of the job's inputs."
    ),
]
Restating = Annotated[
    bool, Parameter(name="--restate", negative="", help="Publish a published day again, closed or not.")
]
Reason = Annotated[
    str | None, Parameter(help="Why the day is restated; it goes into the receipt and `restatements`.")
]
Person = Annotated[str | None, Parameter(help="Who restates it; default: the user of this machine.")]
Device = Annotated[str | None, Parameter(help="Another device than the job's: auto, cpu, cuda, …")]
ModelPath = Annotated[
    str | None, Parameter(help="Another model file of the workspace, instead of the job's own.")
]


def open_chosen_workspace() -> Workspace:
    """The workspace of this call: --workspace, else the variable, else the current folder."""
    return open_workspace(chosen.get())


def settings(job: "Job", texts: list[str]) -> dict[str, Any]:
    """The values of a job's parameters, those of `--set` instead of their defaults. Misuse else."""
    try:
        return job.params(pairs(texts, "--set"))
    except Broken as error:
        raise Misuse(str(error)) from error


def parse_day_option(text: str) -> dt.date:
    """A day, as YYYY-MM-DD. Misuse else."""
    try:
        return as_day(text)
    except Broken as error:
        raise Misuse(str(error)) from error


def parse_days(first: str, last: str) -> tuple[dt.date, dt.date]:
    """The days of --from and --to. Misuse where one is none, or they stand the wrong way round."""
    days = parse_day_option(first), parse_day_option(last)
    if days[0] > days[1]:
        raise Misuse(f"--from {days[0]} is after --to {days[1]}")
    return days


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a dict. Misuse else, and where a name is given twice."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise Misuse(f"{option} {text!r} is not of the form NAME=VALUE")
        if name.strip() in values:
            raise Misuse(f"{option} gives {name.strip()!r} twice; a name has one value")
        values[name.strip()] = value
    return values


def restatement(restate: bool, because: str | None, by: str | None) -> "Restate | None":
    """That a day is restated, why and by whom; None where it is not. Misuse where one is given alone."""
    from nightscore.store import Restate

    if not restate:
        if because or by:
            raise Misuse("--because and --by say why and by whom a day is restated; give --restate, too")
        return None
    if not (because or "").strip():
        raise Misuse("--restate needs --because TEXT: why the day is published again")
    return Restate((because or "").strip(), (by or "").strip() or _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        raise Misuse("this machine has no name for its user; say with --by who restates the day") from None


def state_as_of(text: str | None) -> int | dt.datetime | None:
    """A version of the table receipts, or a time; a time without a zone is UTC. Misuse else."""
    if text is None or text.isdigit():
        return int(text) if text else None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(f"--as-of {text!r} is neither a version of receipts nor a time (ISO 8601)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
