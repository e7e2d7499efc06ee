"""How far single rows' scores lie from others of the same rows, and what of it rounding explains.

A product of matrices rounds otherwise for one row than for a thousand (BLAS has other code for each shape),
and two scores of one honest model differ then, in their last bits; after a cancellation, in more than those.
So where rows differ, each one's own numbers are moved by their last bits: what that does to its score,
rounding can do, and nobody is blamed for it.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.pipeline.score.deviation import is_list
from nightscore.scorers import Scorer

Numbers = npt.NDArray[np.float64]
Change = Callable[[Numbers], Numbers]  # of an array [values]

LAST_BITS = 2e-6  # some last bits of a float32, relative: less is never a difference
MOVE = 2.0**-22  # of a number: two last bits of a float32
PATTERNS = 4  # ways to move a row's numbers, each up or down
MARGIN = 8.0  # times what the moves do: a long sum rounds once for each of its terms
CHAOS = 1e-2  # where most rows move further than this, it is not by rounding


def row_distances(actual: pa.RecordBatch, expected: pa.RecordBatch) -> Numbers:
    """How far each row is from what was expected [rows]: the furthest of its columns.

    Numbers count relative to their size above 1, the others by themselves; a list by the furthest of its
    elements. What is no float is the same, or infinitely far.
    """
    far = np.zeros(expected.num_rows)
    for name in expected.schema.names:
        far = np.maximum(far, column_distances(actual.column(name), expected.column(name)))
    return far


def column_distances(actual: pa.Array, expected: pa.Array) -> Numbers:
    """The same of one column."""
    kind = expected.type
    if is_list(kind) and pa.types.is_floating(kind.value_type):
        return _of_lists(actual, expected)
    if not pa.types.is_floating(kind):
        pairs = zip(actual.to_pylist(), expected.to_pylist(), strict=True)
        return np.array([0.0 if one == other else np.inf for one, other in pairs])
    return _of_numbers(_numbers(actual), _numbers(expected))


def unexplained(
    far: Numbers, tolerance: float, scorer: Scorer, rows: pa.RecordBatch, expected: pa.RecordBatch
) -> npt.NDArray[np.bool_]:
    """Which rows are further away than the tolerance, and than rounding explains [rows].

    Args:
        far: how far each is.
        tolerance: how far it may be; LAST_BITS always.
        scorer: what `expected` is of; the same for the same rows, each time.
        rows: what was scored.
        expected: its scores.
    """
    beyond = far > max(tolerance, LAST_BITS)
    if not beyond.any():
        return beyond
    return beyond & ~(far <= MARGIN * _by_rounding(scorer, rows, expected))


def _by_rounding(scorer: Scorer, rows: pa.RecordBatch, expected: pa.RecordBatch) -> Numbers:
    """How far each row's score goes where its own numbers move by their last bits [rows]; else nothing."""
    far = np.zeros(rows.num_rows)
    try:
        for seed in range(PATTERNS):
            moved = scorer.score(_moved(rows, scorer.signature.inputs, seed))
            far = np.maximum(far, row_distances(moved, expected))
    except Exception:  # of other people's scorers: nothing is known, so nothing is explained
        return np.zeros(rows.num_rows)
    usual = float(np.median(far))
    return np.maximum(far, usual) if usual <= CHAOS else np.zeros(rows.num_rows)


def _moved(rows: pa.RecordBatch, needed: pa.Schema, seed: int) -> pa.RecordBatch:
    """Rows whose numbers are moved up or down by their last bits, where the model computes with floats."""
    signs = np.random.default_rng(seed)
    for needed_field in (field for field in needed if pa.types.is_floating(field.type)):
        i = rows.schema.get_field_index(needed_field.name)
        if pa.types.is_integer(rows.schema.field(i).type) or pa.types.is_decimal(rows.schema.field(i).type):
            rows = rows.set_column(i, needed_field.name, rows.column(i).cast(pa.float64(), safe=False))
    return with_floats(rows, needed.names, lambda v: v * (1 + MOVE * signs.choice([-1.0, 1.0], len(v))))


def with_floats(rows: pa.RecordBatch, names: Collection[str], change: Change) -> pa.RecordBatch:
    """Rows whose floats and lists of floats, of the columns `names`, are put through `change`; nulls stay."""
    columns = [
        _changed(rows.column(i), change) if field.name in names else rows.column(i)
        for i, field in enumerate(rows.schema)
    ]
    return pa.RecordBatch.from_arrays(columns, rows.schema.names)


def _changed(values: pa.Array, change: Change) -> pa.Array:
    kind = values.type
    if pa.types.is_floating(kind):
        mask = values.is_null().to_numpy(zero_copy_only=False)
        return pa.array(change(_numbers(values)), kind, mask=mask)
    if is_list(kind) and pa.types.is_floating(kind.value_type) and not values.null_count:
        flat = pa.array(change(_numbers(values.flatten())), kind.value_type)
        if pa.types.is_fixed_size_list(kind):
            return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        ends = np.concatenate([[0], np.cumsum(pc.list_value_length(values).to_numpy(zero_copy_only=False))])
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat).cast(kind)
    return values


def _of_numbers(actual: Numbers, expected: Numbers) -> Numbers:
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        far = np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))
    return np.where(same, 0.0, np.nan_to_num(far, nan=np.inf, posinf=np.inf))


def _of_lists(actual: pa.Array, expected: pa.Array) -> Numbers:
    pairs = zip(_lists(actual), _lists(expected), strict=True)
    return np.array([_of_list(one, other) for one, other in pairs])


def _lists(values: pa.Array) -> Sequence[Numbers | None]:
    return [None if v is None else np.array(v, dtype=np.float64) for v in values.to_pylist()]


def _of_list(actual: Numbers | None, expected: Numbers | None) -> float:
    if actual is None or expected is None:
        return 0.0 if actual is expected else np.inf
    if len(actual) != len(expected):
        return np.inf
    return float(_of_numbers(actual, expected).max(initial=0.0))


def _numbers(values: pa.Array) -> Numbers:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
