"""Small tables that the processor looks sixteen numbers up in at once, from its registers: AVX-512.

Where there is no AVX-512 (`in_registers` says so when the kernel is compiled), nothing here is called.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nightscore.scorers.machine_code import load, store
from nightscore.scorers.trees.binning import HEAP

ROWS = 16  # that one call is for
LEVELS = HEAP.bit_length() - 1  # of a search

_BYTES, _INTS, _FLOATS = (
    ir.VectorType(kind, ROWS) for kind in (ir.IntType(8), ir.IntType(32), ir.FloatType())
)


@intrinsic
def in_registers(typing):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Whether the processor that is compiled for has AVX-512."""

    def written(context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.IntType(1)(_has_avx512(context))

    return types.boolean(), written


@intrinsic
def search(typing, values, heap, found):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Found = how many of 255 sorted cuts are below each of 16 values: float32 and uint32, at addresses.

    The cuts are in the order of a heap: from `i` on to `2i`, or to `2i + 1` where a value is above cut `i`.
    """

    def written(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if _has_avx512(context):
            values, heap, found = arguments
            x, at = load(builder, _FLOATS, values), _everywhere(1)
            for level in range(LEVELS):
                start, size = (0, 2 * ROWS) if level < 5 else (1 << level, 1 << level)
                cuts = _looked_up(builder, builder.add(heap, heap.type(4 * start)), at, size)
                above = builder.zext(builder.fcmp_ordered(">", x, cuts), _INTS)
                at = builder.add(builder.add(at, at), above)
            store(builder, builder.sub(at, _everywhere(HEAP)), found)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp), written


@intrinsic(prefer_literal=True)
def add_looked_up(typing, totals, table, size, numbers):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Totals += table[numbers] for 16 rows: float32, float32 [size], a literal, and uint8, at addresses."""
    entries = size.literal_value

    def written(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if _has_avx512(context):
            totals, table, _, numbers = arguments
            index = builder.zext(load(builder, _BYTES, numbers), _INTS)
            values = _looked_up(builder, table, index, entries)
            store(builder, builder.fadd(load(builder, _FLOATS, totals), values), totals)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, size, types.uintp), written


def _looked_up(builder: Any, table: Any, index: Any, size: int) -> Any:
    """The numbers at `index`, modulo `size`, in a table of a power of two: 32 are a single instruction."""
    if size > 2 * ROWS:
        half = size // 2
        upper = builder.icmp_unsigned("!=", builder.and_(index, _everywhere(half)), _everywhere(0))
        above = _looked_up(builder, builder.add(table, table.type(4 * half)), index, half)
        return builder.select(upper, above, _looked_up(builder, table, index, half))
    first, second = (load(builder, _FLOATS, builder.add(table, table.type(4 * i))) for i in (0, ROWS))
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _INTS, _FLOATS])
    permute = builder.module.globals.get("llvm.x86.avx512.vpermi2var.ps.512") or ir.Function(
        builder.module, kind, "llvm.x86.avx512.vpermi2var.ps.512"
    )
    return builder.call(permute, [first, index, second])


def _has_avx512(context: Any) -> bool:
    _, _, features = context.codegen().magic_tuple()
    return "+avx512f" in features


def _everywhere(value: int) -> Any:
    return ir.Constant(_INTS, [value] * ROWS)
