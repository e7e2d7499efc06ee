"""Conditions on 64 rows of one byte each, in vectors of LLVM.

They are a few instructions of AVX-512, and what there is on other processors.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nightscore.scorers.trees.tables import LANES

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_NUMBERS = ir.VectorType(ir.IntType(32), LANES)


@intrinsic
def choose(typing, bins, low, width, true, false, chosen):  # type: ignore[no-untyped-def]  # noqa: ARG001, PLR0917
    """Chosen = true where bins - low <= width, else false: 64 rows of one byte each, at addresses."""

    def written(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bins, low, width, true, false, chosen = arguments
        holds = _holds(builder, _load(builder, bins), _everywhere(builder, low), _everywhere(builder, width))
        sides = builder.select(holds, _load(builder, true), _load(builder, false))
        _store(builder, sides, chosen)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uint8, types.uint8, types.uintp, types.uintp, types.uintp), written


def _holds(builder: Any, bins: Any, low: Any, width: Any) -> Any:
    return builder.icmp_unsigned("<=", builder.sub(bins, low), width)


def _everywhere(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(_BYTES, ir.Undefined), ir.Constant(_NUMBERS, None))


def _load(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _BYTES.as_pointer()), align=1)


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, _BYTES.as_pointer()), align=1)
