"""An HTTP proxy before an S3 server that breaks what it is told to, and counts; a process of its own.

Of its own, because a client may hold Python's lock while it waits. It is told by its standard input, a JSON
object a line: `{"rules": […]}` sets the rules and forgets the counts; `{}` asks for the counts,
`{"log": 1}` for the requests, each as method and target. It answers each with one line.

A rule is an object: `method` and `path` (regular expressions), `skip` (requests to let pass first), `times`,
and one fault:

    reset     the connection is dropped before the request is forwarded
    lost      it is forwarded, and the connection dropped instead of an answer
    status    this status is the answer, nothing is forwarded
    after     it is forwarded, and this status is the answer
    cut       half of the answer's body is sent
    fit       false: a condition that the server refuses (412) is answered by success, as if it were ignored
    delay     seconds before it is forwarded
"""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from typing import Any

ERROR = b"<Error><Code>SlowDown</Code><Message>a fault of a test</Message></Error>"
SOME_TIME = "Wed, 01 Jan 2020 00:00:00 GMT"
HOP = ("connection", "transfer-encoding", "content-length", "expect")


class Proxy:
    """The proxy as a test sees it. A context; its process ends with it."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, __file__, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._read())

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def set_rules(self, *rules: dict[str, Any]) -> None:
        """Break from now on what some rules say, and nothing else; counting begins anew."""
        self._ask({"rules": rules})

    @property
    def counts(self) -> Counter[str]:
        """Requests by kind since the rules were set: GET, HEAD, PUT, LIST, DELETE, POST."""
        return Counter(self._ask({}))

    @property
    def log(self) -> list[str]:
        """The requests since the rules were set, in order: `PUT /bucket/key`."""
        return list(self._ask({"log": 1}))

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


class _Server:
    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.rules: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []

    def obey(self, order: dict[str, Any]) -> dict[str, int] | list[str]:
        if "rules" in order:
            self.rules, self.counts, self.log = list(order["rules"]), Counter(), []
        return self.log if "log" in order else dict(self.counts)

    def fault_of(self, method: str, target: str) -> dict[str, Any]:
        self.log.append(f"{method} {target}")
        self.counts["LIST" if method == "GET" and "list-type=2" in target else method] += 1
        for rule in self.rules:
            if not re.fullmatch(rule.get("method", ".*"), method) or not re.search(
                rule.get("path", ""), target
            ):
                continue
            if rule.get("skip", 0):
                rule["skip"] -= 1
            elif rule.get("times", 1):
                rule["times"] = rule.get("times", 1) - 1
                return rule
        return {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        first, headers, body = await _read_message(reader, writer)
        method, target, _ = first.split(" ", 2)
        fault = self.fault_of(method, target)
        await asyncio.sleep(fault.get("delay", 0))
        if fault.get("reset"):
            return _drop(writer)
        if status := fault.get("status"):
            return await _send(writer, f"HTTP/1.1 {status} Fault", [], ERROR)
        kept = [
            (name, value) for name, value in headers if name.lower() not in (*HOP, fault.get("strip", ""))
        ]
        line, answered, data = await self.forward(method, first, kept, body)
        if fault.get("lost"):
            return _drop(writer)
        if status := fault.get("after"):
            return await _send(writer, f"HTTP/1.1 {status} Fault", [], ERROR)
        if fault.get("fit") is False and " 412 " in line:
            line, answered, data = "HTTP/1.1 200 OK", [("ETag", '"1"'), ("Last-Modified", SOME_TIME)], b""
        return await self.hand_on(writer, method, (line, answered, data), cut="cut" in fault)

    async def hand_on(
        self,
        writer: asyncio.StreamWriter,
        method: str,
        message: tuple[str, list[tuple[str, str]], bytes],
        cut: bool,
    ) -> bool:
        """The server's answer, or half of it."""
        line, answered, data = message
        length = next((value for name, value in answered if name.lower() == "content-length"), "0")
        rest = [(name, value) for name, value in answered if name.lower() not in HOP]
        size = int(length) if method == "HEAD" else len(data)
        await _send(writer, line, rest, data[: len(data) // 2] if cut else data, size)
        return _drop(writer) if cut else True

    async def forward(
        self, method: str, first: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        lengths = [("Content-Length", str(len(body)))] if body or method in ("PUT", "POST") else []
        writer.write(_head(first, [*headers, *lengths, ("Connection", "close")]) + body)
        await writer.drain()
        line, answered = await _read_head(reader)
        while " 100 " in line:
            line, answered = await _read_head(reader)
        chunked = any(n.lower() == "transfer-encoding" and "chunked" in v.lower() for n, v in answered)
        data = b"" if method == "HEAD" else await _read_chunks(reader) if chunked else await reader.read()
        writer.close()
        return line, answered, data


def _drop(writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return False


async def _send(
    writer: asyncio.StreamWriter,
    line: str,
    headers: list[tuple[str, str]],
    body: bytes,
    size: int | None = None,
) -> bool:
    length = [("Content-Length", str(len(body) if size is None else size))]
    writer.write(_head(line, [*headers, *length]) + body)
    await writer.drain()
    return True


def _head(line: str, headers: list[tuple[str, str]]) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin1")


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
    line, *rest = text.split("\r\n")
    pairs = (header.partition(":") for header in rest if header)
    return line, [(name, value.strip()) for name, _, value in pairs]


async def _read_message(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, list[tuple[str, str]], bytes]:
    line, headers = await _read_head(reader)
    named = {name.lower(): value for name, value in headers}
    if named.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if named.get("transfer-encoding", "").lower() == "chunked":
        return line, headers, await _read_chunks(reader)
    return line, headers, await reader.readexactly(int(named.get("content-length", 0)))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


async def _main(upstream: int) -> None:
    proxy = _Server(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
    _say(server.sockets[0].getsockname()[1])
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        _say(json.dumps(proxy.obey(json.loads(line))))


def _say(answer: object) -> None:
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
