"""What `make airflow` starts: found healthy, and gone after Ctrl-C."""

import http.client
import os
import re
import signal
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from nightscore.airflow.standalone import Local, call, healthy, is_free, members
from nightscore.common.workspace import Workspace
from tests.e2e.conftest import READY_SECONDS
from tests.e2e.servers import HOST, launched, own_port, until
from tests.support.workspace import make_workspace


def listening(leader: int) -> set[str]:
    """The addresses at which the processes of a session can be reached."""
    ours = set(members(leader))
    found = [c for c in psutil.net_connections("tcp") if c.pid in ours and c.status == psutil.CONN_LISTEN]
    return {str(connection.laddr.ip) for connection in found}


def redirect(port: int) -> tuple[int, str | None]:
    """What the page's address without a slash is answered with."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", "/nightscore")
    answer = connection.getresponse()
    return answer.status, answer.getheader("location")


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_airflow_is_ready_with_a_log_in_and_goes_with_its_terminal(
    tmp_path: Path, sent: signal.Signals
) -> None:
    """It says address, user and password, and these are right; after the signal no process of it is left."""
    root, home, port = make_workspace(tmp_path / "w", 100), tmp_path / "home", own_port(8380)
    (root / "airflow").mkdir()  # as a team's repository may have one; without dags/, the package's are taken
    (root / "airflow/__init__.py").write_text("raise ImportError('airflow of the team')\n")
    command = [
        sys.executable,
        "-m",
        "nightscore.airflow.local",
        "--workspace",
        root,
        "--home",
        home,
        "--port",
        port,
    ]
    log = tmp_path / "printed"
    with launched(command, log) as starter:
        until(lambda: "Ctrl-C stops it" in log.read_text() or starter.poll(), READY_SECONDS, "it is ready")
        printed = log.read_text()
        assert "DAGs      mini\n" in printed
        local = Local(Workspace(root), home, port)
        assert healthy(local, "scheduler") and f"address   {local.url}\n" in printed
        password = re.search(r"password  (\S+)", printed)[1]  # type: ignore[index]
        assert call(local, "POST", "/auth/token", {"username": "admin", "password": password})
        assert call(local, "GET", "/api/v2/dags") is None  # not for everybody

        process, url = (home / "lock").read_text().split()
        leader = int(process)
        assert len(members(leader)) > 4 and url == local.url
        assert listening(leader) == {HOST}, "the log servers would listen on every address"
        assert redirect(port) == (307, "nightscore/")
        os.kill(starter.pid, sent)
        assert starter.wait(60) == 0
    assert "Ctrl-C again ends them now" in log.read_text()
    assert members(leader) == [] and is_free(port, HOST)
    assert log.read_text().endswith("Stopped.\n")
