"""P12 in Airflow: no secret of a worker's environment or home comes out in logs, XCom or its database."""

import datetime as dt
import os
from pathlib import Path

import pytest

pytest.importorskip("airflow")

from tests.airflow.test_nights import night, states
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

CANARY = "canary-51d07c9f"
ENDS = {
    "published": (JOB, "success"),
    "sql that fails": (JOB.replace("features: rows", "features: features.sql"), "failed"),
    "no such model": (JOB.replace("linear.onnx", "other.onnx"), "failed"),
    "an audit that fails": (JOB + "  - {name: never, sql: SELECT false}\n", "failed"),
}


@pytest.mark.parametrize(("text", "state"), ENDS.values(), ids=[name.replace(" ", "_") for name in ENDS])
@pytest.mark.sample(2)
def test_no_secret_is_in_what_airflow_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, state: str
) -> None:
    """A night that succeeds and nights that fail, with a canary in variables and files where secrets are."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text(f"[default]\naws_secret_access_key = {CANARY}\n")
    monkeypatch.setenv("HOME", str(home))
    for name in ("AWS_SECRET_ACCESS_KEY", "DATABASE_PASSWORD", "NIGHTSCORE_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setattr("nightscore.airflow.held.WAIT", dt.timedelta(0))  # nobody answers about a held day
    root = make_workspace(tmp_path / "w", 100, text)
    (root / "jobs/mini/features.sql").write_text(
        "SELECT id, a, b / (SELECT error(a::VARCHAR) FROM rows) FROM rows"
    )
    done = night(root, f"secret_{state}_{len(text)}", day=DAYS[0])
    assert (done.state, bool(states(done))) == (state, True)
    printed = "".join(capfd.readouterr())
    assert "mini" in printed or state == "success"
    kept = [
        p for folder in (Path(os.environ["AIRFLOW_HOME"]), root) for p in folder.rglob("*") if p.is_file()
    ]
    assert any(p.name.startswith("airflow.db") for p in kept)
    assert CANARY not in printed
    assert [p for p in kept if CANARY.encode() in p.read_bytes()] == []
