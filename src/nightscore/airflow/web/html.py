"""Templates, and how values look in them."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nightscore.airflow.web import PREFIX
from nightscore.airflow.web.zone import SCRIPT
from nightscore.common import byte_size, cell_text, duration_text, is_number

CHOOSER = "nightscore_chooser"  # of a request's state
NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")  # how Arrow's types of numbers begin


@dataclass(frozen=True)
class Chooser:
    """Which workspace a page is of, and the names of all that its user may look at."""

    workspace: str = ""
    names: tuple[str, ...] = ()


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a template; every value in it is escaped.

    `root` is the address of this application as the browser sees it, with the workspace that the address
    names; behind the path part of Airflow's own, which is `airflow`. `dags` stands before the ids of DAGs.
    """
    chooser: Chooser = getattr(request.state, CHOOSER, Chooser())
    base = base_of(request)
    text = _environment().get_template(f"{name}.html").render(
        root=root_of(request), airflow=base.removesuffix(PREFIX), base=base, chooser=chooser,
        dags=f"{chooser.workspace}." if chooser.workspace else "", **values,
    )  # fmt: skip
    return HTMLResponse(text, status)


def root_of(request: Request) -> str:
    """Where the addresses of a page begin: of the workspace that its own names."""
    asked = request.path_params.get("workspace")
    return f"{base_of(request)}{f'/w/{asked}' if asked else ''}"


def base_of(request: Request) -> str:
    """The address of this application as the browser sees it."""
    return str(request.scope.get("root_path", ""))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nightscore.airflow.web"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    environment.globals["script"] = Markup(SCRIPT)  # noqa: S704 - ours, whole, and held to its hash by browsers
    return environment


def moment(value: dt.datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return f"{value:%Y-%m-%d %H:%M}" if value else ""


def moment_tag(value: dt.datetime | None, zone: str = "UTC", named: bool = False) -> Markup:
    """A moment to the minute in a zone; to a machine, and in its title, in UTC.

    Of one that is `named` the zone is said, and the browser shows it in its own.
    """
    if value is None:
        return Markup()
    utc = value.astimezone(dt.UTC)
    there = value.astimezone(ZoneInfo(zone))
    shown, kind = (f"{moment(there)} {there:%Z}", "here") if named else (moment(there), "")
    return Markup('<time class="{}" datetime="{}" title="{} UTC">{}</time>').format(
        kind, f"{utc:%Y-%m-%dT%H:%M:%SZ}", moment(utc), shown
    )


def is_of_numbers(kind: object) -> bool:
    """Whether a column of one of Arrow's types holds numbers, which stand on its right."""
    return str(kind).startswith(NUMBERS)


FILTERS: dict[str, Callable[..., Any]] = {
    "cell": cell_text, "size": byte_size, "moment": moment, "moment_tag": moment_tag,
    "is_number": is_number, "count": "{:,}".format, "is_of_numbers": is_of_numbers, "seconds": duration_text,
}  # fmt: skip
