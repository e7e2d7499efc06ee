"""The versions of everything that can change a prediction's last bit."""

from nightscore.scorers import find_plugins, libraries_of_kind, version_of

PACKAGES = ("nightscore", "duckdb", "pyarrow", "numpy", "onnxruntime", "numba", "deltalake")


def library_versions(kind: str = "") -> dict[str, str]:
    """Package -> version, of this process; plug-in providers of ONNX Runtime among them.

    And the library that scores models of a kind, where it has one of its own.
    """
    everywhere = {name: version_of(name) for name in (*PACKAGES, *sorted(find_plugins().values()))}
    return everywhere | libraries_of_kind(kind)
