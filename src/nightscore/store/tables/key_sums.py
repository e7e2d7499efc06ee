"""The sums of key hashes, compiled: what SQL's `md5_number` gives, several times as fast.

A key is hashed as a text, `5:Alice,2:42`: of each value its length in bytes and itself. 64 rows at a time go
through MD5 (RFC 1321) side by side, so that each of its steps is a loop over 64 numbers, which LLVM makes
vector instructions of.
"""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers import numba_compiled

LANES = 64  # rows that are hashed side by side; 16 take three times as long
BLOCK = 64  # bytes
COMMA, MINUS, ZERO, COLON = b",-0:"
END = 9  # bytes behind a message: a bit and its length
AT_ONCE = 1 << 18  # bytes of texts that are laid out at a time

_SHIFTS = np.array([[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]], np.uint32)
_SINES = np.array([int(abs(math.sin(i + 1)) * 2**32) for i in range(64)], np.uint32)
_WORDS = np.array(
    [(i, 5 * i + 1, 3 * i + 5, 7 * i)[i // 16] % 16 for i in range(64)], np.int64
)  # which of a block's sixteen words a step adds
_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476], np.uint32)

_Bytes = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[np.int64]


def has_hashed_types(schema: pa.Schema) -> bool:
    """Whether keys of these columns can be hashed here: whole numbers and texts."""
    return all(pa.types.is_integer(kind) or pa.types.is_string(kind) for kind in schema.types)


def kept_in() -> str:
    """The folder in which the compiled code is kept; empty where Numba finds none that it may write to."""
    return str(getattr(_sums._cache, "cache_path", None) or "")


def sum_key_hashes(keys: pa.RecordBatch) -> tuple[int, int]:
    """The sums of the lower and of the upper 64 bits of the keys' hashes, modulo 2**64.

    `keys` has the columns of the key in their order, of types that `has_hashed_types` takes. A null has
    no text.
    """
    columns = [_Texts(column) if pa.types.is_string(column.type) else _Whole(column) for column in keys]
    width = -(-(sum(column.widest + 1 for column in columns) + END) // BLOCK) * BLOCK
    step = max(AT_ONCE // width // LANES, 1) * LANES
    rows, lower, upper = np.empty((step, width), np.uint8), 0, 0
    for start in range(0, keys.num_rows, step):
        count = min(step, keys.num_rows - start)
        at, lengths = np.arange(count), np.zeros(count, np.int64)
        rows[:] = 0
        for place, column in enumerate(columns):
            if place:
                rows[at, lengths] = COMMA
                lengths += 1
            column.lay_out(rows, lengths, start)
        blocks = np.zeros(step, np.int64)  # none in the lanes behind the last row
        blocks[:count] = (lengths + END + BLOCK - 1) // BLOCK
        rows[at, lengths] = 0x80
        rows.view(np.uint64)[at, blocks[:count] * (BLOCK // 8) - 1] = lengths * 8
        sums = _sums(rows.view(np.uint32), blocks)
        lower, upper = lower + int(sums[0]), upper + int(sums[1])
    return lower % 2**64, upper % 2**64


class _Whole:
    """A column of whole numbers, as texts."""

    widest = 2 + 1 + 20  # bytes: a length, a colon, and -2**63

    def __init__(self, column: pa.Array) -> None:
        kind = pa.uint64() if pa.types.is_uint64(column.type) else pa.int64()
        self._there = _there(column)
        self._values = pc.fill_null(column.cast(kind), 0).to_numpy()

    def lay_out(self, rows: _Bytes, lengths: _Numbers, start: int) -> None:
        part = slice(start, start + len(lengths))
        _lay_out_numbers(rows, lengths, self._values[part], self._there[part])


class _Texts:
    """A column of texts."""

    def __init__(self, column: pa.Array) -> None:
        _, offsets, data = column.buffers()
        self._there = _there(column)
        self._ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        self._data = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        longest = int(np.diff(self._ends).max(initial=0))
        self.widest = len(str(longest)) + 1 + longest

    def lay_out(self, rows: _Bytes, lengths: _Numbers, start: int) -> None:
        ends = self._ends[start : start + len(lengths) + 1]
        _lay_out_texts(rows, lengths, ends, self._data, self._there[start : start + len(lengths)])


def _there(column: pa.Array) -> npt.NDArray[np.bool_]:
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


@numba_compiled
def _digits_of(number):  # type: ignore[no-untyped-def]
    """How many digits a whole number >= 0 has."""
    digits, rest = 1, number // np.uint64(10)
    while rest:
        digits, rest = digits + 1, rest // np.uint64(10)
    return digits


@numba_compiled
def _put_number(row, at, number):  # type: ignore[no-untyped-def]
    """Write a whole number >= 0 in digits at a place of a row; the place behind it."""
    digits = _digits_of(number)
    for place in range(at + digits - 1, at - 1, -1):
        tenth = number // np.uint64(10)
        row[place] = np.uint8(ZERO + number - tenth * np.uint64(10))
        number = tenth
    return at + digits


@numba_compiled
def _lay_out_numbers(rows, lengths, values, there):  # type: ignore[no-untyped-def]
    """Append whole numbers [rows] to the texts of rows [rows, width], whose lengths [rows] are updated."""
    for i in range(len(values)):
        row, at = rows[i], lengths[i]
        if there[i]:
            below, size = values[i] < 0, np.uint64(values[i])
            if below:
                size = np.uint64(0) - size
            at = _put_number(row, at, np.uint64(_digits_of(size) + below))
            row[at] = COLON
            at += 1
            if below:
                row[at] = MINUS
                at += 1
            at = _put_number(row, at, size)
        lengths[i] = at


@numba_compiled
def _lay_out_texts(rows, lengths, ends, data, there):  # type: ignore[no-untyped-def]
    """Append texts, which lie in `data` [bytes] between `ends` [rows + 1], as `_lay_out_numbers` does."""
    for i in range(len(lengths)):
        row, at = rows[i], lengths[i]
        if there[i]:
            at = _put_number(row, at, np.uint64(ends[i + 1] - ends[i]))
            row[at] = COLON
            at += 1
            for place in range(ends[i], ends[i + 1]):
                row[at] = data[place]
                at += 1
        lengths[i] = at


@numba_compiled
def _turn(state, words, i):  # type: ignore[no-untyped-def]
    """Step `i` of MD5's 64 in all lanes: of the state [4, lanes] one row is updated from the others."""
    a, b, c, d = state[-i % 4], state[(1 - i) % 4], state[(2 - i) % 4], state[(3 - i) % 4]
    kind, sine, more = i // 16, _SINES[i], words[_WORDS[i]]
    left = _SHIFTS[kind, i % 4]
    right = np.uint32(32) - left
    for lane in range(LANES):
        x, y, z = b[lane], c[lane], d[lane]
        if kind == 0:
            mixed = z ^ (x & (y ^ z))
        elif kind == 1:
            mixed = y ^ (z & (x ^ y))
        elif kind == 2:
            mixed = x ^ y ^ z
        else:
            mixed = y ^ (x | ~z)
        total = np.uint32(np.uint32(mixed) + a[lane] + sine + more[lane])  # Numba would go on in 64 bits
        a[lane] = np.uint32(x + (np.uint32(total << left) | np.uint32(total >> right)))


@numba_compiled
def _add_block(state, words, goes_on):  # type: ignore[no-untyped-def]
    """Take a block of words [16, lanes] into the state [4, lanes] of the lanes whose message has it."""
    before = state.copy()
    for i in range(64):
        _turn(state, words, i)
    for part in range(4):
        for lane in range(LANES):
            more = state[part, lane] if goes_on[lane] else np.uint32(0)
            state[part, lane] = np.uint32(before[part, lane] + more)


@numba_compiled
def _sums(rows, blocks):  # type: ignore[no-untyped-def]
    """Sums of both halves of the MD5 of messages [rows, words] of so many `blocks` [rows], in whole lanes."""
    lower = upper = np.uint64(0)
    words, state = np.empty((16, LANES), np.uint32), np.empty((4, LANES), np.uint32)
    for start in range(0, len(blocks), LANES):
        count = blocks[start : start + LANES]
        for part in range(4):
            state[part, :] = _START[part]
        for block in range(count.max()):
            words[:] = rows[start : start + LANES, 16 * block : 16 * block + 16].T
            _add_block(state, words, count > block)
        for lane in range(LANES):
            if count[lane]:
                lower += np.uint64(state[0, lane]) | (np.uint64(state[1, lane]) << np.uint64(32))
                upper += np.uint64(state[2, lane]) | (np.uint64(state[3, lane]) << np.uint64(32))
    return lower, upper
