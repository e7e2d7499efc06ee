"""The versions of everything that can change a prediction's last bit."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("nightscore", "duckdb", "pyarrow", "numpy", "onnxruntime", "deltalake")


def versions() -> dict[str, str]:
    """Package -> version, of this process."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
