"""A report, made in a process of its own."""

import threading
from pathlib import Path

from nightscore.airflow.web.process import run_worker
from nightscore.common import NotYet

SECONDS = 120.0
TOGETHER = 2  # reports at once, for one process of the API server; others wait for them

_slots = threading.BoundedSemaphore(TOGETHER)


def make_report(job: str, day: str, workspace: Path, run_id: str | None) -> str:
    """The report of a published day as HTML, as `nightscore report` writes it.

    Raises:
        Broken: there is no such report.
        NotYet: it took too long.
    """
    question = {"form": "report", "job": job, "day": day, "workspace": workspace, "run_id": run_id}
    with _slots:
        late = NotYet(f"the report was not ready after {SECONDS:g} seconds; `nightscore report` has no limit")
        return run_worker(question, SECONDS, late).decode()
