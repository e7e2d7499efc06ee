"""What the kernel does to vectors of rows, as LLVM has them: the only module here that imports Numba."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nightscore.scorers.hardware import read_hardware
from nightscore.scorers.networks.network import OUTPUTS

ROWS = 64  # of a block
LANES = 16  # rows of a vector, which is one register of AVX-512 and several of others
VECTORS = 4 if "avx512f" in read_hardware().instructions else 1  # of a tile, whose sums stay in registers
ONE = 0x3F800000  # the bits of 1.0

FLOAT, VECTOR, ADDRESS = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)
NOTHING = ir.Constant(ir.IntType(8).as_pointer(), None)
inlined: Any = intrinsic  # whose own type knows no arguments
tools: Any = cgutils


@inlined
def tile(typing, source, weights, inputs, bias, result, lowest):  # type: ignore[no-untyped-def]  # noqa: ARG001, PLR0917
    """`OUTPUTS` columns of a dense step for VECTORS * LANES rows, each sum in a register.

    `source` and `result` are the addresses of the first row in the first column that goes in, and that comes
    out; the next column is `ROWS` further. What is below `lowest` becomes it.
    """
    return types.void(*[types.uintp] * 5, types.float32), _tile_in_llvm


def _tile_in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    source, weights, inputs, bias, result, lowest = arguments
    sums = [[tools.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(VECTORS)]
            for _ in range(OUTPUTS)]  # fmt: skip
    with tools.for_range(builder, inputs) as loop:
        column = builder.add(source, builder.mul(loop.index, ADDRESS(4 * ROWS)))
        x = [_load(builder, builder.add(column, ADDRESS(4 * LANES * v)), VECTOR) for v in range(VECTORS)]
        weight = builder.add(weights, builder.mul(loop.index, ADDRESS(4 * OUTPUTS)))
        for output in range(OUTPUTS):
            w = _everywhere(builder, _load(builder, builder.add(weight, ADDRESS(4 * output)), FLOAT))
            for at, values in zip(sums[output], x, strict=True):
                builder.store(builder.call(_fma(builder, VECTOR), [w, values, builder.load(at)]), at)
    least = _everywhere(builder, lowest)
    for output in range(OUTPUTS):
        number = _everywhere(builder, _load(builder, builder.add(bias, ADDRESS(4 * output)), FLOAT))
        for v in range(VECTORS):
            value = builder.fadd(builder.load(sums[output][v]), number)
            value = builder.select(builder.fcmp_ordered("<", value, least), least, value)  # NaN stays
            to = builder.add(result, ADDRESS(4 * (output * ROWS + v * LANES)))
            builder.store(value, builder.inttoptr(to, VECTOR.as_pointer()), align=4)
    return NOTHING


@inlined
def move(typing, source, result):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """A block's rows of one column, from one address to another."""

    def in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, result = arguments
        for at in range(0, 4 * ROWS, 4 * LANES):
            values = _load(builder, builder.add(source, ADDRESS(at)), VECTOR)
            to = builder.inttoptr(builder.add(result, ADDRESS(at)), VECTOR.as_pointer())
            builder.store(values, to, align=4)
        return NOTHING

    return types.void(types.uintp, types.uintp), in_llvm


@inlined
def fused(typing, a, b, c):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """A * b + c, rounded once."""

    def in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.call(_fma(builder, FLOAT), arguments)

    return types.float32(types.float32, types.float32, types.float32), in_llvm


@inlined
def power_of_two(typing, whole):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """2 to the power of an integer from -126 to 127, to which 1.5 * 2**23 was added."""

    def in_llvm(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.shl(builder.bitcast(arguments[0], ir.IntType(32)), ir.IntType(32)(23))
        return builder.bitcast(builder.add(bits, ir.IntType(32)(ONE)), FLOAT)

    return types.float32(types.float32), in_llvm


def _fma(builder: Any, kind: Any) -> Any:
    name = "llvm.fma.f32" if kind == FLOAT else f"llvm.fma.v{LANES}f32"
    return tools.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)


def _everywhere(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))
