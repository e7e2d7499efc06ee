"""A cluster that is not there, or is named wrongly, is told before anything is planned."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.ray_cluster import free_port
from tests.support.workspace import make_workspace

pytest.importorskip("ray")

DAY = "2020-01-02"
WRONG: dict[str, tuple[str, int, str]] = {
    "nothing listens": ("127.0.0.1:{port}", 75, "no Ray cluster answers there"),
    "Ray Client": ("ray://127.0.0.1:10001", 1, "allowed: HOST:PORT"),
    "a password": ("https://user:secret@head", 1, "RAY_ADDRESS=…: is no address"),
    "no port": ("head", 1, "allowed: HOST:PORT"),
    "no cluster": ("", 1, "RAY_ADDRESS is not set"),
}


@pytest.mark.parametrize(("address", "code", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_address_is_told(
    address: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear message, before anything is planned."""
    if not address and any(process.name() == "gcs_server" for process in psutil.process_iter()):
        pytest.skip("NOT TESTED: a Ray cluster of this machine would be found")
    root = make_workspace(tmp_path / "w", days=(DAY,))
    monkeypatch.setenv("RAY_ADDRESS", address.format(port=free_port()))
    done = subprocess.run(
        [sys.executable, "-m", "nightscore", "--workspace", str(root), "run", "mini", "--day", DAY,
         "--on", "ray"], text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert not (root / "data/runs").exists()
