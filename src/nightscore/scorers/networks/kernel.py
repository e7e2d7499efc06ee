"""The kernel for light networks, compiled by Numba at its first use.

A block of rows goes through all steps before the next one begins, so that what lies between two layers never
leaves the processor's first caches, and no matrix is assembled: columns are read where Arrow has them. It
knows no model, takes no interpreter lock and keeps nothing between calls.

A score has the same bits whatever rows are beside it, and on every processor: a sum is one chain of fused
multiply-adds in the order of its inputs, from 0, and then its bias, however many rows and outputs are made
at once; where a processor has no such instruction, the C library computes it. Sigmoid and tanh are the
rational functions that ONNX Runtime has (MLAS, from Eigen), the exponential is MLAS's polynomial.
"""

import numpy as np

from nightscore.scorers.compiled import numba_compiled
from nightscore.scorers.networks.network import (
    ADD,
    COMPLEMENT,
    DENSE,
    DIVIDE,
    MULTIPLY,
    OUTPUTS,
    RELU,
    SIGMOID,
    SOFTMAX,
    SUBTRACT,
    SUBTRACT_FROM,
    TANH,
)
from nightscore.scorers.networks.vectors import LANES, ROWS, VECTORS, fused, move, power_of_two, tile

LINE = 64  # bytes of a line of the cache
BYTES = 4 * ROWS  # of a column of a block
MAGIC = 12582912.0  # 1.5 * 2**23: added to a small float, what is left of it is its nearest integer
f = np.float32


@numba_compiled
def run(columns, steps, numbers, width, scores):  # type: ignore[no-untyped-def]
    """Scores [columns out, rows] of whole blocks of rows; float32 columns lie at addresses [columns].

    The rest is `Packed`, with a dense step or more.
    """
    work = np.zeros(2 * width * ROWS + LINE // 4, np.float32)
    first = (LINE - work.ctypes.data % LINE) % LINE // 4
    sides = work[first : first + 2 * width * ROWS].reshape(2, width, ROWS)
    here, there = np.uint64(sides[0].ctypes.data), np.uint64(scores.ctypes.data)
    for row in range(0, BYTES * (scores.shape[1] // ROWS), BYTES):
        for column in range(columns.shape[0]):
            move(columns[column] + np.uint64(row), here + np.uint64(BYTES * column))
        side = np.uint64(sides[_through(steps, numbers, sides)].ctypes.data)
        for column in range(scores.shape[0]):
            to = there + np.uint64(scores.strides[0] * column + row)
            move(side + np.uint64(BYTES * column), to)


@numba_compiled
def _through(steps, numbers, sides):  # type: ignore[no-untyped-def]
    """A block, whose columns are in the first side, through all steps; the side where the scores are."""
    now = 0
    for s in range(steps.shape[0]):
        if steps[s, 0] == DENSE:
            _dense(steps[s], numbers, sides[now], sides[1 - now])
            now = 1 - now
        else:
            _apply(steps[s], numbers, sides[now])
    return now


@numba_compiled
def _dense(step, numbers, side, other):  # type: ignore[no-untyped-def]
    """A dense step, from one side to the other."""
    lowest = f(0) if step[5] else f(-np.inf)
    inputs, base = np.uint64(step[1]), np.uint64(numbers.ctypes.data)
    source, result = np.uint64(side.ctypes.data), np.uint64(other.ctypes.data)
    for first in range(0, step[2], OUTPUTS):
        weights = base + np.uint64(4 * (step[3] + first * step[1]))
        bias = base + np.uint64(4 * (step[4] + first))
        column = result + np.uint64(BYTES * first)
        for r in range(0, BYTES, 4 * VECTORS * LANES):
            at = np.uint64(r)
            tile(source + at, weights, inputs, bias, column + at, lowest)


@numba_compiled
def _apply(step, numbers, side):  # type: ignore[no-untyped-def]  # noqa: C901 - a list of operations
    """A step that is none of a dense layer, in place."""
    operation = step[0]
    values = side[: step[1]].reshape(-1)
    if operation == RELU:
        for i in range(values.shape[0]):
            values[i] = f(0) if values[i] < f(0) else values[i]  # noqa: FURB136 - NaN
    elif operation == SIGMOID:
        for i in range(values.shape[0]):
            values[i] = sigmoid(values[i])
    elif operation == TANH:
        for i in range(values.shape[0]):
            values[i] = tanh(values[i])
    elif operation == SOFTMAX:
        _softmax(side[: step[1]])
    elif operation == COMPLEMENT:
        for r in range(ROWS):
            side[1, r] = side[0, r]
            side[0, r] = numbers[step[4]] - side[1, r]
    else:
        _calculate(side[: step[1]], operation, numbers[step[4] :])


@numba_compiled
def _calculate(side, operation, others):  # type: ignore[no-untyped-def]  # noqa: C901 - likewise
    for column in range(side.shape[0]):
        values, other = side[column], others[column]
        for r in range(ROWS):  # the operation is looked at once, before the loop
            if operation == ADD:
                values[r] = values[r] + other
            elif operation == SUBTRACT:
                values[r] = values[r] - other
            elif operation == SUBTRACT_FROM:
                values[r] = other - values[r]
            elif operation == MULTIPLY:
                values[r] = values[r] * other
            elif operation == DIVIDE:
                values[r] = values[r] / other


@numba_compiled
def _softmax(side):  # type: ignore[no-untyped-def]
    """Over the columns of a side, one after the other: a row's maximum, its exponentials, and their sum."""
    highest, total = np.full(ROWS, -np.inf, np.float32), np.zeros(ROWS, np.float32)
    for column in range(side.shape[0]):
        for r in range(ROWS):
            highest[r] = highest[r] if side[column, r] <= highest[r] else side[column, r]  # noqa: FURB136 - NaN
    for column in range(side.shape[0]):
        for r in range(ROWS):
            side[column, r] = exp(side[column, r] - highest[r])
            total[r] += side[column, r]
    for column in range(side.shape[0]):
        for r in range(ROWS):
            side[column, r] = side[column, r] / total[r]


@numba_compiled
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x)) of a float32, at most 1.6e-7 off; exactly 0 and 1 far out."""
    x = f(-18) if x < f(-18) else x  # noqa: FURB136 - NaN
    x = f(18) if x > f(18) else x  # noqa: FURB136
    s = x * x
    p = fused(s, f(4.37031012579801e-11), f(1.15627324459942e-07))
    p = fused(p, s, f(6.08574864600143e-05))
    p = fused(p, s, f(8.51377133304701e-03))
    p = fused(p, s, f(2.48287947061529e-01))
    q = fused(s, f(6.10247389755681e-13), f(5.76102136993427e-09))
    q = fused(q, s, f(6.29106785017040e-06))
    q = fused(q, s, f(1.70198817374094e-03))
    q = fused(q, s, f(1.16817656904453e-01))
    q = fused(q, s, f(9.93151921023180e-01))
    y = (p * x) / q + f(0.5)
    y = f(0) if y < f(0) else y  # noqa: FURB136
    return f(1) if y > f(1) else y  # noqa: FURB136


@numba_compiled
def tanh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent of a float32, at most 2.7e-7 off."""
    x = f(-9) if x < f(-9) else x  # noqa: FURB136 - NaN
    x = f(9) if x > f(9) else x  # noqa: FURB136
    s = x * x
    p = fused(s, f(-2.76076847742355e-16), f(2.00018790482477e-13))
    p = fused(p, s, f(-8.60467152213735e-11))
    p = fused(p, s, f(5.12229709037114e-08))
    p = fused(p, s, f(1.48572235717979e-05))
    p = fused(p, s, f(6.37261928875436e-04))
    p = fused(p, s, f(4.89352455891786e-03))
    q = fused(s, f(1.19825839466702e-06), f(1.18534705686654e-04))
    q = fused(q, s, f(2.26843463243900e-03))
    q = fused(q, s, f(4.89352518554385e-03))
    return (p * x) / q


@numba_compiled
def exp(x):  # type: ignore[no-untyped-def]
    """The exponential of a float32 of 0 or less; 0 where it would be no normal number."""
    far = x < f(-87.33654)
    x = f(-87.33654) if far else x
    whole = fused(x, f(1.44269504088896341), f(MAGIC))  # of x / log(2), in the last bits
    m = whole - f(MAGIC)
    r = fused(m, f(-6.93145752e-1), x)
    r = fused(m, f(-1.42860677e-6), r)
    p = fused(f(0.0013780593872070312), r, f(0.008373124524950981))
    p = fused(p, r, f(0.041669536381959915))
    p = fused(p, r, f(0.166664719581604))
    p = fused(p, r, f(0.49999985098838806))
    p = fused(p, r, f(1))
    p = fused(p, r, f(1))
    return f(0) if far else p * power_of_two(whole)
