"""Whether what a row gets is its own: the same rows scored in other company, and at another time.

A model may look at the rows beside it: a mean, a running sum or a softmax along the rows, the range of a
batch (dynamic quantization), chance, what it has seen before. Then what is published follows from chunks,
memory and machine, and no file shows it. So some rows are scored together, and again: twice, in halves,
backwards, in fives, alone, beside rows of other sizes; where a row gets something else, that is the evidence.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.common import NightscoreError, first_line, value_text
from nightscore.pipeline.score.row_distance import (
    LAST_BITS,
    Numbers,
    column_distances,
    row_distances,
    unexplained,
    with_floats,
)
from nightscore.scorers import ChunkError, ContractError, Scorer

FEW = 5  # rows of the smaller chunks
ALONE = 16  # rows that are scored one by one
STRANGE = 1000.0  # times as large are the numbers of the rows beside
Places = npt.NDArray[np.int64]
# No fault of the rows' company; ours is that a call took too long.
OutOfMachine = (MemoryError, OSError, ImportError, NightscoreError)


class Sway(NamedTuple):
    """Rows that got something else in other company, and one of them: where, in which column, both values.

    `rows` of `of` rows differ by up to `far`; `error` says instead that they could not be scored so at all.
    """

    way: str
    of: int
    rows: int = 0
    far: float = 0.0
    row: int = 0
    column: str = ""
    whole: object = None
    other: object = None
    error: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.way}: {self.error}"
        return (
            f"{self.way}, {self.rows} of {self.of} rows get another {self.column} than together, by up to "
            f"{self.far:.2g}: {value_text(self.other)} instead of {value_text(self.whole)}"
        )


def sound_rows(scorer: Scorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that a scorer can score at all: together, or else one by one.

    Raises:
        ContractError: it gives other rows than it was given.
    """
    try:
        scorer.score(rows)
    except (*OutOfMachine, ContractError):
        raise
    except Exception:  # of other people's scorers
        return rows.filter(pa.array([_scores(scorer, rows[i : i + 1]) for i in range(rows.num_rows)]))
    return rows


def find_sway(
    scorer: Scorer, rows: pa.RecordBatch, tolerance: float, fresh: Callable[[], Scorer] | None = None
) -> Sway | None:
    """The first way of cutting some rows that gives one of them something else; None where none does.

    Args:
        scorer: what is asked.
        rows: rows that it can score.
        tolerance: how far a score may go: relative to its size above 1, and LAST_BITS always.
        fresh: opens the same scorer once more, for one that may remember what it has seen.
    """
    whole = scorer.score(rows)
    wrong = _misfit(whole, rows, scorer)
    if wrong:
        return Sway("together", rows.num_rows, error=wrong)
    ways = [*_ways(rows), *_newly(rows, fresh)]
    for way, steady, cut in ways:
        sway = _compare(scorer, rows, whole, tolerance, Way(way, steady, cut))
        if sway is not None:
            return sway
    return None


def largest_sway(scorer: Scorer, rows: pa.RecordBatch) -> float:
    """The furthest that any of the ways moves a row of a model: what others of the same model may do, too."""
    whole = scorer.score(rows)
    furthest = 0.0
    for _, _, cut in _ways(rows):
        places, parts = cut(scorer)
        furthest = max(furthest, float(row_distances(parts, whole.take(places)).max(initial=0.0)))
    return furthest


Cut = Callable[[Scorer], tuple[pa.Array, pa.RecordBatch]]  # which of the rows, and what they got


class Way(NamedTuple):
    """A way to cut rows. Where it is `steady`, the same is asked for again, and rounding explains nothing."""

    name: str
    steady: bool
    cut: Cut


def _ways(rows: pa.RecordBatch) -> Iterator[Way]:
    """From the cheapest on; the first again at the end, after all that was seen in between."""
    every = np.arange(rows.num_rows)
    middle = (rows.num_rows + 1) // 2
    fives = [every[::-1][at : at + FEW] for at in range(0, rows.num_rows, FEW)]
    some = np.unique(np.linspace(0, rows.num_rows - 1, ALONE).round().astype(np.int64))
    yield Way("twice", True, _parts(rows, [every]))
    yield Way("in halves", False, _parts(rows, [p for p in (every[:middle], every[middle:]) if len(p)]))
    yield Way("backwards", False, _parts(rows, [every[::-1]]))
    yield Way(f"backwards, in chunks of {FEW}", False, _parts(rows, fives))
    yield Way("alone", False, _parts(rows, [some[i : i + 1] for i in range(len(some))]))
    yield Way("beside rows of other sizes", False, lambda scorer: _beside(scorer, rows, every[:middle]))
    yield Way("once more, after the others", True, _parts(rows, [every]))


def _newly(rows: pa.RecordBatch, fresh: Callable[[], Scorer] | None) -> Iterator[Way]:
    """The last rows first, by a scorer that has seen nothing yet."""
    if fresh is not None:
        halves = np.array_split(np.arange(rows.num_rows)[::-1], 2)
        parts = [part for part in halves if len(part)]
        yield Way("opened anew, the last rows first", False, lambda _: _parts(rows, parts)(fresh()))


def _parts(rows: pa.RecordBatch, parts: list[Places]) -> Cut:
    def cut(scorer: Scorer) -> tuple[pa.Array, pa.RecordBatch]:
        scored = []
        for part in parts:
            chunk = rows.take(pa.array(part))
            scored.append(scorer.score(chunk))
            if wrong := _misfit(scored[-1], chunk, scorer):
                raise ChunkError(wrong)
        return pa.array(np.concatenate(parts)), pa.concat_batches(scored)

    return cut


def _beside(scorer: Scorer, rows: pa.RecordBatch, own: Places) -> tuple[pa.Array, pa.RecordBatch]:
    """Some rows beside others whose numbers are STRANGE; those count for nothing."""
    names = scorer.signature.inputs.names
    large = [with_floats(rows, names, functools.partial(_far_out, sign)) for sign in (-1.0, 1.0)]
    strange = pa.concat_batches(large)
    plain = pa.RecordBatch.from_arrays(rows.take(pa.array(own)).columns, strange.schema.names)
    together = pa.concat_batches([strange, plain])
    try:
        with np.errstate(all="ignore"):
            scored = scorer.score(together)
    except Exception:  # it need not take such rows
        scored = scorer.score(plain)
    return pa.array(own), scored[scored.num_rows - len(own) :]


def _far_out(sign: float, values: Numbers) -> Numbers:
    """Numbers of one sign, far from all that a model has seen."""
    return sign * STRANGE * np.clip(np.abs(values), 1, 1e6)


def _compare(
    scorer: Scorer, rows: pa.RecordBatch, whole: pa.RecordBatch, tolerance: float, way: Way
) -> Sway | None:
    try:
        places, other = way.cut(scorer)
    except OutOfMachine:
        raise
    except Exception as error:  # of other people's scorers: these rows could be scored together
        text = first_line(error)
        return Sway(way.name, rows.num_rows, error=text)
    expected, asked = whole.take(places), rows.take(places)
    far = row_distances(other, expected)
    if way.steady:
        wrong = far > max(tolerance, LAST_BITS)
    else:
        wrong = unexplained(far, tolerance, scorer, asked, expected)
    return _evidence(way.name, far, wrong, (places, other, expected)) if wrong.any() else None


def _evidence(
    way: str,
    far: Numbers,
    wrong: npt.NDArray[np.bool_],
    scored: tuple[pa.Array, pa.RecordBatch, pa.RecordBatch],
) -> Sway:
    places, other, expected = scored
    row = int(np.argmax(np.where(wrong, far, -1.0)))
    names = expected.schema.names
    apart = [float(column_distances(other.column(n), expected.column(n))[row]) for n in names]
    column = names[int(np.argmax(apart))]
    values = [batch.column(column)[row].as_py() for batch in (expected, other)]
    return Sway(way, len(far), int(wrong.sum()), float(far[row]), places[row].as_py(), column, *values)


def _misfit(scored: pa.RecordBatch, chunk: pa.RecordBatch, scorer: Scorer) -> str:
    """What of a scorer's answer is none for these rows; empty if it is one."""
    if scored.num_rows != chunk.num_rows:
        return f"it gives {scored.num_rows} rows for {chunk.num_rows}"
    missing = [n for n in scorer.signature.outputs.names if n not in scored.schema.names]
    return f"it gives no {missing[0]}" if missing else ""


def _scores(scorer: Scorer, row: pa.RecordBatch) -> bool:
    try:
        scorer.score(row)
    except (*OutOfMachine, ContractError):
        raise
    except Exception:  # of other people's scorers
        return False
    return True
