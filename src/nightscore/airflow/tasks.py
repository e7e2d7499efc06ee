"""The night as three tasks, which string together the same verbs as `nightscore.pipeline.executors`.

    plan -> score (mapped: one task for each share of the pieces) -> publish

Between them goes what is frozen and small: the plan as JSON, staged files as dicts. `Broken` fails at once,
`NotYet` is tried again later, or waits for the day's partition where the job's policy says so.

What a plan was made for may change before it is published. Then scoring stops, and publish runs the whole
day again, as a plain loop; it finds each piece that is still right.

Light to import: what is heavy is imported by the task that needs it.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from nightscore.airflow.day import day_of_run
from nightscore.airflow.form import request_of
from nightscore.airflow.trigger import PartitionTrigger, find_unpublished_tables, find_unready_inputs
from nightscore.common import QUIET_SECONDS, Broken, NotYet, ProgressCallback, ProgressLines, silent
from nightscore.job import Job, TableInput, load
from nightscore.pipeline import RunRequest
from nightscore.store import Piece, Plan, plan_from_json

if TYPE_CHECKING:
    from nightscore.store import Receipt, StagedFile

log = logging.getLogger(__name__)
PLAN = "plan"  # the task, and the key of its plan
WAIT = dt.timedelta(hours=24)  # for a partition, where the policy is `wait`


class Step(BaseOperator):
    """One task of a job's night.

    All that changes what it does is a template field, so that a DAG has a new version when the job has one;
    `job_hash` stands for the SQL and the settings.
    """

    template_fields: Sequence[str] = ("job", "job_hash", "workspace")

    def __init__(self, *, job: str, job_hash: str, workspace: str = "{{ workspace }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job, self.job_hash, self.workspace = job, job_hash, workspace

    def read(self) -> Job:
        """The job, as it is now."""
        return load(self.job, self.workspace)

    def request(self, job: Job, context: Any) -> RunRequest:
        """What the run was asked for."""
        run = context["dag_run"]
        return request_of(job, context["params"], run.conf, getattr(run, "triggering_user_name", None))

    def pull_plan(self, context: Any) -> Plan:
        """The plan that the first task made."""
        return plan_from_json(context["ti"].xcom_pull(task_ids=PLAN, key=PLAN))


class PlanDay(Step):
    """Decides what is to be scored; gives the shares of the pieces, each the numbers of some pieces."""

    template_fields: Sequence[str] = (*Step.template_fields, "shares")

    def __init__(self, *, shares: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shares = shares

    def execute(self, context: Any) -> list[list[int]]:
        """Plan the day."""
        with errors():
            job = self.read()
            day = day_of_run(job, context.get("partition_key"), context["params"].get("day"))
            plan = self.plan(job, day, context)
        context["ti"].xcom_push(key=PLAN, value=plan.to_json())
        if plan.status == "skipped":
            raise AirflowSkipException(plan.reason)
        self.log.info("%s %s: %d pieces, %s", plan.job, plan.day, len(plan.pieces), plan.status)
        return shares(len(plan.pieces) if plan.status == "score" else 0, int(self.shares))

    def plan(self, job: Job, day: dt.date, context: Any) -> Plan:
        """The plan; or the task is deferred until the partitions that are missing land."""
        from nightscore.pipeline import LOCAL_THREADS, plan_day

        try:
            return plan_day(
                job, day, self.request(job, context), Progress(context), map_parts=LOCAL_THREADS.map_parts
            )
        except NotYet as error:
            root, moment = job.workspace.root, day.isoformat()
            inputs = find_unready_inputs(root, job.name, moment)
            waits = job.spec.policy.missing == "wait"
            tables = find_unpublished_tables(root, tables_of_others(job), moment) if waits else []
            if not (inputs or tables):
                raise
            self.log.info("%s; waiting for %s", error, ", ".join([*inputs.values(), *tables]))
            deadline = time.time() + WAIT.total_seconds()
            trigger = PartitionTrigger(
                workspace=str(root), folders=[], tables=tables, day=moment, deadline=deadline, job=job.name
            )
            self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Any, event: bool) -> list[list[int]]:
        """Go on after the wait."""
        if not event:
            raise AirflowFailException(
                f"job {self.job}: no partition after {WAIT}; run it again when it is there"
            )
        return self.execute(context)


class ScoreShare(Step):
    """Scores a share of the pieces. Those that an earlier try has staged are found and left as they are."""

    template_fields: Sequence[str] = (*Step.template_fields, "share")

    def __init__(self, *, share: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """The staged files, as dicts; none where the plan no longer holds: then publish plans again."""
        plan = self.pull_plan(context)
        first, last = self.share[0], self.share[-1]
        context["share_name"] = f"piece {first}" if first == last else f"pieces {first} to {last}"
        with errors():
            try:
                return score_share(self.read(), plan, self.share, Progress(context))
            except NotYet as error:
                self.log.warning("%s; publish runs the day again", error)
                return []


class PublishDay(Step):
    """Proves, decides, audits and publishes; gives the receipt and announces the day to its assets."""

    template_fields: Sequence[str] = (*Step.template_fields, "staged")

    def __init__(self, *, staged: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.staged = staged

    def execute(self, context: Any) -> dict[str, Any]:
        """Publish the day."""
        from nightscore.review import text

        with errors():
            receipt = self.publish(self.read(), self.pull_plan(context), context)
        text.print_receipt(receipt)
        document = receipt.model_dump(mode="json", by_alias=True, exclude={"inputs"})
        if receipt.status in ("preview", "skipped"):
            # A task that succeeds makes an event of each of its assets, and there is nothing new in them.
            context["ti"].xcom_push(key="return_value", value=document)
            raise AirflowSkipException(receipt.reason or f"{receipt.status}: nothing is published")
        self.announce(receipt.day, context)
        return document

    def publish(self, job: Job, plan: Plan, context: Any) -> "Receipt":
        """The receipt of the plan; where that no longer holds, of another run of the day, made here."""
        from nightscore.pipeline import publish_day, run

        report = Progress(context)
        staged = staged_files(self.staged)
        try:
            if len(staged) < len(plan.pieces):
                raise NotYet(f"{len(staged)} of {len(plan.pieces)} pieces were staged")
            return publish_day(job, plan, staged, report)
        except NotYet as error:
            self.log.warning("%s; running the day again", error)
            return run(job, plan.day, self.request(job, context), report=report)

    def announce(self, day: str, context: Any) -> None:
        """Name the day in the events of a run that has no partition key, so that jobs after it see it."""
        if context.get("partition_key") is None:
            for asset in self.outlets:
                context["outlet_events"][asset].add_partitions(day)


class Progress:
    """How far the work is: to the log as the command line says it, and to the task state store."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._lines = ProgressLines(sys.stdout)
        self._store = context.get("task_state_store")
        self._next = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say where a stage is."""
        self._lines(stage, done, total)
        if self._store is None or (time.monotonic() < self._next and done < total):
            return
        self._next = time.monotonic() + QUIET_SECONDS
        with contextlib.suppress(Exception):  # a night does not fail because nobody could be told of it
            self._store.set("progress", {"stage": stage, "done": done, "total": total})


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """`Broken` as the error that Airflow does not try again, `NotYet` as one that it does."""
    try:
        yield
    except Broken as error:
        log.warning("broken: %s", error)  # Airflow's own line of it is cut, above a traceback
        raise AirflowFailException(str(error)) from None
    except NotYet as error:
        log.warning("not yet: %s", error)
        raise AirflowException(str(error)) from None


def score_share(job: Job, plan: Plan, share: Sequence[int], report: ProgressCallback) -> list[dict[str, Any]]:
    """The staged files of the pieces with these numbers, as XCom takes them."""
    from nightscore.pipeline import LOCAL_THREADS

    staged = LOCAL_THREADS.map(job, plan, [plan.pieces[i] for i in share], report)
    return [dataclasses.asdict(file) for file in staged]


@dataclasses.dataclass(frozen=True)
class Shares:
    """An executor that scores pieces as the mapped tasks do: in `tasks` shares, all values through JSON."""

    tasks: int

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> "list[StagedFile]":
        """The staged files, in order."""
        done: list[list[dict[str, Any]]] = []
        rows, total = 0, sum(piece.rows for piece in pieces)
        for share in shares(len(pieces), self.tasks):
            pulled = plan_from_json(plan.to_json())
            numbers = [pieces[i].index for i in share]
            progress = _report_share(report, rows, total)
            done.append(json.loads(json.dumps(score_share(job, pulled, numbers, progress))))
            rows += sum(pieces[i].rows for i in share)
        return staged_files(done)


def _report_share(report: ProgressCallback, before: int, total: int) -> ProgressCallback:
    """The progress of one share, reported as that of all: `before` rows are done already."""
    return lambda stage, done, _: report(stage, before + done, total)


def shares(pieces: int, tasks: int) -> list[list[int]]:
    """The numbers of the pieces in `tasks` runs of neighbours, as equal as can be; none of them empty."""
    count = min(pieces, tasks)
    bounds = [pieces * i // count for i in range(count + 1)] if count else [0]
    return [list(range(start, stop)) for start, stop in pairwise(bounds)]


def staged_files(staged: Iterable[Iterable[Mapping[str, Any]]] | None) -> "list[StagedFile]":
    """The staged files of all shares, in the plan's order."""
    from nightscore.store import StagedFile

    return [StagedFile(**file) for share in staged or () for file in share]


def tables_of_others(job: Job) -> list[str]:
    """The tables of other jobs that the job reads."""
    inputs = job.spec.inputs.values()
    own = job.spec.tables
    return [source.table for source in inputs if isinstance(source, TableInput) and source.table not in own]
