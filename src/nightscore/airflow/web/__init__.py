"""The page inside Airflow: jobs, days, reports, tables and a query box, for those whom Airflow lets in.

Airflow loads its plug-ins in every process, and only the API server serves pages. So what is here at import
is a few lines; FastAPI's routes, jinja2 and DuckDB come when the first request does.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from nightscore.airflow.web.zone import HASH

PREFIX = "/nightscore"
HEADERS = {
    # No script runs but that of `zone`, nothing is fetched; only pages of this Airflow may frame this one.
    "content-security-policy": f"default-src 'none'; script-src 'sha256-{HASH}'; "
    "style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "private, no-store",
}
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='{}' stroke-width='1.5' stroke-linejoin='round'%3E"
    "%3Cpath d='M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z'/%3E%3C/svg%3E"
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Page:
    """The page as an ASGI application, made when it is first asked for something."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer, with our headers on each answer, whoever gives it."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name.encode(): value.encode() for name, value in HEADERS.items()}
                theirs = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in ours]
                message["headers"] = [*theirs, *ours.items()]
            await send(message)

        app = await asyncio.to_thread(_application)
        await app(scope, receive, guarded)


@lru_cache(maxsize=1)
def _application() -> App:
    from nightscore.airflow.web.app import make_app

    return make_app()


def views(base_url: str) -> list[dict[str, Any]]:
    """Where Airflow's UI shows the page: in the navigation, on each DAG and on each DAG run.

    `base_url` is Airflow's own address; the UI takes an address as it is, so its path comes first here.
    """
    root = urlsplit(base_url).path.rstrip("/") + PREFIX
    common = {
        "name": "Nightscore",
        "icon": ICON.format("%2318181b"),
        "icon_dark_mode": ICON.format("%23e4e4e7"),
    }
    return [
        {
            **common,
            "destination": "nav",
            "href": f"{root}/",
            "url_route": "nightscore",
            "nav_top_level": True,
        },
        {
            **common,
            "destination": "dag",
            "href": f"{root}/jobs/{{DAG_ID}}",
            "url_route": "nightscore-days",
        },
        {
            **common,
            "name": "Report",
            "destination": "dag_run",
            "href": f"{root}/report?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "url_route": "nightscore-report",
        },
    ]
