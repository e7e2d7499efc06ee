"""A server that speaks as Azure Blob Storage does: Azurite, of npm, where it is on PATH."""

import base64
import contextlib
import hashlib
import hmac
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.s3 import BUCKET, PATIENCE, free_ports

ACCOUNT = "devstoreaccount1"  # which Azurite has, with a key that its documentation prints
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"  # of the protocol


def client_environment(port: int) -> dict[str, str]:
    """The environment of a client of the server on a port."""
    return {
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}",
        "AZURE_ALLOW_HTTP": "true",
    }


def environment_by_key(port: int, key: str = KEY) -> dict[str, str]:
    """The same as of a server that is no emulator: an address and the account's key."""
    return {
        "AZURE_STORAGE_USE_EMULATOR": "false",
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
        "AZURE_ALLOW_HTTP": "true",
    }


@contextlib.contextmanager
def running_azurite(folder: Path) -> Iterator[int]:
    """A context that gives the port of a server with the container; its data lies in a folder.

    The test that asks is skipped where the program is not there.
    """
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("NOT TESTED: no `azurite-blob` here: npm install azurite")
    [port] = free_ports(1)
    command = [program, "--blobPort", str(port), "--location", str(folder), "--silent", "--disableTelemetry"]
    with subprocess.Popen(
        [*command, "--skipApiVersionCheck"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _make_container(port)
            yield port
        finally:
            process.kill()


def _make_container(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            urllib.request.urlopen(_request_of_container(port), timeout=5)  # noqa: S310
            return
        time.sleep(0.1)
    raise AssertionError(f"no Azurite on port {port} after {PATIENCE:.0f} s")


def _request_of_container(port: int) -> urllib.request.Request:
    """Signed by the shared key, as Azure's documentation of `Authorize with Shared Key` says."""
    moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": moment, "x-ms-version": VERSION}
    signed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    lines = "\n" * 12
    text = f"PUT{lines}{signed}/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    mark = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    who = f"SharedKey {ACCOUNT}:{base64.b64encode(mark).decode()}"
    return urllib.request.Request(
        f"http://127.0.0.1:{port}/{ACCOUNT}/{BUCKET}?restype=container",
        method="PUT",
        headers={**headers, "Authorization": who, "Content-Length": "0"},
    )
