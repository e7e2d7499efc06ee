"""The scorer contract as one function that every scorer, ours or a plug-in's, is tested with."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.scorers.contract import Scorer
from nightscore.scorers.errors import ChunkError

CALLS = 20  # of which nothing may be left


def check_scorer(scorer: Scorer, chunk: pa.RecordBatch, tolerance: float = 0.0) -> None:
    """Hold `scorer` to its contract on `chunk` (two rows or more, with different predictions).

    Checked: the signature fits the chunk, outputs have its names and dtypes, one row in one row out,
    in order, the same for any chunking within `tolerance` (absolute), for an empty chunk and for one
    row, and when several threads call at once; a null in a column of floats counts as a NaN (or both are
    refused) and changes no other row; nothing is kept of chunks that were scored.

    Raises:
        AssertionError: with what does not hold.
    """
    misfits = scorer.signature.misfits(chunk.schema)
    assert not misfits, misfits
    whole = scorer.score(chunk)
    _check_shape(scorer, whole, chunk.num_rows)
    _check_shape(scorer, scorer.score(chunk.slice(0, 0)), 0)
    _same(scorer.score(chunk.slice(0, 1)), whole.slice(0, 1), tolerance, "one row alone")
    for size in (1, 2, 3, chunk.num_rows // 2 + 1):
        starts = range(0, min(chunk.num_rows, 50 * size), size)
        parts = [scorer.score(chunk.slice(start, size)) for start in starts]
        joined = pa.concat_batches(parts)
        _same(joined, whole.slice(0, joined.num_rows), tolerance, f"chunks of {size} rows")
    backwards = pa.array(np.arange(chunk.num_rows)[::-1])
    _same(scorer.score(chunk.take(backwards)), whole.take(backwards), tolerance, "rows in reverse order")
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(scorer.score, [chunk] * 8):
            _same(again, whole, tolerance, "called from four threads")
    for needed in scorer.signature.inputs:
        if pa.types.is_floating(chunk.schema.field(needed.name).type):
            _check_missing(scorer, chunk, whole, needed.name, tolerance)
    _check_leaks(scorer, chunk)


def _check_shape(scorer: Scorer, batch: pa.RecordBatch, rows: int) -> None:
    outputs = scorer.signature.outputs
    assert batch.schema.equals(outputs), f"outputs are {batch.schema}; the signature says {outputs}"
    assert batch.num_rows == rows, f"{batch.num_rows} rows out for {rows} rows in"


def _check_missing(
    scorer: Scorer, chunk: pa.RecordBatch, whole: pa.RecordBatch, name: str, tolerance: float
) -> None:
    pair = [_scored(scorer, _with_first(chunk, name, value)) for value in (None, float("nan"))]
    assert (pair[0] is None) == (pair[1] is None), f"{name}: of null and NaN one is scored, one is refused"
    if pair[0] is None or pair[1] is None:
        return
    _same(pair[0], pair[1], tolerance, f"{name}: null and NaN")
    _same(pair[0].slice(1), whole.slice(1), tolerance, f"{name}: rows beside a null")


def _scored(scorer: Scorer, chunk: pa.RecordBatch) -> pa.RecordBatch | None:
    try:
        return scorer.score(chunk)
    except ChunkError:
        return None


def _with_first(chunk: pa.RecordBatch, name: str, value: float | None) -> pa.RecordBatch:
    """The chunk with another value in the first row of a column."""
    i = chunk.schema.get_field_index(name)
    first = pa.array([value], pa.float64()).cast(chunk.schema.field(i).type)
    return chunk.set_column(i, name, pa.concat_arrays([first, chunk.column(i).slice(1)]))


def _check_leaks(scorer: Scorer, chunk: pa.RecordBatch) -> None:
    every = pa.array(np.arange(chunk.num_rows))
    scorer.score(chunk)
    gc.collect()
    allocated, threads = pa.total_allocated_bytes(), threading.active_count()
    for _ in range(CALLS):
        scorer.score(chunk.take(every))  # a new one each time, so that who keeps chunks keeps memory
    gc.collect()
    kept = pa.total_allocated_bytes() - allocated
    assert kept < CALLS // 2 * max(chunk.nbytes, 1), f"{CALLS} calls keep {kept:,} bytes of Arrow's memory"
    assert threading.active_count() <= threads, "calls leave threads behind"


def _same(actual: pa.RecordBatch, expected: pa.RecordBatch, tolerance: float, what: str) -> None:
    for name in expected.schema.names:
        _same_column(actual.column(name), expected.column(name), tolerance, f"{what}: {name}")


def _same_column(actual: pa.Array, expected: pa.Array, tolerance: float, what: str) -> None:
    if pa.types.is_list(expected.type):
        _same_column(
            pc.list_value_length(actual), pc.list_value_length(expected), 0, f"{what}, length of lists"
        )
        _same_column(actual.flatten(), expected.flatten(), tolerance, what)
        return
    left, right = (column.to_numpy(zero_copy_only=False) for column in (actual, expected))
    if np.issubdtype(right.dtype, np.floating):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(left, right, err_msg=what)
