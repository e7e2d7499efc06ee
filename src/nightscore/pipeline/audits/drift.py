"""How far a column's values have moved between two days, and how far chance alone would move them.

The Population Stability Index of two days with shares p and q of their rows in the same bins is
sum((p - q) * ln(p / q)). The rule of thumb (0.1: look, 0.2 or 0.25: act) knows nothing of how many rows
there are. Where nothing has changed, the index of days of n and m rows is about (1/n + 1/m) times a
chi-square variable of one degree of freedom less than there are bins: B. Yurdakul, Statistical Properties
of Population Stability Index, Western Michigan University, 2018.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.store import Engine, is_number, quote_identifier

QUANTILES = 10  # bins of numbers, each with an equal part of the earlier day's rows
VALUES = 50  # texts with a bin of their own, at most: the earlier day's most frequent
ROWS = 5  # of a text with a bin of its own, at least: with fewer the chi-square approximation fails
TEXTS = frozenset({"VARCHAR", "BOOLEAN"})


@dataclass(frozen=True)
class Moved:
    """The index of one column, and the one that the given share of equal days stays below.

    Both are None where one of the days has no row.
    """

    column: str
    psi: float | None
    chance: float | None


@dataclass(frozen=True)
class Bins:
    """A SELECT of (bin, rows) over `scores`, with the values that it is bound to."""

    select: str
    values: Sequence[Any]

    def rows(self, engine: Engine) -> dict[int, int]:
        """Bin -> rows of the day that the engine sees. Missing values (null, NaN) are bin -1."""
        return {int(place): int(rows) for place, rows in engine.rows(self.select, self.values)}


def measure_drift(column: str, now: Engine, before: Engine, confidence: float) -> Moved:
    """How far a column of `scores` has moved, in bins of the earlier day's values."""
    kind = before.types("SELECT * FROM scores")[column]
    bins = number_bins(before, column) if is_number(kind) else text_bins(before, column)
    these, those = bins.rows(now), bins.rows(before)
    places = sorted(these.keys() | those.keys())
    n, m = sum(these.values()), sum(those.values())
    if not (n and m):
        return Moved(column, None, None)
    index = psi([these.get(place, 0) for place in places], [those.get(place, 0) for place in places])
    return Moved(column, index, chance(len(places), n, m, confidence))


def psi(now: Sequence[int], before: Sequence[int]) -> float:
    """The index of two days, from their rows in the same bins. A bin without rows counts as half a row."""
    n, m = sum(now), sum(before)
    shares = [(max(a, 0.5) / n, max(b, 0.5) / m) for a, b in zip(now, before, strict=True) if a or b]
    return math.fsum((p - q) * math.log(p / q) for p, q in shares)


def chance(bins: int, n: int, m: int, confidence: float) -> float:
    """What the index of days of n and m rows stays below with this probability if nothing has changed."""
    return (1 / n + 1 / m) * chi_square(confidence, bins - 1)


def chi_square(confidence: float, freedom: int) -> float:
    """The quantile of a chi-square variable; 0 without freedom."""
    from scipy.special import chdtri

    return float(chdtri(freedom, 1 - confidence)) if freedom else 0.0


def numbers_of(column: str) -> str:
    """A SELECT of a column of `scores` as x, with null for NaN."""
    doubles = f"SELECT CAST({quote_identifier(column)} AS DOUBLE) AS v FROM scores"
    return f"SELECT CASE WHEN NOT isnan(v) THEN v END AS x FROM ({doubles})"


def number_bins(before: Engine, column: str) -> Bins:
    """Bins between the quantiles of the earlier day, each with its upper edge.

    A value that is several of these quantiles (zero, where half of all rows have it) is a bin by itself.
    """
    numbers = numbers_of(column)
    places = ", ".join(f"{i / QUANTILES}" for i in range(1, QUANTILES))
    [(edges,)] = before.rows(f"SELECT quantile_disc(x, [{places}]) FROM ({numbers})")
    edges = edges or []
    values = sorted(set(edges))
    steps = [f"(x > ${i})::INTEGER" for i in range(1, len(values) + 1)]
    steps += [f"(x >= ${i})::INTEGER" for i, edge in enumerate(values, 1) if edges.count(edge) > 1]
    place = f"CASE WHEN x IS NULL THEN -1 ELSE {' + '.join(steps) or '0'} END"
    return Bins(f"SELECT {place} AS place, count(*) FROM ({numbers}) GROUP BY place", values)


def text_bins(before: Engine, column: str) -> Bins:
    """A bin for each of the earlier day's most frequent values, and one, 0, for all others."""
    texts = f"SELECT CAST({quote_identifier(column)} AS VARCHAR) AS v, count(*) AS n FROM scores GROUP BY v"
    frequent = before.rows(
        f"SELECT v FROM ({texts}) WHERE v IS NOT NULL AND n >= {ROWS} ORDER BY n DESC, v LIMIT {VALUES}"
    )
    place = "CASE WHEN v IS NULL THEN -1 ELSE coalesce(list_position(CAST($1 AS VARCHAR[]), v), 0) END"
    values = [value for (value,) in frequent]
    return Bins(f"SELECT {place} AS place, sum(n)::BIGINT FROM ({texts}) GROUP BY place", [values])
