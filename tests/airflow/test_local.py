"""What `make airflow` refuses before it starts anything, in one message each."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

import nightscore
from nightscore.airflow import local
from nightscore.airflow.standalone import HOST, Local, dags_folder, free_port, hold_lock, is_free
from nightscore.common.errors import Broken
from nightscore.common.workspace import Workspace
from tests.support.workspace import make_workspace

URL = "http://127.0.0.1:8081"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def listening() -> Any:
    """A port that is in use."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def refused(*arguments: str) -> str:
    """What the command says when it starts nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "nightscore.airflow.local", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, ""), done
    return done.stderr


def test_a_port_in_use_is_named(tmp_path: Path, listening: int) -> None:
    """A port that was asked for is not replaced by another; without one, the first free one is taken."""
    root = make_workspace(tmp_path / "w", 10)
    assert f"port {listening} is in use" in refused("--workspace", str(root), "--port", str(listening))
    assert not (root / ".airflow").exists()
    assert not is_free(listening, HOST) and free_port(listening) > listening


def test_two_airflows_never_share_a_home(tmp_path: Path) -> None:
    """The second one is refused with the process of the first; when that has ended, it may start."""
    with hold_lock(tmp_path) as lock:
        for written, said in (("4711\n", r" \(process 4711\)"), (URL, rf", at {URL} \(process 4711\)")):
            lock.write(written)
            lock.flush()
            with pytest.raises(Broken, match=rf"runs from .* already{said}"), hold_lock(tmp_path):
                pass
    with hold_lock(tmp_path):
        pass


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    """With the message of the command line, and no traceback."""
    assert refused("--workspace", str(tmp_path)).startswith(f"broken: {tmp_path} is no workspace")


def test_an_airflow_without_the_plugin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DAG could be read there, so it says what to install."""
    local.check_plugin()
    monkeypatch.setattr(local, "entry_points", lambda **_: [])
    with pytest.raises(Broken, match=r"pip install -e '\.\[airflow\]'"):
        local.check_plugin()


def test_no_setting_of_another_airflow_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its database nor its home: a team's metadata is never migrated by accident."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://team")
    monkeypatch.setenv("AIRFLOW_CONFIG", "/team/airflow.cfg")
    root = make_workspace(tmp_path / "w", 10)
    found = Local(Workspace(root), tmp_path / "home", 8099).environment()
    assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith(f"sqlite:///{tmp_path}/home/airflow.db?")
    assert "AIRFLOW_CONFIG" not in found and found["AIRFLOW__API__BASE_URL"].endswith(":8099")
    assert found["PATH"].split(os.pathsep)[:2] == [f"{tmp_path}/home/bin", str(Path(sys.executable).parent)]


def test_the_dags_are_the_workspaces_own_or_the_packages(tmp_path: Path) -> None:
    """A workspace without a folder dags/ has the same DAG files as every other, in a checkout or not."""
    root = make_workspace(tmp_path / "w", 10)
    packaged = dags_folder(Workspace(root))
    assert packaged == Path(nightscore.__file__).parent / "airflow/dags"
    ours = {file.name: file.read_bytes() for file in (REPOSITORY / "dags").glob("*.py")}
    assert {file.name: file.read_bytes() for file in packaged.glob("*.py")} == ours
    (root / "dags").mkdir()
    (root / "dags/nightly.py").touch()
    assert dags_folder(Workspace(root)) == root / "dags"
