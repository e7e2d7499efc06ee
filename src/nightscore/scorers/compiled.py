"""Functions that Numba compiles at their first call: no interpreter lock, no fast-math, kept on disk.

Kept in `NUMBA_CACHE_DIR`, else beside the function's file, else in the user's cache folder. What is kept and
can't be read, cut short by a full disk or damaged, is compiled again: it is no fault of the function.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

_compiled: list[Any] = []  # the functions


class _Forgiving:
    """What Numba keeps of a function on disk, or as good as nothing where it can't be read."""

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    def load_overload(self, *of: Any) -> Any:
        """The compiled code of one signature; None where it has to be compiled."""
        try:
            return self._kept.load_overload(*of)
        except Exception:  # whatever unpickling and loading of damaged bytes raises
            self._kept.flush()
            return None


def numba_compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called, and kept on disk where there is a place for it."""
    _compiled.append(_kept(function))
    return _compiled[-1]


def kept_in() -> list[str]:
    """The folders in which the functions that were loaded are kept; "" for those that are kept nowhere."""
    return sorted({getattr(function._cache, "cache_path", None) or "" for function in _compiled})


def _kept(function: Callable[..., Any]) -> Any:
    try:
        compiled: Any = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder that it may write to
        return njit(nogil=True)(function)
    compiled._cache = _Forgiving(compiled._cache)
    return compiled
