"""A job's `deadline` and `timeout` in Airflow: a deadline alert of each run, and an end to one that is slow.

The alert carries what it takes to know a day's deadline, so that the scheduler reads no job. When it is
missed, the triggerer has those told whom the job's `notify` names; a run that has succeeded has no alert.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert
from pydantic import TypeAdapter

from nightscore.airflow.day import day_of_run
from nightscore.airflow.events.attempts import attempt_name, page_address, telling
from nightscore.airflow.workspaces import dag_id_of, load_of_dag, split_name, workspace_of
from nightscore.common import NightscoreError, as_day
from nightscore.job import (
    After,
    CalendarOverride,
    Deadline,
    Job,
    Schedule,
    deadline_after,
    load_all,
    read_workspace_overrides,
    seconds_of,
)

PAST = dt.timedelta(
    days=1
)  # a run that begins later than so after its deadline, as backfills do, has no alert
SCHEDULES: TypeAdapter[Any] = TypeAdapter(Schedule)
log = logging.getLogger(__name__)


class DayDeadline(BaseDeadlineReference):
    """By when a run's day is to be published: by the job's deadline and the schedules that begin it."""

    required_kwargs = {"dag_id", "run_id"}

    def __init__(
        self, deadline: Mapping[str, Any] | None = None, schedule: Any = None, clocks: Sequence[Any] = ()
    ) -> None:
        self.deadline, self.schedule, self.clocks = deadline, schedule, list(clocks)

    def serialize_reference(self) -> dict[str, Any]:
        """What Airflow keeps of it."""
        kept = {"deadline": self.deadline, "schedule": self.schedule, "clocks": self.clocks}
        return {"reference_type": self.reference_name, **kept}

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> "DayDeadline":
        """What it was."""
        return cls(*(reference_data[name] for name in ("deadline", "schedule", "clocks")))

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> dt.datetime | None:
        """The moment of one run; None where it has none. Never an error: the run would not begin."""
        from airflow.models import DagRun
        from sqlalchemy import select

        asked = select(DagRun.partition_key, DagRun.conf).where(
            DagRun.dag_id == dag_id, DagRun.run_id == run_id
        )
        try:
            key, conf = session.execute(asked).one()
            text = key or (conf or {}).get("day")
            if not text:
                return None
            moment = self.moment(as_day(text), read_workspace_overrides(workspace_of(dag_id).root))
        except Exception as error:
            log.warning("%s %s has no deadline: %s", dag_id, run_id, error)
            return None
        return moment if moment and moment > dt.datetime.now(dt.UTC) - PAST else None

    def moment(self, day: dt.date, closures: Mapping[str, CalendarOverride]) -> dt.datetime | None:
        """The deadline of a day. Broken where an exchange's calendar is unknown."""
        starts = [_start(SCHEDULES.validate_python(one), day, closures) for one in self.clocks]
        start = max((one for one in starts if one), default=None)
        deadline = Deadline.model_validate(self.deadline)
        return deadline_after(deadline, SCHEDULES.validate_python(self.schedule), day, start, closures)


def punctuality(job: Job) -> dict[str, Any]:
    """What a job's `deadline` and `timeout` make of its DAG: arguments of it."""
    made: dict[str, Any] = {}
    if job.spec.deadline is not None:
        reference = DayDeadline(_dump(job.spec.deadline), _dump(job.spec.schedule), _clocks(job))
        missed = AsyncCallback(f"{__name__}.{overdue.__name__}")
        made["deadline"] = DeadlineAlert(reference, dt.timedelta(0), missed, name=f"{dag_id_of(job)}: due")
    if job.spec.timeout is not None:
        made["dagrun_timeout"] = dt.timedelta(seconds=seconds_of(job.spec.timeout))
        made["on_failure_callback"] = timed_out
    return made


async def overdue(context: Mapping[str, Any]) -> str:
    """Have those told who want to know that a day is not published by its deadline; says what was done."""
    return await asyncio.to_thread(tell_overdue, context["dag_run"])


def tell_overdue(run: Mapping[str, Any]) -> str:
    """The same of one run, as Airflow's API shows it."""
    from nightscore.airflow.connections import connected
    from nightscore.review import open_logbook, tell_day

    workspace, (_, name) = workspace_of(run["dag_id"]), split_name(run["dag_id"])
    day = run.get("partition_key") or (run.get("conf") or {}).get("day")
    if not day:
        return "the run is about no day"
    with connected():
        book = open_logbook(workspace, since=day, until=day)
        state, problems = tell_day(book, name, day, page_address())
    for problem in problems:
        log.warning("not told: %s", problem)
    return f"{name} {day}: {state}"


def timed_out(context: Mapping[str, Any]) -> None:
    """Say in the attempt of a run that Airflow has ended it, because it took too long."""
    from nightscore.pipeline import timeout_message
    from nightscore.store import read_attempt

    run = context.get("dag_run")
    if context.get("reason") != "timed_out" or run is None:
        return
    try:
        job = load_of_dag(run.dag_id)
        day = day_of_run(job, run.partition_key, (run.conf or {}).get("day")).isoformat()
    except NightscoreError as error:
        log.warning("%s", error)
        return
    told = read_attempt(job.workspace, job.name, day, attempt_name(run.run_id, run.start_date))
    if told is None or told.state in ("running", "waiting"):
        with telling(job, day, context, lambda *_: None) as recorder:
            recorder.end("failed", timeout_message(job))


def _dump(part: Any) -> Any:
    return part if isinstance(part, str) else part.model_dump(mode="json", exclude_unset=True)


def _clocks(job: Job) -> list[Any]:
    """The schedules by whose clocks a job begins: its own, or those of the jobs that it comes after."""
    if not isinstance(job.spec.schedule, After):
        return [_dump(job.spec.schedule)]
    others = _jobs(
        job.workspace.root, tuple((file, file.stat().st_mtime_ns) for file in job.workspace.job_files())
    )
    found: dict[str, Job] = {}

    def visit(one: Job) -> None:
        if one.name not in found:
            found[one.name] = one
            tables = one.spec.schedule.after if isinstance(one.spec.schedule, After) else ()
            for other in others:
                if set(tables) & set(other.spec.tables):
                    visit(other)

    visit(job)
    clocks = [one.spec.schedule for one in found.values() if not isinstance(one.spec.schedule, After | str)]
    return sorted(map(_dump, clocks), key=str)


@lru_cache(maxsize=1)
def _jobs(root: Path, files: tuple[tuple[Path, int], ...]) -> list[Job]:  # noqa: ARG001 - as they are now
    from nightscore.common import open_workspace

    return load_all(open_workspace(root))[0]


def _start(schedule: Any, day: dt.date, closures: Any) -> dt.datetime | None:
    try:
        return schedule.calendar(closures).complete(day)
    except ValueError:  # no session of the exchange
        return None
