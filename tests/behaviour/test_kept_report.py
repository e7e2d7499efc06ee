"""A report is made once, kept beside its receipt, and made again where it would say something else."""

from pathlib import Path

import pytest

from nightscore import load, report, run
from nightscore.cli.main import call
from nightscore.job import Job
from nightscore.review import make_kept_report, read_kept_report, stamp_report
from nightscore.store import CatalogEntry, catalog
from tests.behaviour.conftest import Build
from tests.support.workspace import DAYS, JOB, linear_model

pytest.importorskip("vl_convert")
FIRST, SECOND = DAYS[:2]
HIGHLIGHT = "highlights:\n  - {title: n, sql: SELECT count(*) AS n FROM scores}\n"


def entries(job: Job, day: str) -> list[CatalogEntry]:
    """The runs of a day, the oldest first."""
    return [one for one in catalog.read_catalog(job.workspace).history if one.day == day]


def kept(job: Job, entry: CatalogEntry) -> str | None:
    """The page that a reader is shown now without another being made."""
    state = catalog.read_catalog(job.workspace)
    return read_kept_report(job.workspace, entry, stamp_report(state, job, entry))


def shown(page: str) -> str:
    """A page without its mark and the moment at which it was made."""
    head, _, body = page.partition("<title>")
    return body.partition("<footer>")[0] if head else ""


def test_it_is_kept_until_it_would_say_something_else(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later day changes nothing; a day before it, another run of the day and an erasure do."""
    monkeypatch.setenv("NIGHTSCORE_ERASURE_SECRET", "a secret of this test")
    root: Path = fresh(rows=300, job=JOB + HIGHLIGHT)
    job = load("mini", root)
    run(job, SECOND)
    [entry] = entries(job, SECOND)
    assert kept(job, entry) is None, "nobody has asked"
    page = make_kept_report("mini", SECOND, root)
    assert kept(job, entry) == page
    assert shown(page) == shown(report("mini", SECOND, root))
    run(job, DAYS[2])
    assert kept(job, entry) == page
    run(job, FIRST)  # is what it is held against from now on
    assert kept(job, entry) is None
    page = make_kept_report("mini", SECOND, root)
    assert FIRST in page and kept(job, entry) == page
    linear_model(root / "data/models/linear.onnx", (4.0, 1.0))
    run(job, SECOND)
    assert kept(job, entry) is None
    old, new = (make_kept_report("mini", SECOND, root, one.run_id) for one in entries(job, SECOND))
    assert "This run is no longer in force" in old and "This run is no longer in force" not in new
    assert [kept(job, one) for one in entries(job, SECOND)] == [old, new]
    who = ["--because", "asked", "--by", "Ada", "--workspace", str(root)]
    assert call(["forget", "--key", "id=7", *who]) == 0
    for one in entries(job, SECOND):
        assert kept(job, one) is None
    again = make_kept_report("mini", SECOND, root)
    assert "No numbers: " in again and "rows were erased on" in again, "of its highlights"
