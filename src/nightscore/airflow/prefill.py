"""The form's day, filled in when the form is opened: the job's latest day that can be run at that moment.

A default in the DAG would be another one each day: a new version of every DAG each day, whether its job had
changed or not, and a run without a day would score whichever day the file was parsed on. So the DAG has no
default, and the API server puts one into its answer to whoever asks for a DAG's form. A run that is started
without a day still fails and says so.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from nightscore.airflow.day import open_day_of
from nightscore.airflow.workspaces import load_of_dag
from nightscore.common import Broken

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DETAILS = re.compile(r"/api/v2/dags/([A-Za-z0-9_.-]+)/details/?$")


class FormDay:
    """ASGI middleware: in a DAG's details, the parameter `day` of one of our jobs has a value."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through; fill in the day where a form is asked for."""
        details = DETAILS.search(scope.get("path", "")) if scope["type"] == "http" else None
        if details is None or scope.get("method") != "GET":
            await self.app(scope, receive, send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        # What we want to read shall not be compressed.
        headers = [(key, value) for key, value in scope["headers"] if key != b"accept-encoding"]
        await self.app({**scope, "headers": headers}, receive, keep)
        for message in await asyncio.to_thread(_filled, details[1], answer):
            await send(message)


def latest(dag_id: str) -> str | None:
    """The day of a DAG's job that is to be run next, or None where it has none or is no job."""
    try:
        return open_day_of(load_of_dag(dag_id)).isoformat()
    except Broken:
        return None


def _filled(name: str, answer: list[Message]) -> list[Message]:
    """The same answer with the day in it; as it was where anything is not as expected."""
    body = b"".join(message.get("body", b"") for message in answer)
    try:
        details = json.loads(body)
        field = details["params"]["day"]
        if field["value"] is not None or "nightscore" not in {tag["name"] for tag in details["tags"]}:
            return answer
    except (ValueError, KeyError, TypeError):
        return answer
    field["value"] = latest(name)
    text = json.dumps(details).encode()
    start = dict(answer[0])
    headers = [(key, value) for key, value in start["headers"] if key.lower() != b"content-length"]
    start["headers"] = [*headers, (b"content-length", str(len(text)).encode())]
    return [start, {"type": "http.response.body", "body": text}]
