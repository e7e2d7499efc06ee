"""A table belongs to one job: another's claim is refused, until a person hands the table over."""

from collections.abc import Iterable, Mapping

from nightscore.common import Broken, Workspace
from nightscore.job import Job
from nightscore.store import HandOver, Pinned, owners


class Foreign(Broken):
    """A table belongs to another job, or did since the run began. Nothing is published."""


def refuse_foreign_tables(job: Job, state: Pinned | None = None) -> None:
    """Raise `Broken` where a table that a job publishes belongs to another one.

    Raises:
        Broken: names the line of job.yaml, the other job, and the way to hand the table over.
    """
    for owner in owners.find_foreign(job.workspace, job.name, job.spec.tables, state):
        at = ("decide", owner.table) if owner.table in job.spec.decide else ("job",)
        job.raise_broken(at, _describe(owner, job.name))


def claim_or_explain(
    workspace: Workspace, job: str, tables: Iterable[str], hand_overs: Mapping[str, int]
) -> str:
    """Claim the tables of a run for its job; gives why it may not publish them, "" where it may.

    `hand_overs` is how often each had been handed over when the run began: since then another job may have
    published the day, which the run has not seen.
    """
    tables = list(tables)
    if foreign := owners.claim(workspace, job, tables):
        return _describe(foreign[0], job)
    for table, number in owners.read_numbers(workspace, tables).items():
        if number != hand_overs.get(table, 0):
            owner = owners.read_owner(workspace, table)
            return f"table {table} has changed hands since the run began ({owner}); run the day again"
    return ""


def _describe(owner: HandOver, job: str) -> str:
    how = f" ({owner})" if owner.number else ""
    return (
        f"table {owner.table} belongs to job {owner.to}{how}; job {job} may publish it once it is handed "
        f"over: `nightscore hand-over {owner.table} --from {owner.to} --to {job} --by NAME --because TEXT`"
    )
