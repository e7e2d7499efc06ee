"""Which rows of a column of scores are no numbers, whatever its lists hold."""

import numpy as np
import pyarrow as pa
import pytest

from nightscore.evaluation.bakeoff.stress import _not_numbers

NAN, INF = float("nan"), float("inf")
COLUMNS = {
    "floats": (pa.array([1.0, NAN, INF]), [False, True, True]),
    "integers": (pa.array([1, 2]), [False, False]),
    "lists": (pa.array([[1.0, 2.0], [1.0, NAN]]), [False, True]),
    "lists of unlike lengths": (pa.array([[], [1.0], [INF, 1.0, 2.0]]), [False, False, True]),
    "lists of one length": (pa.array([[1.0, NAN], [1.0, 2.0]], pa.list_(pa.float64(), 2)), [True, False]),
    "lists of texts": (pa.array([["a"], [], ["b", "c"]]), [False, False, False]),
}


@pytest.mark.parametrize(("values", "wanted"), COLUMNS.values(), ids=COLUMNS.keys())
def test_which_rows_are_no_numbers(values: pa.Array, wanted: list[bool]) -> None:
    """Of a list, one that holds a NaN or an infinity; texts are none, and no fault."""
    assert np.array_equal(_not_numbers(values), wanted)
