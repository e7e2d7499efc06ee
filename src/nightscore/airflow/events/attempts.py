"""A DAG run as one attempt at its day, whichever of its tasks tells of it."""

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nightscore.common import NotYet, ProgressCallback
from nightscore.job import Job

if TYPE_CHECKING:
    from nightscore.pipeline import Recorder


def attempt_name(run_id: str, begun: dt.datetime) -> str:
    """The attempt of a DAG run; a run that is cleared begins again, and is another."""
    from nightscore.store import attempt_time

    return f"{attempt_time(begun)}-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}"


def page_address() -> str | None:
    """The address of the page Nightscore, as this Airflow is reached; None where it does not say."""
    from airflow.configuration import conf

    base = conf.get("api", "base_url", fallback="")
    return f"{base.rstrip('/')}/nightscore" if "://" in base else None


@contextlib.contextmanager
def telling(job: Job, day: str, context: Mapping[str, Any], report: ProgressCallback) -> Iterator["Recorder"]:
    """A context in which a task tells how the attempt of its DAG run goes; an error ends it.

    A preview tells of nothing.
    """
    from nightscore.airflow.connections import connected
    from nightscore.pipeline import Recorder, recording
    from nightscore.store import Attempt, read_attempt

    run, now = context["dag_run"], dt.datetime.now(dt.UTC)
    name = attempt_name(run.run_id, getattr(run, "start_date", None) or run.run_after)
    before = read_attempt(job.workspace, job.name, day, name)
    attempt = Attempt(
        job=job.name, day=day, attempt=name, started=before.started if before else now, updated=now,
        by=getattr(run, "triggering_user_name", None) or "", dag_run=run.run_id,
    )  # fmt: skip
    keeps = context.get("params", {}).get("limit") is None
    task = context.get("ti")
    last_try = task is not None and task.try_number > task.max_tries
    recorder = Recorder(job, attempt, report, keeps=keeps, page=page_address(), last_try=last_try)
    with connected(), recording(recorder):
        yield recorder


@contextlib.contextmanager
def telling_failure(
    job: Job, day: str, context: Mapping[str, Any], ignored: type[Exception] | tuple[()] = ()
) -> Iterator[None]:
    """A context of one of several tasks at work at once: it tells of its error alone, unless it goes on."""
    try:
        yield
    except ignored:
        raise
    except Exception as error:
        from nightscore.pipeline import outcome_of

        with telling(job, day, context, lambda *_: None) as recorder:
            recorder.end(*outcome_of(error))
        raise


@contextlib.contextmanager
def telling_share(
    job: Job, day: str, context: Mapping[str, Any], report: ProgressCallback, *, alone: bool
) -> Iterator[ProgressCallback]:
    """A context of a task that scores pieces; gives what to report to.

    Only a task that has them `alone` tells of its progress. What is only not yet right is no error here: the
    publish task runs the day again.
    """
    if not alone:
        with telling_failure(job, day, context, ignored=NotYet):
            yield report
        return
    outdated: NotYet | None = None
    with telling(job, day, context, report) as recorder:
        try:
            yield recorder.report
        except NotYet as error:
            outdated = error
    if outdated:
        raise outdated
