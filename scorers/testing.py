"""The scorer contract as one function that every scorer, ours or a plug-in's, is tested with."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scorers.contract import Scorer


def check_scorer(scorer: Scorer, chunk: pa.RecordBatch, tolerance: float = 0.0) -> None:
    """Hold `scorer` to its contract on `chunk` (two rows or more, with different predictions).

    Checked: the signature fits the chunk, outputs have its names and dtypes, one row in one row out,
    in order, the same for any chunking within `tolerance` (absolute), for an empty chunk and for one
    row, and when several threads call at once.

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


def _check_shape(scorer: Scorer, found: pa.RecordBatch, rows: int) -> None:
    outputs = scorer.signature.outputs
    assert found.schema.equals(outputs), f"outputs are {found.schema}; the signature says {outputs}"
    assert found.num_rows == rows, f"{found.num_rows} rows out for {rows} rows in"


def _same(found: pa.RecordBatch, wanted: pa.RecordBatch, tolerance: float, what: str) -> None:
    for name in wanted.schema.names:
        _same_column(found.column(name), wanted.column(name), tolerance, f"{what}: {name}")


def _same_column(found: pa.Array, wanted: pa.Array, tolerance: float, what: str) -> None:
    if pa.types.is_list(wanted.type):
        _same_column(pc.list_value_length(found), pc.list_value_length(wanted), 0, f"{what}, length of lists")
        _same_column(found.flatten(), wanted.flatten(), tolerance, what)
        return
    left, right = (one.to_numpy(zero_copy_only=False) for one in (found, wanted))
    if np.issubdtype(right.dtype, np.floating):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(left, right, err_msg=what)
