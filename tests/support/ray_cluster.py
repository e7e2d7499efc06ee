"""A real Ray cluster for tests: nodes of this machine, each started as an operator starts one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

PATIENCE, TRIES = 120.0, 3  # seconds until a node has to be there, and how often it is started
STORE_BYTES = 80_000_000  # the least that Ray takes for its object store; nothing of ours goes through it


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Cluster:
    """A head without a slot, and nodes that are added; all of it is gone at the end.

    With `jobs` the head takes jobs over HTTP, at `http`.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *, jobs: bool = False) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        # Ray's sockets have to have a short name.
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.environment = {
            **os.environ, **(environment or {}), "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        self.environment.pop("RAY_ADDRESS", None)
        self.started: list[subprocess.Popen[bytes]] = []
        self.dashboard = ("--include-dashboard=false",)
        if jobs:
            at = free_port()
            self.http = f"http://127.0.0.1:{at}"
            self.dashboard = (
                "--include-dashboard=true",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={at}",
            )
        self.head = self.start_head()

    def start_head(self) -> subprocess.Popen[bytes]:
        """The head; where that was killed another, at the same address, which knows nothing of the first."""
        port = self.address.rpartition(":")[2]
        self.head = self.start("--head", f"--port={port}", *self.dashboard, f"--temp-dir={self.folder}")
        return self.head

    def start(
        self, *options: str, cpus: int = 0, gpus: int = 0, environment: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """A process that is a node, and all that belongs to it, once it is there.

        On a busy machine Ray gives up the start of a node after half a minute: it is tried again.
        """
        command = [
            *before, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
            f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={STORE_BYTES}", *options,
            f"--dashboard-agent-listen-port={free_port()}",  # else all nodes of a machine want the same
        ]  # fmt: skip
        for _ in range(TRIES):
            log = self.folder / f"node-{len(self.started)}.log"
            with log.open("wb") as out:
                node = subprocess.Popen(
                    command, env={**self.environment, **(environment or {})}, stdout=out, stderr=out,
                    start_new_session=True,
                )  # fmt: skip
            self.started.append(node)
            end = time.monotonic() + PATIENCE
            while node.poll() is None and time.monotonic() < end:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.2)
        raise AssertionError(log.read_text())

    def add(
        self, cpus: int = 1, gpus: int = 0, environment: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """A further node."""
        return self.start(
            f"--address={self.address}", cpus=cpus, gpus=gpus, environment=environment, before=before
        )

    def raylet(self, node: subprocess.Popen[bytes]) -> psutil.Process:
        """The process that holds a node's workers."""
        [found] = [p for p in psutil.Process(node.pid).children(recursive=True) if p.name() == "raylet"]
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes in which pieces are scored now, of all nodes."""
        alive = [psutil.Process(node.pid) for node in self.started if node.poll() is None]
        return [process for node in alive for process in node.children(recursive=True) if _scores(process)]

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """A node is gone at once, with all its processes, as where its machine has lost its power."""
        everything = []
        if node.poll() is None:
            everything = psutil.Process(node.pid).children(recursive=True)
            os.kill(node.pid, signal.SIGKILL)
            node.wait()
        for process in everything:
            if process.is_running():
                process.kill()

    def stop(self) -> None:
        """Ends all, and removes what it wrote."""
        for node in self.started:
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


def _scores(process: psutil.Process) -> bool:
    """Whether a process of Ray scores a piece now; one that has just ended does not."""
    try:
        return "_there" in process.name() + "".join(process.cmdline())
    except psutil.Error:
        return False
