"""A held day in Airflow: the publish task waits for a person, and goes on with what was decided."""

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from airflow.models.hitl import HITLDetail
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import delete, select

from nightscore.airflow.held import Answer, HeldTrigger, carry_out
from nightscore.airflow.web.dag_runs import find_asking, with_scored
from nightscore.common import Broken, open_workspace
from nightscore.job.loader import load
from nightscore.pipeline import run
from nightscore.pipeline.publish.hold import Held, discard_day, release_day
from nightscore.store import Attempt, catalog, list_attempts
from tests.airflow.test_nights import night, receipt, states
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

FEW = JOB + "  - {name: many, sql: SELECT count(*) > 50 FROM scores}\n"
WHO = {"by": "Ada", "because": "half of the stores were closed"}
MOMENT = dt.date.fromisoformat(DAYS[0])


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A workspace with a day that is held."""
    root = make_workspace(tmp_path, 40, FEW)
    with pytest.raises(Held):
        run(load("mini", root), DAYS[0])
    return root


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger looks ten times a second."""
    monkeypatch.setattr(HeldTrigger.__init__, "__kwdefaults__", {"seconds": 0.1})


def night_decided(root: Path, dag_id: str, decide: Callable[..., object]) -> Any:
    """A finished run about whose held day somebody decided by the command line's way, once it was asked."""

    def wait() -> None:
        for _ in range(600):
            if any(root.glob("data/runs/mini/*/*/held.json")):
                decide(open_workspace(root), "mini", MOMENT, **WHO)
                return
            time.sleep(0.2)

    thread = threading.Thread(target=wait)
    thread.start()
    done = night(root, dag_id, day=DAYS[0])
    thread.join()
    return done


def test_a_run_goes_on_when_the_day_is_released_elsewhere(tmp_path: Path, looks_often: None) -> None:
    """It asks with the audit's message, turns green, and announces the day; the receipt names the person."""
    root = make_workspace(tmp_path, 40, FEW)
    done = night_decided(root, "released", release_day)
    assert (done.state, states(done)["publish"]) == ("success", ["success"])
    assert receipt(done)["released"]["by"] == "Ada"
    with create_session() as session:
        ids = [task.id for task in done.get_task_instances()]
        [asked] = session.scalars(select(HITLDetail).where(HITLDetail.ti_id.in_(ids))).all()
    assert asked.options == ["Release", "Discard"] and "many" in str(asked.body)
    assert list_attempts(open_workspace(root), "mini")[-1].state == "published"


def test_a_second_answer_is_refused_until_the_first_is_carried_out(tmp_path: Path, looks_often: None) -> None:
    """Else a Discard, a second after somebody's Release, took the day from under it."""
    root = make_workspace(tmp_path, 40, FEW)
    done = night_decided(root, "answered", release_day)
    with create_session() as session:
        [task] = [one for one in done.get_task_instances(session=session) if one.task_id == "publish"]
        [asked] = session.scalars(select(HITLDetail).where(HITLDetail.ti_id == task.id)).all()
        task.state = TaskInstanceState.DEFERRED
    assert find_asking(done.dag_id, DAYS[0]) == done.run_id and find_asking(done.dag_id, DAYS[1]) == ""
    with create_session() as session:
        asked = session.merge(asked)
        asked.responded_at, asked.chosen_options = dt.datetime.now(dt.UTC), ["Release"]
        asked.responded_by = {"id": "ada", "name": "Ada"}
    with pytest.raises(Broken, match="is decided: Ada chose Release"):
        find_asking(done.dag_id, DAYS[0])


def test_a_run_at_work_shows_what_its_score_tasks_have_done(tmp_path: Path) -> None:
    """All of them together, until the publish task tells of itself."""
    done = night(make_workspace(tmp_path, 40, JOB), "scored", day=DAYS[0])
    ids = {"dag_run_id": done.id, "dag_id": done.dag_id, "run_id": done.run_id, "task_id": "score"}
    with create_session() as session:
        session.execute(delete(TaskStateStoreModel).where(TaskStateStoreModel.dag_run_id == done.id))
        for index, value in enumerate(('{"done": 10, "total": 40}', '{"done": 5, "total": 60}')):
            session.add(TaskStateStoreModel(**ids, map_index=index, key="progress", value=value))
    now = dt.datetime.now(dt.UTC)
    told = Attempt(
        job=done.dag_id, day=DAYS[0], attempt="a", started=now, updated=now, process="", stage="plan",
        dag_run=done.run_id,
    )  # fmt: skip
    seen = with_scored(done.dag_id, told)
    assert (seen.stage, seen.done, seen.total) == ("score", 15, 100) and seen.rate > 0
    for other in ({"stage": "decide"}, {"state": "failed"}, {"dag_run": ""}):
        assert with_scored(done.dag_id, told.model_copy(update=other)) == told.model_copy(update=other)


def test_a_run_fails_when_the_day_is_discarded_elsewhere(tmp_path: Path, looks_often: None) -> None:
    """At once, without another try: nothing is there to publish; who and why is its message."""
    root = make_workspace(tmp_path, 40, FEW)
    done = night_decided(root, "discarded", discard_day)
    assert (done.state, states(done)["publish"]) == ("failed", ["failed"])
    last = list_attempts(open_workspace(root), "mini")[-1]
    assert last.state == "failed" and "discarded it: half of the stores were closed" in last.message
    assert catalog.read_catalog(open_workspace(root)).history == ()


def test_an_answer_is_carried_out_in_the_name_of_who_gave_it(space: Path) -> None:
    """What Airflow resumes the task with, as its API makes it from a person's response."""
    job = load("mini", space)
    event = {"chosen_options": ["Release"], "params_input": {"because": " few is right "},
             "responded_by_user": {"id": "7", "name": "ada"}}  # fmt: skip
    answer = Answer.read(event)
    assert answer == Answer("Release", "ada", "few is right")
    done = carry_out(job, DAYS[0], answer)
    assert done.released and (done.released.by, done.released.because) == ("ada", "few is right")
    with pytest.raises(Broken, match="not held"):
        carry_out(job, DAYS[0], Answer("Discard", "bob", "too late"))
    assert carry_out(job, DAYS[0], Answer()).run_id == done.run_id  # decided elsewhere: it is published


def test_a_discarded_day_says_who_and_why(space: Path) -> None:
    """And so does whoever asks later."""
    job = load("mini", space)
    for answer in (Answer("Discard", "bob", "wrong prices"), Answer()):
        with pytest.raises(Broken, match=r"(was discarded by bob|bob .* discarded it): wrong prices"):
            carry_out(job, DAYS[0], answer)
    with pytest.raises(Broken, match="nobody has answered for 30 days"):
        carry_out(job, DAYS[0], Answer(late=True))


def test_the_trigger_gives_up_at_its_deadline(space: Path) -> None:
    """As long as the day is held it waits."""

    async def first() -> object:
        trigger = HeldTrigger(
            workspace=str(space), job="mini", day=DAYS[0], deadline=time.time() + 0.3, seconds=0.1
        )
        async for event in trigger.run():
            return event.payload
        return None

    assert asyncio.run(first()) == {"late": True}
