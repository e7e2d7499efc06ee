"""The libraries that score models: which are of a kind, and their versions in this process."""

import functools
from importlib.metadata import PackageNotFoundError, version

OF_KIND = {"lightgbm": ("lightgbm",), "xgboost": ("xgboost", "xgboost-cpu"), "catboost": ("catboost",)}
OF_MODEL = "model: "  # before the names of libraries of a process of its own, where versions are told
NOT_INSTALLED = "not installed"


def libraries_of_kind(kind: str) -> dict[str, str]:
    """Package -> version of those that are here; empty of a kind that has no library of its own."""
    own = {name: version_of(name) for name in OF_KIND.get(kind, ())}
    return {name: found for name, found in own.items() if found != NOT_INSTALLED}


@functools.cache  # each piece asks, and what a process has loaded stays
def version_of(name: str) -> str:
    """The version of a package in this process, or that it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
