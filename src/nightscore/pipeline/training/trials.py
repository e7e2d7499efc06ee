"""Why a model does not give what training expects, found by trial: small changes that make the scores right.

An order, a unit, a missing-value code, a type: each is tried on some rows that are wrong, and one that helps
there on all rows. Trials end after some seconds.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.pipeline.score.row_distance import column_distances, row_distances

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Score = Callable[[pa.RecordBatch], pa.RecordBatch]
Places = npt.NDArray[np.intp]
Make = Callable[[], pa.RecordBatch]
Change = tuple[str, Make]  # what it would mean, and the rows as they would be then

SECONDS = 5.0
SOME, ENOUGH = 32, 0.95  # wrong rows that a trial is made with; what share of rows has to be right by it
CODES = (0.0, -1.0, -999.0, -9999.0, 999.0, 9999.0, -99.0, 99.0)  # that stand for a missing value
UNITS = (1e3, 1e-3, 1e2, 1e-2, 1e6, 1e-6, 10.0, 0.1, 60.0, 1 / 60, 3600.0, 1 / 3600, 24.0, 1 / 24, 86400.0,
         1 / 86400, 7.0, 1 / 7, 12.0, 1 / 12, 365.0, 1 / 365, 1024.0, 1 / 1024, -1.0)  # fmt: skip
NEARLY = 1e-3  # where no row is further away, numbers are rounded otherwise


@dataclass(frozen=True)
class Disagreement:
    """Rows [n], their scores, what training expects, how far each row is, and how far it may be."""

    score: Score
    rows: pa.RecordBatch
    needed: pa.Schema
    actual: pa.RecordBatch
    expected: pa.RecordBatch
    far: Numbers
    tolerance: float

    @property
    def wrong(self) -> Mask:
        """The rows that are further away than they may be [n]."""
        return self.far > self.tolerance


def find_cause(one: Disagreement) -> str:
    """The likely cause, in words; empty where no trial finds one."""
    return _of_outputs(one) or _of_rows(one) or _of_missing(one) or _of_types(one)


def _of_outputs(one: Disagreement) -> str:
    """What the outputs alone show."""
    floats = [f.name for f in one.expected.schema if pa.types.is_floating(f.type)]
    for a, b in itertools.combinations(floats, 2):
        if _are(one, b, _numbers(one.actual, a)) and _are(one, a, _numbers(one.actual, b)):
            return f"an order: outputs {a} and {b} have changed places; see model.outputs"
    for name in floats:
        actual, expected = _numbers(one.actual, name), _numbers(one.expected, name)
        if _are(one, name, actual):
            continue
        with np.errstate(all="ignore"):
            found = [cause for cause, values in _scales(name, actual, expected) if _are(one, name, values)]
        if found:
            return found[0]
    return ""


def _scales(name: str, actual: Numbers, expected: Numbers) -> Iterator[tuple[str, Numbers]]:
    """What an output may be instead of what is expected, and the values that would be right then."""
    yield f"an order: 1 - {name} is right, the chance of the other class; see model.outputs", 1 - actual
    yield f"{name} is the log-odds of the probability that is expected", 1 / (1 + np.exp(-actual))
    yield f"{name} is the probability whose log-odds are expected", np.log(actual / (1 - actual))
    yield f"{name} is the logarithm of what is expected", np.exp(actual)
    factor, shift = np.nanmedian(expected / actual), np.nanmedian(expected - actual)
    yield f"a unit: each {name} times {factor:.6g} is right", actual * (factor or np.nan)
    yield f"each {name} plus {shift:.6g} is right: a start value that was lost on the way", actual + shift


def _are(one: Disagreement, name: str, values: Numbers) -> bool:
    distances = column_distances(pa.array(values), one.expected.column(name))
    return float((distances <= one.tolerance).mean()) >= ENOUGH


def _of_rows(one: Disagreement) -> str:
    """The first change of the rows by which nearly all of them are right, and how many that are."""
    some = np.flatnonzero(one.wrong)
    some = some[np.unique(np.linspace(0, len(some) - 1, SOME).astype(np.intp))]
    few, until = one.rows.take(pa.array(some)), time.monotonic() + SECONDS
    tried = zip(_changes(few, one.needed), _changes(one.rows, one.needed), strict=True)
    for (cause, changed), (_, whole) in tried:
        if time.monotonic() > until:
            break
        if _right(one, changed, some) < ENOUGH:
            continue
        share = _right(one, whole)
        if share >= max(ENOUGH, 1 - one.wrong.mean() / 2):
            right = round(share * one.rows.num_rows)
            return f"{cause} ({right:,} of {one.rows.num_rows:,} rows are right so)"
    return ""


def _right(one: Disagreement, changed: Make, some: Places | None = None) -> float:
    """The share of some rows, or of all, that are right by a change of theirs."""
    try:
        scored = one.score(changed())
    except Exception:  # of other people's scorers: such rows need not be any to it
        return 0.0
    expected = one.expected if some is None else one.expected.take(pa.array(some))
    return float((row_distances(scored, expected) <= one.tolerance).mean())


def _changes(rows: pa.RecordBatch, needed: pa.Schema) -> Iterator[Change]:
    """What rows would be if a mistake of some kind were taken back, the most frequent kinds first."""
    yield from _orders(rows, needed.names)
    yield from _codes(rows, needed)
    yield from _units(rows, needed)


def _orders(rows: pa.RecordBatch, names: Sequence[str]) -> Iterator[Change]:
    """The columns in other orders: of the file, of the alphabet, and two in each other's place."""
    known: set[tuple[str, ...]] = {tuple(names)}
    for whose, order in (("of the rows", rows.schema.names), ("of the alphabet", sorted(names))):
        apart = [i for i, (a, b) in enumerate(zip(names, order, strict=True)) if a != b]
        if len(apart) > 2 and tuple(order) not in known:  # two are named below
            known.add(tuple(order))
            yield (
                f"an order: the model's columns are in that {whose}: model.columns: [{', '.join(order)}]",
                partial(_renamed, rows, names, order),
            )
    for a, b in itertools.combinations(names, 2):
        order = [b if name == a else a if name == b else name for name in names]
        yield (
            f"an order: {a} and {b} have changed places; see model.columns, and what the SQL gives as each",
            partial(_renamed, rows, names, order),
        )


def _codes(rows: pa.RecordBatch, needed: pa.Schema) -> Iterator[Change]:
    """Missing values as a number, or a number as a missing value: of all columns, then of each."""
    names = [f.name for f in needed if pa.types.is_floating(f.type)]
    for name in (None, *names):
        of = [name] if name else names
        where = name or "any column"
        for code in CODES:
            yield (
                f"a missing-value code: training had {code:g} where {where} is missing here",
                partial(_mapped, rows, of, partial(_code_for_missing, code)),
            )
            yield (
                f"a missing-value code: to training {code:g} of {where} was a missing value",
                partial(_mapped, rows, of, partial(_missing_for_code, code)),
            )


def _units(rows: pa.RecordBatch, needed: pa.Schema) -> Iterator[Change]:
    """One column in another unit."""
    names = [f.name for f in needed if pa.types.is_floating(f.type)]
    for unit, name in itertools.product(UNITS, names):
        yield (
            f"a unit: training had {name} times {unit:.6g}",
            partial(_mapped, rows, [name], partial(np.multiply, unit)),
        )


def _of_missing(one: Disagreement) -> str:
    """Whether the rows that are wrong are those with a missing value."""
    missing = {name: _missing(one.rows.column(name)) for name in one.rows.schema.names}
    any_missing = np.any(list(missing.values()), axis=0)
    if not any_missing.any() or (one.wrong & ~any_missing).any():
        return ""
    common = [name for name, rows in missing.items() if not (one.wrong & ~rows).any()]
    where = f"{common[0]} is missing" if common else "a value is missing"
    among = int((missing[common[0]] if common else any_missing).sum())
    return (
        f"a missing-value code: only rows in which {where} are wrong ({int(one.wrong.sum()):,} of {among:,} "
        "such rows): the model takes missing values otherwise than training did"
    )


def _of_types(one: Disagreement) -> str:
    """Whether values next to those that a row has, in the model's type, give what is expected."""
    some = np.flatnonzero(one.wrong)[:SOME]
    rows, expected = one.rows.take(pa.array(some)), one.expected.take(pa.array(some))
    names = [f.name for f in one.needed if pa.types.is_floating(f.type)]
    right, until = np.zeros(len(some), np.bool_), time.monotonic() + SECONDS
    for of, way in itertools.product((names, *([name] for name in names)), (-np.inf, np.inf)):
        if time.monotonic() > until:
            break
        with contextlib.suppress(Exception):  # of other people's scorers
            scored = one.score(_mapped(rows, of, partial(_next, way)))
            right |= row_distances(scored, expected) <= one.tolerance
    if right.mean() >= 0.5:
        return (
            "a type: values lie so near to a threshold that the model's float32 takes the other side of it "
            f"({int(right.sum()):,} of {len(some):,} such rows are right with the float32 beside theirs): "
            "train on float32, or export in float64"
        )
    if one.far.max() <= NEARLY:
        return (
            f"a type: no score is further away than {one.far.max():.2g}, as of sums in float32 instead of "
            "float64; if that is meant, say so by model.expected.tolerance"
        )
    return ""


def _code_for_missing(code: float, values: Numbers) -> Numbers:
    return np.where(np.isnan(values), code, values)


def _missing_for_code(code: float, values: Numbers) -> Numbers:
    return np.where(values == code, np.nan, values)


def _next(way: float, values: Numbers) -> Numbers:
    return np.nextafter(values.astype(np.float32), np.float32(way)).astype(np.float64)


def _renamed(rows: pa.RecordBatch, names: Sequence[str], order: Sequence[str]) -> pa.RecordBatch:
    """Rows in which the model's column number i has what `order` has there."""
    return pa.RecordBatch.from_arrays([rows.column(name) for name in order], list(names))


def _mapped(
    rows: pa.RecordBatch, names: Sequence[str], change: Callable[[Numbers], Numbers]
) -> pa.RecordBatch:
    """Rows in which some columns of numbers are others; a missing value is NaN."""
    columns = [
        pa.array(change(_numbers(rows, field.name))) if field.name in names and _is_number(field.type)
        else rows.column(field.name)
        for field in rows.schema
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, rows.schema.names)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _numbers(rows: pa.RecordBatch, name: str) -> Numbers:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


def _missing(column: pa.Array) -> Mask:
    return np.asarray(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False), dtype=np.bool_)
