"""The versions of everything that can change a prediction's last bit."""

import functools
from importlib.metadata import PackageNotFoundError, version

from nightscore.scorers import find_plugins

PACKAGES = ("nightscore", "duckdb", "pyarrow", "numpy", "onnxruntime", "numba", "deltalake")
NOT_INSTALLED = "not installed"


def library_versions() -> dict[str, str]:
    """Package -> version, of this process; plug-in providers of ONNX Runtime among them."""
    return {name: _version(name) for name in (*PACKAGES, *sorted(find_plugins().values()))}


@functools.cache  # each piece asks, and what a process has loaded stays
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
