"""Rows on which a converted model is most easily another one than the trained: real ones, and edges.

Edges are nulls, texts that training has not seen, values far out, and values at both sides of each jump of
the scores. A jump (the threshold of a tree, behind whatever a pipeline does before it) is found by asking the
library itself: two rows that differ in one column and in their scores, and halves of the way between them,
until no number of the column's type lies between.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nightscore.exporting.rows import DAY, EPOCH, Column, Rows

SEED = 20
FEW = 8  # rows of each edge of a column
MOST_PAIRS = 128  # between which jumps are looked for, of all columns
UNSEEN = "never seen before"
FAR = 10.0  # times the range of a column, beyond both of its ends

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Score = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True)
class Edge:
    """Some rows, what they are, and the column that it is about, or none."""

    about: str
    frame: pd.DataFrame
    column: str = ""


def edges(rows: Rows, real: int) -> Iterator[Edge]:
    """Up to `real` rows as they are, and a few of each edge of each column but its jumps."""
    chance = np.random.default_rng(SEED)
    yield Edge("a row of X", _some(rows.frame, real, chance))
    for column in rows.columns:
        few = _some(rows.frame, FEW, chance)
        if column.nullable and column.kind != "flag":
            yield Edge(f"{column.name} is null", _with(few, column, _null(few, column)), column.name)
        if column.kind == "text" or column.categories:
            yield Edge(f"{column.name} is unseen", _unseen(few, column), column.name)
        elif column.kind == "number":
            for value in _extremes(rows.frame[column.name]):
                yield Edge(f"{column.name} is far out", _with(few[:1], column, value), column.name)


def _some(frame: pd.DataFrame, count: int, chance: np.random.Generator) -> pd.DataFrame:
    places = np.sort(chance.choice(len(frame), min(count, len(frame)), replace=False))
    return frame.iloc[places].reset_index(drop=True)


def _with(frame: pd.DataFrame, column: Column, values: Any) -> pd.DataFrame:
    return frame.assign(**{column.name: values})


def _null(frame: pd.DataFrame, column: Column) -> "pd.Series[Any]":
    return pd.Series([None] * len(frame), dtype=frame[column.name].dtype)


def _unseen(frame: pd.DataFrame, column: Column) -> pd.DataFrame:
    if not column.categories:
        return _with(frame, column, pd.Series([UNSEEN] * len(frame), dtype=frame[column.name].dtype))
    value = UNSEEN if column.kind == "text" else max(column.categories) + 1
    values = pd.Categorical([value] * len(frame), categories=[*column.categories, value])
    return _with(frame, column, values)


def _extremes(known: "pd.Series[Any]") -> "list[pd.Series[Any]]":
    """Both ends of a column, what is far beyond them, and 0."""
    values = known.dropna().astype("float64")
    if values.empty:
        return []
    low, high = values.min(), values.max()
    span = FAR * ((high - low) or 1.0)
    wanted = np.array([low - span, low, 0.0, high, high + span])
    if isinstance(known.dtype, np.dtype) and known.dtype.kind in "iu":
        limits = np.iinfo(known.dtype)
        wanted = np.clip(wanted, float(limits.min), float(limits.max) / 2)
    return [pd.Series([value]).astype(known.dtype) for value in wanted]


def jumps(rows: Rows, score: Score, tolerance: float) -> Iterator[Edge]:
    """Rows at both sides of jumps of the scores, as far as some pairs of rows find them."""
    pairs = _Pairs(rows)
    if not len(pairs.base):
        return
    low, high = pairs.low, pairs.high
    below, above = score(pairs.at(low)), score(pairs.at(high))
    while ((high != low) & (high != low + 1)).any():
        middle = (low & high) + ((low ^ high) >> 1)
        scores = score(pairs.at(middle))
        first = _apart(below, scores) >= _apart(scores, above)
        high, above = np.where(first, middle, high), np.where(first[:, None], scores, above)
        low, below = np.where(first, low, middle), np.where(first[:, None], below, scores)
    found = _apart(below, above) > tolerance
    for places in (low, high):
        frame = pairs.at(places)
        for column, part in pairs.parts.items():
            if (mine := found[part]).any():
                about = f"{column} is beside a jump of the scores"
                yield Edge(about, frame[part][mine].reset_index(drop=True), column)


class _Pairs:
    """Pairs of rows that differ in one column: `base` [n], and where on its line each column's ends stand."""

    def __init__(self, rows: Rows) -> None:
        chance = np.random.default_rng(SEED)
        lines = {c.name: line for c in rows.columns if not c.categories and (line := _line(rows, c))}
        each = max(2, MOST_PAIRS // max(1, len(lines)))
        bases, low, high = [], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        self.parts: dict[str, slice] = {}
        self._lines = lines
        for name, line in list(lines.items())[:MOST_PAIRS]:
            known = rows.frame[rows.frame[name].notna()]
            if len(known) < 2:
                continue
            base = _some(known, each, chance)
            ends = [line.places(base[name]), line.places(_some(known, each, chance)[name])]
            start = sum(map(len, bases))
            self.parts[name] = slice(start, start + len(base))
            bases.append(base)
            low.append(np.minimum(*ends))
            high.append(np.maximum(*ends))
        self.base = pd.concat(bases, ignore_index=True) if bases else rows.frame[:0]
        self.low, self.high = np.concatenate(low), np.concatenate(high)

    def at(self, places: Ints) -> pd.DataFrame:
        """The rows, each with its own column at a place."""
        changed = {}
        for name, part in self.parts.items():
            changed[name] = self.base[name].copy()
            changed[name].iloc[part] = self._lines[name].values(places[part]).array
        return self.base.assign(**changed)


def _apart(one: Floats, other: Floats) -> Floats:
    """How far scores [n, k] are apart [n]; what is no number is nowhere."""
    return np.asarray(np.nan_to_num(np.abs(one - other)).max(axis=1))


class _Line:
    """The values of a column as places on a line, one beside the next: whole numbers."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._bits = np.dtype(f"i{dtype.itemsize}") if dtype.kind == "f" else None

    def places(self, values: "pd.Series[Any]") -> Ints:
        """Where values stand [n]."""
        if self._dtype.kind == "M":
            return ((values - EPOCH) // DAY).to_numpy(np.int64)
        array = values.to_numpy(self._dtype)
        return array.astype(np.int64) if self._bits is None else self._turned(array.view(self._bits))

    def values(self, places: Ints) -> "pd.Series[Any]":
        """What stands at places [n]."""
        if self._dtype.kind == "M":
            return pd.Series(EPOCH + places * DAY).astype(self._dtype)
        if self._bits is None:
            return pd.Series(places).astype(self._dtype)
        return pd.Series(self._turned(places.astype(self._bits)).astype(self._bits).view(self._dtype))

    def _turned(self, bits: Any) -> Ints:
        """Bits of floats in the order of the floats, and back: those of negative ones run backwards."""
        least = np.iinfo(self._bits).min  # type: ignore[type-var]
        return np.where(bits < 0, least - bits, bits).astype(np.int64)


def _line(rows: Rows, column: Column) -> _Line | None:
    """The line of a column; None of types that are not NumPy's own."""
    dtype = rows.frame[column.name].dtype
    plain = isinstance(dtype, np.dtype) and dtype.kind in "fiuM" and dtype != np.float16
    return _Line(dtype) if plain else None
