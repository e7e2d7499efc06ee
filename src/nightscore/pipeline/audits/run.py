"""The audits of a job, run over the staged day before it is published."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nightscore.job import Job, audit_place
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.audits.question import Answer, Question
from nightscore.store import AuditResult, Engine, SqlMistakes

NONE_UNASKED: Mapping[int, str] = MappingProxyType({})


def run_audits(
    job: Job, engine: Engine, unasked: Mapping[int, str] = NONE_UNASKED
) -> tuple[AuditResult, ...]:
    """Run every audit over the day whose staged tables the engine sees.

    `unasked` are those that are left out on this day, by their index, and why: they have passed.
    """
    return tuple(
        _result(question, Answer(True, unasked[question.index]))
        if question.index in unasked
        else ask_audit(question, engine)
        for question in questions(job)
    )


def audited(job: Job) -> list[str]:
    """The texts in which the audits of a job, and `accounts_for`, name what they read."""
    accounts = [job.spec.accounts_for.model_dump_json()] if job.spec.accounts_for else []
    return [*(audit.model_dump_json() for audit in job.spec.audit), *job.audit_sql.values(), *accounts]


def failures(job: Job, results: tuple[AuditResult, ...]) -> list[str]:
    """The audits of severity `fail` that have not passed: where each stands, and what was measured."""
    return [
        f"{audit_place(job, i)} failed: {r.detail}"
        for i, r in enumerate(results)
        if not r.passed and r.severity == "fail"
    ]


def ask_audit(question: Question[Any], engine: Engine) -> AuditResult:
    """What one audit answers over the day whose staged tables the engine sees.

    Raises:
        Broken: its SQL fails there.
    """
    with SqlMistakes(question.place):
        answer = question.answer(engine)
    return _result(question, answer)


def _result(question: Question[Any], answer: Answer) -> AuditResult:
    audit = question.audit
    return AuditResult(name=str(audit), passed=answer.passed, severity=audit.severity, detail=answer.detail)
