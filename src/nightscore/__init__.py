"""What a job is, and how one day of it runs: the public API.

from nightscore import load, run

receipt = run(load("retail_recommendations"), day="2017-11-01")
print(receipt.rows.published, receipt.tables)

What `__all__` lists is promised; any other name of a module may move. Scorers of your own import
`nightscore.scorers`.
"""

from typing import Any

import lazy_loader

# On use, not at import: a scheduler that lists jobs must load neither DuckDB nor ONNX Runtime.
_public, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """A public name, or the installed version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nightscore")
    if name in __all__:
        return _public(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
