"""Questions that the staged day must answer with yes before it is published."""

from jobs.check import audit_place
from jobs.engine import Engine, SqlMistakes
from jobs.errors import Broken
from jobs.job import Job
from jobs.receipt import AuditResult


def audit(job: Job, engine: Engine) -> tuple[AuditResult, ...]:
    """Ask every audit. One that gives no row, more than one, or NULL has not passed."""
    return tuple(
        AuditResult(name=a.name, passed=_passes(engine, a.sql, audit_place(job, i)), severity=a.severity)
        for i, a in enumerate(job.spec.audit)
    )


def refuse_failed(job: Job, results: tuple[AuditResult, ...]) -> None:
    """Stop before anything is published.

    Raises:
        Broken: an audit of severity `fail` has not passed; names each and where it stands.
    """
    failed = [
        f"{audit_place(job, i)} failed"
        for i, r in enumerate(results)
        if not r.passed and r.severity == "fail"
    ]
    if failed:
        raise Broken("\n".join([*failed, "nothing is published; the tables are as they were"]))


def _passes(engine: Engine, sql: str, where: str) -> bool:
    with SqlMistakes(where):
        return engine.rows(sql) == [(True,)]
