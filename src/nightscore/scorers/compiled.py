"""Functions that Numba compiles at their first call: no interpreter lock, no fast-math, kept on disk.

Kept in `NUMBA_CACHE_DIR`, else beside the function's file, else in the user's cache folder.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def numba_compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called, and kept on disk where there is a place for it."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder that it may write to
        return njit(nogil=True)(function)
