"""Ways to compute the same, measured in turn: what else the machine does meanwhile hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ROUNDS = 15  # of which the median counts
LEAST = 0.05  # seconds of one measurement: what is quicker is done several times

Way = Callable[[], Any]


@dataclass(frozen=True)
class Cost:
    """Median seconds of one call, by the clock and of processor time."""

    wall: float
    cpu: float


def in_turns(ways: Mapping[str, Way]) -> dict[str, Cost]:
    """What each way takes; the first calls, which compile and fill caches, are not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    repeats = {name: _repeats(way) for name, way in ways.items()}
    for done in range(ROUNDS):
        for name in list(ways) if done % 2 == 0 else list(ways)[::-1]:
            times[name].append(_timed(ways[name], repeats[name]))
    return {name: Cost(*map(statistics.median, zip(*pairs, strict=True))) for name, pairs in times.items()}


def _repeats(way: Way) -> int:
    way()
    return max(1, int(LEAST / max(_timed(way, 1)[0], 1e-6)))


def _timed(way: Way, repeats: int) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        way()
    return (time.perf_counter() - clock) / repeats, (time.process_time() - processor) / repeats
