"""The rows of the second query of each parity audit, staged on the days that it is asked."""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from nightscore.job import Job, ParityAudit, own_table
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.audits.parity import ParityQuestion, full_rows
from nightscore.pipeline.context import Day
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.listing import list_input, window
from nightscore.store import AuditResult, SqlMistakes, View, stage_batches


@dataclasses.dataclass(frozen=True)
class FullRows:
    """The views of the rows that are there; by index what was read for those audits, or why others rest."""

    views: tuple[View, ...]
    read: Mapping[int, str]
    unasked: Mapping[int, str]

    def noted(self, audits: tuple[AuditResult, ...]) -> tuple[AuditResult, ...]:
        """The results, with what was read for each that was asked."""
        return tuple(
            audit.model_copy(update={"detail": f"{audit.detail}; {self.read[i]}"})
            if i in self.read
            else audit
            for i, audit in enumerate(audits)
        )


def stage_full_rows(day: Day) -> FullRows:
    """Run the second query of each parity audit that the day is asked, over the days that the query sees.

    What it reads beside the day's inputs is no cause of the day: it makes no row.

    Raises:
        Broken: the SQL fails, or a file that it reads is not what it has to be.
        NotYet: one has changed while it was read.
    """
    views: list[View] = []
    read: dict[int, str] = {}
    unasked: dict[int, str] = {}
    starts = _starts_anew(day)
    for question in questions(day.job):
        if isinstance(question, ParityQuestion):
            left = "" if starts else _left_out(day, question.audit)
            if starts or left or question.is_due(day.plan.day):
                wide = _wide(day, question.audit)
                views.append(_staged(wide, question))
                read[question.index] = _read_by(wide, question.audit) + left
            else:
                every = question.audit.parity.every
                unasked[question.index] = f"not asked: of {every:,} days one is, by a hash of the day"
    return FullRows(tuple(views), read, unasked)


def _starts_anew(day: Day) -> bool:
    """Whether the job's own tables have no day to go on from: on the first night, or after a long gap."""
    own = _own_tables(day.job)
    return bool(own) and not all(day.plan.inputs[name] for name in own)


def _left_out(day: Day, audit: ParityAudit) -> str:
    """What of the inputs that the query reads for long is in no own table, and was not read by the night.

    Such are days after the newest of an own table that lie before an input's lookback: they are in no total.
    """
    newest = [max(file.day for file in day.plan.inputs[name]) for name in _own_tables(day.job)]
    if not newest:
        return ""
    since, now = dt.date.fromisoformat(min(newest)), dt.date.fromisoformat(day.plan.day)
    return "".join(_between(day.job, name, since, now) for name in audit.parity.lookback)


def _between(job: Job, name: str, since: dt.date, now: dt.date) -> str:
    """Which days of an input lie after `since` and before its lookback; "" where none does."""
    source = job.spec.inputs[name]
    first, _ = window(job, source, now)
    if own_table(job, source) or first <= since + dt.timedelta(days=1):
        return ""
    longer = source.model_copy(update={"lookback": (now - since).days})
    days = {when for when, _ in list_input(job, name, longer, now).files if when < first.isoformat()}
    if not days:
        return ""
    return (
        f"; asked since {len(days):,} day{'s' if len(days) != 1 else ''} of {name}, {min(days)} to "
        f"{max(days)}, lie between {since}, the newest day of the job's own table, and the lookback"
    )


def _own_tables(job: Job) -> list[str]:
    return [name for name, source in job.spec.inputs.items() if own_table(job, source)]


def _staged(wide: Day, question: ParityQuestion) -> View:
    name = full_rows(question.index)
    wide.run.remove_decided(name)  # of an attempt that was stopped: what it read may be other files now
    path = wide.run.decided(name)
    with (
        wide.steady_inputs(),
        wide.engine(threads=wide.sql_threads, asked=[question.sql]) as engine,
        SqlMistakes(question.file),
    ):
        select = question.select()
        stage_batches(path, engine.stream(select), engine.schema(select))
    return View(name, (path.local(),), stored=True)


def _read_by(wide: Day, audit: ParityAudit) -> str:
    """What the second query has seen of the inputs with a lookback of its own."""
    seen = []
    for name in audit.parity.lookback:
        days = sorted({file.day for file in wide.plan.inputs[name]})
        span = f", {days[0]} to {days[-1]}" if days else ""
        seen.append(f"{len(days):,} day{'s' if len(days) != 1 else ''} of {name}{span}")
    return f"over {', '.join(seen) or 'the inputs of the day'}"


def _wide(day: Day, audit: ParityAudit) -> Day:
    """The day as the second query sees it: with the lookbacks that the audit says."""
    seen = audit.parity.lookback
    sources = {
        name: source.model_copy(update={"lookback": seen.get(name, source.lookback)})
        for name, source in day.job.spec.inputs.items()
    }
    job: Job = dataclasses.replace(day.job, spec=day.job.spec.model_copy(update={"inputs": sources}))
    files = inputs.resolve_inputs(job, dt.date.fromisoformat(day.plan.day))
    return Day(job, dataclasses.replace(day.plan, inputs=files))
