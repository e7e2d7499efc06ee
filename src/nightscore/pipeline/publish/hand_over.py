"""A table handed over from one job to another, by a person."""

import datetime as dt
import re

from nightscore.common import Broken, ProgressCallback, Workspace, refuse_unsaid, silent
from nightscore.job import NAME, peek_job_name
from nightscore.pipeline.publish.commit import complete_half_published
from nightscore.store import HandOver, owners, renames


def hand_over_table(
    workspace: Workspace, table: str, *, source: str, target: str, by: str, because: str,
    report: ProgressCallback = silent,
) -> HandOver:  # fmt: skip
    """Hand a table over from one job to another: from now on that one publishes it, and no other.

    A day that the first job has published half is completed before. Nothing that is published changes: closed
    days stay closed, and readers see what they saw.

    Raises:
        Broken: the table is not the first job's, `target` is no name of another job, or `by` or `because` is
            empty.
        NotYet: a run is publishing the table now.
    """
    _refuse_unfit(workspace, table, source, target)
    refuse_unsaid(by=by, because=because)
    with owners.alone(workspace, table):
        number = _refuse_unfit(workspace, table, source, target).number + 1
        complete_half_published(workspace, source, table, report)
        note = HandOver(
            table=table, number=number, source=source, to=target, by=by.strip(), because=because.strip(),
            at=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        owners.record_hand_over(workspace, note)
    return note


def _refuse_unfit(workspace: Workspace, table: str, source: str, target: str) -> HandOver:
    """Whose table it is. Broken unless it can be handed over as it is asked for."""
    owner, jobs = owners.read_owner(workspace, table), renames.read_names(workspace).jobs
    if jobs.current(target) != target:
        raise Broken(f"job {target} is called {jobs.current(target)} now; hand the table over to that")
    if owner is None:
        raise Broken(f"table {table!r} is published by no job; `nightscore tables` lists those that are")
    if owner.to != source:
        raise Broken(f"table {table} is not of job {source}, but of {owner.to}; nothing is handed over")
    if target == source or not re.fullmatch(NAME, target):
        others = ", ".join(job for job in job_names(workspace) if job != source) or "none"
        raise Broken(
            f"table {table} can't be handed over to {target!r}; the workspace's other jobs: {others}"
        )
    return owner


def job_names(workspace: Workspace) -> list[str]:
    """The names of the workspace's jobs. A table may be handed over to one that is only about to be there."""
    return sorted({name for file in workspace.job_files() if (name := peek_job_name(file))})
