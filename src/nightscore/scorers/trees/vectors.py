"""Conditions on 64 rows of one byte each, in vectors of LLVM.

They are a few instructions of AVX-512, and what there is on other processors.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nightscore.scorers.machine_code import load, repeated, store
from nightscore.scorers.trees.tables.part import LANES

ROWS = 4 * LANES  # that one call of `number` is for: their numbers stay in registers from level to level
_BYTES = ir.VectorType(ir.IntType(8), LANES)


@intrinsic
def choose(typing, bins, low, width, true, false, chosen):  # type: ignore[no-untyped-def]  # noqa: ARG001, PLR0917
    """Chosen = true where bins - low <= width, else false: 64 rows of one byte each, at addresses."""

    def written(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bins, low, width, true, false, chosen = arguments
        test = (repeated(builder, _BYTES, number) for number in (low, width))
        holds = _holds(builder, load(builder, _BYTES, bins), *test)
        sides = builder.select(holds, load(builder, _BYTES, true), load(builder, _BYTES, false))
        store(builder, sides, chosen)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uint8, types.uint8, types.uintp, types.uintp, types.uintp), written


@intrinsic
def number(typing, bins, levels, count, numbers):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Numbers = the sum of 1 << i over the levels whose condition holds: ROWS rows of one byte each.

    `levels` is uint32 [count, 2], at most 8: the offset of a column of bins, and low | width << 8.
    """

    def written(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bins, levels, count, numbers = arguments
        none = ir.Constant(_BYTES, [0] * LANES)
        sums = [cgutils.alloca_once_value(builder, none) for _ in range(0, ROWS, LANES)]  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, count) as level:
            word = builder.add(levels, builder.mul(level.index, levels.type(8)))
            column = builder.add(bins, builder.zext(_word(builder, word), bins.type))
            test = _word(builder, builder.add(word, word.type(4)))
            low, width = (_byte(builder, part) for part in (test, builder.lshr(test, test.type(8))))
            bit = _byte(builder, builder.shl(level.index.type(1), level.index))
            for i, place in enumerate(sums):
                row = builder.add(column, column.type(i * LANES))
                bits = builder.select(_holds(builder, load(builder, _BYTES, row), low, width), bit, none)
                builder.store(builder.or_(builder.load(place), bits), place)
        for i, place in enumerate(sums):
            store(builder, builder.load(place), builder.add(numbers, numbers.type(i * LANES)))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.uintp), written


def _holds(builder: Any, bins: Any, low: Any, width: Any) -> Any:
    return builder.icmp_unsigned("<=", builder.sub(bins, low), width)


def _word(builder: Any, address: Any) -> Any:
    return load(builder, ir.IntType(32), address, 4)


def _byte(builder: Any, number: Any) -> Any:
    """The lowest byte of a number, everywhere."""
    return repeated(builder, _BYTES, builder.trunc(number, ir.IntType(8)))
