"""Whole nights by `dag.test()`: what Airflow publishes is what the plain loop publishes."""

import asyncio
import datetime as dt
import importlib
import os
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from sqlalchemy import select

from nightscore.airflow import tasks
from nightscore.airflow.dag import build_dag
from nightscore.airflow.day import day_of_run
from nightscore.airflow.form import build_form, request_of
from nightscore.airflow.tasks import errors
from nightscore.airflow.trigger import PartitionTrigger
from nightscore.common.errors import NotYet
from nightscore.job.loader import load
from nightscore.pipeline import steps
from nightscore.pipeline.executors import run
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace, write_day

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

ROWS = 70_000  # three pieces
SKIP = JOB + "policy: {missing: skip}\n"
WAIT = JOB + "policy: {missing: wait}\n"


def night(root: Path, dag_id: str, **conf: Any) -> Any:
    """`dag.test()` of the mini job under an id of its own; gives the finished run."""
    return known(root, dag_id).test(run_conf=conf, logical_date=None)


def known(root: Path, dag_id: str, job: str = "mini") -> DAG:
    """A job's DAG, under an id of its own, in the metadata database."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    dag = build_dag(load(job, root))
    dag.dag_id = dag_id
    dag.deadline = None  # `dag.test()` can't store the alert of one
    for task in dag.tasks:
        task.retry_delay = dt.timedelta(0)  # type: ignore[union-attr,misc]
    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "testing", None)
    return dag


def states(dag_run: Any) -> dict[str, list[str]]:
    """The states of a run's tasks, mapped ones in order."""
    found: dict[str, list[str]] = {}
    for task in sorted(dag_run.get_task_instances(), key=lambda t: (t.task_id, t.map_index)):
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


def receipt(dag_run: Any) -> Any:
    """What publish returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(run_id=dag_run.run_id, task_ids="publish", key="return_value")
        return XComModel.deserialize_value(session.scalars(query).one())


def published(root: Path) -> dict[str, bytes]:
    """The bytes of every file of the mini job's tables, by table, day and the file's number."""
    paths = (root / "data/tables").glob("mini*/day=*/*.parquet")
    return {f"{p.parts[-3]} {p.parts[-2]} {p.stem.rpartition('-')[2]}": p.read_bytes() for p in paths}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.sample(1)
def test_airflow_publishes_what_the_loop_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Byte for byte the same files, for runs of the same name; however many tasks share the pieces."""
    monkeypatch.setattr(
        "nightscore.store.places.run_folder.new_run_id", lambda *_: "20200101T000000-00000000-000000"
    )
    job = JOB + f"scoring: {{tasks: {count}}}\n"
    one, two = (make_workspace(tmp_path / name, ROWS, job) for name in ("airflow", "loop"))
    done = night(one, f"equal{count}", day=DAYS[0])
    assert (done.state, states(done)["score"]) == ("success", ["success"] * count)
    expected = run(load("mini", two), DAYS[0])
    found = receipt(done)
    assert found["rows"] == expected.rows.model_dump() and found["key_hash"]["out"] == expected.key_hash.out
    assert "inputs" not in found
    assert published(one) == published(two) and len(published(one)) == 4


@pytest.mark.slow
def test_a_second_run_of_a_day_is_unchanged(tmp_path: Path) -> None:
    """Nothing is scored; publish succeeds with the receipt of the first run."""
    root = make_workspace(tmp_path, 100)
    first, second = (night(root, name, day=DAYS[0]) for name in ("first", "second"))
    before = published(root).keys()
    assert states(second) == {"plan": ["success"], "publish": ["success"], "score": ["skipped"]}
    assert receipt(second)["status"] == "unchanged"
    assert receipt(second)["run_id"] == receipt(first)["run_id"]
    third = night(root, "third", day=DAYS[0], force=True)
    assert receipt(third)["run_id"] != receipt(first)["run_id"]
    assert len(published(root)) == len(before)


def test_a_preview_publishes_nothing_and_announces_nothing(tmp_path: Path) -> None:
    """With a limit the run ends with a receipt that shows rows; no table has them, no asset has an event."""
    root = make_workspace(tmp_path, 100)
    done = night(root, "preview", day=DAYS[0], limit=5)
    assert done.state == "success" and states(done)["publish"] == ["skipped"]
    assert receipt(done)["status"] == "preview" and len(receipt(done)["preview"]) == 5
    assert published(root) == {} and events("preview") == []


def test_a_day_that_the_policy_skips_ends_as_skipped(tmp_path: Path) -> None:
    """All three tasks; the run itself is no failure, and nothing is announced."""
    done = night(make_workspace(tmp_path, 100, SKIP), "skips", day="2021-01-01")
    assert done.state == "success" and events("skips") == []
    assert states(done) == {"plan": ["skipped"], "publish": ["skipped"], "score": ["skipped"]}


def test_a_run_without_a_key_announces_its_day(tmp_path: Path) -> None:
    """Every table's asset has an event of that partition, so that jobs after it fire."""
    night(make_workspace(tmp_path, 100), "announces", day=DAYS[1])
    assert events("announces") == [("mini_scores", DAYS[1]), ("mini_top", DAYS[1])]


def test_a_partition_key_comes_before_the_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a key scores that day, also where the form names another; its events carry the key."""
    from airflow.models import dagrun

    original = dagrun.get_or_create_dagrun

    def with_key(**options: Any) -> Any:
        made = original(**options)
        made.partition_key = DAYS[2]
        options["session"].commit()
        return made

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", with_key)
    done = night(make_workspace(tmp_path, 100), "keyed", day=DAYS[0])
    assert receipt(done)["day"] == DAYS[2]
    assert events("keyed") == [("mini_scores", DAYS[2]), ("mini_top", DAYS[2])]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"day": "2021-01-01"}, "no partition of 2021-01-01 in rows; the policy for a missing day is fail"),
        ({}, "this run has no day to score"),
        ({"day": DAYS[0], "m": 1}, "job mini has no parameter 'm'; its parameters: n"),
        ({"day": DAYS[0], "model": "../x.onnx"}, "lies outside the workspace"),
    ],
)
@pytest.mark.sample(2)
def test_what_is_broken_fails_at_once(
    tmp_path: Path, conf: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No retry, nothing published, and the message of the command line."""
    root = make_workspace(tmp_path, 100)
    done = night(root, f"broken{len(message)}", **conf)
    plan = next(t for t in done.get_task_instances() if t.task_id == "plan")
    assert (done.state, plan.state, plan.try_number) == ("failed", "failed", 1)
    assert states(done)["publish"] == ["upstream_failed"] and published(root) == {}
    with pytest.raises(AirflowFailException, match=re.escape(message)), errors():
        job = load("mini", root)
        values = {name: field.resolve() for name, field in build_form(job).items()} | conf
        day = day_of_run(job, None, conf.get("day"))
        run(job, day, request_of(job, values, conf))


@pytest.mark.slow
def test_not_yet_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try of the plan succeeds, and the night with it."""
    calls = fail_first(monkeypatch, "nightscore.pipeline", "plan_day")
    done = night(make_workspace(tmp_path, 100), "again", day=DAYS[0])
    plan = next(t for t in done.get_task_instances() if t.task_id == "plan")
    assert (done.state, plan.try_number, len(calls)) == ("success", 2, 2)


def test_a_plan_that_no_longer_holds_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score gives up without a failure, publish runs the day as a plain loop."""
    calls = fail_first(monkeypatch, "nightscore.airflow.tasks", "score_share")
    done = night(make_workspace(tmp_path, 100), "replanned", day=DAYS[0])
    assert (done.state, receipt(done)["status"], len(calls)) == ("success", "published", 1)


@pytest.mark.slow
def test_a_plan_of_other_libraries_is_made_again_by_publish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Planned on a machine of another image: no task fails or is tried again, and the log says what to do."""
    real, calls = steps.library_versions, []
    here = real()

    def versions(kind: str = "") -> dict[str, str]:
        calls.append(1)
        return real(kind) | ({"onnxruntime": "0.0.1"} if len(calls) == 1 else {})

    monkeypatch.setattr(steps, "library_versions", versions)
    done = night(make_workspace(tmp_path, 100), "images", day=DAYS[0])
    assert (done.state, receipt(done)["versions"]) == ("success", here)
    assert {task.try_number for task in done.get_task_instances()} == {1}
    assert states(done) == {"plan": ["success"], "publish": ["success"], "score": ["success"]}
    assert f"onnxruntime 0.0.1 (here: {here['onnxruntime']}); plan again here" in capsys.readouterr().out


def test_a_wait_ends_when_the_partition_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is deferred, with no try used up."""
    root = make_workspace(tmp_path, 100, WAIT)
    monkeypatch.setattr(tasks, "PartitionTrigger", partial(PartitionTrigger, seconds=0.05))
    timer = threading.Timer(3.0, write_day, (root, "2021-01-01", 100))
    timer.start()
    done = night(root, "waits", day="2021-01-01")
    timer.join()
    plan = next(t for t in done.get_task_instances() if t.task_id == "plan")
    assert (done.state, receipt(done)["day"], plan.try_number) == ("success", "2021-01-01", 1)


@pytest.mark.slow
def test_a_wait_ends_when_another_job_has_published_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table's day is there when a receipt names it; until then no worker is held."""
    root = make_workspace(tmp_path, 100)
    folder = root / "jobs" / "later"
    folder.mkdir()
    (folder / "job.yaml").write_text(
        "job: later\nabout: Reads another job's table\nowner: tests\nkey: [id]\nfeatures: upstream\n"
        "inputs:\n  upstream: {table: mini_scores, columns: {id: BIGINT, a: FLOAT, score: FLOAT}}\n"
        "model: {path: data/models/chained.onnx, outputs: {again: y}}\npolicy: {missing: wait}\n"
    )
    linear_model(root / "data/models/chained.onnx", (1.0,), ("a",))
    monkeypatch.setattr(tasks, "PartitionTrigger", partial(PartitionTrigger, seconds=0.05))
    timer = threading.Timer(3.0, run, (load("mini", root), "2020-01-02"))
    timer.start()
    done = known(root, "later_waits", "later").test(run_conf={"day": "2020-01-02"}, logical_date=None)
    timer.join()
    plan = next(t for t in done.get_task_instances() if t.task_id == "plan")
    assert (done.state, receipt(done)["rows"]["published"], plan.try_number) == ("success", 100, 1)


def test_a_trigger_gives_up_at_its_deadline(tmp_path: Path) -> None:
    """Then it says that nothing landed; it comes through its serialized form as it was."""
    path, arguments = PartitionTrigger(
        workspace=str(tmp_path),
        folders=["day=2021-01-01"],
        tables=[],
        day="2021-01-01",
        deadline=0.0,
        seconds=0.01,
    ).serialize()
    assert path == "nightscore.airflow.trigger.PartitionTrigger"

    async def first() -> Any:
        return await anext(PartitionTrigger(**arguments).run())

    assert asyncio.run(first()).payload is False
    (tmp_path / "day=2021-01-01").mkdir()
    (tmp_path / "day=2021-01-01/part-0.parquet").touch()
    assert asyncio.run(first()).payload is True


def test_progress_never_fails_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A store that is away is passed over; one that is there has the stage and its rows."""

    class Store(dict[str, Any]):
        set = dict.__setitem__

    class Away:
        def set(self, key: str, value: Any) -> None:
            raise ConnectionError(f"{key}={value}")

    store = Store()
    for one in (store, Away(), None):
        report = tasks.Progress({"task_state_store": one})
        report("score", 10, 20)
        report("score", 20, 20)
    assert store == {"progress": {"stage": "score", "done": 20, "total": 20}}


@pytest.mark.parametrize(
    ("pieces", "count", "expected"),
    [(0, 3, []), (1, 3, [[0]]), (5, 2, [[0, 1], [2, 3, 4]]), (3, 3, [[0], [1], [2]]), (4, 1, [[0, 1, 2, 3]])],
)
def test_shares_are_neighbours_and_none_is_empty(pieces: int, count: int, expected: list[list[int]]) -> None:
    """Together they are all pieces, in order."""
    assert tasks.shares(pieces, count) == expected


def fail_first(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> list[int]:
    """The function raises NotYet once; gives a list that grows with each call."""
    original, calls = getattr(importlib.import_module(module), name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise NotYet("an input was changing")
        return original(*args, **kwargs)

    monkeypatch.setattr(f"{module}.{name}", wrapped)
    return calls


def events(dag_id: str) -> list[tuple[str, str | None]]:
    """Table and partition of every asset event that a DAG made."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_dag_id == dag_id))
        return sorted((event.asset.name, event.partition_key) for event in found)


@pytest.mark.slow
def test_a_job_without_a_model_is_published_as_the_loop_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pieces are shared among tasks, and the files are the same, byte for byte."""
    monkeypatch.setattr(
        "nightscore.store.places.run_folder.new_run_id", lambda *_: "20200101T000000-00000000-000000"
    )
    model = "model:\n  path: data/models/linear.onnx\n  outputs: {score: y}\n"
    job = JOB.replace(model, "model: none\nscoring: {tasks: 3}\n")
    one, two = (make_workspace(tmp_path / name, ROWS, job) for name in ("airflow", "loop"))
    for root in (one, two):
        (root / "jobs/mini/top.sql").write_text("SELECT id, a FROM scores WHERE a > 0.99")
        (root / "jobs/mini/job.yaml").write_text(job.split("audit:")[0])
    done = night(one, "none3", day=DAYS[0])
    assert (done.state, states(done)["score"]) == ("success", ["success"] * 3)
    expected = run(load("mini", two), DAYS[0])
    assert receipt(done)["key_hash"]["out"] == expected.key_hash.out and receipt(done)["model"] is None
    assert published(one) == published(two) and len(published(one)) == 4


def test_a_delivery_that_fails_is_tried_again_and_scores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publish task has a second try, which delivers; the pieces were scored once."""
    text = JOB + 'deliver:\n  - {files: {root: crm, path: "{day}.csv", format: csv}}\n'
    root = make_workspace(tmp_path, 100, text)
    (root / "workspace.yaml").write_text("roots: {crm: {at: crm, write: true}}\n")
    calls = fail_first(monkeypatch, "nightscore.delivery.files", "write_file")
    done = night(root, "delivered", day=DAYS[0])
    publish = next(t for t in done.get_task_instances() if t.task_id == "publish")
    assert (done.state, publish.try_number, len(calls)) == ("success", 2, 2)
    assert len(list((root / "data/runs/mini" / DAYS[0]).iterdir())) == 1
    assert len((root / f"crm/{DAYS[0]}.csv").read_text().splitlines()) == 11
