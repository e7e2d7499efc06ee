"""What a job is, and how one day of it runs.

from nightscore import load, run

receipt = run(load("retail_recommendations"), day="2017-11-01")
print(receipt.rows.published, receipt.tables)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightscore.common.errors import Broken as Broken
    from nightscore.common.errors import NotYet as NotYet
    from nightscore.job.loader import Job as Job
    from nightscore.job.loader import load as load
    from nightscore.pipeline.executors import backfill as backfill
    from nightscore.pipeline.executors import run as run
    from nightscore.pipeline.request import RunRequest as RunRequest
    from nightscore.pipeline.steps import features as features
    from nightscore.review.report.html import report as report
    from nightscore.store.catalog import query as query
    from nightscore.store.plan import Restate as Restate
    from nightscore.store.receipt import Receipt as Receipt

_HOMES = {
    "Broken": "common.errors", "NotYet": "common.errors", "Job": "job.loader", "load": "job.loader",
    "Receipt": "store.receipt", "run": "pipeline.executors", "backfill": "pipeline.executors",
    "features": "pipeline.steps", "query": "store.catalog", "report": "review.report.html",
    "Restate": "store.plan", "RunRequest": "pipeline.request",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # On use, not at import: a scheduler that lists jobs must not load DuckDB and ONNX Runtime.
    if name in _HOMES:
        return getattr(importlib.import_module(f"nightscore.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nightscore' has no attribute {name!r}")
