"""What a job is, and how one day of it runs.

from jobs import load, run

receipt = run(load("retail_recommendations"), day="2017-11-01")
print(receipt.rows.published, receipt.tables)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.catalog import query as query
    from jobs.errors import Broken as Broken
    from jobs.errors import NotYet as NotYet
    from jobs.job import Job as Job
    from jobs.job import load as load
    from jobs.night import backfill as backfill
    from jobs.night import run as run
    from jobs.page import report as report
    from jobs.plan import Restate as Restate
    from jobs.receipt import Receipt as Receipt
    from jobs.steps import features as features

_HOMES = {
    "Broken": "jobs.errors", "NotYet": "jobs.errors", "Job": "jobs.job", "load": "jobs.job",
    "Receipt": "jobs.receipt", "run": "jobs.night", "backfill": "jobs.night", "features": "jobs.steps",
    "query": "jobs.catalog", "report": "jobs.page", "Restate": "jobs.plan",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # On use, not at import: a scheduler that lists jobs must not load DuckDB and ONNX Runtime.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jobs' has no attribute {name!r}")
