"""Machines with a network of their own each: Linux network namespaces, joined to this one by a cable."""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Network:
    """A namespace: `inside` is what a command in it begins with; `port` of `address` leads to the server."""

    name: str
    address: str
    port: int

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command begins with that is to run there."""
        return ("ip", "netns", "exec", self.name)

    @property
    def endpoint(self) -> str:
        """The server, as seen from there."""
        return f"http://{self.address}:{self.port}"

    def reach(self, server: int) -> contextlib.AbstractContextManager[int]:
        """A context that gives a further port of `address`, which leads to another port of this machine."""
        return _forwarded(self.address, server)

    def cut(self) -> None:
        """Pull the cable out."""
        _ip("link", "set", f"{self.name}h", "down")

    def join(self) -> None:
        """Put it in again."""
        _ip("link", "set", f"{self.name}h", "up")


@contextlib.contextmanager
def networks(count: int, server: int) -> Iterator[list[Network]]:
    """A context that gives some namespaces, from each of which one address leads to a port of this machine.

    The test is skipped where none can be made, and says why.
    """
    if shutil.which("ip") is None:
        pytest.skip("NOT TESTED: no `ip` here: apt-get install iproute2")
    with contextlib.ExitStack() as end:
        yield [end.enter_context(_network(number, server)) for number in range(count)]


@contextlib.contextmanager
def _network(number: int, server: int) -> Iterator[Network]:
    home = os.getpid() % 16_000
    name, subnet = f"n{secrets.token_hex(4)}", f"10.{200 + number}.{home >> 6}"
    host, guest = (f"{subnet}.{(home & 63) * 4 + last}" for last in (1, 2))
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NOT TESTED: no network namespace can be made here: {error.stderr.strip()}")
    try:
        _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}g", "netns", name)
        _ip("addr", "add", f"{host}/30", "dev", f"{name}h")
        _ip("link", "set", f"{name}h", "up")
        for line in (f"addr add {guest}/30 dev {name}g", f"link set {name}g up", "link set lo up"):
            _ip("-n", name, *line.split())
    except subprocess.CalledProcessError as error:
        _ip("netns", "del", name)
        pytest.skip(f"NOT TESTED: no network namespace can be joined here: {error.stderr.strip()}")
    try:
        with _forwarded(host, server) as port:
            yield Network(name, host, port)
    finally:
        _ip("link", "del", f"{name}h")  # at once: that of a namespace's end takes its time
        _ip("netns", "del", name)


@contextlib.contextmanager
def _forwarded(host: str, server: int) -> Iterator[int]:
    """A context that gives a port of an address which leads to a port of 127.0.0.1."""
    ends: list[Any] = []
    ready = threading.Event()

    async def serve() -> None:
        found = await asyncio.start_server(lambda r, w: _forward(r, w, server), host, 0)
        ended = asyncio.Event()
        ends.extend([found.sockets[0].getsockname()[1], asyncio.get_running_loop(), ended])
        ready.set()
        await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    port, loop, ended = ends
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: int) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", server)
    await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)  # noqa: S607
