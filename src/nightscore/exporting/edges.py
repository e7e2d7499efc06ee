"""Rows on which a converted model is most easily another one than the trained: real ones, and edges.

Edges are nulls, texts that training has not seen, values far out, and values at both sides of each jump of
the scores. A jump (the threshold of a tree, behind whatever a pipeline does before it) is found by asking the
library itself: two rows that differ in one column and in their scores, and the steepest part of the way
between them, until no number of the column's type lies between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
MOST_CATEGORIES = 2_000  # of a column, that have a row each
LARGE = 2**24  # from here on float32 does not hold each whole number
NOTHING = 2e-35
PARTS = 16  # into which a way is cut at once: a call costs a library more than the rows of it
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


def edges(rows: Rows, real: int, known: Mapping[str, Sequence[Any]]) -> Iterator[Edge]:
    """Up to `real` rows as they are, and a few of each edge of each column but its jumps.

    `known` are the categories of columns as the model has them: there is a row for each, however rare.
    """
    chance = np.random.default_rng(SEED)
    yield Edge("a row of X", _some(rows.frame, real, chance))
    for column in rows.columns:
        few = _some(rows.frame, FEW, chance)
        if column.nullable and column.kind != "flag":
            yield Edge(f"{column.name} is null", _with(few, column, _null(few, column, rows)), column.name)
        if values := spread(known.get(column.name) or column.categories or ()):
            yield Edge(f"{column.name} is a category", _each(few, column, values), column.name)
        if column.kind == "text" or column.categories:
            yield Edge(f"{column.name} is unseen", _unseen(few, column), column.name)
        elif column.kind == "number":
            yield from _of_numbers(rows, few, column, known.get(column.name, ()))


def _of_numbers(rows: Rows, few: pd.DataFrame, column: Column, known: Sequence[Any]) -> Iterator[Edge]:
    """What is no category, if they have some, and what is far out; nothing where X has no number."""
    if beside := _unseen_numbers(known, few[column.name].dtype):
        yield Edge(f"{column.name} is unseen", _each(few, column, beside), column.name)
    values = _extremes(rows.frame[column.name])
    if len(values):
        base = few.iloc[np.arange(len(values)) % len(few)].reset_index(drop=True)
        yield Edge(f"{column.name} is far out", _with(base, column, values), column.name)


def _some(frame: pd.DataFrame, count: int, chance: np.random.Generator) -> pd.DataFrame:
    places = np.sort(chance.choice(len(frame), min(count, len(frame)), replace=False))
    return frame.iloc[places].reset_index(drop=True)


def _with(frame: pd.DataFrame, column: Column, values: Any) -> pd.DataFrame:
    return frame.assign(**{column.name: values})


def _null(frame: pd.DataFrame, column: Column, rows: Rows) -> "pd.Series[Any]":
    """Rows without a value, as X has them: an imputer of texts fills NaN, and leaves None."""
    missing = rows.frame[column.name]
    missing = missing[missing.isna()]
    null = missing.iloc[0] if len(missing) else np.nan
    return pd.Series([null] * len(frame), dtype=frame[column.name].dtype)


def spread(known: Sequence[Any]) -> list[Any]:
    """Categories of a column: all, or of very many some that are spread over them; none that is missing."""
    values = [value for value in known if not pd.isna(value)]
    places = np.linspace(0, len(values) - 1, min(len(values), MOST_CATEGORIES)).astype(int)
    return [values[place] for place in places]


def _unseen_numbers(known: Sequence[Any], dtype: Any) -> list[int]:
    """Whole numbers that are no category: one beyond all, and those that float32 takes for one of them."""
    whole = [value for value in spread(known) if isinstance(value, int)]
    large = {value + step for value in whole if abs(value) >= LARGE for step in (-1, 1)}
    beside = sorted({max(whole) + 1, *large} - set(whole)) if whole else []
    ends = np.iinfo(dtype) if isinstance(dtype, np.dtype) and dtype.kind in "iu" else None
    return [value for value in beside if ends is None or ends.min <= value <= ends.max]


def _each(few: pd.DataFrame, column: Column, values: Sequence[Any]) -> pd.DataFrame:
    """A row for each value of a column."""
    frame = few.iloc[np.arange(len(values)) % len(few)].reset_index(drop=True)
    if column.categories:
        kind = pd.CategoricalDtype(list(dict.fromkeys([*column.categories, *values])))
        return _with(frame, column, pd.Series(values, dtype=kind))
    return _with(frame, column, pd.Series(values).astype(few[column.name].dtype))


def _unseen(frame: pd.DataFrame, column: Column) -> pd.DataFrame:
    if not column.categories:
        return _with(frame, column, pd.Series([UNSEEN] * len(frame), dtype=frame[column.name].dtype))
    value = UNSEEN if column.kind == "text" else max(column.categories) + 1
    values = pd.Categorical([value] * len(frame), categories=[*column.categories, value])
    return _with(frame, column, values)


def limits(known: "pd.Series[Any]") -> dict[str, float]:
    """The least and the greatest finite number of a column, as `min` and `max`; nothing where it has none."""
    values = known.dropna().astype("float64")
    values = values[np.isfinite(values)]
    if values.empty:
        return {}
    whole = pd.api.types.is_integer_dtype(known.dtype)
    return {of: (int if whole else float)(end) for of, end in (("min", values.min()), ("max", values.max()))}


def _extremes(known: "pd.Series[Any]") -> "pd.Series[Any]":
    """Both ends of a column, what is far beyond them, and 0."""
    if not (ends := limits(known)):
        return known[:0]
    low, high = float(ends["min"]), float(ends["max"])
    span = FAR * ((high - low) or 1.0)
    wanted = np.array([low - span, low, 0.0, high, high + span])
    if isinstance(known.dtype, np.dtype) and known.dtype.kind in "iu":
        allowed = np.iinfo(known.dtype)
        wanted = np.clip(wanted, float(allowed.min), float(allowed.max) / 2)
    return pd.Series(wanted).astype(known.dtype)


def jumps(rows: Rows, score: Score, tolerance: float, known: Mapping[str, Any]) -> Iterator[Edge]:
    """Rows at both sides of jumps of the scores, as far as some pairs of rows find them.

    Columns with `known` categories have none: between two of them nothing may lie that the library scores.
    """
    pairs = _Pairs(rows, known)
    if not len(pairs.base):
        return
    low, high = pairs.low, pairs.high
    below, above = score(pairs.at(low[None])), score(pairs.at(high[None]))
    while ((high != low) & (high != low + 1)).any():
        places = _between(low, high)
        inner = score(pairs.at(places[1:-1])).reshape(PARTS - 1, len(low), -1)
        scores = np.concatenate([below[None], inner, above[None]])
        steepest = _apart(scores[1:], scores[:-1]).argmax(axis=0), np.arange(len(low))
        low, below = places[:-1][steepest], scores[:-1][steepest]
        high, above = places[1:][steepest], scores[1:][steepest]
    found = _apart(below, above) > tolerance
    for places in (low, high):
        frame = pairs.at(places[None])
        for column, part in pairs.parts.items():
            if (mine := found[part]).any():
                about = f"{column} is beside a jump of the scores"
                yield Edge(about, frame[part][mine].reset_index(drop=True), column)


def is_nothing(edge: Edge) -> "pd.Series[Any]":
    """The rows of an edge whose number is within `NOTHING` of zero, and not zero: no data has them.

    LightGBM takes what is within 1e-35 of zero for zero, wherever its threshold stands.
    """
    values = edge.frame[edge.column]
    if not pd.api.types.is_float_dtype(values.dtype):
        return pd.Series(False, index=values.index)
    return (values != 0) & (values.abs() <= NOTHING)


class _Pairs:
    """Pairs of rows that differ in one column: `base` [n], and where on its line each column's ends stand."""

    def __init__(self, rows: Rows, known: Mapping[str, Any]) -> None:
        chance = np.random.default_rng(SEED)
        ordered = [c for c in rows.columns if not c.categories and c.name not in known]
        lines = {c.name: line for c in ordered if (line := _line(rows, c))}
        each = max(2, MOST_PAIRS // max(1, len(lines)))
        bases: list[pd.DataFrame] = []
        low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        self.parts: dict[str, slice] = {}
        self._lines = lines
        for name, line in list(lines.items())[:MOST_PAIRS]:
            known = rows.frame[rows.frame[name].notna()]
            if len(known) < 2:
                continue
            base = _some(known, each, chance)
            ends = [line.places(base[name]), line.places(_some(known, each, chance)[name])]
            start = sum(len(one) for one in bases)
            self.parts[name] = slice(start, start + len(base))
            bases.append(base)
            low.append(np.minimum(*ends))
            high.append(np.maximum(*ends))
        self.base = pd.concat(bases, ignore_index=True) if bases else rows.frame[:0]
        self.low, self.high = np.concatenate(low), np.concatenate(high)

    def at(self, places: Ints) -> pd.DataFrame:
        """The rows once for each line of places [m, n], each row with its own column at its place."""
        count = len(places)
        frame = self.base.iloc[np.tile(np.arange(len(self.base)), count)].reset_index(drop=True)
        changed = {}
        for name, part in self.parts.items():
            mine = (np.arange(count)[:, None] * len(self.base) + np.arange(part.start, part.stop)).ravel()
            changed[name] = frame[name].copy()
            changed[name].iloc[mine] = self._lines[name].values(places[:, part].ravel()).array
        return frame.assign(**changed)


def _between(low: Ints, high: Ints) -> Ints:
    """Places [PARTS + 1, n] from one end to the other: as whole numbers of 64 bits, which wrap."""
    span = high.view(np.uint64) - low.view(np.uint64)
    part, rest = np.divmod(span, np.uint64(PARTS))
    steps = np.arange(PARTS + 1, dtype=np.uint64)[:, None]
    return np.asarray((low.view(np.uint64) + part * steps + rest * steps // np.uint64(PARTS)).view(np.int64))


def _apart(one: Floats, other: Floats) -> Floats:
    """How far scores [..., k] are apart [...]; what is no number is nowhere."""
    return np.asarray(np.nan_to_num(np.abs(one - other)).max(axis=-1))


class _Line:
    """The values of a column as places on a line, one beside the next: whole numbers."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._bits = np.dtype(f"i{dtype.itemsize}") if dtype.kind == "f" else None

    def places(self, values: "pd.Series[Any]") -> Ints:
        """Where values stand [n]."""
        if self._dtype.kind == "M":
            return np.asarray((values - EPOCH) // DAY, np.int64)
        array = values.to_numpy(self._dtype)
        return np.asarray(array, np.int64) if self._bits is None else self._turned(array.view(self._bits))

    def values(self, places: Ints) -> "pd.Series[Any]":
        """What stands at places [n]."""
        if self._dtype.kind == "M":
            return pd.Series(EPOCH + places * DAY).astype(self._dtype)
        if self._bits is None:
            return pd.Series(places).astype(self._dtype)
        return pd.Series(self._turned(places.astype(self._bits)).astype(self._bits).view(self._dtype))

    def _turned(self, bits: Any) -> Ints:
        """Bits of floats in the order of the floats, and back: those of negative ones run backwards."""
        least = np.iinfo(self._bits).min
        return np.asarray(np.where(bits < 0, least - bits, bits), np.int64)


def _line(rows: Rows, column: Column) -> _Line | None:
    """The line of a column; None of types that are not NumPy's own."""
    dtype = rows.frame[column.name].dtype
    plain = isinstance(dtype, np.dtype) and dtype.kind in "fiuM" and dtype != np.float16
    return _Line(dtype) if plain else None
