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
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from nightscore.airflow.events.assets import assets_read
from nightscore.airflow.events.deadline import punctuality
from nightscore.airflow.form import build_form
from nightscore.airflow.missing import missing_tags
from nightscore.airflow.priority import TonightFirst
from nightscore.airflow.tasks import PLAN, PlanDay, PublishDay, ScoreShare
from nightscore.airflow.timetables.timetable import table_asset, timetable_of
from nightscore.airflow.workspaces import dag_id_of, namesakes, qualified, unqualified, workspace_problems
from nightscore.common import Broken, Workspace
from nightscore.job import (
    AirflowSettings,
    Input,
    Job,
    TableInput,
    airflow_settings_of,
    load,
    load_all,
    peek_job_name,
    reads_itself,
)

POOL = "NIGHTSCORE_POOL"  # the environment variable that names the pool of all tasks, where no job does
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
    """The DAG of a job, called as the job, after its workspace's name. `others` are that one's jobs, if read.

    Raises:
        Broken: the job can't be a DAG: a parameter has the name of a field of the form, or its schedule, the
            workspace's calendars.yaml or its workspace.yaml has a mistake.
    """
    settings = airflow_settings_of(job)
    dag = DAG(
        dag_id_of(job),
        description=job.spec.about or None,
        doc_md=_doc(job),
        schedule=timetable_of(job, others),
        # What was missed is for the timetable to say: Airflow knows only all since a start date, and nothing.
        catchup=False,
        params=build_form(job),
        tags=[TAG, *filter(None, [job.workspace.name]), job.file.parent.parent.name, *missing_tags(job)],
        max_active_runs=1 if reads_itself(job) else ACTIVE_RUNS,  # one day after the other, the oldest first
        default_args={**RETRIES, **_operator_defaults(settings), **_owner(job)},
        user_defined_macros={"workspace": str(job.workspace.root)},  # is not part of the DAG's version
        access_control=settings.access,  # for an auth manager that has roles
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
            outlets=[table_asset(job.workspace, name) for name in job.spec.tables],
            # An unchanged day has no pieces, so that score is skipped; a skipped day ends with the plan.
            trigger_rule="none_failed_min_one_success",
            **common,
        )
        plan >> score >> publish
        plan >> publish
    return dag


def dags(workspace: Workspace, only: str | None = None) -> Iterator[DAG]:
    """The DAGs of a workspace's jobs, or that of `only`; a job that is broken has a stub.

    One whose id is that of another workspace's job has none: which of the two ran, nobody would know.
    """
    found, taken = list(_jobs(workspace, only)), _taken(workspace)
    others = [job for job, _ in found if job]  # a worker reads one job, and asks nothing of its timetable
    for job, error in found:
        if job and dag_id_of(job) in taken:  # a DAG that is only built is Airflow's already
            continue
        try:
            dag = build_dag(job, others) if job else stub(workspace, str(error))
        except Broken as mistake:
            dag = stub(workspace, str(mistake), job)
        if dag.dag_id not in taken:
            yield dag


def problems(workspace: Workspace) -> list[str]:
    """What is wrong with the jobs of a workspace: file, line, the offending value and what is allowed."""
    jobs, broken = load_all(workspace)
    messages = [str(error) for error in broken]
    for job in jobs:
        try:
            check_dag(job, jobs)
        except Broken as error:
            messages.append(str(error))
    return [*messages, *workspace_problems(), *_namesake_problems(workspace)]


def check_dag(job: Job, others: Sequence[Job] | None = None) -> None:
    """Hold a job to what a DAG needs of it. Broken as of `build_dag`."""
    build_form(job)
    timetable_of(job, others)
    airflow_settings_of(job)


def stub(workspace: Workspace, message: str, job: Job | None = None) -> DAG:
    """A DAG in the place of a job that can't be one: it says why, and never runs by itself."""
    dag_id = qualified(workspace, job.name if job else stub_name(workspace, message))
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
        name = unqualified(workspace, only)
        if name is None:
            return
        with contextlib.suppress(Broken):  # a stub's id may be a folder's name: then look at all
            yield load(name, workspace), None
            return
    jobs, broken = load_all(workspace)
    yield from ((job, None) for job in jobs)
    yield from ((None, error) for error in broken)


def _taken(workspace: Workspace) -> dict[str, Path]:
    """The ids of DAGs that another workspace has, with its job.yaml."""
    return {
        qualified(other, name): file
        for other in namesakes(workspace) for file in other.job_files() if (name := peek_job_name(file))
    }  # fmt: skip


def _namesake_problems(workspace: Workspace) -> list[str]:
    called = f"are both called {workspace.name}" if workspace.name else "both have no name"
    way = "of several in one Airflow each has one of its own: workspace.yaml, name: NAME"
    pairs = [
        f"the workspaces {other.root} and {workspace.root} {called}; {way}" for other in namesakes(workspace)
    ]
    taken = _taken(workspace)
    mine = {qualified(workspace, peek_job_name(file) or ""): file for file in workspace.job_files()}
    return pairs + [
        f"{taken[dag_id]} and {file} would both be the DAG {dag_id}; the first keeps it"
        for dag_id, file in mine.items() if dag_id in taken
    ]  # fmt: skip


def stub_name(workspace: Workspace, message: str) -> str:
    """What a broken job is called, by the message about it: as it calls itself, as far as one can see."""
    file = workspace.root / message.split(":", 1)[0]
    return peek_job_name(file) or re.sub(r"[^A-Za-z0-9_-]", "_", file.parent.name)  # a dot ends a workspace's


def _operator_defaults(settings: AirflowSettings) -> dict[str, Any]:
    """What a job says of its tasks, and the operator of this Airflow of all: the pool, how soon to retry."""
    defaults: dict[str, Any] = {
        "pool": settings.pool or os.environ.get(POOL, "default_pool"),
        "weight_rule": FIRST,
        "priority_weight": settings.priority or 1,
    }
    if settings.queue:
        defaults["queue"] = settings.queue
    seconds = os.environ.get(RETRY_SECONDS, "")
    if seconds.isdecimal() and int(seconds):  # what is no number is no reason to lose every DAG
        return {**defaults, "retry_delay": dt.timedelta(seconds=int(seconds))}
    return defaults


def _doc(job: Job) -> str:
    """What the DAG's pop-up says, as Markdown; names between asterisks keep their underscores."""
    spec = job.spec
    owner = f"Owner: {spec.owner}. " if spec.owner else ""
    inputs = "\n".join(f"- **{name}**: {_origin(source)}" for name, source in spec.inputs.items())
    audits = "\n".join(f"- {_plain(audit)}" for audit in spec.audit) or "- none"
    tables = "\n".join(f"- **{name}**" for name in spec.tables)
    policy = "; ".join(
        f"{key}: {value}" for key, value in spec.policy.model_dump(mode="json").items() if value
    )
    return (
        f"{spec.about}\n\n{owner}Schedule: {spec.schedule}. Made from **{_plain(job.shown)}**."
        f"\n\nPublishes\n{tables}\n\nReads\n{inputs}\n\nAudits\n{audits}\n\nPolicy: {policy}\n\n"
        "A partition of this DAG is the day that is scored."
    )


def _owner(job: Job) -> dict[str, str]:
    """Who owns the tasks; where the job does not say, Airflow's own default_owner."""
    return {"owner": job.spec.owner} if job.spec.owner else {}


def _origin(source: Input) -> str:
    """Where an input lies: its table, or its path."""
    if isinstance(source, TableInput):
        return f"table **{source.table}**"
    return f"path **{_plain(getattr(source, 'address', source))}**"


def _plain(value: object) -> str:
    """A text in Markdown as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", str(value))
