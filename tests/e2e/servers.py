"""Real servers, each in a session of its own on a free port, and surely stopped."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nightscore.airflow.standalone import free_port, stop

T = TypeVar("T")
HOST = "127.0.0.1"
SHARE = 20  # ports of a process of tests
PACKAGES = {  # of Debian, for the binary that is looked for
    "postgres": "postgresql", "initdb": "postgresql", "redis-server": "redis-server", "chromium": "chromium",
}  # fmt: skip
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")  # nothing here outlives a crash


def own_port(first: int) -> int:
    """A free port from `first` on that no other process of these tests looks at: two would get the same."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return free_port(first + SHARE * number)


def binary(*names: str) -> str:
    """The path of a program under one of its names; skips the test where this machine has none."""
    newest = sorted(Path("/").glob("usr/lib/postgresql/*/bin"), reverse=True)  # Debian's, not in PATH
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *map(str, newest)))
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    package = PACKAGES[names[0]]
    pytest.skip(
        f"NOT TESTED: no {names[0]} here; apt-get install -y --no-install-recommends {package}",
        allow_module_level=True,
    )


def until(look: Callable[[], T], seconds: float, what: str, pause: float = 0.5) -> T:
    """Look again and again; the first answer that is true. After so many seconds the test fails."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}; last seen {found!r}"
        time.sleep(pause)
    return found


def answers(port: int) -> bool:
    """Whether a server listens there."""
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex((HOST, port)) == 0


@contextmanager
def launched(arguments: list[Any], log: Path, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A program in a session of its own, of which no process is left afterwards."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [str(one) for one in arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    try:
        yield process
    finally:
        stop(process)


@contextmanager
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL; gives what makes a database and returns its address."""
    server, initdb = binary("postgres"), binary("initdb")
    # The server refuses to run as root; pytest's own temporary folders are closed to its account.
    account: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="nightscore-postgres-"))
    try:
        if account:
            shutil.chown(folder, **account)
        data, port = folder / "data", own_port(55432)
        made = [initdb, "-D", data, "-U", "airflow", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, cwd="/", check=True, capture_output=True, **account)
        settings = (f"port={port}", f"listen_addresses={HOST}", f"unix_socket_directories={folder}", *QUICK)
        options = [part for one in settings for part in ("-c", one)]
        with launched([server, "-D", data, *options], folder / "log", cwd="/", **account):
            until(lambda: answers(port), 30, "PostgreSQL answers")
            yield lambda name: _database(port, name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _database(port: int, name: str) -> str:
    import psycopg2

    def made() -> bool:
        try:
            connection = psycopg2.connect(host=HOST, port=port, user="airflow", dbname="postgres")
        except psycopg2.OperationalError:  # it listens before it is ready
            return False
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        return True

    until(made, 30, "PostgreSQL takes connections")
    return f"postgresql+psycopg2://airflow@{HOST}:{port}/{name}"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A redis that keeps nothing; its address."""
    port = own_port(56379)
    options = ["--port", port, "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", folder]
    with launched([binary("redis-server"), *options], folder / "redis.log"):
        until(lambda: answers(port), 30, "redis answers")
        yield f"redis://{HOST}:{port}/0"
