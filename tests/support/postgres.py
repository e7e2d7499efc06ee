"""A real PostgreSQL, that tests start, stop in the middle of a transaction, and start again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.servers import HOST, QUICK, answers, binary, until
from tests.support.ray_cluster import free_port


class Server:
    """One server, with its databases in a folder."""

    def __init__(self, folder: Path, account: dict[str, Any]) -> None:
        self.folder, self.account, self.port = folder, account, free_port()  # two processes of tests get two
        self.process: subprocess.Popen[bytes] | None = None
        made = [
            binary("initdb"), "-D", folder / "data", "-U", "airflow", "-A", "trust", "-E", "UTF8",
            "--locale=C", "--no-sync",
        ]  # fmt: skip
        subprocess.run(list(map(str, made)), cwd="/", check=True, capture_output=True, **account)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = (f"port={self.port}", f"listen_addresses={HOST}", f"unix_socket_directories={self.folder}")
        options = [part for one in (*settings, *QUICK) for part in ("-c", one)]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [binary("postgres"), "-D", str(self.folder / "data"), *options], cwd="/", stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, **self.account,
        )  # fmt: skip
        until(lambda: answers(self.port) and self._ready(), 60, "PostgreSQL takes connections", 0.05)

    def _ready(self) -> bool:
        try:
            psycopg.connect(self.address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it at once: whatever was under way is lost."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        while answers(self.port):
            time.sleep(0.05)

    def address(self, database: str, user: str = "airflow") -> str:
        """The address of a database."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new database; its address."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[arg-type, unused-ignore]
        return self.address(database)


@contextmanager
def running() -> Iterator[Server]:
    """A server of one's own."""
    account: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    binary("postgres")  # skips where there is none
    folder = Path(tempfile.mkdtemp(prefix="nightscore-postgres-"))
    server = None
    try:
        if account:
            shutil.chown(folder, **account)
        server = Server(folder, account)
        server.start()
        yield server
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
