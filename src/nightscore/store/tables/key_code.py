"""The code that lays out keys as texts and sums their MD5 (RFC 1321), written as LLVM has it.

32 rows go through MD5 side by side, so that each of its steps is a few vector instructions. Their texts lie
in one buffer of words: the first word of each, then the second word of each, and so on; a text ends as MD5
wants it, with a bit and its length in the last of its blocks of sixteen words.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from llvmlite import ir

from nightscore.scorers import machine_code

Value = machine_code.Value
Kind = Literal["signed", "unsigned", "text"]  # of a column

LANES = 32  # rows side by side: 64 take as long a row, and twice as long to compile
WORDS_OF_BLOCK = 16
LINE = 4 * LANES  # bytes of a word of all rows
COLUMN = 3  # addresses of a column: see `write_key_sums`

_BYTE, _WORD, WHOLE = ir.IntType(8), ir.IntType(32), machine_code.WHOLE
_WORDS, _WHOLES = ir.VectorType(_WORD, LANES), ir.VectorType(WHOLE, LANES)
_POWERS = [10**k for k in range(20)]  # all that 64 bits hold
_END = 9  # bytes behind a text, at least: a bit and its length

_STARTS = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_SHIFTS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_SINES = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_TAKEN = [(i, 5 * i + 1, 3 * i + 5, 7 * i)[i // 16] % WORDS_OF_BLOCK for i in range(64)]  # words, by steps


def write_key_sums(kinds: Sequence[Kind]) -> str:
    """A module with `run(columns, rows, words, buffer, sums)`, for keys of columns of these kinds.

    `columns` has three addresses for each: a byte a row, 0 where it is null; the values, of 64 bits, or where
    texts begin and end, of 32 bits [rows + 1]; the bytes of the texts, or anything. `buffer` has room for
    `words` words of each of 32 rows, and `sums` gets the sums of the lower and of the upper 64 bits of the
    hashes, modulo 2**64. There is a row, at least.
    """
    module = ir.Module()
    return str(_Writer(module, kinds).write())


class _Writer:
    """Writes the module, a function after the other; `_at` stands in the one that is being written."""

    def __init__(self, module: ir.Module, kinds: Sequence[Kind]) -> None:
        self._module, self._kinds = module, kinds
        self._at: Any = None
        powers = ir.ArrayType(WHOLE, len(_POWERS))
        self._powers = ir.GlobalVariable(module, powers, "powers")
        self._powers.global_constant, self._powers.initializer = True, ir.Constant(powers, _POWERS)

    def write(self) -> ir.Module:
        """All of it."""
        self._digits = self._write_digits()
        self._number = self._write_number()
        self._columns = {kind: self._write_column(kind) for kind in dict.fromkeys(self._kinds)}
        self._write_run()
        return self._module

    # What a text is made of. A function has the row's place in the buffer and the bytes that its text has so
    # far, and gives how many it has then.

    def _write_digits(self) -> Value:
        """How many digits a whole number >= 0 has."""
        function, (number,) = self._begin("digits", WHOLE, 1)
        at = self._at
        bits = at.sub(WHOLE(64), at.ctlz(at.or_(number, WHOLE(1)), ir.IntType(1)(1)))
        least = at.lshr(at.mul(bits, WHOLE(1233)), WHOLE(12))  # bits * log10(2), rounded down
        power = at.load(at.gep(self._powers, [WHOLE(0), least]))
        enough = at.icmp_unsigned(">=", at.or_(number, WHOLE(1)), power)
        at.ret(at.add(least, at.zext(enough, WHOLE)))
        return function

    def _write_number(self) -> Value:
        """Append a whole number >= 0."""
        function, (place, length, number) = self._begin("number", WHOLE, 3)
        at = self._at
        digits = at.call(self._digits, [number])
        end = at.add(length, digits)

        def digit(i: Value, rest: Sequence[Value]) -> Sequence[Value]:
            tenth = at.udiv(rest[0], WHOLE(10))
            value = at.add(at.sub(rest[0], at.mul(tenth, WHOLE(10))), WHOLE(ord("0")))
            self._put(place, at.sub(at.sub(end, WHOLE(1)), i), at.trunc(value, _BYTE))
            return [tenth]

        machine_code.write_loop(at, digits, digit, [number])
        at.ret(end)
        return function

    def _write_column(self, kind: Kind) -> Value:
        """Append the value of a row of a column: its length, a colon and itself; of a null, nothing."""
        function, (place, length, row, column) = self._begin(kind, WHOLE, 4)
        at = self._at
        null = at.icmp_unsigned("==", self._load(at.add(self._part(column, 0), row), _BYTE), _BYTE(0))
        with at.if_then(null):
            at.ret(length)
        if kind == "text":
            self._put_text(place, length, row, column)
        else:
            self._put_value(place, length, row, column, signed=kind == "signed")
        return function

    def _put_value(self, place: Value, length: Value, row: Value, column: Value, *, signed: bool) -> None:
        at = self._at
        value = self._load(at.add(self._part(column, 1), at.mul(row, WHOLE(8))), WHOLE)
        below = at.icmp_signed("<", value, WHOLE(0)) if signed else ir.IntType(1)(0)
        size = at.select(below, at.sub(WHOLE(0), value), value)
        sign = at.zext(below, WHOLE)
        length = self._put_length(place, length, at.add(at.call(self._digits, [size]), sign))
        self._put(place, length, _BYTE(ord("-")))  # the first digit is written over it where there is no sign
        at.ret(at.call(self._number, [place, at.add(length, sign), size]))

    def _put_text(self, place: Value, length: Value, row: Value, column: Value) -> None:
        at = self._at
        ends = at.add(self._part(column, 1), at.mul(row, WHOLE(4)))
        start, stop = (at.zext(self._load(at.add(ends, WHOLE(i)), _WORD), WHOLE) for i in (0, 4))
        size = at.sub(stop, start)
        length = self._put_length(place, length, size)
        with at.if_then(at.icmp_unsigned("==", size, WHOLE(0))):
            at.ret(length)
        source = at.add(self._part(column, 2), start)

        def copy(i: Value, _: Sequence[Value]) -> Sequence[Value]:
            self._put(place, at.add(length, i), self._load(at.add(source, i), _BYTE))
            return ()

        machine_code.write_loop(at, size, copy)
        at.ret(at.add(length, size))

    def _put_length(self, place: Value, length: Value, size: Value) -> Value:
        length = self._at.call(self._number, [place, length, size])
        return self._put_mark(place, length, ":")

    def _put_mark(self, place: Value, length: Value, mark: str) -> Value:
        self._put(place, length, _BYTE(ord(mark)))
        return self._at.add(length, WHOLE(1))

    # The rows.

    def _write_run(self) -> None:
        _, (columns, rows, words, buffer, sums) = self._begin("run", ir.VoidType(), 5)
        at = self._at
        blocks = at.ptrtoint(at.alloca(_WORDS), WHOLE)  # how many each row's text has; none of no row

        def tile(number: Value, totals: Sequence[Value]) -> Sequence[Value]:
            self._clear(buffer, words, blocks)
            first = at.mul(number, WHOLE(LANES))
            left = at.sub(rows, first)
            count = at.select(at.icmp_unsigned("<", left, WHOLE(LANES)), left, WHOLE(LANES))

            def row(lane: Value, _: Sequence[Value]) -> Sequence[Value]:
                place, block = (at.add(start, at.mul(lane, WHOLE(4))) for start in (buffer, blocks))
                self._lay_out(place, at.add(first, lane), columns, block)
                return ()

            machine_code.write_loop(at, count, row)
            counts = self._load(blocks, _WORDS)
            state = self._hash(buffer, counts)
            halves = state[:2], state[2:]
            return [
                at.add(total, self._sum(half, counts)) for total, half in zip(totals, halves, strict=True)
            ]

        tiles = at.udiv(at.add(rows, WHOLE(LANES - 1)), WHOLE(LANES))
        for i, total in enumerate(machine_code.write_loop(at, tiles, tile, [WHOLE(0), WHOLE(0)])):
            self._store(total, at.add(sums, WHOLE(8 * i)))
        at.ret_void()

    def _clear(self, buffer: Value, words: Value, blocks: Value) -> None:
        def zero(word: Value, _: Sequence[Value]) -> Sequence[Value]:
            self._store(_everywhere(0), self._at.add(buffer, self._at.mul(word, WHOLE(LINE))))
            return ()

        machine_code.write_loop(self._at, words, zero)
        self._store(_everywhere(0), blocks)

    def _lay_out(self, place: Value, row: Value, columns: Value, block: Value) -> None:
        """The text of a row, with its end, and how many blocks it has."""
        at, length = self._at, WHOLE(0)
        for i, kind in enumerate(self._kinds):
            if i:
                length = self._put_mark(place, length, ",")
            column = at.add(columns, WHOLE(8 * COLUMN * i))
            length = at.call(self._columns[kind], [place, length, row, column])
        self._put(place, length, _BYTE(0x80))
        size = WHOLE(4 * WORDS_OF_BLOCK)
        count = at.udiv(at.add(length, WHOLE(_END + 4 * WORDS_OF_BLOCK - 1)), size)
        self._store(at.trunc(count, _WORD), block)
        bits = at.mul(length, WHOLE(8))
        last = at.sub(at.add(place, at.mul(count, WHOLE(WORDS_OF_BLOCK * LINE))), WHOLE(LINE))
        self._store(at.trunc(bits, _WORD), at.sub(last, WHOLE(LINE)))
        self._store(at.trunc(at.lshr(bits, WHOLE(32)), _WORD), last)

    def _hash(self, buffer: Value, counts: Value) -> Sequence[Value]:
        """The four words of the MD5 of all rows, each [rows]."""
        at = self._at
        most = at.call(self._known("llvm.vector.reduce.umax", _WORDS, _WORD), [counts])

        def block(number: Value, before: Sequence[Value]) -> Sequence[Value]:
            place = at.add(buffer, at.mul(at.zext(number, WHOLE), WHOLE(WORDS_OF_BLOCK * LINE)))
            after = self._turned(before, place)
            goes_on = at.icmp_unsigned(">", counts, machine_code.repeated(at, _WORDS, number))
            sums = [at.add(a, b) for a, b in zip(before, after, strict=True)]
            return [at.select(goes_on, new, old) for old, new in zip(before, sums, strict=True)]

        return machine_code.write_loop(at, most, block, [_everywhere(start) for start in _STARTS])

    def _turned(self, state: Sequence[Value], place: Value) -> Sequence[Value]:
        """The state after the 64 steps of a block of words at a place."""
        at, (a, b, c, d) = self._at, state
        rotate = self._known("llvm.fshl", _WORDS, _WORDS, 3)
        for i in range(64):
            mixed = self._mixed(i // 16, b, c, d)
            word = self._load(at.add(place, WHOLE(LINE * _TAKEN[i])), _WORDS)
            total = at.add(at.add(at.add(a, word), _everywhere(_SINES[i])), mixed)
            turned = at.call(rotate, [total, total, _everywhere(_SHIFTS[i // 16][i % 4])])
            a, b, c, d = d, at.add(b, turned), b, c
        return a, b, c, d

    def _mixed(self, kind: int, b: Value, c: Value, d: Value) -> Value:
        """What a step of one of four kinds makes of three words."""
        at = self._at
        if kind == 0:
            return at.xor(d, at.and_(b, at.xor(c, d)))
        if kind == 1:
            return at.xor(c, at.and_(d, at.xor(b, c)))
        if kind == 2:
            return at.xor(at.xor(b, c), d)
        return at.xor(c, at.or_(b, at.not_(d)))

    def _sum(self, half: Sequence[Value], counts: Value) -> Value:
        """The sum of two words of each row's hash, as one number, over the rows that there are."""
        at = self._at
        low, high = (at.zext(word, _WHOLES) for word in half)
        numbers = at.or_(low, at.shl(high, ir.Constant(_WHOLES, [32] * LANES)))
        is_row = at.icmp_unsigned(">", counts, _everywhere(0))
        there = at.select(is_row, numbers, ir.Constant(_WHOLES, [0] * LANES))
        return at.call(self._known("llvm.vector.reduce.add", _WHOLES, WHOLE), [there])

    # Instructions.

    def _begin(self, name: str, gives: ir.Type, arguments: int) -> tuple[Value, Sequence[Value]]:
        function = ir.Function(self._module, ir.FunctionType(gives, [WHOLE] * arguments), name)
        self._at = ir.IRBuilder(function.append_basic_block())
        return function, function.args

    def _known(self, name: str, kind: ir.VectorType, gives: ir.Type, arguments: int = 1) -> Value:
        """A function of LLVM's own for vectors of a kind."""
        full = f"{name}.v{LANES}{kind.element}"
        found = self._module.globals.get(full)
        return found or ir.Function(self._module, ir.FunctionType(gives, [kind] * arguments), full)

    def _part(self, column: Value, index: int) -> Value:
        return self._load(self._at.add(column, WHOLE(8 * index)), WHOLE)

    def _put(self, place: Value, at_byte: Value, byte: Value) -> None:
        """A byte of a row's text: so many words down, and in that word."""
        at = self._at
        line = at.mul(at.lshr(at_byte, WHOLE(2)), WHOLE(LINE))
        self._store(byte, at.add(at.add(place, line), at.and_(at_byte, WHOLE(3))))

    def _load(self, address: Value, kind: ir.Type) -> Value:
        return machine_code.load(self._at, kind, address)

    def _store(self, value: Value, address: Value) -> None:
        machine_code.store(self._at, value, address)


def _everywhere(value: int) -> Value:
    return ir.Constant(_WORDS, [value] * LANES)
