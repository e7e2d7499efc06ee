"""An answer that is sent while a query runs; who goes away before its end ends the query.

The page has no script. So that it shows a query at work all the same, its first half is sent when the query
has not ended after a moment, a second more on its clock each second, and its second half in the end: a
browser shows what it has. As long as the connection stands somebody waits, and no longer.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from nightscore.airflow.web.queries import Running

QUICK_SECONDS = 1.5  # a query that has ended by then gets a plain answer, with its own status
TICK_SECONDS = 1.0
HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-encoding", b"identity"),  # else Airflow compresses it, and holds it back meanwhile
    (b"x-accel-buffering", b"no"),  # and so would nginx
]


class LiveAnswer(Response):
    """`whole` is the answer once the query has ended. `head` and `tail` are its page in halves.

    Without `head` the answer comes in the end, however long that takes.
    """

    def __init__(
        self, running: Running, whole: Callable[[], Response],
        head: Callable[[], str] | None = None, tail: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        super().__init__()
        self._running, self._whole, self._head, self._tail = running, whole, head, tail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the query ends with this, whatever ends it."""
        left = asyncio.ensure_future(_wait_until_gone(receive))
        done = asyncio.ensure_future(_wait_for(self._running))
        try:
            await _first_of(left, done, QUICK_SECONDS if self._head else None)
            if done.done():
                await (await asyncio.to_thread(self._whole))(scope, receive, send)
            elif self._head and not left.done():
                await self._send_in_halves(self._head, send, left, done)
        finally:
            self._running.cancel()  # which is nothing to one that has ended
            left.cancel()
            done.cancel()

    async def _send_in_halves(
        self, head: Callable[[], str], send: Send, left: "asyncio.Future[None]", done: "asyncio.Future[None]"
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await _send(send, await asyncio.to_thread(head))
        while not done.done() and not left.done():
            await _first_of(left, done, TICK_SECONDS)
            if not done.done() and not left.done():
                await _send(send, f"<i>{self._running.age} s</i>")
        if done.done():
            await _send(send, await asyncio.to_thread(self._tail))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _first_of(
    left: "asyncio.Future[None]", done: "asyncio.Future[None]", seconds: float | None
) -> None:
    await asyncio.wait({left, done}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait_for(running: Running) -> None:
    """Wait until a query has ended, well or not."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(ended.set)

    running.answer.add_done_callback(tell)
    await ended.wait()


async def _send(send: Send, text: str) -> None:
    message: dict[str, Any] = {"type": "http.response.body", "body": text.encode(), "more_body": True}
    await send(message)
