"""What a job is, and how one day of it runs: the public API.

from nightscore import load, run

receipt = run(load("retail_recommendations"), day="2017-11-01")
print(receipt.rows.published, receipt.tables)

What `__all__` lists is promised; any other name of a module may move. Scorers of your own import
`nightscore.scorers`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for a type checker and an editor; `_HOMES` says the same to Python
    from nightscore.common.errors import Broken as Broken
    from nightscore.common.errors import NotYet as NotYet
    from nightscore.common.workspace import Workspace as Workspace
    from nightscore.common.workspace import open_workspace as open_workspace
    from nightscore.job.loader import Job as Job
    from nightscore.job.loader import load as load
    from nightscore.job.loader import load_all as load_all
    from nightscore.pipeline.executors import backfill as backfill
    from nightscore.pipeline.executors import run as run
    from nightscore.pipeline.request import RunRequest as RunRequest
    from nightscore.pipeline.steps import features as features
    from nightscore.review.report.html import report as report
    from nightscore.store.catalog import query as query
    from nightscore.store.plan import Restate as Restate
    from nightscore.store.receipt import Receipt as Receipt

    __version__: str

_HOMES = {
    "Broken": "common.errors",
    "NotYet": "common.errors",
    "Workspace": "common.workspace",
    "open_workspace": "common.workspace",
    "Job": "job.loader",
    "load": "job.loader",
    "load_all": "job.loader",
    "backfill": "pipeline.executors",
    "run": "pipeline.executors",
    "RunRequest": "pipeline.request",
    "features": "pipeline.steps",
    "report": "review.report.html",
    "query": "store.catalog",
    "Restate": "store.plan",
    "Receipt": "store.receipt",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name, on its first use: a scheduler that lists jobs must not load DuckDB and ONNX Runtime."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version(__name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
