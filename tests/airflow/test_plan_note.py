"""What of a plan goes through XCom: as much for one file as for hundreds, and the next task has all of it."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from sqlalchemy import select

from nightscore.airflow import tasks
from nightscore.airflow.plan_note import note_of, read_noted_plan
from nightscore.airflow.web.dag_runs import find_run
from nightscore.common import NotYet, as_day
from nightscore.job import load
from nightscore.pipeline.steps import plan_day
from nightscore.store.places.run_folder import folder_of_plan
from nightscore.store.storage import homes
from tests.airflow.test_nights import night, receipt
from tests.support.s3 import BUCKET, Server, become_client, into_bucket
from tests.support.workspace import DAYS, make_workspace, write_day

FILES = 60


def sizes(run_id: str) -> dict[str, int]:
    """Key -> bytes of all that a run has in Airflow's database."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(select(XComModel).where(XComModel.run_id == run_id))
        return {f"{row.task_id} {row.key}": len(str(row.value)) for row in found}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("metadata")
def test_many_files_are_no_longer_in_the_database(tmp_path: Path) -> None:
    """The note is as long for sixty files as for one, and the page still has status and day of the plan."""
    root = make_workspace(tmp_path, 100)
    write_day(root, DAYS[1], 600, files=FILES)
    few, many = (night(root, f"files{day[-1]}", day=day) for day in DAYS[:2])
    assert receipt(many)["rows"]["published"] == 600
    of_few, of_many = (sizes(run.run_id)["plan plan"] for run in (few, many))
    whole = (next((root / "data/runs/mini" / DAYS[1]).glob("*/plan.json"))).read_text()
    assert len(json.loads(whole)["inputs"]["rows"]) == FILES and len(whole) > FILES * 200
    assert abs(of_many - of_few) < 50 and of_many < 4_000
    again = night(root, "again", day=DAYS[1])
    assert receipt(again)["status"] == "unchanged" and sizes(again.run_id)["plan plan"] < 4_000
    seen = [find_run(run.dag_id, run.run_id) for run in (many, again)]
    assert [run and (run.plan["status"], run.plan["day"]) for run in seen] == [
        ("score", DAYS[1]),
        ("unchanged", DAYS[1]),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("metadata")
def test_a_plan_that_is_gone_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gc` may have collected the run between two tasks: score leaves it to publish, which runs the day."""
    root = make_workspace(tmp_path, 100)

    def lose(plan: Any) -> str:
        folder_of_plan(load("mini", root).workspace, plan).remove()
        return note_of(plan)

    monkeypatch.setattr(tasks, "note_of", lose)
    done = night(root, "gone", day=DAYS[0])
    assert (done.state, receipt(done)["status"]) == ("success", "published")
    assert {task.try_number for task in done.get_task_instances()} == {1}


def test_a_plan_of_the_version_before_is_taken_as_it_is(tmp_path: Path) -> None:
    """It was handed on whole, by a run that an upgrade has cut in two."""
    job = load("mini", make_workspace(tmp_path, 100))
    plan = plan_day(job, as_day(DAYS[0]))
    folder_of_plan(job.workspace, plan).remove()
    assert read_noted_plan(job.workspace, plan.to_json()) == plan


@pytest.mark.parametrize("damage", ["", "{}", "another run's"])
def test_a_folder_that_has_no_such_plan_is_not_taken(tmp_path: Path, damage: str) -> None:
    """The message names the file; the day is planned again."""
    job = load("mini", make_workspace(tmp_path, 100))
    plan, other = plan_day(job, as_day(DAYS[0])), plan_day(job, as_day(DAYS[1]))
    place = folder_of_plan(job.workspace, plan).plan
    place.replace_text(other.to_json() if damage == "another run's" else damage)
    with pytest.raises(NotYet, match=f"{plan.run_id}/plan.json has no such plan"):
        read_noted_plan(job.workspace, note_of(plan))


def test_in_a_bucket_the_next_worker_reads_it(
    s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scratch folder is its own: what it has of the plan comes from the bucket."""
    address, root = f"s3://{BUCKET}/{tmp_path.name}", make_workspace(tmp_path, 100)
    write_day(root, DAYS[0], 600, files=3)
    become_client(monkeypatch, s3_server.port, tmp_path / "planner")
    into_bucket(root, address, tmp_path / "writer")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    plan = plan_day(load("mini", root), as_day(DAYS[0]))
    become_client(monkeypatch, s3_server.port, tmp_path / "worker")
    assert read_noted_plan(load("mini", root).workspace, note_of(plan)) == plan
    assert len(plan.inputs["rows"]) == 3
    homes._bucket.cache_clear()
