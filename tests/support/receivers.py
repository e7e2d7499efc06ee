"""Servers of the tests' own that take messages: an HTTP server, and one that speaks SMTP."""

import asyncio
import contextlib
import datetime as dt
import email
import json
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Hook:
    """What an HTTP server got: path, headers and JSON of each POST; it answers with `status`."""

    address: str = ""
    status: int = 200
    got: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def bodies(self) -> list[Any]:
        """The documents alone."""
        return [body for _, _, body in self.got]


@contextlib.contextmanager
def hook_server() -> Iterator[Hook]:
    """A context with an HTTP server on a port of its own."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(hook.status)
            if hook.status in (301, 302, 307):
                self.send_header("Location", f"{hook.address}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Post:
    """What an SMTP server got: mails, and who logged in; addresses of `refused` it does not take."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    accounts: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    password: str = ""


@contextlib.contextmanager
def mail_server(certificate: Path | None = None) -> Iterator[Post]:  # noqa: C901 - a protocol
    """A context with an SMTP server (RFC 5321, AUTH PLAIN) on a free port; with a certificate by TLS."""
    post, ready, loop = Post(), threading.Event(), asyncio.new_event_loop()
    secure = None
    if certificate:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: C901
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 test ESMTP")
        while line := (await reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO" | "HELO":
                    say("250-test\r\n250 AUTH PLAIN")
                case "AUTH":
                    _, user, password = b64decode(rest.split()[1]).decode().split("\0")
                    post.accounts.append((user, password))
                    wrong = post.password and password != post.password
                    say("535 no" if wrong else "235 ok")
                case "RCPT":
                    address = rest.partition("<")[2].partition(">")[0]
                    say("550 nobody" if address in post.refused else "250 ok")
                    post.to += [address] if address not in post.refused else []
                case "DATA":
                    say("354 go on")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    post.mails.append(email.message_from_bytes(data[:-3], policy=default))
                    say("250 ok")
                case "QUIT":
                    say("221 bye")
                    break
                case _:
                    say("250 ok")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=secure)
        post.port = server.sockets[0].getsockname()[1]
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield post
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(10)


def make_certificate(folder: Path) -> Path:
    """A certificate of localhost that it signed itself, with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=2))
    signed = made.add_extension(names, False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    file = folder / "localhost.pem"
    file.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()) + signed.public_bytes(pem))
    return file
