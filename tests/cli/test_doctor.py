"""`nightscore doctor` says where all lies, by which setting, and what is wrong with the way on."""

import json
from pathlib import Path

import pytest

from nightscore.cli.main import call
from tests.support.workspace import make_workspace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a root beside it."""
    monkeypatch.delenv("NIGHTSCORE_ROOT_LAKE", raising=False)
    (tmp_path / "lake").mkdir()
    root = make_workspace(tmp_path / "w", 10)
    (root / "workspace.yaml").write_text("roots: {lake: ../lake}\n")
    return root


def doctor(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    """The exit code, and what it says."""
    code = call(["--workspace", str(root), "doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_workspace_has_no_problem(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Roots with their settings, what the disk of data can do; nothing is left behind."""
    before = sorted((root / "data").iterdir())
    code, found = doctor(root, capsys)
    assert (code, found["problems"]) == (0, [])
    assert [(r["name"], r["setting"], r["readable"]) for r in found["roots"]] == [
        ("data", "default", True),
        ("lake", "workspace.yaml:1", True),
    ]
    data = found["roots"][0]
    assert data["writable"] and data["hard_links"] and data["locks"] and data["free"] > 0
    assert found["versions"]["duckdb"] and found["python"].startswith("3.")
    assert sorted((root / "data").iterdir()) == before
    assert call(["--workspace", str(root), "doctor"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_what_is_wrong_is_said_with_the_way_on(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that is not mounted, no data, a mistake in workspace.yaml: exit code 1."""
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", str(tmp_path / "absent"))
    code, found = doctor(root, capsys)
    said = "\n".join(found["problems"])
    assert code == 1 and "make or mount it, or set another by NIGHTSCORE_ROOT_LAKE" in said
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(tmp_path / "nowhere"))
    assert "root data: " in "\n".join(doctor(root, capsys)[1]["problems"])
    (root / "workspace.yaml").write_text("root: x\n")
    code, found = doctor(root, capsys)
    assert code == 1 and "root: unknown key; a workspace.yaml has name" in found["problems"][0]
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA"), monkeypatch.delenv("NIGHTSCORE_ROOT_LAKE")
    (root / "workspace.yaml").write_text("name: risk\nairflow:\n  pool: 'a,b'\n")
    said = "workspace.yaml:3: airflow.pool: 'a,b' is not allowed: it is a name of at most 200 characters"
    assert said in doctor(root, capsys)[1]["problems"][0]
    assert call(["--workspace", str(root), "check", "mini"]) == 1 and said in capsys.readouterr().err


def test_the_folder_for_fetched_files_is_looked_at(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is set: there, not there yet (it is made, on whatever disk), a file, below a file."""
    monkeypatch.delenv("NIGHTSCORE_SCRATCH", raising=False)
    assert doctor(root, capsys)[1]["scratch"] is None
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    for name, readable in (("there", True), ("nvme/x", False)):
        monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / name))
        code, found = doctor(root, capsys)
        scratch = found["scratch"]
        assert (code, scratch["readable"], scratch["writable"]) == (0, readable, True)
    for name in ("file", "file/x"):
        monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / name))
        code, found = doctor(root, capsys)
        assert code == 1 and f"scratch: {tmp_path}/file is no folder; set NIGHTSCORE" in found["problems"][0]
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "nvme/x"))
    assert call(["--workspace", str(root), "doctor"]) == 0
    assert "is not there; a run makes it, where " in capsys.readouterr().out
    assert not (tmp_path / "nvme").exists() and not list((tmp_path / "there").iterdir())
