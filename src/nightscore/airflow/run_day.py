"""A run by hand says which day it is about: the form's `day` becomes its partition key, and part of its id.

Airflow gives a timetable no look at what a run is asked for, and its form has the key in another place than
the DAG's own fields. So the API server moves it: before there is a run, and only where nobody named a key.

A preview publishes nothing and a day that the schedule has not has no partition: those have the day as note.
Runs of `airflow dags trigger` do not come this way; their day is in their conf, and in what they announce.
"""

import asyncio
import json
import re
import secrets
from typing import Any

from nightscore.airflow.prefill import App, Message, Receive, Scope, Send
from nightscore.airflow.workspaces import load_of_dag
from nightscore.common import Broken, read_day
from nightscore.job import calendar_of, read_workspace_overrides, require_day

RUNS = re.compile(r"/api/v2/dags/([A-Za-z0-9_.-]+)/dagRuns/?$")
LARGEST = 1_000_000  # bytes of a request that is looked at


class RunDay:
    """ASGI middleware: a new run of one of our jobs, with a day in its conf, has a partition key."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through; name the day where a run is asked for."""
        runs = RUNS.search(scope.get("path", "")) if scope["type"] == "http" else None
        if runs is None or scope.get("method") != "POST" or _length(scope) > LARGEST:
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        body = body and await asyncio.to_thread(with_day, runs[1], body)
        headers = [(key, value) for key, value in scope["headers"] if key.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        await self.app({**scope, "headers": headers}, again, send)


def with_day(dag_id: str, body: bytes) -> bytes:
    """What a run is asked for, with its day in it; as it was where it names none, or is not as expected."""
    try:
        asked = json.loads(body)
        conf = asked["conf"]
        day = conf["day"]
        if asked.get("partition_key") or not isinstance(day, str) or read_day(day) is None:
            return body
        key = _is_partition(dag_id, day) and not conf.get("limit")
    except (Broken, ValueError, KeyError, TypeError, AttributeError):
        return body
    run_id = f"manual__{day}__{secrets.token_hex(4)}"
    asked |= {"partition_key": day} if key else {"note": asked.get("note") or day}
    return json.dumps({**asked, "dag_run_id": asked.get("dag_run_id") or run_id}).encode()


def _is_partition(dag_id: str, day: str) -> bool:
    """Whether a day is one of a DAG's schedule. Broken where there is no such job."""
    job = load_of_dag(dag_id)
    date: Any = read_day(day)
    try:
        require_day(calendar_of(job, read_workspace_overrides(job.workspace.root)), date)
    except (ValueError, Broken):
        return False
    return True


def _length(scope: Scope) -> int:
    """The bytes of a request, as it says itself; one that does not say is not looked at."""
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else LARGEST + 1


async def _read(receive: Receive) -> bytes:
    """The body of a request; what came before the client went away is none."""
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
