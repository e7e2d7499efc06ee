"""Which cases CI's default suite has time for; `make faults` runs them all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """The values as cases, all but the quick ones marked `slow`."""
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values]


def named(cases: dict[str, tuple[Any, ...]], quick: Collection[str]) -> list[Any]:
    """The same for cases of several values under a name."""
    return [
        pytest.param(*values, id=name, marks=() if name in quick else pytest.mark.slow)
        for name, values in cases.items()
    ]
