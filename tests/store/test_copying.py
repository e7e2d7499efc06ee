"""A workspace's data is copied to its place whole, or not begun; a copy that was killed is gone on with."""

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightscore import load, query, run
from nightscore.cli.main import call
from tests.support.workspace import DAYS, make_workspace


def bytes_of(folder: Path) -> dict[str, str]:
    """The sha256 of each file, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def copied(source: Path) -> dict[str, str]:
    """What of a folder is to be copied."""
    found = bytes_of(source)
    return {
        path: digest
        for path, digest in found.items()
        if not path.startswith("choices/") and Path(path).name != "lock" and not path.endswith(".tmp")
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where data is to lie, empty."""
    (tmp_path / "place").mkdir()
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(tmp_path / "place"))
    return tmp_path / "place"


def published(root: Path, day: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with its data beside its jobs, and a day of it."""
    with monkeypatch.context() as of_disk:
        of_disk.delenv("NIGHTSCORE_ROOT_DATA")
        make_workspace(root, 500)
        assert run(load("mini", root), day).status == "published"
    return root


def copy_to_place(root: Path) -> int:
    return int(call(["storage", "copy", str(root / "data"), "--workspace", str(root)]))


def test_onto_the_runs_of_others_nothing_is_copied(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Receipts come before logs, in which the conflict is: they would be of days that nobody can read."""
    one = published(tmp_path / "one", DAYS[0], monkeypatch)
    other = published(tmp_path / "other", DAYS[1], monkeypatch)
    assert copy_to_place(one) == 0
    before = bytes_of(place)
    capsys.readouterr()
    assert copy_to_place(other) == 1
    assert "nothing was copied" in capsys.readouterr().err
    assert bytes_of(place) == before


@pytest.mark.slow
def test_a_copy_that_is_killed_is_gone_on_with(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once it has copied 1, 4, 7… files: each file there is whole, and the next copies the others."""
    root = published(tmp_path / "one", DAYS[0], monkeypatch)
    want, command = (
        copied(root / "data"),
        "import sys; from nightscore.cli.main import call; call(sys.argv[1:])",
    )
    arguments = ["storage", "copy", str(root / "data"), "--workspace", str(root)]
    for files in range(1, len(want), 3):
        shutil.rmtree(place)
        place.mkdir()
        process = subprocess.Popen([sys.executable, "-c", command, *arguments], stdout=subprocess.DEVNULL)
        while process.poll() is None and len(come_so_far(place)) < files:
            time.sleep(0.001)
        process.kill()
        process.wait()
        assert copied(place).items() <= want.items()
        assert copy_to_place(root) == 0
        assert copied(place) == want
    assert call(["verify", "--workspace", str(root)]) == 0
    assert query("SELECT count(*) AS n FROM mini_scores", root).to_pylist() == [{"n": 500}]


def come_so_far(place: Path) -> list[Path]:
    """The files that have come so far."""
    return [path for path in place.rglob("*") if path.is_file()]
