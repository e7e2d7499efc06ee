"""What a night was, in numbers, to wherever Airflow sends its own: StatsD, DogStatsD or OpenTelemetry.

By Airflow's interface and settings (`[metrics]`), and as Airflow names its own: `nightscore.rows` with the
tag `job` (and `workspace` of one that has a name), and where `legacy_names_on` is true
`nightscore.rows.<DAG>`, too, since plain StatsD has no tags.

    rows, rejects, rows_per_second, audits_warned     gauges; `rows` are those of the scores table
    seconds                                           timing of the whole run
    stage_seconds                                     timing of each stage, with the tag `stage`
    lateness_seconds                                  gauge: published, since the day was complete

Light to import: what is heavy is imported where it is used.
"""

import datetime as dt
import logging
from typing import TYPE_CHECKING

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats

from nightscore.airflow.workspaces import dag_id_of
from nightscore.common import as_day
from nightscore.job import After, ByHand, Job, read_workspace_overrides

if TYPE_CHECKING:
    from nightscore.store import Receipt

log = logging.getLogger(__name__)
SENDERS = ("statsd_on", "statsd_datadog_enabled", "otel_on")
BY_ITSELF = ("scheduled", "asset_triggered")  # the types of runs that are late or not; a backfill is neither


def send_metrics(job: Job, receipt: "Receipt", run_type: str) -> None:
    """Send what a published day took and gave; nothing of one that was unchanged. It never fails a night.

    `run_type` is the DAG run's: how late the day came is sent of runs that Airflow has started by itself.
    """
    try:
        if receipt.status == "published" and any(map(_is_on, SENDERS)):
            _send(job, receipt, run_type)
    except Exception as error:  # whoever counts, a night does not fail by it
        log.warning("metrics were not sent: %s", error)


def lateness(job: Job, receipt: "Receipt") -> dt.timedelta | None:
    """How long after its day was complete a receipt was published; None where nobody can tell.

    A day is complete when the job's schedule says so; of a job after others when the last of them published.
    """
    complete = _complete(job, as_day(receipt.day))
    if complete is None or receipt.published_at is None:
        return None
    return receipt.published_at - complete


def _send(job: Job, receipt: "Receipt", run_type: str) -> None:
    scores = receipt.tables.get(job.spec.scores_table)
    warned = sum(not audit.passed for audit in receipt.audits)
    _gauge(job, "rows", scores.rows if scores else receipt.rows.published)
    _gauge(job, "rejects", receipt.rows.rejected)
    _gauge(job, "rows_per_second", receipt.rows_per_second)
    _gauge(job, "audits_warned", warned)
    _timing(job, "seconds", sum(receipt.seconds.values()))
    for stage, seconds in receipt.seconds.items():
        _timing(job, "stage_seconds", seconds, stats.normalize_name_for_stats(stage, log_warning=False))
    late = lateness(job, receipt) if run_type in BY_ITSELF and receipt.restatement is None else None
    if late is not None:
        _gauge(job, "lateness_seconds", late.total_seconds())


def _gauge(job: Job, name: str, value: float) -> None:
    stats.gauge(f"nightscore.{name}", value, tags=_tags(job))
    if _is_on("legacy_names_on"):
        stats.gauge(f"nightscore.{name}.{dag_id_of(job)}", value)


def _timing(job: Job, name: str, seconds: float, stage: str | None = None) -> None:
    took = dt.timedelta(seconds=seconds)
    stats.timing(f"nightscore.{name}", took, tags=_tags(job) | ({"stage": stage} if stage else {}))
    if _is_on("legacy_names_on"):
        stats.timing(".".join(filter(None, ("nightscore", name, dag_id_of(job), stage))), took)


def _tags(job: Job) -> dict[str, str]:
    return {"job": job.name} | ({"workspace": job.workspace.name} if job.workspace.name else {})


def _is_on(option: str) -> bool:
    return bool(conf.getboolean("metrics", option, fallback=False))


def _complete(job: Job, day: dt.date) -> dt.datetime | None:
    schedule = job.spec.schedule
    if isinstance(schedule, After):
        return _upstream(job, schedule, day)
    if isinstance(schedule, ByHand):
        return None
    calendar = schedule.calendar(read_workspace_overrides(job.workspace.root))
    return calendar.complete(day) if calendar.days(day, day) else None


def _upstream(job: Job, schedule: After, day: dt.date) -> dt.datetime | None:
    from nightscore.store import catalog

    state = catalog.read_catalog(job.workspace)
    receipts = [state.read_receipt(state.publisher(table), day) for table in schedule.after]
    moments = [receipt.published_at for receipt in receipts if receipt and receipt.published_at]
    return max(moments) if len(moments) == len(receipts) else None
