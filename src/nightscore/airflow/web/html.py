"""Templates, and how values look in them."""

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from nightscore.common import byte_size, cell_text, duration_text, is_number

NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")  # how Arrow's types of numbers begin


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a template; every value in it is escaped.

    `root` is the address of this application as the browser sees it, behind the path part of Airflow's own.
    """
    root = request.scope.get("root_path", "")
    text = _environment().get_template(f"{name}.html").render(root=root, **values)
    return HTMLResponse(text, status)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nightscore.airflow.web"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    return environment


def moment(value: dt.datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return f"{value:%Y-%m-%d %H:%M}" if value else ""


def is_of_numbers(kind: object) -> bool:
    """Whether a column of one of Arrow's types holds numbers, which stand on its right."""
    return str(kind).startswith(NUMBERS)


FILTERS: dict[str, Callable[..., Any]] = {
    "cell": cell_text, "size": byte_size, "moment": moment, "is_number": is_number, "count": "{:,}".format,
    "is_of_numbers": is_of_numbers, "seconds": duration_text,
}  # fmt: skip
