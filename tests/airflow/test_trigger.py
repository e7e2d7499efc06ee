"""Waiting for folders: what is there, or would be refused, ends the wait; a plan then says what is wrong."""

from pathlib import Path

import pytest

pytest.importorskip("airflow")

from nightscore.airflow.trigger import PartitionTrigger, find_missing_folders, find_unready_inputs
from tests.support.workspace import JOB, make_workspace

FOLDER = "data/lake/rows/day=2020-01-09"


def landed(root: Path) -> bool:
    trigger = PartitionTrigger(
        workspace=str(root), folders=[FOLDER], tables=[], day="2020-01-09", deadline=0.0
    )
    return trigger._landed()


def test_a_folder_without_data_is_waited_for(tmp_path: Path) -> None:
    """One that is not there, empty, with hidden files, or with a file that is being written."""
    root = make_workspace(tmp_path, 1, days=("2020-01-03",))
    assert find_missing_folders(root, [FOLDER]) == [FOLDER]
    (root / FOLDER).mkdir()
    assert not landed(root)
    for name in ("_SUCCESS", ".x.parquet", "x.parquet.tmp"):
        (root / FOLDER / name).touch()
        assert not landed(root)


@pytest.mark.parametrize("name", ["x.parquet", "x.PARQUET", "x.pq", "h=1/x.parquet", "x.csv"])
def test_a_file_that_a_plan_reads_or_refuses_ends_the_wait(tmp_path: Path, name: str) -> None:
    """Else nobody would ever be told of it."""
    root = make_workspace(tmp_path, 1, days=("2020-01-03",))
    path = root / FOLDER / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert landed(root)


def test_a_link_to_nowhere_and_a_table_end_the_wait(tmp_path: Path) -> None:
    """They don't go away by waiting."""
    root = make_workspace(tmp_path, 1, days=("2020-01-03",))
    (root / FOLDER).mkdir()
    (root / FOLDER / "x.parquet").symlink_to("/nowhere")
    assert landed(root)
    (root / FOLDER / "x.parquet").unlink()
    (root / "data/lake/_delta_log").mkdir()
    assert landed(root)


def test_a_job_is_waited_for_by_its_own_rule(tmp_path: Path) -> None:
    """What is there, and not ready, is not landed; a lake of another layout is waited for as well."""
    job = JOB.replace(
        "{path: data/lake/rows, partition: day}",
        "{root: lake, path: rows, partition: 'region=*/dt={day:%Y%m%d}', ready: {file: _SUCCESS}}",
    )
    root = make_workspace(tmp_path / "w", 1, job + "policy: {missing: wait}\n", days=())
    (root / "workspace.yaml").write_text("roots: {lake: ../lake}\n")
    folder = tmp_path / "lake/rows/region=eu/dt=20200109"
    (folder.parent / "dt=20200108").mkdir(parents=True)
    arguments = PartitionTrigger(
        workspace=str(root), folders=[], tables=[], day="2020-01-09", deadline=0.0, job="mini"
    ).serialize()[1]
    trigger = PartitionTrigger(**arguments)
    assert not trigger._landed()
    folder.mkdir()
    assert not trigger._landed()
    (folder / "x.parquet").touch()
    assert find_unready_inputs(root, "mini", "2020-01-09") == {
        "rows": "lake:rows/region=eu/dt=20200109 has no _SUCCESS yet"
    }
    assert not trigger._landed()
    (folder / "_SUCCESS").touch()
    assert trigger._landed()
    (tmp_path / "lake/rows/archive").mkdir()
    (folder / "_SUCCESS").unlink()
    assert trigger._landed(), "the plan says what is wrong"
