"""Templates, and how values look in them."""

import datetime as dt
from collections.abc import Callable
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

NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")  # how Arrow's types of numbers begin


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a template; every value in it is escaped.

    `root` is the address of this application as the browser sees it, behind the path part of Airflow's own,
    which is `airflow`.
    """
    root = request.scope.get("root_path", "")
    airflow = root.removesuffix(PREFIX)
    text = _environment().get_template(f"{name}.html").render(root=root, airflow=airflow, **values)
    return HTMLResponse(text, status)


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
