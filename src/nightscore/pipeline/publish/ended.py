"""Tables that a job does not publish any more: their day ends with the next run of it that is published.

Otherwise it would stay as an older run had left it, beside the day's other tables of this one. Days before
stay, until they are run again. A receipt names such a table with no rows and no files.
"""

from collections.abc import Iterator, Mapping

from nightscore.job import Job
from nightscore.store import Pinned, Receipt, TableChange, TableResult, catalog, owners

NOTHING = TableResult(rows=0, files=0, bytes=0)


def with_ended(job: Job, receipt: Receipt) -> Receipt:
    """The receipt of a run about to be published, with the tables whose day ends with it."""
    ended = dict(_ended(job, receipt.day, catalog.read_catalog(job.workspace)))
    if not ended:
        return receipt
    update: dict[str, object] = {"tables": {**receipt.tables, **dict.fromkeys(ended, NOTHING)}}
    if note := receipt.restatement:
        gone: Mapping[str, TableChange] = {
            table: TableChange(rows_before=rows, rows_after=0, removed=rows) for table, rows in ended.items()
        }
        update["restatement"] = note.model_copy(update={"tables": {**note.tables, **gone}})
    return receipt.model_copy(update=update)


def _ended(job: Job, day: str, state: Pinned) -> Iterator[tuple[str, int]]:
    """Each table that is the job's, has the day by a run of the job, and is not published by it any more.

    With the rows that it has of the day.
    """
    for table, days in state.published.items():
        entry = days.get(day)
        if entry is None or entry.job != job.name or table in job.spec.tables:
            continue
        owner = owners.read_owner(job.workspace, table, state)
        result = entry.read_receipt().tables[table]
        if owner and owner.to == job.name and result.files:
            yield table, result.rows
