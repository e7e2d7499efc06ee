"""Which days could be run: their data are there, as far as folders and receipts tell, and they are not."""

import datetime as dt
from collections.abc import Collection

from nightscore.job import Job, PathInput, TableInput, own_table
from nightscore.pipeline.read.listing import list_days
from nightscore.store import catalog


def find_open_day(job: Job, days: Collection[dt.date]) -> dt.date | None:
    """The last of some days that is not published, and of which each input has a partition; None without one.

    A cheap look: folders are listed and no file is opened, so of an input whose days stand in rows, or in the
    log of another engine's table, each day is taken to be there.

    Raises:
        Broken: a folder can't be listed, or holds what is not understood.
        NotYet: one does not answer.
    """
    published = catalog.read_catalog(job.workspace).published
    left = set(days) - _days_of(published.get(job.spec.scores_table, {}))
    for name, source in job.spec.inputs.items():
        if not left:
            return None
        if isinstance(source, TableInput) and not own_table(job, source):
            left &= _days_of(published.get(source.table, {}))
        elif isinstance(source, PathInput) and source.layout and source.day_column is None:
            left &= set(list_days(job, name, source, (min(left), max(left))))
    return max(left, default=None)


def _days_of(published: Collection[str]) -> set[dt.date]:
    return set(map(dt.date.fromisoformat, published))
