"""The tree kernel, compiled by Numba at its first use; `lookups` and `vectors` write instructions for it.

The compiled code is kept on disk (`NUMBA_CACHE_DIR`, else beside this file, else in the user's cache folder)
and knows no model: what it runs on comes as arrays. It takes no interpreter lock and keeps nothing between
calls. No fast-math: NaN, infinities and the order of sums count.
"""

import math

import numpy as np

from nightscore.scorers.compiled import numba_compiled
from nightscore.scorers.trees import lookups, vectors
from nightscore.scorers.trees.tables.part import (
    BITS,
    BLOCK,
    CONSTANTS,
    DECIDED,
    DEEP,
    LANES,
    LEAVES,
    OBLIVIOUS,
)

GROUP = 32  # rows that walk side by side, so that one waits for memory while another steps
MIN, MAX = 2, 3  # numbers in `forest.AGGREGATES`
SINGLE = 4  # bytes of a float32
QUESTION = 8  # bytes of a row of `levels`


@numba_compiled
def put_into_bins(values, cuts, heap, levels, columns, bins):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Bins [blocks, columns, BLOCK] of one feature: values [rows], and the rest is `Bins`.

    A binary search without branches: with the cuts in registers, else level by level over a block of rows, as
    a sum of bits. (Of a choice between two numbers the compiler makes a branch, eight times as slow.)
    """
    below = np.empty(BLOCK, np.uint32)
    one = np.uint32(1)
    for block in range(bins.shape[0]):
        first = block * BLOCK
        x = values[first : first + BLOCK]
        rows = x.shape[0]
        whole = _search(x, heap, below) if heap.shape[0] and lookups.in_registers() else 0  # type: ignore[call-arg]
        for r in range(whole, rows):
            below[r] = 0
        for level in range(levels):
            bit = np.uint32(levels - 1 - level)
            step = one << bit
            for r in range(whole, rows):
                further = np.uint32(below[r] + step - one)
                below[r] += np.uint32(x[r] > cuts[further]) << bit
        for c in range(columns.shape[0]):
            column = bins[block, columns[c, 0]]
            start, nan = columns[c, 1], np.uint8(columns[c, 2])
            for r in range(rows):
                place = min(max(np.int32(below[r]) - np.int32(start), np.int32(0)), np.int32(253)) + 1
                column[r] = nan if x[r] != x[r] else np.uint8(place)


@numba_compiled
def _search(values, heap, below):  # type: ignore[no-untyped-def]
    """The number of cuts below each value, of as many rows as there are whole vectors of: how many."""
    whole = values.shape[0] - values.shape[0] % lookups.ROWS
    for r in range(0, whole, lookups.ROWS):
        lookups.search(values[r:].ctypes.data, heap.ctypes.data, below[r:].ctypes.data)  # type: ignore[call-arg]
    return whole


@numba_compiled
def add_up(bins, levels, choices, steps, trees, sums, leaves, how, slots, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Scores [targets, rows] of bins [blocks, columns, BLOCK]; the rest is `Tables`, and `slots` for work.

    Nothing is sliced for each tree: a view counts its references, and that takes longer than a small tree.
    """
    total = np.empty((scores.shape[0], BLOCK), leaves.dtype)
    at = np.empty(BLOCK, np.int32)
    rows = scores.shape[1]
    chosen = slots[CONSTANTS:]
    for number in range(LEAVES):
        slots[number * LANES : (number + 1) * LANES] = number
    for block in range(bins.shape[0]):
        here, asked = min(rows - block * BLOCK, BLOCK), bins[block]
        total[:] = np.inf if how == MIN else (-np.inf if how == MAX else 0.0)
        for t in range(trees.shape[0]):
            _find_leaves(asked, levels, choices, steps, trees, t, slots, at, here)
            for s in range(trees[t, 3], trees[t, 4]):
                if trees[t, 0] in (OBLIVIOUS, DECIDED):
                    _add_chosen(total, sums[s, 0], leaves, sums[s, 1], sums[s, 2], chosen, here, how)
                else:
                    _add(total, sums[s, 0], leaves, sums[s, 1], at, here, how)
        scores[:, block * BLOCK : block * BLOCK + here] = total[:, :here]


@numba_compiled
def _find_leaves(bins, levels, choices, steps, trees, t, slots, at, rows):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The number of each row's leaf in a tree: into the first slot where it fits a byte, else into `at`."""
    way, first, last = trees[t, 0], trees[t, 1], trees[t, 2]
    if way == OBLIVIOUS:
        _number(bins, levels, first, last, slots, CONSTANTS, rows)
    elif way == DECIDED:
        _decide(bins, choices, first, last, slots, (rows + LANES - 1) // LANES)
    elif way == DEEP:
        _number_deep(bins, levels, first, last, slots, at, rows)
    else:
        _walk(bins, steps, last - 1, at[:rows])


@numba_compiled
def _number(bins, levels, first, last, slots, slot, rows):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The number of each row's leaf, a byte: a bit for each level of an oblivious tree."""
    here, numbers = bins.ctypes.data, slots.ctypes.data + slot
    asked, count = levels.ctypes.data + QUESTION * first, np.uint64(last - first)
    for row in range(0, rows, vectors.ROWS):
        vectors.number(here + row, asked, count, numbers + row)  # type: ignore[call-arg]


@numba_compiled
def _number_deep(bins, levels, first, last, slots, at, rows):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The same, of more levels than a byte has bits."""
    low, high = CONSTANTS, CONSTANTS + BLOCK
    _number(bins, levels, first, first + BITS, slots, low, rows)
    _number(bins, levels, first + BITS, last, slots, high, rows)
    for r in range(rows):
        at[r] = np.int32(slots[low + r]) | np.int32(slots[high + r]) << np.int32(BITS)


@numba_compiled
def _decide(bins, choices, first, last, slots, lanes):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The number of each row's leaf, into the first slot."""
    here, work = bins.ctypes.data, slots.ctypes.data
    for c in range(np.uint64(first), np.uint64(last)):
        x = here + choices[c, 0]
        low, width = np.uint8(choices[c, 1]), np.uint8(choices[c, 1] >> np.uint32(8))
        true, false = work + (choices[c, 2] >> np.uint32(1)), work + (choices[c, 3] >> np.uint32(1))
        onward_true = (choices[c, 2] & np.uint32(1)) * np.uint32(LANES)
        onward_false = (choices[c, 3] & np.uint32(1)) * np.uint32(LANES)
        chosen = work + choices[c, 4]
        for i in range(lanes):
            row = i * LANES
            sides = (true + i * onward_true, false + i * onward_false)
            vectors.choose(x + row, low, width, *sides, chosen + row)  # type: ignore[call-arg]


@numba_compiled
def _walk(bins, steps, start, at):  # type: ignore[no-untyped-def]
    """The number of each row's leaf, into `at`."""
    flat = bins.reshape(-1)
    for first in range(0, at.shape[0], GROUP):
        group = at[first : first + GROUP]
        group[:] = start
        moving = True
        while moving:
            moving = False
            for r in range(group.shape[0]):
                step = np.uint64(max(group[r], np.int32(0)))
                x = flat[np.uint64(steps[step, 0] + first + r)]
                test = np.uint32(steps[step, 1])
                holds = np.uint8(x - np.uint8(test)) <= np.uint8(test >> np.uint32(8))
                onward = steps[step, np.uint64(3) - np.uint64(holds)]  # a load, and no branch to guess
                group[r] = onward if group[r] >= 0 else group[r]
                moving |= group[r] >= 0
    for r in range(at.shape[0]):
        at[r] = ~at[r]


@numba_compiled
def _add(total, target, leaves, start, numbers, rows, how):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """A tree's values, from a start on among those of the leaves, by the number of each row's leaf."""
    first = np.uint64(start)
    if how == MIN:
        for r in range(rows):
            value = leaves[first + np.uint64(numbers[r])]
            total[target, r] = value if value < total[target, r] else total[target, r]  # noqa: FURB136 - NaN
    elif how == MAX:
        for r in range(rows):
            value = leaves[first + np.uint64(numbers[r])]
            total[target, r] = value if value > total[target, r] else total[target, r]  # noqa: FURB136 - NaN
    else:
        for r in range(rows):
            total[target, r] += leaves[first + np.uint64(numbers[r])]


@numba_compiled
def _add_chosen(total, target, leaves, start, size, numbers, rows, how):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The same for numbers of a byte, which need no walk through memory where the tree fits registers."""
    if lookups.in_registers() and leaves.itemsize == SINGLE and how < MIN:  # type: ignore[call-arg]
        to, table = total.ctypes.data + SINGLE * BLOCK * target, leaves.ctypes.data + SINGLE * start
        _add_from_registers(to, table, size, numbers.ctypes.data, rows)
    else:
        _add(total, target, leaves, start, numbers, rows, how)


@numba_compiled
def _add_from_registers(to, table, size, numbers, rows):  # type: ignore[no-untyped-def]
    """The same for whole vectors: rows beyond the last have numbers of leaves, too, and sums of no use."""
    for r in range(0, rows, lookups.ROWS):
        if size <= 32:
            lookups.add_looked_up(to + SINGLE * r, table, 32, numbers + r)  # type: ignore[call-arg]
        elif size <= 64:
            lookups.add_looked_up(to + SINGLE * r, table, 64, numbers + r)  # type: ignore[call-arg]
        elif size <= 128:
            lookups.add_looked_up(to + SINGLE * r, table, 128, numbers + r)  # type: ignore[call-arg]
        else:
            lookups.add_looked_up(to + SINGLE * r, table, 256, numbers + r)  # type: ignore[call-arg]


@numba_compiled
def exp(values):  # type: ignore[no-untyped-def]
    """The C library's exp of float32 values [targets, rows] or [rows]."""
    result = np.empty_like(values)
    for i in np.ndindex(values.shape):
        result[i] = math.exp(values[i])
    return result


@numba_compiled
def log(values):  # type: ignore[no-untyped-def]
    """The C library's log of float32 values [targets, rows]."""
    result = np.empty_like(values)
    for i in np.ndindex(values.shape):
        result[i] = math.log(values[i])
    return result


@numba_compiled
def log1p(values):  # type: ignore[no-untyped-def]
    """The C library's log(1 + x) of float64 values [targets, rows]; NumPy's differs by the processor."""
    result = np.empty_like(values)
    for i in np.ndindex(values.shape):
        result[i] = math.log1p(values[i])
    return result
