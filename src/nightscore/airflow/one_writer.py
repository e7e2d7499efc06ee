"""On SQLite, requests that may write go one at a time: else Airflow's API server can wait for itself.

It notes each such request in its log from the event loop. Where another request has written and not committed
yet, that note waits for SQLite's lock with the loop standing still, so that the other can't commit: both wait
until SQLite gives up, and one is answered with a 500. A longer timeout only makes all of it wait longer.
"""

import asyncio

from nightscore.airflow.web import PREFIX, App, Message, Receive, Send

READING = {"GET", "HEAD", "OPTIONS"}
DECIDING = (
    f"{PREFIX}/decide",
    f"{PREFIX}/run-missing",
)  # of the page; its queries write nothing, and take long


class OneWriter:
    """ASGI middleware: the next request that may write begins when the one before has ended."""

    def __init__(self, app: App) -> None:
        self.app, self._turn = app, asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass through, in turn; of the page, only what a person decides writes into Airflow's database."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        ours = path.startswith(f"{PREFIX}/") and path not in DECIDING
        if scope["type"] != "http" or scope.get("method") in READING or ours:
            await self.app(scope, receive, send)
            return
        async with self._turn:
            await self.app(scope, receive, send)
