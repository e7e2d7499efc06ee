"""The columns of a job's published tables changed by a person, once."""

from dataclasses import dataclass

from nightscore.common import Broken, refuse_unsaid
from nightscore.job import Job
from nightscore.pipeline.steps import published_columns
from nightscore.store import delta, delta_commit, owners, renames, table_schema


@dataclass(frozen=True)
class Evolved:
    """A table whose columns were changed: what came and what may be null from now on, a sentence each."""

    table: str
    changes: tuple[str, ...]


def evolve_tables(job: Job, *, by: str, because: str) -> list[Evolved]:
    """Let a job's tables have the columns that the job gives now, as far as nothing is lost by it.

    New columns are added, null for days before; those that go stay, null from now on. No file is written, no
    row changes. The commit of each table says who did it, and why.

    Raises:
        Broken: `by` or `because` is empty, or a type would be another: narrower, or wider than the table's.
        NotYet: a run is publishing one of the tables now.
    """
    refuse_unsaid(by=by, because=because)
    wanted = {}
    for table, schema in published_columns(job).items():
        root = renames.table_home(job.workspace, table)
        if found := delta.schema_differences(root, schema):
            if typed := [one for one in found if one.is_of_type]:
                raise Broken(
                    f"table {table}: {'; '.join(map(str, typed))}: cast it to the table's type in SQL"
                )
            have = delta.read_snapshot(root).schema
            wanted[table] = (tuple(map(_done, found)), table_schema.evolved_schema(have, list(schema)))
    for table, (_, schema) in wanted.items():
        note = {"by": by.strip(), "because": because.strip(), "job": job.name}
        with owners.alone(job.workspace, table):
            root = renames.table_home(job.workspace, table)
            delta_commit.commit_schema(root, schema, {**note, "run_id": ""})
    return [Evolved(table, changes) for table, (changes, _) in wanted.items()]


def _done(change: delta.ColumnDifference) -> str:
    if change.there is None:
        return f"column {change.name!r} ({change.here}) is new, and null on the days before"
    return f"column {change.name!r} ({change.there}) stays, and is null from now on"
