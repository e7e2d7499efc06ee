"""The audits of a job, run over the staged day before it is published."""

from typing import Any

from nightscore.job import Job, audit_place
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.audits.question import Question
from nightscore.store import AuditResult, Engine, SqlMistakes


def run_audits(job: Job, engine: Engine) -> tuple[AuditResult, ...]:
    """Run every audit over the day whose staged tables the engine sees."""
    return tuple(_run_audit(question, engine) for question in questions(job))


def failures(job: Job, results: tuple[AuditResult, ...]) -> list[str]:
    """The audits of severity `fail` that have not passed: where each stands, and what was measured."""
    return [
        f"{audit_place(job, i)} failed: {r.detail}"
        for i, r in enumerate(results)
        if not r.passed and r.severity == "fail"
    ]


def _run_audit(question: Question[Any], engine: Engine) -> AuditResult:
    with SqlMistakes(question.place):
        answer = question.answer(engine)
    audit = question.audit
    return AuditResult(name=str(audit), passed=answer.passed, severity=audit.severity, detail=answer.detail)
