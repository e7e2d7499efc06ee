"""What is wrong with a job, on the page before its night."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("airflow")

from nightscore.airflow.missing import missing_tags
from nightscore.airflow.web import checks
from nightscore.airflow.web.access import Sight
from nightscore.common import Workspace
from nightscore.job import load
from tests.support.workspace import JOB, make_workspace

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A job that fits; one whose model is not there, one whose column isn't, one that can't be read."""
    make_workspace(tmp_path, 10)
    for name, old, new in (
        ("lost", "models/linear", "models/lost"),
        ("wrong", "keep: [a]", "keep: [aa]"),
        ("broken", "key: [id]", "key: id: x"),
    ):
        folder = tmp_path / "jobs" / name
        folder.mkdir()
        text = JOB.replace("job: mini", f"job: {name}").replace("mini_top", f"{name}_top").replace(old, new)
        (folder / "job.yaml").write_text(text)
        (folder / "top.sql").write_text((tmp_path / "jobs/mini/top.sql").read_text())
    yield tmp_path
    checks._known.clear()


def sight(root: Path, *jobs: str) -> Sight:
    """A user who may read these jobs."""
    return Sight(Workspace(root), frozenset(jobs))


def test_a_check_is_known_after_a_while_and_again_when_a_file_changes(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once the jobs that can't be read; then each message; mended, it is checked anew.

    A job reads a root that the environment names, as its tasks do.
    """
    lake = tmp_path_factory.mktemp("lake")
    (root / "data/lake/rows").rename(lake / "rows")
    monkeypatch.setenv("NIGHTSCORE_ROOT_FAR", str(lake))
    for file in root.glob("jobs/*/job.yaml"):
        file.write_text(file.read_text().replace("path: data/lake/rows", "root: far, path: rows"))
    everything = ("mini", "lost", "wrong", "broken")
    first = checks.check_results(sight(root, *everything))
    assert set(first) == {"broken"} and "jobs/broken/job.yaml" in str(first["broken"])
    assert checks.wait_for_checks(120)
    found = checks.check_results(sight(root, *everything))
    assert found["mini"] is None
    assert "data/models/lost.onnx" in str(found["lost"]) and "jobs/lost/job.yaml:" in str(found["lost"])
    assert "'aa'" in str(found["wrong"]) or "aa" in str(found["wrong"])
    assert not checks._at_work  # nothing is due
    assert set(checks.check_results(sight(root, "lost"))) == {"lost"}  # nothing of what he may not read
    (root / "data/models/lost.onnx").write_bytes((root / "data/models/linear.onnx").read_bytes())
    assert "lost" not in checks.check_results(sight(root, "lost"))
    assert checks.wait_for_checks(120)
    assert checks.check_results(sight(root, "lost")) == {"lost": None}


def test_the_list_of_dags_says_what_is_not_there(root: Path) -> None:
    """By tags: a parse costs a look at the model's and the inputs' paths, and no more."""
    assert missing_tags(load("mini", root)) == []
    assert missing_tags(load("lost", root)) == ["no model"]
    (root / "data/lake/rows").rename(root / "data/lake/other")
    assert missing_tags(load("lost", root)) == ["no model", "no data"]
