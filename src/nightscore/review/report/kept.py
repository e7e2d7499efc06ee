"""The report of a run as it is kept, in the run's folder: made once, and again where it would differ.

What a page says hangs on a few facts that are read quickly: its receipt (which an erasure changes), the
run that replaced it, the one before it, where it was delivered, what makes pages. Their hash stands in the
page; one with another hash is not shown. So nobody who changes one of them has to know of pages.
"""

import datetime as dt
from pathlib import Path

from nightscore.common import Workspace, as_day
from nightscore.job import Job, load
from nightscore.review.report.data import gather_run, onward_of
from nightscore.review.report.html import render_page
from nightscore.store import (
    CatalogEntry,
    Pinned,
    Place,
    catalog,
    json_digest,
    keep_report,
    library_versions,
    read_report,
    remove_report,
    renames,
)

LAYOUT = 1  # of the page: another one makes each page anew
MARK = '<meta name="nightscore-report" content="{}">'


def read_kept_report(workspace: Workspace, entry: CatalogEntry, mark: str) -> str | None:
    """The kept page of a run; None where there is none of this stamp, which says what is so now."""
    page = read_report(_folder(workspace, entry))
    return page if page and MARK.format(mark) in page else None


def make_kept_report(
    job: str, day: dt.date | str, workspace: Workspace | Path | str | None = None, run_id: str | None = None,
    mark: str = "",
) -> str:  # fmt: skip
    """The report of a run, as `nightscore.report` gives it, and keep it for whoever asks next.

    `mark` is the stamp by which that one looks for it, of facts as they were not later than now.

    Raises:
        Broken: as `nightscore.report`.
    """
    facts, entry = gather_run(load(job, workspace), as_day(day), run_id)
    stamp = stamp_report(facts.state, facts.job, entry)
    page = render_page(facts, MARK.format(mark or stamp))
    folder = _folder(facts.job.workspace, entry)
    keep_report(folder, page)
    if not _is_so_still(facts.job, entry, stamp):  # rows may have been erased that the page shows
        remove_report(folder)
    return page


def _is_so_still(job: Job, entry: CatalogEntry, stamp: str) -> bool:
    now = catalog.read_catalog(job.workspace)
    found = next((one for one in now.history if one.run_id == entry.run_id), None)
    return found is not None and stamp_report(now, job, found) == stamp


def stamp_report(state: Pinned, job: Job, entry: CatalogEntry) -> str:
    """What the page of a run hangs on, as a hash."""
    newest, before = state.replaced_by(entry), state.previous(job.name, as_day(entry.day))
    standings = onward_of(state, job, entry, replaced=newest is not None)
    return json_digest(
        {
            "made by": [LAYOUT, library_versions()["nightscore"]],
            "receipt": entry.read_receipt_or_reason().to_json(),
            "others": [one and one.run_id for one in (newest, before)],
            "onward": [one.document() for one in standings],
            "removed": sorted(entry.removed),
        }
    )


def _folder(workspace: Workspace, entry: CatalogEntry) -> Place:
    return renames.runs_home(workspace, entry.job) / entry.day / entry.run_id
