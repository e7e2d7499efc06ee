"""A DAG run of Airflow as the page sees it: its day, what it published, and where it stands."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from nightscore.airflow.day import day_of_run
from nightscore.airflow.tasks import PLAN
from nightscore.common import Broken, read_day
from nightscore.job import Job

PUBLISH = "publish"
TASKS = (PLAN, "score", PUBLISH)  # in their order


@dataclass(frozen=True)
class Task:
    """One task of a run."""

    name: str
    state: str
    tries: int

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
            Task(_task_name(instance), str(instance.state or "none"), instance.try_number)
            for instance in sorted(run.task_instances, key=_task_order)
        ]
        plan = _handed_on(session, run, PLAN, PLAN)
        receipt = _handed_on(session, run, PUBLISH, "return_value")
        conf = run.conf if isinstance(run.conf, dict) else {}
        return Run(
            dag_id, run_id, str(run.state), run.partition_key, conf, tuple(tasks),
            plan, receipt if receipt.get("job") == dag_id else {},
        )  # fmt: skip


def next_runs(dag_ids: list[str]) -> dict[str, str]:
    """When Airflow makes each DAG's next run (UTC), or that it is paused; nothing for those run by hand."""
    with create_session() as session:
        columns = (DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
        rows = session.execute(select(*columns).where(DagModel.dag_id.in_(dag_ids))).all()
    return {
        dag_id: "paused" if paused else f"{moment:%Y-%m-%d %H:%M}" for dag_id, paused, moment in rows
        if paused or moment
    }  # fmt: skip


def _task_order(instance: Any) -> tuple[int, str, int]:
    place = TASKS.index(instance.task_id) if instance.task_id in TASKS else len(TASKS)
    return place, instance.task_id, instance.map_index


def _task_name(instance: Any) -> str:
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id} [{instance.map_index}]"


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
