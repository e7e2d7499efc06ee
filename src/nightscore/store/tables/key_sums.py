"""The sums of key hashes, compiled: what SQL's `md5_number` gives, several times as fast.

A key is hashed as a text, `5:Alice,2:42`: of each value its length in bytes and itself.
"""

import threading
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers import machine_code
from nightscore.store.tables.key_code import LINE, WORDS_OF_BLOCK, Kind, write_key_sums

MARKS = 9 + 4 * WORDS_OF_BLOCK - 1  # bytes that MD5 may add to a text, at most

_COMPILING = threading.Lock()  # threads that begin together compile once


def has_hashed_types(schema: pa.Schema) -> bool:
    """Whether keys of these columns can be hashed here: whole numbers and texts."""
    return all(pa.types.is_integer(kind) or pa.types.is_string(kind) for kind in schema.types)


def sum_key_hashes(keys: pa.RecordBatch) -> tuple[int, int]:
    """The sums of the lower and of the upper 64 bits of the keys' hashes, modulo 2**64.

    `keys` has the columns of the key in their order, of types that `has_hashed_types` takes. A null has
    no text.
    """
    if not keys.num_rows:
        return 0, 0
    columns = [_Column(column) for column in keys]
    with _COMPILING:
        run = _compiled(tuple(column.kind for column in columns))
    words = (sum(column.widest + 1 for column in columns) + MARKS) // (4 * WORDS_OF_BLOCK) * WORDS_OF_BLOCK
    places = np.array([place for column in columns for place in column.places], np.uint64)
    buffer, sums = machine_code.empty_bytes(words * LINE), np.zeros(2, np.uint64)
    run(
        machine_code.address_of(places),
        keys.num_rows,
        words,
        machine_code.aligned_address(buffer),
        machine_code.address_of(sums),
    )
    return int(sums[0]), int(sums[1])


@cache
def _compiled(kinds: tuple[Kind, ...]) -> Callable[..., None]:
    return machine_code.MachineCode(write_key_sums(kinds)).function("run", 5)


class _Column:
    """A column of a key: where the code finds it, and how many bytes a text of it has at most."""

    def __init__(self, column: pa.Array) -> None:
        there = _is_valid(column)
        if pa.types.is_string(column.type):
            _, offsets, data = column.buffers()
            ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
            texts = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
            longest = int(np.diff(ends).max(initial=0))
            self.kind: Kind = "text"
            self.widest = len(str(longest)) + 1 + longest
            self._arrays = (there, ends, texts)
        else:
            is_unsigned = pa.types.is_uint64(column.type)
            values = pc.fill_null(column.cast(pa.uint64() if is_unsigned else pa.int64()), 0).to_numpy()
            self.kind = "unsigned" if is_unsigned else "signed"
            self.widest = 2 + 1 + 20  # a length, a colon, and -2**63
            self._arrays = (there, values, values)
        self.places = [machine_code.address_of(array) for array in self._arrays]


def _is_valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
