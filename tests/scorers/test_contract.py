"""What fits a model, and that `check_scorer` finds each way in which a scorer can be wrong."""

import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from nightscore.scorers.contract import Scorer, Signature, serves
from nightscore.scorers.errors import ChunkError
from nightscore.scorers.testing import check_scorer

SIGNATURE = Signature(pa.schema([("a", pa.float32())]), pa.schema([("y", pa.float64())]))
OUTPUT = pa.float64()
CHUNK = pa.RecordBatch.from_pydict({"a": pa.array(np.arange(20), pa.float32())})


def given(values: Any, kind: pa.DataType = OUTPUT, name: str = "y") -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], [name])


@dataclass
class Double:
    """A right scorer: y = 2 a. Those below each break the contract in one way."""

    calls: int = 0
    total: float = 0.0
    lock: Any = field(default_factory=threading.Lock)

    @property
    def signature(self) -> Signature:
        return SIGNATURE

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        return given(self.values(chunk.column("a").to_numpy(zero_copy_only=False).astype(np.float64)))

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a


class Sorts(Double):
    """Gives rows in another order."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return np.sort(2 * a)


class Drops(Double):
    """Leaves a row out."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a[1:]


class DropsOfLarge(Double):
    """Leaves the last row out where there are many."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a[:10]


class RepeatsEmpty(Double):
    """Gives a row for an empty chunk."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a if len(a) else np.zeros(1)


class Remembers(Double):
    """What it gives depends on the chunks before."""

    def values(self, a: np.ndarray) -> np.ndarray:
        self.total += float(a.sum())
        return 2 * a + self.total


class Normalizes(Double):
    """What it gives for a row depends on the rows beside it."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return a - a.mean() if len(a) else a


class Positional(Double):
    """What it gives depends on where in its chunk a row stands."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a + np.arange(len(a))


class Draws(Double):
    """What it gives is another number each time."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a + np.random.default_rng().random(len(a))


class FailsAlone(Double):
    """Can't score one row."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a if len(a) != 1 else np.zeros(1)


class Unsafe(Double):
    """Keeps what it works on where another thread writes."""

    def values(self, a: np.ndarray) -> np.ndarray:
        with self.lock:
            self.calls += 1
            mine = self.calls
        threading.Event().wait(0.002)
        return 2 * a + (self.calls - mine)


class NullIsZero(Double):
    """Takes a null for a number."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        return super().score(chunk.set_column(0, "a", chunk.column("a").fill_null(0)))


class RefusesNull(Double):
    """Refuses a null, and scores a NaN."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        if chunk.column("a").null_count:
            raise ChunkError("a null")
        return super().score(chunk)


class SpreadsNaN(Double):
    """One missing value spoils the rows beside it."""

    def values(self, a: np.ndarray) -> np.ndarray:
        return 2 * a + 0 * a.sum()


class Hoards(Double):
    """Keeps every chunk."""

    kept: ClassVar[list[pa.RecordBatch]] = []

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        self.kept.append(chunk)
        return super().score(chunk)


class Spawns(Double):
    """Leaves a thread behind."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()
        return super().score(chunk)


class WrongType(Double):
    """Gives float32 where its signature says float64."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        return given(2 * chunk.column("a").to_numpy(), pa.float32())


class WrongName(Double):
    """Gives a column of another name."""

    def score(self, chunk: pa.RecordBatch) -> pa.RecordBatch:
        return given(2 * chunk.column("a").to_numpy(), name="z")


WRONG = [
    Sorts, Drops, DropsOfLarge, RepeatsEmpty, Remembers, Normalizes, Positional, Draws, FailsAlone, Unsafe,
    WrongType, WrongName, NullIsZero, RefusesNull, SpreadsNaN, Hoards, Spawns,
]  # fmt: skip


def test_a_right_scorer_passes() -> None:
    """The contract asks for nothing that a plain scorer does not give."""
    scorer: Scorer = Double()
    check_scorer(scorer, CHUNK)


@pytest.mark.parametrize("wrong", WRONG, ids=[w.__name__ for w in WRONG])
def test_a_wrong_scorer_is_caught(wrong: type[Double]) -> None:
    """Each way of breaking the contract is found: order, rows, memory, neighbours, threads, types, names."""
    with pytest.raises((AssertionError, pa.ArrowInvalid)):
        check_scorer(wrong(), CHUNK)


def test_a_chunk_that_does_not_fit_is_caught() -> None:
    """Rows without the needed column are no test of a scorer."""
    with pytest.raises(AssertionError, match="needs column 'a'"):
        check_scorer(Double(), CHUNK.rename_columns(["b"]))


def test_a_tolerance_is_absolute_and_kept() -> None:
    """Rounding within the tolerance passes, beyond it is caught."""

    class Noisy(Double):
        def values(self, a: np.ndarray) -> np.ndarray:
            return 2 * a + 1e-6 * len(a)

    check_scorer(Noisy(), CHUNK, tolerance=1e-4)
    with pytest.raises(AssertionError):
        check_scorer(Noisy(), CHUNK, tolerance=1e-7)


MISFITS = {
    "missing": (
        pa.schema([("b", pa.float32())]),
        "the model needs column 'a'; the features have no column 'a'",
    ),
    "another case": (pa.schema([("A", pa.float32())]), "the features have no column 'a'"),
    "twice": (pa.schema([("a", pa.float32())] * 2), "the features have 2 columns called 'a'"),
    "a text": (
        pa.schema([("a", pa.string())]),
        "column 'a' is string; the model needs float or what converts",
    ),
}


@pytest.mark.parametrize(("schema", "says"), MISFITS.values(), ids=MISFITS.keys())
def test_misfits_are_sentences(schema: pa.Schema, says: str) -> None:
    """What keeps rows from being scored is said with the column's name and both types."""
    [found] = SIGNATURE.misfits(schema)
    assert says in found
    assert SIGNATURE.misfits(pa.schema([("z", pa.string()), ("a", pa.float64())])) == []


U8, U32, U64, I8, I32, I64 = pa.uint8(), pa.uint32(), pa.uint64(), pa.int8(), pa.int32(), pa.int64()
F16, F32, F64, TEXT, BOOL, DECIMAL, DAY = (
    pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.bool_(), pa.decimal128(9, 2), pa.date32(),
)  # fmt: skip
SERVES = {
    F32: {U8, U32, U64, I8, I32, I64, F16, F32, F64, BOOL, DECIMAL},
    F64: {U8, U32, U64, I8, I32, I64, F16, F32, F64, BOOL, DECIMAL},
    I64: {U8, U32, I8, I32, I64},
    I32: {U8, I8, I32},
    I8: {I8},
    BOOL: {BOOL},
    TEXT: {TEXT, pa.large_string()},
}
ALL = (U8, U32, U64, I8, I32, I64, F16, F32, F64, TEXT, pa.large_string(), BOOL, DECIMAL, DAY, pa.null())


@pytest.mark.parametrize("needed", SERVES, ids=str)
def test_types_serve_where_nothing_is_lost(needed: pa.DataType) -> None:
    """Numbers serve floats; integers serve wider ones; a text, a boolean, a date serve nothing else."""
    assert {kind for kind in ALL if serves(kind, needed)} == SERVES[needed]
