"""Numbers become what a model computes with: rounded once, and what would be another number is found.

The truth is Python's own: exact integers, `float(Decimal)`, and struct for float32.
"""

import math
import struct
from decimal import Context, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.scorers.arrays import as_numpy, matrix
from nightscore.scorers.numbers import as_computed, as_doubles, lost, nearest

WIDE = Context(prec=60)
INTEGERS = {
    pa.int8(): (-(2**7), 2**7 - 1),
    pa.uint16(): (0, 2**16 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
    pa.uint32(): (0, 2**32 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.uint64(): (0, 2**64 - 1),
}


def holds(value: int, digits: int) -> bool:
    """Whether an integer is a float of so many binary digits."""
    return value == 0 or abs(value) // (abs(value) & -abs(value)) < 2**digits


def as_float32(value: float) -> float:
    """The nearest float32, by C's own conversion."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


@given(st.integers(1, 38), st.data())
def test_a_decimal_is_the_nearest_double(precision: int, data: st.DataObject) -> None:
    """For any precision, any scale and any slice: Python's float of the decimal, to the last bit."""
    scale = data.draw(st.integers(0, precision))
    most = 10**precision - 1
    units = data.draw(st.lists(st.none() | st.integers(-most, most) | st.integers(-9, 9), max_size=40))
    values = [None if u is None else Decimal(u).scaleb(-scale, WIDE) for u in units]
    start = data.draw(st.integers(0, len(values)))
    column = pa.array(values, pa.decimal128(precision, scale)).slice(start)
    wanted = [None if v is None else float(v) for v in values[start:]]
    assert as_doubles(column).to_pylist() == wanted
    assert as_computed(column, pa.float64()).to_pylist() == wanted
    if None not in wanted:
        chunk = pa.RecordBatch.from_arrays([column], ["x"])
        assert matrix(chunk, ["x"], np.float64)[:, 0].tolist() == wanted
        assert as_numpy(column, "x").tolist() == wanted


@given(st.sampled_from(list(INTEGERS)), st.data())
def test_an_integer_that_becomes_another_one_is_lost(kind: pa.DataType, data: st.DataObject) -> None:
    """For any integers: those that no float32, no float64 is; a null is no value."""
    least, most = INTEGERS[kind]
    some = st.integers(least, most) | st.sampled_from([least, most, max(least, -(2**24) - 1)])
    near = [v for p in (24, 25, 53, 54, 63) for v in (2**p - 1, 2**p, 2**p + 1, 2**p + 2) if v <= most]
    values = data.draw(st.lists(st.none() | (some | st.sampled_from(near) if near else some), max_size=30))
    for float_kind, digits in ((pa.float32(), 24), (pa.float64(), 53)):
        found = lost(pa.array(values, kind), float_kind)
        wanted = [v is not None and not holds(v, digits) for v in values]
        assert (found.tolist() if found is not None else [False] * len(values)) == wanted


@given(st.lists(st.none() | st.floats() | st.sampled_from([3.4028235e38, 3.4028236e38, 7e-46, 2.0**-150])))
def test_a_double_is_lost_where_it_becomes_infinite_or_zero(values: list[float | None]) -> None:
    """Rounding alone is none; NaN and the infinities stay what they are."""
    wanted = []
    for value in values:
        single = None if value is None else as_float32(value)
        gone = single is not None and (
            (math.isinf(single) and math.isfinite(value)) or (single == 0 and value != 0)
        )
        wanted.append(gone)
    assert lost(pa.array(values, pa.float64()), pa.float32()).tolist() == wanted
    assert lost(pa.array(values, pa.float64()), pa.float64()) is None


def test_a_decimal_without_places_is_an_integer() -> None:
    """HUGEINT leaves DuckDB as such, with values of up to 128 bits; amounts with places are rounded."""
    odd = [2**24 + 1, -(2**53) - 1, 2**64 + 1, 2**100 + 1, 10**37 + 1]
    values = [None, *map(Decimal, [0, 1, 2**24, 2**53, 2**63, *odd, 2**100])]
    column = pa.array(values, pa.decimal128(38, 0))
    for kind, digits in ((pa.float32(), 24), (pa.float64(), 53)):
        wanted = [v is not None and not holds(int(v), digits) for v in values]
        assert lost(column, kind).tolist() == wanted
        assert lost(column.slice(1, 6), kind).tolist() == wanted[1:7]
    assert lost(pa.array([Decimal("16777217.01")]), pa.float32()) is None


DECIMALS = pa.list_(pa.decimal128(20, 2))


def test_of_lists_the_rows_are_found_and_their_values_converted() -> None:
    """A row with one value that is too large or too small; a row without a list is no value."""
    lists = [[1.0, 1e39], [], None, [1e-60], [0.0]]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float64())):
        assert lost(pa.array(lists, kind), pa.list_(pa.float32(), 2)).tolist() == [
            True,
            False,
            False,
            True,
            False,
        ]
    decimals = pa.array(
        [[Decimal("8132702.39"), Decimal("0.10")], [Decimal("1.00")]], pa.list_(pa.decimal128(20, 2))
    )
    assert as_computed(decimals, pa.list_(pa.float64())).to_pylist() == [[8132702.39, 0.1], [1.0]]
    assert as_computed(decimals[1:], pa.list_(pa.float64())).to_pylist() == [[1.0]]


HELD = [
    (0.005, pa.float32(), as_float32(0.005)), (-1, pa.float32(), -1.0),
    (2**53 + 2, pa.float64(), 2.0**53 + 2),
    (2**53 + 1, pa.int64(), 2**53 + 1), (7.0, pa.int8(), 7), (math.inf, pa.float32(), math.inf),
]  # fmt: skip
NOT_HELD = [
    (2**24 + 1, pa.float32(), "16777217 is no value of float, where it would become 16777216"),
    (2**53 + 1, pa.float64(), "would become 9007199254740992"), (1e39, pa.float32(), "would become inf"),
    (1e-50, pa.float32(), "would become 0"), (0.5, pa.int64(), "which holds integers"),
    (-129, pa.int8(), "-129 is no value of int8, which holds -128 to 127"),
    (math.nan, pa.int64(), "holds integers"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "wanted"), HELD)
def test_a_number_of_a_job_becomes_the_nearest(value: float, kind: pa.DataType, wanted: float) -> None:
    """As a type holds it."""
    assert nearest(value, kind) == wanted


@pytest.mark.parametrize(("value", "kind", "says"), NOT_HELD)
def test_a_number_that_a_type_does_not_hold_is_refused(value: float, kind: pa.DataType, says: str) -> None:
    """With what it would become."""
    with pytest.raises(ValueError, match=says):
        nearest(value, kind)
