"""A person's query, in a process of its own and within limits."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from nightscore.airflow.web.process import run_worker
from nightscore.scorers import read_hardware
from nightscore.store import QueryLimits, View, query_timed_out

Form = Literal["arrow", "kept", "csv"]
FIRST = QueryLimits(rows=1_000, size=20_000_000, seconds=30)
SHOWN = QueryLimits(rows=10_000, size=200_000_000, seconds=30)
DOWNLOADED = QueryLimits(rows=1_000_000, size=200_000_000, seconds=60)
MEMORY_SHARE = 16  # one query has a sixteenth of the machine's memory
SPILL = 4_000_000_000  # bytes of temporary disk
GRACE = 3.0  # seconds after its limit in which a query may stop by itself, before it is killed
TOGETHER = 2  # of the pages' own queries; others wait for them

_slots = threading.BoundedSemaphore(TOGETHER)


def query_first_rows(sql: str, views: Sequence[View], limits: QueryLimits = FIRST) -> tuple[pa.Table, bool]:
    """The first rows of a result, and whether there are more: of a query that a page asks by itself.

    Raises:
        Broken: a mistake in the SQL, or beyond a limit.
        NotYet: not enough memory.
    """
    one_more = QueryLimits((limits.rows or 0) + 1, limits.size, limits.seconds)
    with _slots, tempfile.TemporaryDirectory(prefix="nightscore-query-") as folder:
        answer = ask_worker(sql, views, one_more, "arrow", Path(folder))
    with pa.ipc.open_stream(answer) as reader:
        rows = reader.read_all()
    return rows.slice(0, limits.rows), rows.num_rows > (limits.rows or 0)


def ask_worker(
    sql: str, views: Sequence[View], limits: QueryLimits, form: Form, folder: Path, *,
    gone: Callable[[], bool] = lambda: False,
) -> bytes:  # fmt: skip
    """What a query's process answers: rows as an Arrow stream (`arrow`), or a CSV file, whole.

    Of `kept` the rows lie in `folder`, and the answer is empty. In `folder` the query spills, too.

    Raises:
        Broken: a mistake in the SQL, or beyond a limit.
        Cancelled: `gone` said that nobody waits for it any more.
        NotYet: not enough memory.
    """
    seconds = limits.seconds or 0
    question = _question(sql, views, limits, form, folder)
    return run_worker(question, seconds + GRACE, query_timed_out(seconds), gone)


def _question(
    sql: str, views: Sequence[View], limits: QueryLimits, form: Form, folder: Path
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
