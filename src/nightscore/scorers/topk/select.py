"""The best of a block of scores: candidates row by row, and their exact scores.

Scores of a matrix product differ in their last bits with the shape of the blocks (OpenBLAS 0.3 has other code
for one row, for edges, for each processor). So they only choose candidates: whatever can be among the best k
within the rounding error of the product. What is given is then computed for the candidates alone, in one
fixed order of float64 sums, and is the same on every machine. NaN marks what may not be given.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nightscore.scorers.compiled import numba_compiled

LANES = 64  # scores that are compared at once, and by how much a block is wide at least
SUMS = 8  # partial sums of an exact score; factors are filled up with zeros to a multiple of it
AHEAD, LINE = 6, 64  # candidates, and bytes, that are fetched before they are needed
NONE = np.uint64(2**64 - 1)  # a key that comes after all others

Keys = npt.NDArray[np.uint64]


def capacity(k: int) -> int:
    """Candidates that are kept of a row: k, those within the margin, and room for new ones."""
    return 2 * k + 2 * LANES


def items_of(keys: Keys) -> npt.NDArray[np.int64]:
    """The items' numbers, of keys of any shape."""
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def scores_of(keys: Keys) -> npt.NDArray[np.float32]:
    """The scores, of keys of any shape."""
    ordered = (0x7FFFFFFF - (keys >> np.uint64(32)).astype(np.int64)).astype(np.int32)
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(np.float32)


@intrinsic
def _at_least(typing, scores, cut):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """One bit for each of the 64 numbers at an address: it is at least `cut`, and not NaN."""
    return types.uint64(types.uintp, types.float32), _at_least_in_llvm


def _at_least_in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    numbers = ir.VectorType(ir.FloatType(), LANES)
    places = ir.VectorType(ir.IntType(32), LANES)
    scores, cut = arguments
    loaded = builder.load(builder.inttoptr(scores, numbers.as_pointer()), align=4)
    first = builder.insert_element(ir.Constant(numbers, ir.Undefined), cut, ir.IntType(32)(0))
    everywhere = builder.shuffle_vector(first, ir.Constant(numbers, ir.Undefined), ir.Constant(places, None))
    return builder.bitcast(builder.fcmp_ordered(">=", loaded, everywhere), ir.IntType(LANES))


@intrinsic
def _lowest(typing, bits):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """The number of the lowest bit that is set; there is one."""

    def in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), in_llvm


@numba_compiled
def _ordered(score):  # type: ignore[no-untyped-def]
    """A float32 as an int32 that compares as it does."""
    bits = np.float32(score).view(np.int32)
    return np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))


@numba_compiled
def add_candidates(scores, first, denied, ends, at, k, margins, cuts, ranks, items, counts):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Note a block's candidates for the best k.

    Args:
        scores: float32 [rows, width], of the items `first` and after; width is a multiple of 64, NaN is none.
            Written to.
        first: the first item of the block. Blocks come in the order of their items.
        denied: int64 items that may not be given, each row's sorted, one row's after the other's.
        ends: int64 [rows], where each row's end.
        at: int64 [rows], each row's first that was not met yet. Written to.
        k: how many are wanted.
        margins: float32 [rows], by how much a score may be beside the exact one, twice.
        cuts: float32 [rows], what a candidate has at least. Written to.
        ranks: int32 [rows, capacity], the candidates' scores, `_ordered`. Written to.
        items: int32 [rows, capacity], the candidates. Written to.
        counts: int64 [rows], how many there are; -1: too many, none is noted. Written to.
    """
    width, most = scores.shape[1], ranks.shape[1]
    for r in range(scores.shape[0]):
        at[r] = _deny(scores[r], first, denied, at[r], ends[r])
        n, cut = counts[r], cuts[r]
        address = scores[r].ctypes.data
        for group in range(0, width if n >= 0 else 0, LANES):
            bits: Any = _at_least(address + np.uint64(4 * group), cut)  # type: ignore[call-arg]
            if bits == 0:
                continue
            if n + LANES > most:
                n, cut = _tightened(ranks[r], items[r], n, k, k + k // 8, margins[r], cut)
                if n + LANES > most:
                    n = -1
                    break
            while bits:
                j = group + np.int64(_lowest(bits))
                ranks[r, n], items[r, n] = _ordered(scores[r, j]), first + j
                n += 1
                bits &= bits - np.uint64(1)
        counts[r], cuts[r] = n, cut


@numba_compiled
def _deny(scores, first, denied, at, end):  # type: ignore[no-untyped-def]
    """NaN for the denied items of a block; the first that lies behind it."""
    while at < end and denied[at] < first + scores.shape[0]:
        scores[denied[at] - first] = np.nan
        at += 1
    return at


@numba_compiled
def _tightened(ranks, items, n, k, enough, margin, cut):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Without the candidates that can't be among the best k any more: how many are left, and the new cut."""
    if n <= k:
        return n, cut
    low, high = ranks[0], ranks[0]
    for i in range(n):
        low, high = min(low, ranks[i]), max(high, ranks[i])
    low, high = np.int64(low), np.int64(high) + 1  # at least k are >= low, fewer than k are >= high
    count = n
    while high - low > 1 and count > enough:
        middle = (low + high) >> 1
        above = _count(ranks, n, np.int32(middle))
        if above >= k:
            low, count = middle, above
        else:
            high = middle
    rank = np.int32(low)
    score = np.int32(rank ^ ((rank >> 31) & 0x7FFFFFFF)).view(np.float32)
    cut = max(cut, np.float32(score - margin))
    least = _ordered(cut)
    left = 0
    for i in range(n):
        ranks[left], items[left] = ranks[i], items[i]
        left += ranks[i] >= least
    return left, cut


@numba_compiled
def _count(ranks, n, least):  # type: ignore[no-untyped-def]
    count = np.int32(0)
    for i in range(n):
        count += np.int32(ranks[i] >= least)
    return count


@numba_compiled
def drop_the_rest(k, margins, cuts, ranks, items, counts):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Leave the candidates that can be among the best k. Arguments as `add_candidates`'."""
    for r in range(counts.shape[0]):
        if counts[r] > k:
            counts[r], cuts[r] = _tightened(ranks[r], items[r], counts[r], k, k, margins[r], cuts[r])


@intrinsic
def _fetch(typing, address):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Have the processor fetch the cache line of an address, without waiting for it."""
    return types.void(types.uintp), _fetch_in_llvm


def _fetch_in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
    builder.call(prefetch, [builder.inttoptr(arguments[0], byte), number(0), number(3), number(1)])
    return ir.Constant(byte, None)


@numba_compiled
def exact_keys(users, factors, numbers, items, counts, keys):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Keys of candidates: sorted, the best come first, and of equal scores the item with the smaller number.

    Args:
        users: float32 [rows, width], `width` a multiple of 8.
        factors: float32 [all items, width].
        numbers: int64 [all items], what decides between equal scores, below 2**32.
        items: int32 [rows, any], the candidates.
        counts: int64 [rows], how many there are of each row.
        keys: uint64 [rows, any]. Written to, where there is a candidate.
    """
    size = 4 * factors.shape[1]
    for r in range(users.shape[0]):
        for c in range(counts[r]):
            if c + AHEAD < counts[r]:
                line = factors.ctypes.data + np.uint64(items[r, c + AHEAD] * size)
                for byte in range(0, size, LINE):
                    _fetch(line + np.uint64(byte))  # type: ignore[call-arg]
            score = np.float32(_dot(users, r, factors, items[r, c])) + np.float32(0)  # never -0
            key = np.uint64(0x7FFFFFFF - np.int64(_ordered(score))) << np.uint64(32)
            keys[r, c] = key | np.uint64(numbers[items[r, c]])


@numba_compiled
def _dot(a, i, b, j):  # type: ignore[no-untyped-def]
    """The sum of products of two rows, each exact in float64, in eight sums that are added in pairs."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for c in range(0, a.shape[1], SUMS):
        s0 += np.float64(a[i, c]) * np.float64(b[j, c])
        s1 += np.float64(a[i, c + 1]) * np.float64(b[j, c + 1])
        s2 += np.float64(a[i, c + 2]) * np.float64(b[j, c + 2])
        s3 += np.float64(a[i, c + 3]) * np.float64(b[j, c + 3])
        s4 += np.float64(a[i, c + 4]) * np.float64(b[j, c + 4])
        s5 += np.float64(a[i, c + 5]) * np.float64(b[j, c + 5])
        s6 += np.float64(a[i, c + 6]) * np.float64(b[j, c + 6])
        s7 += np.float64(a[i, c + 7]) * np.float64(b[j, c + 7])
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
