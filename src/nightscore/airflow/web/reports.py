"""Reports: the kept one at once; one that is not kept is made in a process of its own, and kept.

A report of millions of rows takes a while: whoever asks meanwhile is told that it is being made.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

from nightscore.airflow.web.process import run_worker
from nightscore.common import NotYet, Workspace
from nightscore.job import Job
from nightscore.review import read_kept_report, stamp_report
from nightscore.store import CatalogEntry, Pinned

SECONDS = 600.0
TOGETHER = 2  # reports at once, for one process of the API server; others wait for them
PATIENCE = 0.5  # seconds after which somebody is told that it is being made

_makers = ThreadPoolExecutor(TOGETHER, "nightscore-report")
_lock = threading.Lock()
_making: dict[tuple[str, ...], Future[str]] = {}


def find_report(state: Pinned, job: Job, entry: CatalogEntry) -> str | None:
    """The report of a run as HTML, as `nightscore report` writes it; None while it is being made.

    Raises:
        Broken: there is no such report.
        NotYet: it took too long.
    """
    workspace = state.workspace
    name = (str(workspace.root), job.name, entry.day, entry.run_id)
    with _lock:
        making = _making.get(name)
    if making is None:
        mark = stamp_report(state, job, entry)
        if page := read_kept_report(workspace, entry, mark):
            return page
        with _lock:
            making = _making.get(name) or _makers.submit(_make, workspace, *name[1:], mark)
            _making[name] = making
    try:
        page = making.result(PATIENCE)
    except Late:
        return None
    finally:
        if making.done():
            with _lock:
                _making.pop(name, None)
    return page


def _make(workspace: Workspace, job: str, day: str, run_id: str, mark: str) -> str:
    question: Mapping[str, object] = {
        "form": "report", "job": job, "day": day, "workspace": workspace.root, "run_id": run_id,
        "mark": mark,
    }  # fmt: skip
    late = NotYet(f"the report was not ready after {SECONDS:g} seconds; `nightscore report` has no limit")
    return run_worker(dict(question), SECONDS, late, with_storage=True).decode()
