"""A person's query, in a process of its own and within limits."""

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import pyarrow as pa

from nightscore.airflow.web.process import run_worker
from nightscore.common import NotYet
from nightscore.scorers import read_hardware
from nightscore.store import QueryLimits, View, query_timed_out

Form = Literal["arrow", "csv"]
SHOWN = QueryLimits(rows=1_000, size=20_000_000, seconds=30)
DOWNLOADED = QueryLimits(rows=1_000_000, size=200_000_000, seconds=60)
TOGETHER = 2  # queries at once, for one process of the API server
MEMORY_SHARE = 8  # one query has an eighth of the machine's memory
SPILL = 4_000_000_000  # bytes of temporary disk
GRACE = 3.0  # seconds after its limit in which a query may stop by itself, before it is killed

_slots = threading.BoundedSemaphore(TOGETHER)


class Busy(NotYet):
    """As many queries run as may."""


def query_first_rows(sql: str, views: Sequence[View], limits: QueryLimits = SHOWN) -> tuple[pa.Table, bool]:
    """The first rows of a query's result, and whether there are more.

    Raises:
        Broken: a mistake in the SQL, or beyond a limit.
        NotYet: not enough memory, or too many queries at once.
    """
    one_more = QueryLimits((limits.rows or 0) + 1, limits.size, limits.seconds)
    with pa.ipc.open_stream(_run(sql, views, one_more, "arrow")) as reader:
        rows = reader.read_all()
    return rows.slice(0, limits.rows), rows.num_rows > (limits.rows or 0)


def query_as_csv(sql: str, views: Sequence[View], limits: QueryLimits = DOWNLOADED) -> bytes:
    """The whole result, byte for byte as `nightscore query --format csv` writes it; never a part of it.

    Raises:
        Broken: a mistake in the SQL, or beyond a limit.
        NotYet: not enough memory, or too many queries at once.
    """
    return _run(sql, views, limits, "csv")


def _run(sql: str, views: Sequence[View], limits: QueryLimits, form: Form) -> bytes:
    if not _slots.acquire(blocking=False):
        raise Busy(f"{TOGETHER} queries are running, as many as may at once; try again in a moment")
    try:
        with tempfile.TemporaryDirectory(prefix="nightscore-query-") as folder:
            question = _question(sql, views, limits, form, folder)
            return run_worker(question, (limits.seconds or 0) + GRACE, query_timed_out(limits.seconds or 0))
    finally:
        _slots.release()


def _question(
    sql: str, views: Sequence[View], limits: QueryLimits, form: Form, folder: str
) -> dict[str, Any]:
    machine = read_hardware()
    return {
        "sql": sql,
        "form": form,
        "views": [asdict(view) for view in views],
        "limits": asdict(limits),
        "threads": max(1, machine.cores // 2),
        "memory": machine.memory // MEMORY_SHARE,
        "spill": SPILL,
        "folder": folder,
    }
