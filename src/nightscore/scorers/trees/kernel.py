"""The tree kernel, compiled by Numba at its first use; `lookups` and `vectors` write instructions for it.

The compiled code is kept on disk (`NUMBA_CACHE_DIR`, else beside this file, else in the user's cache folder)
and knows no model: what it runs on comes as arrays. It takes no interpreter lock and keeps nothing between
calls. No fast-math: NaN, infinities and the order of sums count.
"""

import math

import numpy as np

from nightscore.scorers.compiled import numba_compiled
from nightscore.scorers.trees import lookups, vectors
from nightscore.scorers.trees.tables import BLOCK, CONSTANTS, LANES, LEAVES

GROUP = 32  # rows that walk side by side, so that one waits for memory while another steps
MIN, MAX = 2, 3  # numbers in `forest.AGGREGATES`
SINGLE = 4  # bytes of a float32


@numba_compiled
def put_into_bins(values, cuts, heap, levels, columns, bins):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Bins [blocks, columns, BLOCK] of one feature: values [rows], and the rest is `Bins`.

    A binary search without branches: with the cuts in registers, else level by level over a block of rows.
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
            step = one << np.uint32(levels - 1 - level)
            for r in range(whole, rows):
                further = below[r] + step
                below[r] = further if x[r] > cuts[np.uint32(further - one)] else below[r]
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
def add_up(bins, choices, steps, trees, sums, leaves, how, slots, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Scores [targets, rows] of bins [blocks, columns, BLOCK]; the rest is `Tables`, and `slots` for work."""
    total = np.empty((scores.shape[0], BLOCK), leaves.dtype)
    at = np.empty(BLOCK, np.int32)
    rows = scores.shape[1]
    for number in range(LEAVES):
        slots[number * LANES : (number + 1) * LANES] = number
    for block in range(bins.shape[0]):
        here = min(rows - block * BLOCK, BLOCK)
        lanes = (here + LANES - 1) // LANES
        total[:] = np.inf if how == MIN else (-np.inf if how == MAX else 0.0)
        for t in range(trees.shape[0]):
            if trees[t, 4]:
                _walk(bins[block], steps, trees[t, 1], at[:here])
            else:
                _decide(bins[block], choices, trees[t, 0], trees[t, 1], slots, lanes)
            for s in range(trees[t, 2], trees[t, 3]):
                values = leaves[sums[s, 1] :]
                if trees[t, 4]:
                    _add(total[sums[s, 0], :here], values, at, how)
                else:
                    _add_chosen(total[sums[s, 0], :here], values, sums[s, 2], slots[CONSTANTS:], how)
        scores[:, block * BLOCK : block * BLOCK + here] = total[:, :here]


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
        moving = start >= 0
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
def _add(total, values, numbers, how):  # type: ignore[no-untyped-def]
    if how == MIN:
        for r in range(total.shape[0]):
            value = values[np.uint64(numbers[r])]
            total[r] = value if value < total[r] else total[r]  # noqa: FURB136 - NaN
    elif how == MAX:
        for r in range(total.shape[0]):
            value = values[np.uint64(numbers[r])]
            total[r] = value if value > total[r] else total[r]  # noqa: FURB136 - NaN
    else:
        for r in range(total.shape[0]):
            total[r] += values[np.uint64(numbers[r])]


@numba_compiled
def _add_chosen(total, values, leaves, numbers, how):  # type: ignore[no-untyped-def]
    """The same for numbers of a byte, which need no walk through memory where the tree fits registers."""
    if lookups.in_registers() and values.itemsize == SINGLE and how < MIN:  # type: ignore[call-arg]
        _add_from_registers(total, values, leaves, numbers)
    else:
        _add(total, values, numbers, how)


@numba_compiled
def _add_from_registers(total, values, leaves, numbers):  # type: ignore[no-untyped-def]
    """The same for whole vectors: rows beyond the last have numbers of leaves, too, and sums of no use."""
    to, table, chosen = total.ctypes.data, values.ctypes.data, numbers.ctypes.data
    for r in range(0, total.shape[0], lookups.ROWS):
        if leaves <= 32:
            lookups.add_looked_up(to + SINGLE * r, table, 32, chosen + r)  # type: ignore[call-arg]
        elif leaves <= 64:
            lookups.add_looked_up(to + SINGLE * r, table, 64, chosen + r)  # type: ignore[call-arg]
        elif leaves <= 128:
            lookups.add_looked_up(to + SINGLE * r, table, 128, chosen + r)  # type: ignore[call-arg]
        else:
            lookups.add_looked_up(to + SINGLE * r, table, 256, chosen + r)  # type: ignore[call-arg]


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
