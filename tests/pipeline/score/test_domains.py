"""Bounds are compared as what the column holds: the truth is Python's Fraction of both sides, as written."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.common.errors import Broken
from nightscore.job.loader import load
from nightscore.job.parts.policy import Domain
from nightscore.pipeline.executors import run
from nightscore.pipeline.score.domains import outside
from nightscore.pipeline.steps import check_job
from tests.support.workspace import JOB, make_workspace

EXACT = {
    pa.int8(): (-(2**7), 2**7 - 1), pa.int64(): (-(2**63), 2**63 - 1), pa.uint64(): (0, 2**64 - 1),
    pa.uint8(): (0, 255),
    pa.decimal128(5, 2): (-99999, 99999), pa.decimal128(38, 0): (1 - 10**38, 10**38 - 1),
}  # fmt: skip
BOUNDS = (
    st.integers(-(2**70), 2**70)
    | st.sampled_from([2**53 + 1, 2**63, -(2**63) - 1, 2**64, 0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.005, 0.1, -0.5, 999.99, 2.5])
)


def written(bound: float) -> Fraction:
    """The number that stands in job.yaml."""
    return Fraction(repr(bound))


@given(st.sampled_from(list(EXACT)), BOUNDS, BOUNDS, st.data())
def test_exact_types_are_compared_exactly(
    kind: pa.DataType, one: float, two: float, data: st.DataObject
) -> None:
    """Of any bounds, whole or not, within the type or beyond it."""
    least, most = EXACT[kind]
    scale = kind.scale if pa.types.is_decimal(kind) else 0
    units = data.draw(
        st.lists(st.none() | st.integers(least, most) | st.sampled_from([least, most]), max_size=30)
    )
    exact = [None if u is None else Fraction(u, 10**scale) for u in units]
    values = [
        None if u is None else Decimal(f"{u}E-{scale}") if pa.types.is_decimal(kind) else u for u in units
    ]
    low, high = sorted([one, two], key=written)
    domain = Domain(min=low, max=high)
    assert (domain.min, domain.max) == (low, high)
    wanted = [v is not None and not written(low) <= v <= written(high) for v in exact]
    assert outside(pa.array(values, kind), domain).tolist() == wanted


def test_booleans_are_0_and_1() -> None:
    """A null is no value."""
    assert outside(pa.array([True, False, None]), Domain(min=0, max=1)).tolist() == [False, False, False]
    assert outside(pa.array([True, False, None]), Domain(min=0.5)).tolist() == [False, True, False]


def test_a_bound_that_a_float32_does_not_hold_is_compared_in_float64() -> None:
    """0.1 is the float nearest to it; 1e300 and 1e-60 are what they are."""
    column = pa.array([0.0, 0.1, np.inf, 3e38, None], pa.float32())
    assert outside(column, Domain(max=0.1)).tolist() == [False, False, True, True, False]
    assert outside(column, Domain(max=1e300)).tolist() == [False, False, True, False, False]
    assert outside(column, Domain(min=1e-60)).tolist() == [True, False, False, False, False]


SENSELESS = {
    "min: 1000": (pa.int8(), "no value of the column, which is int8, is at least 1000"),
    "min: 0.2, max: 0.8": (pa.int64(), "which is int64, is at least 0.2, at most 0.8"),
    "min: 2": (pa.bool_(), "which is bool, is at least 2"),
    "max: -1": (pa.uint64(), "which is uint64, is at most -1"),
    "min: 1000.5": (pa.decimal128(5, 2), r"which is decimal128\(5, 2\), is at least 1000.5"),
    "min: 1.0e+39": (pa.float32(), "which is float, is at least 1e[+]39"),
    "in: [true]": (pa.int64(), r"\[True\] are no values of the column, which is int64"),
    "in: [2]": (pa.bool_(), r"\[2\] are no values of the column, which is bool"),
    "in: [1, true]": (pa.int64(), r"\[1, True\] are no values"),
    "in: [300]": (pa.uint8(), r"\[300\] are no values of the column, which is uint8"),
    "in: [99999999999999999999999]": (pa.int64(), "are no values of the column, which is int64"),
    "in: [16777217]": (pa.float32(), r"\[16777217\] are no values of the column, which is float"),
}  # fmt: skip


def night(root: Path, domain: str, column: pa.Array, more: str = "") -> Path:
    """A day whose column f has a domain."""
    make_workspace(root, 10, JOB + f"domain: {{f: {{{domain}}}}}\n{more}", days=())
    rows = pa.table({"id": pa.array(range(len(column))), "f": column})
    rows = rows.append_column("a", pa.nulls(len(column), pa.float32()).fill_null(1.0))
    folder = root / "data/lake/rows/day=2020-01-01"
    folder.mkdir(parents=True)
    pq.write_table(rows.append_column("b", rows["a"]), folder / "a.parquet")
    return root


@pytest.mark.parametrize(("domain", "case"), SENSELESS.items(), ids=SENSELESS.keys())
def test_what_no_value_can_be_is_refused_at_check(
    tmp_path: Path, domain: str, case: tuple[pa.DataType, str]
) -> None:
    """With the line of job.yaml and the column's type."""
    kind, says = case
    with pytest.raises(Broken, match=rf"job.yaml:19: domain.f(.in)?: .*{says}"):
        check_job(load("mini", night(tmp_path, domain, pa.array([1], pa.int8()).cast(kind))))


def test_a_night_with_integers_beyond_2_53_rejects_those_that_are_outside(tmp_path: Path) -> None:
    """One beside the bound is told from the bound, which job.yaml says exactly."""
    most = 2**53 + 1
    column = pa.array([most - 1, most, most + 1, None], pa.uint64())
    policy = "policy: {bad_row: reject, max_rejected: 100%}\n"
    receipt = run(load("mini", night(tmp_path, f"max: {most}", column, policy)), "2020-01-01")
    assert (receipt.rows.published, receipt.rows.rejected) == (3, 1)
    [file] = (tmp_path / "data/tables/mini_rejects").rglob("*.parquet")
    [row] = pq.read_table(file, partitioning=None).to_pylist()
    assert row["id"] == 2
    assert row["message"] == f"column 'f' is {most + 1}; allowed: at most {most}"
