"""The night as three tasks, which string together the same verbs as `nightscore.pipeline.executors`.

    plan -> score (mapped: one task for each share of the pieces) -> publish

Between them goes what is frozen and small: a note of the plan, staged files as dicts. `Broken` fails at once,
`NotYet` is tried again later, or waits for the day's partition where the job's policy says so.

What a plan was made for may change before it is published. Then scoring stops, and publish runs the whole
day again, as a plain loop; it finds each piece that is still right.

Light to import: what is heavy is imported by the task that needs it.
"""

import contextlib
import dataclasses
import datetime as dt
import functools
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from nightscore.airflow.day import day_of_run
from nightscore.airflow.events.assets import event_extra
from nightscore.airflow.events.attempts import telling, telling_failure, telling_share
from nightscore.airflow.events.lineage import TellsLineage
from nightscore.airflow.events.metrics import send_metrics
from nightscore.airflow.form import request_of
from nightscore.airflow.held import Answer, ask, carry_out
from nightscore.airflow.kept_report import keep_report_of_day
from nightscore.airflow.on_ray.jobs import JobState, RayJobs, call, jobs_of_environment
from nightscore.airflow.on_ray.score import find_unstaged, plan_holds, read_scored, run_on
from nightscore.airflow.on_ray.trigger import RayJobTrigger
from nightscore.airflow.plan_note import note_of, read_noted_plan
from nightscore.airflow.shares import score_share, shares, staged_files
from nightscore.airflow.trigger import PartitionTrigger, find_unpublished_tables, find_unready_inputs
from nightscore.common import QUIET_SECONDS, Broken, NotYet, ProgressCallback, ProgressLines, as_day
from nightscore.job import Job, TableInput, load, own_table
from nightscore.pipeline import RunRequest
from nightscore.store import Plan

if TYPE_CHECKING:
    from nightscore.pipeline import Recorder
    from nightscore.store import DeliveryRecord, Receipt

log = logging.getLogger(__name__)
PLAN = "plan"  # the task, and the key of its plan
AGAIN = "%s; publish runs the day again"
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
        self._under_way: tuple[RayJobs, str] | None = None

    def read(self) -> Job:
        """The job, as it is now."""
        return load(self.job, self.workspace)

    def request(self, job: Job, context: Any) -> RunRequest:
        """What the run was asked for."""
        run = context["dag_run"]
        return request_of(job, context["params"], run.conf, getattr(run, "triggering_user_name", None))

    def day(self, context: Any) -> str:
        """The day that the run scores."""
        return day_of_run(self.read(), context.get("partition_key"), context["params"].get("day")).isoformat()

    def pull_plan(self, context: Any) -> Plan:
        """The plan that the first task made. NotYet where its run's folder has it no more."""
        return read_noted_plan(self.read().workspace, context["ti"].xcom_pull(task_ids=PLAN, key=PLAN))

    def stopped_by_kill(self, jobs: RayJobs, name: str) -> None:
        """Let a job of a cluster end with this task, should that be killed from now on."""
        self._under_way = jobs, name

    def on_kill(self) -> None:
        """Stop the job of a cluster that was submitted here."""
        if self._under_way:
            jobs, name = self._under_way
            call(jobs.stop(name))


class PlanDay(Step, TellsLineage):
    """Decides what is to be scored; gives the shares of the pieces, each the numbers of some pieces."""

    template_fields: Sequence[str] = (*Step.template_fields, "shares")

    def __init__(self, *, shares: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shares = shares

    def execute(self, context: Any) -> list[list[int]]:
        """Plan the day."""
        with errors():
            job = self.read()
            day = as_day(self.day(context))
            with telling(job, day.isoformat(), context, Progress(context)) as recorder:
                self.told = plan = self.plan(job, day, context, recorder)
                if plan.status == "skipped":
                    recorder.end("skipped", plan.reason)
        context["ti"].xcom_push(key=PLAN, value=note_of(plan))
        if plan.status == "skipped":
            raise AirflowSkipException(plan.reason)
        self.log.info("%s %s: %d pieces, %s", plan.job, plan.day, len(plan.pieces), plan.status)
        tasks = 1 if jobs_of_environment() else int(self.shares)  # a cluster deals out the pieces by itself
        return shares(len(plan.pieces) if plan.status == "score" else 0, tasks)

    def plan(self, job: Job, day: dt.date, context: Any, recorder: "Recorder") -> Plan:
        """The plan; or the task is deferred until the partitions that are missing land."""
        from nightscore.pipeline import LOCAL_THREADS, plan_day

        began = time.time()
        try:
            return plan_day(
                job, day, self.request(job, context), recorder.report, map_parts=LOCAL_THREADS.map_parts
            )
        except NotYet as error:
            root, moment = job.workspace.root, day.isoformat()
            inputs = find_unready_inputs(root, job.name, moment)
            waits = job.spec.missing == "wait"
            tables = find_unpublished_tables(root, tables_of_others(job), moment) if waits else []
            if not (inputs or tables):
                raise
            self.log.info("%s; it goes on by itself: %s", error, ", ".join([*inputs.values(), *tables]))
            recorder.end("waiting", str(error))
            trigger = PartitionTrigger(
                workspace=str(root), folders=[], tables=tables, day=moment, job=job.name,
                deadline=_waits_until(job, moment, began),
            )  # fmt: skip
            self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Any, event: bool) -> list[list[int]]:
        """Go on after the wait: the day is there, or it is time to carry the day before forward; or fail."""
        from nightscore.pipeline import next_carry

        with errors():
            job = self.read()
            day = day_of_run(job, context.get("partition_key"), context["params"].get("day")).isoformat()
            carry = None if event else next_carry(job, day)
            if not event and (carry is None or time.time() > (carry + WAIT).timestamp()):
                with telling(job, day, context, Progress(context)):
                    raise Broken(f"job {self.job}: no partition after {WAIT}; run it again when it is there")
        return self.execute(context)


def _waits_until(job: Job, day: str, began: float) -> float:
    """Until when (epoch seconds) a partition is waited for: until the day before may be carried forward.

    A plan that `began` later than that has seen that none can be, and waits as those of any job.
    """
    from nightscore.pipeline import next_carry

    last, carry = time.time() + WAIT.total_seconds(), next_carry(job, day)
    return min(last, carry.timestamp()) if carry and began < carry.timestamp() else last


class ScoreShare(Step):
    """Scores a share of the pieces. Those that an earlier try has staged are found and left as they are.

    Where NIGHTSCORE_RAY names a cluster, a job of it scores them: the task is deferred until that has ended.
    """

    template_fields: Sequence[str] = (*Step.template_fields, "share")

    def __init__(self, *, share: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """The staged files, as dicts; none where the plan no longer holds: then publish plans again."""
        with errors():
            if (plan := self.begin(context)) is None:
                return []
            job, jobs = self.read(), jobs_of_environment()
            if jobs and find_unstaged(job, plan, self.share):
                name = call(jobs.start(job, plan))
                self.stopped_by_kill(jobs, name)
                self.log.info("Ray job %s of %s scores the pieces", name, jobs.address)
                trigger = RayJobTrigger(address=jobs.address, name=name)
                self.defer(trigger=trigger, method_name="resume", kwargs={"name": name})
            try:
                alone = len(self.share) == len(plan.pieces)
                with telling_share(job, plan.day, context, Progress(context), alone=alone) as report:
                    return score_share(job, plan, self.share, report)
            except NotYet as error:
                self.log.warning(AGAIN, error)
                return []

    def resume(self, context: Any, event: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """The staged files once the cluster's job has ended; as `execute`."""
        from nightscore.pipeline import is_carry_due

        with errors():
            if (plan := self.begin(context)) is None:
                return []
            job = self.read()
            try:
                with telling_failure(job, plan.day, context):
                    JobState(**event).refuse_failure(name)
            except NotYet as error:
                if plan_holds(job, plan) and not is_carry_due(job, plan.day):
                    raise
                self.log.warning(AGAIN, error)
                return []
            staged = read_scored(job, plan, self.share, Progress(context))
            return [dataclasses.asdict(file) for file in staged]

    def begin(self, context: Any) -> Plan | None:
        """The plan, None where it is gone; the task is called by its pieces."""
        first, last = self.share[0], self.share[-1]
        context["share_name"] = f"piece {first}" if first == last else f"pieces {first} to {last}"
        try:
            return self.pull_plan(context)
        except NotYet as error:
            self.log.warning(AGAIN, error)
            return None


class PublishDay(Step, TellsLineage):
    """Proves, decides, audits and publishes; gives the receipt and announces the day to its assets."""

    template_fields: Sequence[str] = (*Step.template_fields, "staged")

    def __init__(self, *, staged: Any, **kwargs: Any) -> None:
        super().__init__(on_success_callback=keep_report_of_day, **kwargs)
        self.staged = staged

    def execute(self, context: Any) -> dict[str, Any]:
        """Publish the day; where an audit holds it, ask a person, without a worker meanwhile."""
        from nightscore.pipeline import Held

        with errors():
            job, day = self.read(), self.day(context)
            try:
                with telling(job, day, context, Progress(context)) as recorder:
                    self.told = receipt = self.publish(job, context, recorder.report)
                    sent = self.send_on(job, receipt, recorder)
            except Held as held:
                log.warning("held: %s", held)
                self.defer(trigger=ask(context, job, day, str(held)), method_name="decided")
        return self.end(job, receipt, sent, context)

    def decided(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on with what a person has decided of a held day, here or elsewhere."""
        with errors():
            job, day, answer = self.read(), self.day(context), Answer.read(event)
            if answer.option and not answer.because:
                again = "A reason is missing: it goes into the receipt. Say why, and choose again."
                self.defer(trigger=ask(context, job, day, again), method_name="decided")
            with telling(job, day, context, Progress(context)) as recorder:
                self.told = receipt = carry_out(job, day, answer)
                sent = self.send_on(job, receipt, recorder)
        return self.end(job, receipt, sent, context)

    def send_on(self, job: Job, receipt: "Receipt", recorder: "Recorder") -> "list[DeliveryRecord]":
        """Deliver the day; what fails is tried again, and nothing scored again."""
        from nightscore.pipeline import send_on

        sent = send_on(job, receipt, recorder.report)
        recorder.finish(receipt)
        return sent

    def end(
        self, job: Job, receipt: "Receipt", sent: "Sequence[DeliveryRecord]", context: Any
    ) -> dict[str, Any]:
        """Say what was published, and to whom; the assets' events name the day."""
        from nightscore.review import text

        text.print_receipt(receipt)
        for one in sent:
            self.log.info("onward %s: %s  %s", one.delivery, one.status, one)
        document = receipt.model_dump(mode="json", by_alias=True, exclude={"inputs"})
        if receipt.status in ("preview", "skipped"):
            # A task that succeeds makes an event of each of its assets, and there is nothing new in them.
            context["ti"].xcom_push(key="return_value", value=document)
            raise AirflowSkipException(receipt.reason or f"{receipt.status}: nothing is published")
        self.announce(job, receipt, context)
        send_metrics(job, receipt, context["dag_run"].run_type)
        return document

    def publish(self, job: Job, context: Any, report: ProgressCallback) -> "Receipt":
        """The receipt of the plan; where that no longer holds, of another run of the day, made here."""
        from nightscore.pipeline import publish_day

        staged = staged_files(self.staged)
        try:
            self.told = plan = self.pull_plan(context)
            if len(staged) < len(plan.pieces):
                raise NotYet(f"{len(staged)} of {len(plan.pieces)} pieces were staged")
            return publish_day(job, plan, staged, report)
        except NotYet as error:
            self.log.warning("%s; running the day again", error)
            return self.run_again(job, as_day(self.day(context)), self.request(job, context), report)

    def run_again(self, job: Job, day: dt.date, request: RunRequest, report: ProgressCallback) -> "Receipt":
        """The receipt of another run of the day, whose pieces are scored where those of the first were."""
        from nightscore.pipeline import run

        jobs = jobs_of_environment()
        if jobs is None:
            return run(job, day, request, report=report)
        begun = functools.partial(self.stopped_by_kill, jobs)
        return run_on(jobs, job, day, request, report=report, begun=begun)

    def announce(self, job: Job, receipt: "Receipt", context: Any) -> None:
        """Say in the events what was published; without a partition key the day, too, for jobs after it."""
        for asset in self.outlets:
            event = context["outlet_events"][asset]
            event.extra |= event_extra(job.workspace, receipt, asset.name)
            if context.get("partition_key") is None:
                event.add_partitions(receipt.day)


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


def tables_of_others(job: Job) -> list[str]:
    """The tables of other jobs that the job reads."""
    inputs = job.spec.inputs.values()
    return [one.table for one in inputs if isinstance(one, TableInput) and not own_table(job, one)]
