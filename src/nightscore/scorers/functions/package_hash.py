"""What stands for the version of other people's code: the sha256 of all files of its package."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from nightscore.scorers.errors import ModelError


def hash_package(module: str) -> str:
    """The sha256 of an installed package's code: what stands for its version, and never forgets to change.

    Raises:
        ModelError: there is no such package.
    """
    top = module.partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ModelError(f"no installed package {top!r}")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*")) if spec.submodule_search_locations else [origin]
    digest = hashlib.sha256()
    for file in (f for f in files if f.is_file() and "__pycache__" not in f.parts):
        digest.update(f"{file.relative_to(origin.parent)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
