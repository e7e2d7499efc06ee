"""The versions of everything that can change a prediction's last bit."""

import functools
from importlib.metadata import PackageNotFoundError, version

from nightscore.scorers import find_plugins

PACKAGES = ("nightscore", "duckdb", "pyarrow", "numpy", "onnxruntime", "numba", "deltalake")
OF_KIND = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost", "xgboost-cpu"), "catboost": ("catboost",)}
NOT_INSTALLED = "not installed"


def library_versions(kind: str = "") -> dict[str, str]:
    """Package -> version, of this process; plug-in providers of ONNX Runtime among them.

    And the library that scores models of a kind, where it has one of its own.
    """
    everywhere = {name: version_of(name) for name in (*PACKAGES, *sorted(find_plugins().values()))}
    own = {name: version_of(name) for name in OF_KIND.get(kind, ())}
    return everywhere | {name: found for name, found in own.items() if found != NOT_INSTALLED}


@functools.cache  # each piece asks, and what a process has loaded stays
def version_of(name: str) -> str:
    """The version of a package in this process, or that it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
