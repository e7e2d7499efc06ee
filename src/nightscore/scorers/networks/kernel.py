"""The kernel of a light network: written for it as LLVM has it, compiled in memory in a tenth of a second.

A block of rows goes through all steps before the next one begins, so that what lies between two layers never
leaves the processor's first caches, and no matrix is assembled: columns are copied into a block from where
Arrow has them. Blocks have two sides; a dense step goes from one to the other, all others stay on theirs.

A score has the same bits whatever rows are beside it, and on every processor: a sum is one chain of fused
multiply-adds in the order of its inputs, from 0, and then its bias, however many rows and outputs are made
at once; where a processor has no such instruction, the C library computes it. Sigmoid and tanh are the
rational functions that ONNX Runtime has (MLAS, from Eigen), the exponential is MLAS's polynomial.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from nightscore.scorers.machine_code import (
    WHOLE,
    MachineCode,
    Processor,
    Value,
    address_of,
    aligned_address,
    empty_bytes,
    this_processor,
)
from nightscore.scorers.networks import network
from nightscore.scorers.networks.code import LANES, Code, constant
from nightscore.scorers.networks.network import OUTPUTS, Packed, PackedStep

ROWS = 64  # of a block
COLUMN = 4 * ROWS  # bytes of a block's column
SIZE = 4  # bytes of a number

Floats = npt.NDArray[np.float32]


class Kernel:
    """The compiled code of a network of `columns`. Keeps nothing between calls; several threads may call."""

    def __init__(self, packed: Packed, processor: Processor | None = None) -> None:
        """Compile it, for this processor or for another one."""
        for_ = processor or this_processor()
        self._packed = packed
        self._run = MachineCode(_written(packed, 4 if "+avx512f" in for_[1] else 1), for_).function("run", 6)

    def __call__(self, columns: Sequence[Floats], rows: int) -> Floats:
        """Scores [columns out, rows] of contiguous columns [rows]: whole blocks, and the rest as one."""
        whole = rows - rows % ROWS
        scores = np.empty((self._packed.given, whole), np.float32)
        if whole:
            self._blocks(columns, scores)
        if whole == rows:
            return scores
        rest, last = np.zeros((len(columns), ROWS), np.float32), np.empty((len(scores), ROWS), np.float32)
        for place, column in enumerate(columns):
            rest[place, : rows - whole] = column[whole:]
        self._blocks(list(rest), last)
        return np.concatenate([scores, last[:, : rows - whole]], axis=1)

    def _blocks(self, columns: Sequence[Floats], scores: Floats) -> None:
        places = np.array([address_of(column) for column in columns], np.uint64)
        sides = empty_bytes(2 * self._packed.width * COLUMN)
        first = aligned_address(sides)
        numbers, count = self._packed.numbers, scores.shape[1] // ROWS
        self._run(
            address_of(places), address_of(numbers), first, address_of(scores), count, SIZE * scores.shape[1]
        )


def _written(packed: Packed, vectors: int) -> str:
    """The code of `run`: addresses of columns, weights, both sides and results; blocks, bytes of a result.

    `vectors` of rows are computed at once by a dense step.
    """
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WHOLE] * 6), "run")
    code, (columns, numbers, sides, scores, blocks, stride) = Code(function), function.args
    both = sides, code.further(sides, packed.width * COLUMN)

    def block(number: Value, _: Sequence[Value]) -> Sequence[Value]:
        def read(column: Value, _: Sequence[Value]) -> Sequence[Value]:
            source = code.offset(code.address(code.offset(columns, (column, 8))), (number, COLUMN))
            _each(code, source, code.offset(both[0], (column, COLUMN)), lambda x: x)
            return ()

        def write(column: Value, _: Sequence[Value]) -> Sequence[Value]:
            result = code.offset(code.times(column, stride, scores), (number, COLUMN))
            _each(code, code.offset(both[side], (column, COLUMN)), result, lambda x: x)
            return ()

        code.loop(WHOLE(packed.columns), read)
        side = 0
        for step in packed.steps:
            if step.operation == network.DENSE:
                _dense(code, step, numbers, both[side], both[1 - side], vectors)
                side = 1 - side
            else:
                _other(code, step, numbers, both[side])
        code.loop(WHOLE(packed.given), write)
        return ()

    code.loop(blocks, block)
    code.end()
    return str(module)


def _dense(code: Code, step: PackedStep, numbers: Value, side: Value, other: Value, vectors: int) -> None:  # noqa: PLR0917
    """A tile of `OUTPUTS` columns and some vectors of rows after the other, each sum in a register."""
    bytes_ = SIZE * LANES * vectors
    zeros = [constant(0)] * (OUTPUTS * vectors)

    def tile(number: Value, group: Value) -> None:
        weights = code.offset(
            code.further(numbers, SIZE * step.weights), (number, SIZE * OUTPUTS * step.inputs)
        )
        source = code.offset(side, (group, bytes_))

        def sums(place: Value, before: Sequence[Value]) -> Sequence[Value]:
            x = [
                code.load(code.further(code.offset(source, (place, COLUMN)), SIZE * LANES * v))
                for v in range(vectors)
            ]
            at = code.offset(weights, (place, SIZE * OUTPUTS))
            w = [code.repeated(code.further(at, SIZE * output)) for output in range(OUTPUTS)]
            return [code.fused(w[i // vectors], x[i % vectors], value) for i, value in enumerate(before)]

        bias = code.offset(code.further(numbers, SIZE * step.numbers), (number, SIZE * OUTPUTS))
        result = code.offset(other, (number, COLUMN * OUTPUTS), (group, bytes_))
        for i, value in enumerate(code.loop(WHOLE(step.inputs), sums, zeros)):
            whole = code.add(value, code.repeated(code.further(bias, SIZE * (i // vectors))))
            if step.has_relu:
                whole = code.at_least(whole, constant(0))
            code.store(whole, code.further(result, COLUMN * (i // vectors) + SIZE * LANES * (i % vectors)))

    def outputs(number: Value, _: Sequence[Value]) -> Sequence[Value]:
        def groups(group: Value, _: Sequence[Value]) -> Sequence[Value]:
            tile(number, group)
            return ()

        code.loop(WHOLE(COLUMN // bytes_), groups)
        return ()

    code.loop(WHOLE(-(-step.width // OUTPUTS)), outputs)


def _other(code: Code, step: PackedStep, numbers: Value, side: Value) -> None:
    """A step that is none of a dense layer, in place."""
    first = code.further(numbers, SIZE * step.numbers)
    if step.operation == network.SOFTMAX:
        _softmax(code, step.width, side)
        return
    if step.operation == network.COMPLEMENT:
        one = code.repeated(first)
        _each(code, side, code.further(side, COLUMN), lambda x: x)
        _each(code, side, side, lambda x: code.subtract(one, x))
        return
    alone: dict[int, Callable[[Value], Value]] = {
        network.RELU: lambda x: code.at_least(x, constant(0)),
        network.SIGMOID: code.sigmoid,
        network.TANH: code.tanh,
    }
    pairs: dict[int, Callable[[Value, Value], Value]] = {
        network.ADD: code.add, network.SUBTRACT: code.subtract, network.MULTIPLY: code.multiply,
        network.SUBTRACT_FROM: lambda x, c: code.subtract(c, x), network.DIVIDE: code.divide,
    }  # fmt: skip

    def column(place: Value, _: Sequence[Value]) -> Sequence[Value]:
        at = code.offset(side, (place, COLUMN))
        if step.operation in alone:
            _each(code, at, at, alone[step.operation])
        else:
            number = code.repeated(code.offset(first, (place, SIZE)))
            _each(code, at, at, lambda x: pairs[step.operation](x, number))
        return ()

    code.loop(WHOLE(step.width), column)


def _softmax(code: Code, width: int, side: Value) -> None:
    """Over the columns of a side, one after the other: a row's maximum, its exponentials, and their sum."""

    def places(column: Value) -> list[Value]:
        return [code.further(code.offset(side, (column, COLUMN)), at) for at in _vectors()]

    def highest(column: Value, before: Sequence[Value]) -> Sequence[Value]:
        # What comes after a NaN takes its place here; the NaN is in the sum.
        return [code.at_least(code.load(at), value) for at, value in zip(places(column), before, strict=True)]

    top = code.loop(WHOLE(width), highest, [constant(float("-inf")) for _ in _vectors()])

    def powers(column: Value, before: Sequence[Value]) -> Sequence[Value]:
        found = [code.exp(code.subtract(code.load(at), t)) for at, t in zip(places(column), top, strict=True)]
        for at, power in zip(places(column), found, strict=True):
            code.store(power, at)
        return [code.add(total, power) for total, power in zip(before, found, strict=True)]

    totals = code.loop(WHOLE(width), powers, [constant(0) for _ in _vectors()])

    def shares(column: Value, _: Sequence[Value]) -> Sequence[Value]:
        for at, total in zip(places(column), totals, strict=True):
            code.store(code.divide(code.load(at), total), at)
        return ()

    code.loop(WHOLE(width), shares)


def _each(code: Code, source: Value, result: Value, function: Callable[[Value], Value]) -> None:
    """A function of each number of a block's column."""
    for at in _vectors():
        code.store(function(code.load(code.further(source, at))), code.further(result, at))


def _vectors() -> range:
    """Where the vectors of a block's column begin, in bytes."""
    return range(0, COLUMN, SIZE * LANES)
