"""`nightscore warm`: what it compiled serves the nights of other processes, which compile nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nightscore.start import DAYS, TEMPLATES_BY_NAME, make_workspace

NIGHTSCORE = str(Path(sys.executable).with_name("nightscore"))


def compiled(folder: Path) -> dict[str, int]:
    """Numba's files, each with when it was written."""
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*.nb?")}


def nightscore(root: Path, kept: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"NUMBA_CACHE_DIR": str(kept)}
    return subprocess.run(
        [NIGHTSCORE, *words], capture_output=True, text=True, cwd=root, env=env, check=False
    )


@pytest.mark.slow
def test_a_night_compiles_nothing_after_it(tmp_path: Path) -> None:
    """A job whose trees score by the compiled kernel, where nothing is compiled yet."""
    root, kept, job = tmp_path / "w", tmp_path / "kept", TEMPLATES_BY_NAME["trees"].job
    make_workspace(root, "trees")
    [file] = root.glob("jobs/*/job.yaml")
    file.write_text(file.read_text().replace("model:\n", "model:\n  kind: trees\n", 1))
    said = nightscore(root, kept, "warm")
    assert f"{job}, trees on cpu" in said.stdout and not said.returncode
    assert f"kept in {kept}/" in said.stdout
    before = compiled(kept)
    assert any("kernel" in name for name in before)
    assert not nightscore(root, kept, "run", job, "--day", str(DAYS[-1])).returncode
    assert not nightscore(root, kept, "warm", job).returncode
    assert compiled(kept) == before


def test_a_way_that_is_not_here_and_a_job_that_is_broken_are_named(tmp_path: Path) -> None:
    """The others are warmed all the same."""
    root, job = tmp_path / "w", TEMPLATES_BY_NAME["onnx"].job
    make_workspace(root, "onnx")
    [file] = root.glob("jobs/*/job.yaml")
    text = file.read_text().replace(f"job: {job}", "job: other")
    model = next(line for line in text.splitlines() if line.strip().startswith("path: data/models"))
    shutil.copytree(file.parent, root / "jobs/other")
    (root / "jobs/other/job.yaml").write_text(text.replace(model, "  path: data/models/none.onnx"))
    said = nightscore(root, tmp_path / "kept", "warm")
    assert said.returncode == 1
    assert re.search(rf"^{job}, onnx on cpu +[0-9.]+ s$", said.stdout, re.MULTILINE)
    assert re.search(rf"^{job}, trees on cpu +not here: data/models/\w+\.onnx: ", said.stdout, re.MULTILINE)
    assert "jobs/other/job.yaml" in said.stderr and "none.onnx: can't be read" in said.stderr
