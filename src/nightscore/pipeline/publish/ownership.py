"""A table belongs to one job: another's claim is refused, until a person hands the table over."""

from collections.abc import Iterable, Mapping

from nightscore.common import Broken, Workspace
from nightscore.job import Job, TableInput
from nightscore.store import HandOver, Names, Pinned, owners, renames


class Foreign(Broken):
    """A table belongs to another job, or did since the run began. Nothing is published."""


def refuse_foreign_tables(job: Job, state: Pinned | None = None) -> None:
    """Raise `Broken` where a table that a job publishes belongs to another one, or is named by two of them.

    Of two jobs that name a table, the one that it belongs to is not refused.

    Raises:
        Broken: names the line of job.yaml, the other job, and the way to hand the table over.
    """
    found = {table: owners.read_owner(job.workspace, table, state) for table in job.spec.tables}
    for table, owner in found.items():
        if owner and owner.to != job.name:
            job.raise_broken(_at(job, table), _describe(owner, job.name))
        if owner is None and table in job.shared:
            job.raise_broken(
                _at(job, table), f"table {table} is also published by {job.shared[table]}, and belongs to "
                "neither yet; names are unique: take it out of one"
            )  # fmt: skip


def refuse_former_names(job: Job, names: Names | None = None) -> None:
    """Raise `Broken` where a job.yaml calls a job or a table by a name that it had before it was renamed.

    Raises:
        Broken: names the line, and what is to be written there.
    """
    names = names or renames.read_names(job.workspace)
    if now := _now(names, "job", job.name):
        job.raise_broken(("job",), now)
    for table in job.spec.decide:
        if now := _now(names, "table", table):
            job.raise_broken(("decide", table), now)
    for name, source in job.spec.inputs.items():
        if isinstance(source, TableInput) and (now := _now(names, "table", source.table)):
            job.raise_broken(("inputs", name, "table"), now)


def _now(names: Names, kind: str, name: str) -> str:
    """What a job or a table that was called so is called now, in words; "" where it still is."""
    current = (names.jobs if kind == "job" else names.tables).current(name)
    last = names.last_of(kind, name)
    if last is None or current == name:
        return ""
    back = f"; `nightscore rename-{kind} {current} {name}` gives it back" if last.kind == kind else ""
    return (
        f"{last}; write {current}. Nothing else is ever called {name}, for receipts name this {kind} so{back}"
    )


def _at(job: Job, table: str) -> tuple[str, ...]:
    """Where a job.yaml names a table that it publishes."""
    return ("decide", table) if table in job.spec.decide else ("job",)


def claim_or_explain(
    workspace: Workspace, job: str, tables: Iterable[str], hand_overs: Mapping[str, int]
) -> str:
    """Claim the tables of a run for its job; gives why it may not publish them, "" where it may.

    `hand_overs` is how often each had been handed over when the run began: since then another job may have
    published the day, which the run has not seen.
    """
    tables, names = list(tables), renames.read_names(workspace)
    if now := _now(names, "job", job) or next((n for t in tables if (n := _now(names, "table", t))), ""):
        return now
    if foreign := owners.claim(workspace, job, tables):
        return _describe(foreign[0], job)
    for table, number in owners.read_numbers(workspace, tables).items():
        if number != hand_overs.get(table, 0):
            last = names.last_of("table", table) or owners.read_owner(workspace, table)
            return f"table {table} has changed hands or name since the run began ({last}); run the day again"
    return ""


def _describe(owner: HandOver, job: str) -> str:
    how = f" ({owner})" if owner.number else ""
    return (
        f"table {owner.table} belongs to job {owner.to}{how}; job {job} may publish it once it is handed "
        f"over: `nightscore hand-over {owner.table} --from {owner.to} --to {job} --by NAME --because TEXT`"
    )
