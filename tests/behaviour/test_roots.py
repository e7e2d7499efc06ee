"""A job over a root publishes what it does over the workspace; its data may lie on another disk."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable

from nightscore import Broken, load, run
from nightscore.common import as_day
from nightscore.pipeline import plan_day
from nightscore.review import verify_days
from nightscore.store import catalog
from tests.support.workspace import JOB, make_workspace

DAY = "2020-01-03"
ROOTED = JOB.replace("{path: data/lake/rows, partition: day}", "{root: lake, path: rows, partition: day}")


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose rows lie in a folder beside it."""
    monkeypatch.delenv("NIGHTSCORE_ROOT_LAKE", raising=False)
    root = make_workspace(tmp_path / "w", 500, ROOTED)
    shutil.move(root / "data/lake", tmp_path / "lake")
    (root / "workspace.yaml").write_text("roots: {lake: ../lake}\n")
    return root


def published(tables: Path) -> pd.DataFrame:
    """The published scores, as another reader has them."""
    rows = pd.DataFrame(DeltaTable(str(tables / "mini_scores")).to_pyarrow_table().to_pandas())
    return rows.drop(columns="run_id").sort_values("id", ignore_index=True)


def test_a_lake_beside_the_workspace_is_read_by_its_root(night: Path, tmp_path: Path) -> None:
    """The rows are those of the same lake inside; plan and receipt name it by the root, and it verifies."""
    job = load("mini", night)
    receipt = run(job, DAY)
    assert [file.path for file in receipt.inputs] == [f"lake:rows/day={DAY}/part-0.parquet"]
    inside = make_workspace(tmp_path / "inside", 500)
    run(load("mini", inside), DAY)
    assert published(night / "data/tables").equals(published(inside / "data/tables"))
    assert run(job, DAY).status == "unchanged"
    assert all(not day.differences for day in verify_days(job.workspace))


def test_another_environment_is_another_variable(
    night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prod differs from dev in a variable: no file of the workspace changes, and the job is the same."""
    before = load("mini", night).hash
    (tmp_path / "lake").rename(tmp_path / "prod")
    with pytest.raises(Broken, match=r"no lake:rows in root lake, .*workspace\.yaml:\d\): is it mounted"):
        plan_day(load("mini", night), as_day(DAY))
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", str(tmp_path / "prod"))
    assert load("mini", night).hash == before
    assert run(load("mini", night), DAY).rows.published == 500


@pytest.mark.disk_only(reason="it sets the root data itself")
def test_data_on_another_disk_keeps_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, runs and receipts are written there, and the plan names all as if they lay in data/."""
    root = make_workspace(tmp_path / "w", 500)
    here = run(load("mini", root), DAY)
    shutil.copytree(root / "data", tmp_path / "disk", copy_function=shutil.copy2)
    shutil.rmtree(root / "data")
    shutil.rmtree(tmp_path / "disk/tables"), shutil.rmtree(tmp_path / "disk/runs")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(tmp_path / "disk"))
    job = load("mini", root)
    receipt = run(job, DAY)
    assert [f.path for f in receipt.inputs] == [f.path for f in here.inputs]
    assert receipt.fingerprint == here.fingerprint and receipt.key_hash == here.key_hash
    assert len(published(tmp_path / "disk/tables")) == 500 and not (root / "data").exists()
    plan = next((tmp_path / "disk/runs").rglob("plan.json"))
    assert json.loads(plan.read_text())["inputs"]["rows"][0]["path"].startswith("data/lake/rows/day=")
    assert catalog.read_catalog(job.workspace).read_receipt("mini", as_day(DAY)) is not None


@pytest.mark.disk_only(reason="a bucket has no links")
def test_nothing_outside_a_root_is_read(night: Path, tmp_path: Path) -> None:
    """A link that leaves is refused with the way on, and is read once its folder is a root."""
    (tmp_path / "other").mkdir()
    part = tmp_path / f"lake/rows/day={DAY}/part-0.parquet"
    part.rename(tmp_path / "other/part.parquet")
    part.symlink_to(tmp_path / "other/part.parquet")
    with pytest.raises(Broken, match=rf"lake:rows/day={DAY}/.* lies outside .*make its folder a root"):
        run(load("mini", night), DAY)
    (night / "workspace.yaml").write_text("roots: {lake: ../lake, other: ../other}\n")
    assert run(load("mini", night), DAY).rows.published == 500
