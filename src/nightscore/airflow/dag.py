"""A job as a DAG: plan -> score -> publish, on the job's schedule, with the job's form.

What Airflow 3.3 allows for a job that can't be read, as tried: a DAG file that raises loses all its DAGs, and
so does one of whose DAGs a single one is refused: an import error belongs to a file, and every DAG of that
file counts as stale until it is gone. So the DAG file of the nights never raises. A broken job has a stub
there, which says why wherever it is looked at, and a second file, without DAGs, raises what is wrong.
"""

import contextlib
import datetime as dt
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from nightscore.airflow.assets import assets_read
from nightscore.airflow.deadline import punctuality
from nightscore.airflow.form import build_form
from nightscore.airflow.missing import missing_tags
from nightscore.airflow.priority import TonightFirst
from nightscore.airflow.tasks import PLAN, PlanDay, PublishDay, ScoreShare
from nightscore.airflow.timetable import table_asset, timetable_of
from nightscore.common import Broken, Workspace
from nightscore.job import Input, Job, TableInput, load, load_all, peek_job_name, reads_itself

POOL = "NIGHTSCORE_POOL"  # the environment variable that names the pool of all tasks
TAG = "nightscore"
FIRST = (
    f"{TonightFirst.__module__}.{TonightFirst.__name__}"  # by name: a mapped task keeps an object as its repr
)
ACTIVE_RUNS = 4  # of a job whose days have no order; backfills have a number of their own
RETRY_SECONDS = "NIGHTSCORE_RETRY_SECONDS"  # the variable that says how long the first retry waits
RETRIES: dict[str, Any] = {  # about 1, 2, 4, … 60 minutes: over three hours in all
    "retries": 8,
    "retry_delay": dt.timedelta(seconds=60),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": dt.timedelta(hours=1),
}


def build_dag(job: Job, others: Sequence[Job] | None = None) -> DAG:
    """The DAG of a job; its id is the job's name. `others` are the workspace's jobs, if they are read.

    Raises:
        Broken: the job can't be a DAG: a parameter has the name of a field of the form, or its schedule or
            the workspace's calendars.yaml has a mistake.
    """
    dag = DAG(
        job.name,
        description=job.spec.about,
        doc_md=_doc(job),
        schedule=timetable_of(job, others),
        # What was missed is for the timetable to say: Airflow knows only all since a start date, and nothing.
        catchup=False,
        params=build_form(job),
        tags=[TAG, job.file.parent.parent.name, *missing_tags(job)],
        max_active_runs=1 if reads_itself(job) else ACTIVE_RUNS,  # one day after the other, the oldest first
        default_args={**RETRIES, **_operator_defaults(), "owner": job.spec.owner},
        user_defined_macros={"workspace": str(job.workspace.root)},  # is not part of the DAG's version
        **punctuality(job),
    )
    common: dict[str, Any] = {"job": job.name, "job_hash": job.hash}
    with dag:
        plan = PlanDay(task_id=PLAN, shares=job.spec.scoring.tasks, **common)
        partial = ScoreShare.partial(task_id="score", map_index_template="{{ share_name }}", **common)
        score = partial.expand(share=plan.output)
        publish = PublishDay(
            task_id="publish",
            staged=score.output,
            inlets=assets_read(job),
            outlets=[table_asset(name) for name in job.spec.tables],
            # An unchanged day has no pieces, so that score is skipped; a skipped day ends with the plan.
            trigger_rule="none_failed_min_one_success",
            **common,
        )
        plan >> score >> publish
        plan >> publish
    return dag


def dags(workspace: Workspace, only: str | None = None) -> Iterator[DAG]:
    """The DAGs of a workspace's jobs, or that of `only`; a job that is broken has a stub."""
    found = list(_jobs(workspace, only))
    others = [job for job, _ in found if job]  # a worker reads one job, and asks nothing of its timetable
    for job, error in found:
        try:
            yield build_dag(job, others) if job else stub(workspace, str(error))
        except Broken as mistake:
            yield stub(workspace, str(mistake), job)


def problems(workspace: Workspace) -> list[str]:
    """What is wrong with the jobs of a workspace: file, line, the offending value and what is allowed."""
    jobs, broken = load_all(workspace)
    messages = [str(error) for error in broken]
    for job in jobs:
        try:
            build_form(job)
            timetable_of(job, jobs)
        except Broken as error:
            messages.append(str(error))
    return messages


def stub(workspace: Workspace, message: str, job: Job | None = None) -> DAG:
    """A DAG in the place of a job that can't be one: it says why, and never runs by itself."""
    shown = message.split(":", 1)[0]
    dag_id = job.name if job else _name(workspace, shown)
    lines = "\n".join(f"    {line}" for line in message.splitlines())
    dag = DAG(
        dag_id,
        description=message.splitlines()[0],
        doc_md=f"### This job is broken\n\n{lines}\n\nIt is read again when the file has changed.",
        schedule=None,
        tags=[TAG, "broken"],
    )
    Refuse(task_id="broken", message=message, dag=dag)
    return dag


class Refuse(BaseOperator):
    """Fails with a message."""

    template_fields = ("message",)

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A message may quote what looks like a template; it is none.
        self.message = message.replace("{", "(").replace("}", ")")

    def execute(self, context: Any) -> None:  # noqa: ARG002 - Airflow passes it
        """Fail; another try would not help."""
        raise AirflowFailException(self.message)


def _jobs(workspace: Workspace, only: str | None) -> Iterator[tuple[Job | None, Broken | None]]:
    if only is not None:
        with contextlib.suppress(Broken):  # a stub's id may be a folder's name: then look at all
            yield load(only, workspace), None
            return
    jobs, broken = load_all(workspace)
    yield from ((job, None) for job in jobs)
    yield from ((None, error) for error in broken)


def _name(workspace: Workspace, shown: str) -> str:
    """The id of a broken job's DAG: the name that it gives itself, as far as that can be seen."""
    file = workspace.root / shown
    return peek_job_name(file) or re.sub(r"[^A-Za-z0-9_.-]", "_", file.parent.name)


def _operator_defaults() -> dict[str, Any]:
    """What the operator of this Airflow says: the pool of all tasks, and how soon to retry."""
    defaults = {"pool": os.environ.get(POOL, "default_pool"), "weight_rule": FIRST}
    seconds = os.environ.get(RETRY_SECONDS, "")
    if seconds.isdecimal() and int(seconds):  # what is no number is no reason to lose every DAG
        return {**defaults, "retry_delay": dt.timedelta(seconds=int(seconds))}
    return defaults


def _doc(job: Job) -> str:
    """What the DAG's pop-up says, as Markdown; names between asterisks keep their underscores."""
    spec = job.spec
    inputs = "\n".join(f"- **{name}**: {_origin(source)}" for name, source in spec.inputs.items())
    audits = "\n".join(f"- {_plain(audit)}" for audit in spec.audit) or "- none"
    tables = "\n".join(f"- **{name}**" for name in spec.tables)
    policy = "; ".join(
        f"{key}: {value}" for key, value in spec.policy.model_dump(mode="json").items() if value
    )
    return (
        f"{spec.about}\n\nOwner: {spec.owner}. Schedule: {spec.schedule}. Made from **{_plain(job.shown)}**."
        f"\n\nPublishes\n{tables}\n\nReads\n{inputs}\n\nAudits\n{audits}\n\nPolicy: {policy}\n\n"
        "A partition of this DAG is the day that is scored."
    )


def _origin(source: Input) -> str:
    """Where an input lies: its table, or its path."""
    if isinstance(source, TableInput):
        return f"table **{source.table}**"
    return f"path **{_plain(getattr(source, 'address', source))}**"


def _plain(value: object) -> str:
    """A text in Markdown as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", str(value))
