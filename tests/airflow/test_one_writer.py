"""Requests that may write go one at a time where Airflow's database is SQLite; who reads does not wait."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("airflow")

from nightscore.airflow.one_writer import OneWriter


def test_who_writes_waits_for_who_writes_and_nobody_else() -> None:
    """Also after one that failed; a query of the page holds nobody up."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        name = f"{scope['method']} {scope['path']}"
        events.append(f"begin {name}")
        await asyncio.sleep(0.05)
        events.append(f"end {name}")
        if scope["path"] == "/fails":
            raise ValueError

    async def ask(asked: OneWriter, method: str, path: str) -> None:
        await asked({"type": "http", "method": method, "path": path}, None, None)  # type: ignore[arg-type]

    async def all_at_once() -> None:
        asked = OneWriter(app)
        calls = (
            ("POST", "/fails"),
            ("PATCH", "/b"),
            ("GET", "/c"),
            ("POST", "/nightscore/query"),
            ("POST", "/nightscore/decide"),
        )
        await asyncio.gather(*(ask(asked, *call) for call in calls), return_exceptions=True)

    asyncio.run(all_at_once())
    assert events.index("begin PATCH /b") > events.index("end POST /fails")
    assert events.index("begin POST /nightscore/decide") > events.index("end PATCH /b")
    first = events.index("end POST /fails")
    assert max(events.index("begin GET /c"), events.index("begin POST /nightscore/query")) < first
