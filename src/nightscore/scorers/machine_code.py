"""Code that is written as LLVM has it, and compiled in memory for the processor at hand: in some 0.1 s."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

WHOLE = ir.IntType(64)  # of addresses, sizes and places
ALIGNMENT = 64  # bytes of a line of the cache, and of the widest vector

Value = Any  # of LLVM
Body = Callable[[Value, Sequence[Value]], Sequence[Value]]
Processor = tuple[str, str]  # as LLVM names it, and what it has: `+avx2,-avx512f,…`


class MachineCode:
    """The functions of a module. Several threads may call them: they hold no interpreter lock."""

    def __init__(self, text: str, processor: Processor | None = None) -> None:
        """Compile a module of LLVM's, for this processor or for another one."""
        name, features = processor or this_processor()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple().create_target_machine(cpu=name, features=features, opt=3)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), target)  # owns both
        self._engine.finalize_object()

    def function(self, name: str, arguments: int) -> Callable[..., None]:
        """A function of so many arguments: addresses and whole numbers."""
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * arguments)
        found = kind(self._engine.get_function_address(name))
        found.code = self  # type: ignore[attr-defined]  # which must live as long
        return found


def this_processor() -> Processor:
    """The one that this process runs on."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def address_of(array: npt.NDArray[Any]) -> int:
    """Where the first value of an array lies."""
    return int(array.__array_interface__["data"][0])


def aligned_address(array: npt.NDArray[Any]) -> int:
    """The first address in an array that a vector may lie at; `ALIGNMENT` bytes are kept for that."""
    return -(-address_of(array) // ALIGNMENT) * ALIGNMENT


def empty_bytes(size: int) -> npt.NDArray[np.uint8]:
    """Memory for `size` bytes from `aligned_address` on."""
    return np.empty(size + ALIGNMENT, np.uint8)


def write_loop(at: Any, count: Value, body: Body, carried: Sequence[Value] = ()) -> Sequence[Value]:
    """Write `body` for 0 up to `count`, which is 1 or more; what it gives goes into the next round.

    `at` is the `IRBuilder` that stands where the loop begins, and afterwards where it has ended.
    """
    before = at.block
    inside, after = at.append_basic_block(), at.append_basic_block()
    at.branch(inside)
    at.position_at_end(inside)
    index, values = at.phi(count.type), [at.phi(value.type) for value in carried]
    given = body(index, values)
    following = at.add(index, count.type(1))
    firsts, laters = [count.type(0), *carried], [following, *given]
    for phi, first, later in zip([index, *values], firsts, laters, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, at.block)
    at.cbranch(at.icmp_unsigned("<", following, count), inside, after)
    at.position_at_end(after)
    return given


def load(at: Any, kind: Any, address: Value, align: int = 1) -> Value:
    """Write: the value of a kind at an address, which is a multiple of `align`."""
    return at.load(at.inttoptr(address, kind.as_pointer()), align=align)


def store(at: Any, value: Value, address: Value, align: int = 1) -> None:
    """Write: a value, to an address as `load` has it."""
    at.store(value, at.inttoptr(address, value.type.as_pointer()), align=align)


def repeated(at: Any, kind: Any, number: Value) -> Value:
    """Write: a vector of a kind with a number in all of its places."""
    nothing, first = ir.Constant(kind, ir.Undefined), ir.IntType(32)(0)
    places = ir.VectorType(ir.IntType(32), kind.count)
    return at.shuffle_vector(at.insert_element(nothing, number, first), nothing, ir.Constant(places, None))
