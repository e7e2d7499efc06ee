"""Questions that the staged day must answer with yes before it is published."""

from nightscore.job.audits import SqlAudit
from nightscore.job.loader import Job, audit_place
from nightscore.pipeline.audits import kinds
from nightscore.pipeline.audits.kinds import Answer
from nightscore.store.engine import Engine, SqlMistakes
from nightscore.store.receipt import AuditResult


def audit(job: Job, engine: Engine) -> tuple[AuditResult, ...]:
    """Ask every audit. SQL that gives no row, more than one, or NULL has not passed."""
    return tuple(_asked(job, engine, i) for i in range(len(job.spec.audit)))


def failures(job: Job, results: tuple[AuditResult, ...]) -> list[str]:
    """The audits of severity `fail` that have not passed: where each stands, and what was measured."""
    return [
        f"{audit_place(job, i)} failed: {r.detail}"
        for i, r in enumerate(results)
        if not r.passed and r.severity == "fail"
    ]


def _asked(job: Job, engine: Engine, index: int) -> AuditResult:
    one = job.spec.audit[index]
    with SqlMistakes(audit_place(job, index)):
        found = _select(engine, one.sql) if isinstance(one, SqlAudit) else kinds.answer(one, engine, job)
    return AuditResult(name=str(one), passed=found.passed, severity=one.severity, detail=found.detail)


def _select(engine: Engine, sql: str) -> Answer:
    rows = engine.rows(sql)
    if rows == [(True,)]:
        return Answer(True, "")
    if len(rows) != 1:
        return Answer(False, f"gives {len(rows) or 'no'} row{'s' if rows else ''}")
    return Answer(False, "gives NULL" if rows[0][0] is None else "gives false")
