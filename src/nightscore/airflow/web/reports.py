"""Reports: the kept one at once; one that is not kept is made in a process of its own, and kept.

A report of millions of rows takes a while: whoever asks meanwhile is told that it is being made.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

from nightscore.airflow.web.process import run_worker
from nightscore.common import NotYet, Workspace
from nightscore.job import Job
from nightscore.pipeline import HeldDay
from nightscore.review import read_kept_report, stamp_report
from nightscore.store import CatalogEntry, Pinned, json_digest

SECONDS = 600.0
TOGETHER = 2  # reports at once, for one process of the API server; others wait for them
REMEMBERED = 8  # reports of held days
PATIENCE = 0.5  # seconds after which somebody is told that it is being made

_makers = ThreadPoolExecutor(TOGETHER, "nightscore-report")
_lock = threading.Lock()
_making: dict[tuple[str, ...], Future[str]] = {}
_held: OrderedDict[tuple[str, ...], str] = OrderedDict()


def find_report(state: Pinned, job: Job, entry: CatalogEntry) -> str | None:
    """The report of a run as HTML, as `nightscore report` writes it; None while it is being made.

    Raises:
        Broken: there is no such report.
        NotYet: it took too long.
    """
    workspace = state.workspace
    name = (str(workspace.root), job.name, entry.day, entry.run_id)
    making = _making.get(name)
    if making is None:
        mark = stamp_report(state, job, entry)
        if page := read_kept_report(workspace, entry, mark):
            return page
        making = _begin(name, {"form": "report", "mark": mark})
    return _result(name, making)


def find_held_report(workspace: Workspace, job: Job, held: HeldDay) -> str | None:
    """The report of a held day as it is staged; None while it is being made. Errors as `find_report`'s.

    The last few are remembered, by all that their receipts say, and written nowhere.
    """
    receipt = held.receipt
    name = (str(workspace.root), job.name, receipt.day, receipt.run_id, json_digest(receipt.to_json()))
    if page := _held.get(name):
        return page
    if page := _result(name, _making.get(name) or _begin(name, {"form": "held"})):
        _held[name] = page
        while len(_held) > REMEMBERED:
            _held.popitem(last=False)
    return page


def _begin(name: tuple[str, ...], question: Mapping[str, object]) -> Future[str]:
    """A process that answers; the one that is at work on it, if another request began it."""
    with _lock:
        making = _making.get(name) or _makers.submit(_make, name, question)
        _making[name] = making
    return making


def _result(name: tuple[str, ...], making: Future[str]) -> str | None:
    """The page that is being made; None where that takes longer."""
    try:
        return making.result(PATIENCE)
    except Late:
        return None
    finally:
        if making.done():
            with _lock:
                _making.pop(name, None)


def _make(name: tuple[str, ...], question: Mapping[str, object]) -> str:
    workspace, job, day, run_id, *_ = name
    asked = {**question, "workspace": workspace, "job": job, "day": day, "run_id": run_id}
    late = NotYet(f"the report was not ready after {SECONDS:g} seconds; `nightscore report` has no limit")
    return run_worker(asked, SECONDS, late, with_storage=True).decode()
