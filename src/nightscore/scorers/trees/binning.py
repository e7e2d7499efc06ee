"""Features in bins of one byte, and the conditions of a forest as ranges of bins.

Every condition of ONNX on a number x, with NaN going either way, becomes low <= bin(x) <= low + width on a
column of bins. The bin of x is one more than the number of cuts below x, so that x <= cuts[j] is
bin <= j + 1; NaN is bin 0 in one column and bin 255 in another. A feature with more cuts than a byte can
count has several columns, each with 253 of them.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from nightscore.scorers.trees.forest import BRANCH_MODES, LEAF_MODE, Floats, Forest, Ints, NotTrees

CUTS = 253  # of one column: bins 1 to 254 are numbers
STRIDE = CUTS - 1  # between columns: a cut stands in two, so that each has the one before it at its side
NAN_BINS = (255, 0)  # where NaN makes a condition false, true
COLUMNS = 65_536
HEAP = 256  # cuts of which the kernel finds the place in registers, and one more

LEQ, LT, GTE, GT, EQ, NEQ = range(len(BRANCH_MODES))
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bins:
    """How one feature is put into bins.

    `cuts` are sorted, and filled up with infinity to 2**levels - 1. `heap` has the same, HEAP of them, in the
    order of a heap from 1 on; none where they are more, or float64. `columns` is [columns, 3]: the number
    of the column, of its first cut, and the bin of NaN.
    """

    feature: int
    cuts: Floats
    heap: Floats
    levels: int
    columns: Ints


@dataclass(frozen=True)
class Conditions:
    """Per node: where low <= bin <= low + width in a column holds, on to `true`, else to `false`."""

    inner: Bools
    true: Ints
    false: Ints
    column: Ints
    low: Ints
    width: Ints
    roots: Ints  # one for each tree


@dataclass(frozen=True)
class _Tests:
    """Conditions on numbers, all of the form x <= cut, x == cut (`equal`) or none at all (`never`)."""

    inner: Bools
    feature: Ints
    cut: Floats
    equal: Bools
    never: Bools
    nan: Bools  # NaN goes where the condition is true
    true: Ints
    false: Ints


def conditions(forest: Forest) -> tuple[Conditions, tuple[Bins, ...]]:
    """Each node's condition as a range of bins, and the bins.

    Raises:
        NotTrees: more columns of bins than can be addressed, or a node that is its own descendant.
    """
    tests, roots = _without_skips(_nan_apart(_tests(forest)), forest.roots)
    nodes = len(tests.inner)
    column, low, width = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    bins: list[Bins] = []
    columns = 0
    for feature in np.unique(tests.feature[tests.inner]).tolist():
        here = np.flatnonzero(tests.inner & (tests.feature == feature))
        cut, equal, never = tests.cut[here], tests.equal[here], tests.never[here]
        cuts = np.unique(np.concatenate([cut[~never], _before(cut[equal])]))
        place = np.searchsorted(cuts, np.where(never, -np.inf, cut))
        chunk = np.maximum(place - 1, 0) // STRIDE
        keys, which = np.unique(chunk * 2 + tests.nan[here], return_inverse=True)
        column[here] = columns + which
        low[here] = np.where(equal, place - STRIDE * chunk + 1, 0)
        width[here] = np.where(equal | never, 0, place - STRIDE * chunk + 1)
        bins.append(_bins(feature, cuts, keys, columns))
        columns += len(keys)
    if columns > COLUMNS:
        raise NotTrees(f"{columns} columns of bins")
    return Conditions(tests.inner, tests.true, tests.false, column, low, width, roots), tuple(bins)


def _tests(forest: Forest) -> _Tests:
    modes, values = forest.modes, forest.values
    unordered = np.isnan(values)  # nothing compares with NaN, and everything differs from it
    negated = np.isin(modes, (GTE, GT, NEQ)) & ~(unordered & (modes != NEQ))
    strict = np.isin(modes, (LT, GTE))  # x < v is x <= the number before v
    never = unordered | (strict & np.isneginf(values))
    return _Tests(
        inner=modes != LEAF_MODE,
        feature=forest.features,
        cut=np.where(strict, _before(values), values),
        equal=np.isin(modes, (EQ, NEQ)) & ~never,
        never=never,
        nan=(forest.missing | (modes == NEQ)) ^ negated,
        true=np.where(negated, forest.false, forest.true),
        false=np.where(negated, forest.true, forest.false),
    )


def _before(values: Floats) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        before: Floats = np.nextafter(values, np.array(-np.inf, values.dtype))
    return before


def _nan_apart(tests: _Tests) -> _Tests:
    """One number or NaN is no range of bins: NaN alone, then, in a node added at the end, the number."""
    both = np.flatnonzero(tests.inner & tests.equal & tests.nan)
    added = np.arange(len(both)) + len(tests.inner)
    grown = {
        f.name: np.concatenate([getattr(tests, f.name), getattr(tests, f.name)[both]]) for f in fields(tests)
    }
    grown["nan"][added] = False
    grown["equal"][both], grown["never"][both] = False, True
    grown["false"][both] = added
    return _Tests(**grown)


def _without_skips(tests: _Tests, roots: Ints) -> tuple[_Tests, Ints]:
    """Edges, and roots, past the nodes whose condition nothing fulfils, not even NaN."""
    skipped = tests.inner & tests.never & ~tests.nan
    onward = np.where(skipped, tests.false, np.arange(len(skipped)))
    for _ in range(len(skipped).bit_length() + 1):  # twice as far each time
        onward = onward[onward]
    if skipped[onward].any():
        raise NotTrees("a node that is its own descendant")
    inner = tests.inner & ~skipped
    return replace(tests, true=onward[tests.true], false=onward[tests.false], inner=inner), onward[roots]


def _bins(feature: int, cuts: Floats, keys: Ints, columns: int) -> Bins:
    """Columns for the keys, each twice the number of a part of the cuts, and 1 if NaN is low."""
    levels = len(cuts).bit_length()
    filled = np.full(2**levels - 1, np.inf, cuts.dtype)
    filled[: len(cuts)] = cuts
    described = [(columns + i, key // 2 * STRIDE, NAN_BINS[key % 2]) for i, key in enumerate(keys.tolist())]
    return Bins(feature, filled, _heap(cuts), levels, np.array(described, np.int64))


def _heap(cuts: Floats) -> Floats:
    if len(cuts) >= HEAP or cuts.dtype != np.float32:
        return cuts[:0]
    filled = np.full(HEAP, np.inf, cuts.dtype)
    filled[1 : len(cuts) + 1] = cuts
    return filled[_HEAP_ORDER]


def _heap_order() -> Ints:
    """For each place in the heap, that of the cut among the sorted ones, which start at 1."""
    levels = [HEAP >> depth for depth in range(1, HEAP.bit_length())]
    return np.concatenate([np.zeros(1, np.int64), *(np.arange(half, HEAP, 2 * half) for half in levels)])


_HEAP_ORDER = _heap_order()
