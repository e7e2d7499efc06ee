"""The rows of the second query of each parity audit, staged on the days that it is asked."""

import dataclasses
import datetime as dt
from collections.abc import Mapping

from nightscore.job import Job, ParityAudit
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.audits.parity import ParityQuestion, full_rows
from nightscore.pipeline.context import Day
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.listing import own_table
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
            if starts or question.is_due(day.plan.day):
                wide = _wide(day, question.audit)
                views.append(_staged(wide, question))
                read[question.index] = _read_by(wide, question.audit)
            else:
                every = question.audit.parity.every
                unasked[question.index] = f"not asked: of {every:,} days one is, by a hash of the day"
    return FullRows(tuple(views), read, unasked)


def _starts_anew(day: Day) -> bool:
    """Whether the job's own tables have no day to go on from: on the first night, or after a long gap."""
    own = [name for name, source in day.job.spec.inputs.items() if own_table(day.job, source)]
    return bool(own) and not all(day.plan.inputs[name] for name in own)


def _staged(wide: Day, question: ParityQuestion) -> View:
    name = full_rows(question.index)
    wide.run.remove_decided(name)  # of an attempt that was stopped: what it read may be other files now
    path = wide.run.decided(name)
    with (
        wide.steady_inputs(),
        wide.engine(threads=wide.sql_threads) as engine,
        SqlMistakes(question.file),
    ):
        select = question.select()
        stage_batches(path, engine.stream(select), engine.schema(select))
    return View(name, (path.local(),))


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
