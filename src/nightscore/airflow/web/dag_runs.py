"""A DAG run of Airflow as the page sees it: its day, what it published, and where it stands."""

import datetime as dt
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.pool import Pool
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from nightscore.airflow.dag import TAG
from nightscore.airflow.day import day_of_run
from nightscore.airflow.events.attempts import attempt_name
from nightscore.airflow.tasks import PLAN
from nightscore.airflow.workspaces import split_name
from nightscore.common import Broken, read_day
from nightscore.job import Job
from nightscore.store import Attempt

PUBLISH = "publish"
LATEST = 200  # runs of a DAG, of which one is looked for
CARRYING_OUT = (  # of a task that asked: it waits for an answer, or has one
    TaskInstanceState.DEFERRED, TaskInstanceState.SCHEDULED,
    TaskInstanceState.QUEUED, TaskInstanceState.RUNNING,
)  # fmt: skip
BEFORE_SCORE = ("", "plan", "features", "choose")  # stages of the plan task
TASKS = (PLAN, "score", PUBLISH)  # in their order


@dataclass(frozen=True)
class Task:
    """One task of a run."""

    name: str
    state: str
    tries: int
    path: str  # of its page in Airflow, below the run's

    @property
    def bad(self) -> bool:
        """Whether its log says what is wrong."""
        return self.state in ("failed", "up_for_retry")


@dataclass(frozen=True)
class Run:
    """One DAG run. `plan` and `receipt` are what its tasks handed on, empty before they did."""

    dag_id: str
    run_id: str
    state: str
    key: str | None
    conf: Mapping[str, Any]
    tasks: tuple[Task, ...]
    plan: Mapping[str, Any]
    receipt: Mapping[str, Any]
    attempt: str = ""  # what it tells of itself in the workspace
    answered: str = ""  # who decided what of its held day

    @property
    def job(self) -> str:
        """The name of its job, in its workspace."""
        return split_name(self.dag_id)[1]

    @property
    def at_work(self) -> bool:
        """Whether its page will say something else in a moment."""
        return self.state in ("queued", "running")

    @property
    def published(self) -> str | None:
        """The nightscore run whose receipt this run ended with: its own, or of an earlier one that holds."""
        good = self.receipt.get("status") in ("published", "unchanged")
        return str(self.receipt["run_id"]) if good else None

    @property
    def reason(self) -> str:
        """Why nothing was published, where the plan or the receipt says so."""
        return str(self.receipt.get("reason") or self.plan.get("reason") or "")

    def day(self, job: Job | Broken | None) -> dt.date | None:
        """The day that it scores, by the rule that its tasks follow; None where it has none."""
        handed_on = self.receipt.get("day") or self.plan.get("day")
        if handed_on or not isinstance(job, Job):
            return read_day(str(handed_on))
        try:
            return day_of_run(job, self.key, self.conf.get("day"))
        except Broken:
            return None


def find_run(dag_id: str, run_id: str) -> Run | None:
    """The run, or None."""
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if run is None:
            return None
        tasks = [
            Task(
                _task_name(instance), str(instance.state or "none"), instance.try_number, _task_path(instance)
            )
            for instance in sorted(run.task_instances, key=_task_order)
        ]
        plan = _handed_on(session, run, PLAN, PLAN)
        receipt = _handed_on(session, run, PUBLISH, "return_value")
        conf = run.conf if isinstance(run.conf, dict) else {}
        return Run(
            dag_id, run_id, str(run.state), run.partition_key, conf, tuple(tasks),
            plan, receipt if receipt.get("job") == split_name(dag_id)[1] else {},
            attempt_name(run_id, run.start_date or run.run_after), _answered(session, run),
        )  # fmt: skip


def next_runs(dag_ids: list[str]) -> dict[str, dt.datetime | str]:
    """When Airflow makes each DAG's next run, or that it is paused; nothing for those run by hand."""
    with create_session() as session:
        columns = (DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
        rows = session.execute(select(*columns).where(DagModel.dag_id.in_(dag_ids))).all()
    return {
        dag_id: "paused" if paused or moment is None else moment for dag_id, paused, moment in rows
        if paused or moment
    }  # fmt: skip


def misplaced(pools: Mapping[str, str | None]) -> dict[str, str]:
    """DAG -> why Airflow will not run the job behind it, of `pools`: DAG -> the pool that its tasks ask for.

    Neither does Airflow say: of two files with one id the last one read counts, and a task of an unknown pool
    waits for ever.
    """
    with create_session() as session:
        known = {str(name) for name in session.scalars(select(Pool.pool))}
        columns = (DagModel.dag_id, DagModel.fileloc)
        ours = select(DagTag.dag_id).where(DagTag.name == TAG)
        foreign = select(*columns).where(DagModel.dag_id.in_(pools), DagModel.dag_id.not_in(ours))
        found = {
            dag_id: f"the DAG {dag_id} is made by another file, {fileloc}: rename one of the two"
            for dag_id, fileloc in session.execute(foreign)
        }
    lacking = {dag_id: pool for dag_id, pool in pools.items() if pool and pool not in known}
    return found | {
        dag_id: f"Airflow has no pool {pool}, and would never start its tasks; make it: Admin, Pools"
        for dag_id, pool in lacking.items()
    }


def runs_of_days(dag_ids: list[str]) -> dict[str, dict[str, str]]:
    """DAG -> day -> the newest run of it that has the day as its partition."""
    found: dict[str, dict[str, str]] = {}
    with create_session() as session:
        columns = (DagRun.dag_id, DagRun.partition_key, DagRun.run_id)
        asked = select(*columns).where(DagRun.dag_id.in_(dag_ids), DagRun.partition_key.is_not(None))
        for dag_id, key, run_id in session.execute(asked.order_by(DagRun.id)):
            found.setdefault(dag_id, {})[str(key)] = run_id
    return found


def find_asking(dag_id: str, day: str) -> str:
    """The run of a day whose publish task waits for a person; "" for none.

    Raises:
        Broken: a person has answered it, and the task has yet to carry that out.
    """
    with create_session() as session:
        asked = (
            select(TaskInstance.run_id, HITLDetail)
            .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
            .where(
                TaskInstance.dag_id == dag_id, TaskInstance.task_id == PUBLISH,
                TaskInstance.state.in_(CARRYING_OUT),
            )
        )  # fmt: skip
        found = [
            (run_id, _answer(detail) if detail.responded_at else "")
            for run_id, detail in session.execute(asked)
        ]
    for run_id, answered in found:
        if _day_of(dag_id, run_id) == day:
            if answered:
                raise Broken(f"job {dag_id}: {day} is decided: {answered}, and Airflow carries that out now")
            return str(run_id)
    return ""


def with_scored(dag_id: str, attempt: Attempt) -> Attempt:
    """An attempt of a DAG at work, with the rows of its score tasks: they are several, and write none."""
    if attempt.ended or not attempt.dag_run or attempt.stage not in BEFORE_SCORE:
        return attempt
    with create_session() as session:
        mine = (DagRun.dag_id == dag_id, DagRun.run_id == attempt.dag_run)
        tasks = (
            select(TaskInstance.start_date)
            .join(DagRun, (DagRun.run_id == TaskInstance.run_id) & (DagRun.dag_id == TaskInstance.dag_id))
            .where(*mine, TaskInstance.task_id == "score", TaskInstance.start_date.is_not(None))
        )
        told = (
            select(TaskStateStoreModel.value, TaskStateStoreModel.updated_at)
            .join(DagRun, DagRun.id == TaskStateStoreModel.dag_run_id)
            .where(*mine, TaskStateStoreModel.task_id == "score", TaskStateStoreModel.key == "progress")
        )
        begun = min((moment for moment in session.scalars(tasks) if moment), default=None)
        rows = session.execute(told).all()
    if begun is None or not rows:
        return attempt
    values = [json.loads(value) for value, _ in rows]
    done, total = (sum(int(one[name]) for one in values) for name in ("done", "total"))
    latest = max(moment for _, moment in rows)
    seconds = (latest - begun).total_seconds()
    return attempt.model_copy(update={
        "stage": "score", "done": done, "total": total, "stage_since": begun,
        "rate": done / seconds if seconds > 0 else 0.0, "updated": max(latest, attempt.updated),
    })  # fmt: skip


def publish_again(dag_id: str, day: str) -> str:
    """Let the newest failed run of a day go on from its publish task; gives the run, "" for none."""
    with create_session() as session:
        failed = (DagRun.dag_id == dag_id, DagRun.state == DagRunState.FAILED)
        for run in session.scalars(select(DagRun).where(*failed).order_by(DagRun.id.desc()).limit(LATEST)):
            tasks = [task for task in run.task_instances if task.task_id == PUBLISH]
            if tasks and tasks[0].state == TaskInstanceState.FAILED and _day_of(dag_id, run.run_id) == day:
                clear_task_instances(tasks, session)
                return str(run.run_id)
    return ""


def trigger_day(dag_id: str, day: str, user: str) -> None:
    """Make a run of a day, in the name of a user, unless one is queued or at work."""
    with create_session() as session:
        same = (DagRun.dag_id == dag_id, DagRun.partition_key == day)
        open_ = DagRun.state.in_([DagRunState.QUEUED, DagRunState.RUNNING])
        if session.scalar(select(DagRun.id).where(*same, open_)) is not None:
            return
    trigger_dag(
        dag_id, triggered_by=DagRunTriggeredByType.UI, triggering_user_name=user, partition_key=day,
        run_after=dt.datetime.now(dt.UTC), note=f"{day}: it was missing",
        run_id=DagRunType.MANUAL.generate_run_id(suffix=f"{day}__{secrets.token_hex(4)}"),
    )  # fmt: skip


def _day_of(dag_id: str, run_id: str) -> str:
    run = find_run(dag_id, run_id)
    return str(run.day(None) or run.key or run.conf.get("day") or "") if run else ""


def _task_order(instance: Any) -> tuple[int, str, int]:
    place = TASKS.index(instance.task_id) if instance.task_id in TASKS else len(TASKS)
    return place, instance.task_id, instance.map_index


def _task_name(instance: Any) -> str:
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id} [{instance.map_index}]"


def _answered(session: Any, run: DagRun) -> str:
    """Who has decided what of the run's held day; "" where nobody has."""
    mine = (TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
    asked = select(HITLDetail).join(TaskInstance, HITLDetail.ti_id == TaskInstance.id)
    detail = session.scalar(asked.where(*mine, TaskInstance.task_id == PUBLISH))
    return _answer(detail) if detail and detail.responded_at else ""


def _answer(detail: HITLDetail) -> str:
    return f"{detail.responded_by_user_name} chose {(detail.chosen_options or [''])[0]}"


def _task_path(instance: Any) -> str:
    mapped = f"/mapped/{instance.map_index}" if instance.map_index >= 0 else ""
    return f"{instance.task_id}{mapped}"


def _handed_on(session: Any, run: DagRun, task: str, key: str) -> dict[str, Any]:
    """A dict that a task handed on, also where it did as JSON text; empty without one."""
    query = XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, task_ids=task, key=key)
    row = session.scalars(query).first()
    value = XComModel.deserialize_value(row) if row is not None else {}
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:  # an address, where another XCom backend keeps the value elsewhere
        return {}
    return value if isinstance(value, dict) else {}
