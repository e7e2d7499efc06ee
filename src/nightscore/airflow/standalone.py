"""`airflow standalone` as one thing: its settings, its ports, its processes, and what it answers."""

import contextlib
import fcntl
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]

from nightscore.common import WORKSPACE_VARIABLE, Broken, Workspace
from nightscore.job import load_all

HOST = "127.0.0.1"
USER = "admin"
PASSWORDS = "simple_auth_manager_passwords.json.generated"
PACKAGED_DAGS = Path(__file__).parent / "dags"  # the same bytes as in dags/ of the repository
LAST_LINES = 15  # of the log, in a message
BUSY_SECONDS = 60  # that one part waits while another writes; SQLite's own five are few at a backfill's start
PART = """\
#!/bin/sh
# A part of Airflow. It serves no logs: those two servers listen on every address, and no setting of Airflow's
# changes that. All parts share a disk here, so that the page reads each log as a file.
case "$1" in scheduler | triggerer) set -- "$@" --skip-serve-logs ;; esac
exec {python} -P -m airflow "$@"
"""
GRACE_SECONDS = 30.0  # for running tasks to end; one that is killed is taken up by its next run


@dataclass(frozen=True)
class Local:
    """One Airflow: the workspace that it scores, its home folder and its ports."""

    workspace: Workspace
    home: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)  # more of Airflow's, such as CORE__EXECUTOR

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What all its processes print."""
        return self.home / "standalone.log"

    @property
    def password(self) -> str:
        """The password of the user `admin`, which Airflow chooses at its first start."""
        file = self.home / PASSWORDS
        return str(json.loads(file.read_text(encoding="utf-8"))[USER])

    def write_part(self) -> None:
        """Write the command `airflow` by whose name standalone starts its parts, first on their PATH."""
        part = self.home / "bin" / "airflow"
        part.parent.mkdir(exist_ok=True)
        part.write_text(PART.format(python=shlex.quote(sys.executable)), encoding="utf-8")
        part.chmod(0o700)

    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        path = [str(self.home / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        settings = {
            "CORE__DAGS_FOLDER": str(dags_folder(self.workspace)),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "4",  # as many processes are forked, and a score task uses every core
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout={BUSY_SECONDS}",
            "API__HOST": HOST,
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,  # tasks report there; its default is port 8080
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",  # after a crash; its default is 300
            "WORKERS__EXECUTION_API_RETRIES": "10",  # a task may start before the API server listens
            "DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # a new job shows up in seconds
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return inherited | {
            "AIRFLOW_HOME": str(self.home),
            WORKSPACE_VARIABLE: str(self.workspace.root),
            "PATH": os.pathsep.join(path),
            **{f"AIRFLOW__{name}": value for name, value in (settings | dict(self.settings)).items()},
        }


def dags_folder(workspace: Workspace) -> Path:
    """The workspace's own `dags/`; where that has no nightly.py, the two files of the package."""
    own = workspace.root / "dags"
    return own if (own / "nightly.py").is_file() else PACKAGED_DAGS


def free_port(first: int, host: str = HOST) -> int:
    """The first free port from `first` on."""
    return next(port for port in range(first, first + 1000) if is_free(port, host))


def is_free(port: int, host: str) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def hold_lock(home: Path) -> Iterator[IO[str]]:
    """Hold the home's lock. Airflow holds it on, should this process be killed without stopping it.

    Raises:
        Broken: another Airflow runs from this home.
    """
    with (home / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            process, url = [*lock.read().split(), "", ""][:2]
            at = f", at {url}" if url else ""
            raise Broken(
                f"an Airflow runs from {home} already{at} (process {process or 'unknown'}); "
                "stop it, or name another folder with --home"
            ) from None
        yield lock


@contextlib.contextmanager
def start_airflow(
    local: Local, lock: IO[str], hurry: threading.Event | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`airflow standalone` in a session of its own; at the end no process of that session is left.

    Args:
        local: what to start.
        lock: the home's lock, which Airflow holds on, should this process be killed.
        hurry: set where the end should not wait for running tasks.
    """
    local.write_part()
    with local.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "airflow", "standalone"],  # a workspace may hold a folder airflow/
            env=local.environment(),
            cwd=local.workspace.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    try:
        lock.truncate(0)
        lock.write(f"{process.pid}\n{local.url}\n")
        lock.flush()
        yield process
    finally:
        stop(process, hurry=hurry)


def stop(
    process: subprocess.Popen[bytes], seconds: float = GRACE_SECONDS, hurry: threading.Event | None = None
) -> None:
    """End a process that leads a session, and every process of that session.

    They have some seconds to end by themselves, or until `hurry` is set. No process is left afterwards.
    """
    hurry = hurry or threading.Event()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)  # to the leader alone: the others get SIGTERM from it
    deadline = time.monotonic() + seconds
    while members(process.pid) and time.monotonic() < deadline and not hurry.wait(0.2):
        pass
    while left := members(process.pid):  # a task's process has a group of its own, but no session
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    process.wait()


def members(leader: int) -> list[int]:
    """The living processes of the session that a process leads, or has led."""
    pids = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                pids.append(process.pid)
    return pids


def refuse_ended(local: Local, process: subprocess.Popen[bytes]) -> None:
    """Raise where Airflow has ended by itself.

    Raises:
        Broken: with the last lines of its log.
    """
    if process.poll() is not None:
        last = local.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        raise Broken("\n  ".join((f"Airflow ended by itself; its log {local.log} ends with", *last)))


def healthy(local: Local, part: str) -> bool:
    """Whether a part of Airflow says that it is healthy."""
    health = call(local, "GET", "/api/v2/monitor/health")
    return isinstance(health, dict) and health.get(part, {}).get("status") == "healthy"


def has_dags(local: Local) -> bool:
    """Whether the DAGs of all jobs have been read."""
    if not (local.home / PASSWORDS).exists():
        return False
    token = call(local, "POST", "/auth/token", {"username": USER, "password": local.password})
    page = call(local, "GET", "/api/v2/dags?limit=1", token=token and token["access_token"])
    return page is not None and page["total_entries"] >= len(load_all(local.workspace)[0])


def call(local: Local, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    """The JSON that Airflow answers; None where it does not, or refuses."""
    connection = http.client.HTTPConnection(HOST, local.port, timeout=10)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return json.load(answer) if answer.status < 300 else None
    return None
