"""How far two sets of scores and decisions are apart."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr

from nightscore.job.parts.accuracy_budget import AccuracyBudget
from nightscore.pipeline.score.deviation import (
    Deviation,
    column_deviation,
    deviation_from,
    max_relative,
    rank_correlation,
    rank_correlation_of,
)

FEW = st.integers(-3, 3).map(float)  # many ties


@given(st.integers(2, 40).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=FEW)] * 2)))
def test_rank_correlation_is_spearmans_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """With ties, too; SciPy has none where a side is constant: then it is 0, and 1 where both are."""
    one, other = pair
    constant = [not np.ptp(side) for side in pair]
    wanted = float(all(constant)) if any(constant) else spearmanr(one, other).statistic
    assert rank_correlation(one, other) == pytest.approx(wanted, abs=1e-12)


def test_rank_correlation_is_over_the_rows_that_both_have() -> None:
    """A null or a NaN of either side leaves its row out."""
    one, other = pa.array([1, 2, None, 4, 5]), pa.array([1.0, 3.0, 9.0, 2.0, float("nan")])
    assert rank_correlation_of(one, other) == pytest.approx(spearmanr([1, 2, 4], [1, 3, 2]).statistic)


def test_a_difference_is_relative_above_one_and_absolute_below() -> None:
    """As scoring.tolerance is; the other measure is absolute throughout."""
    wanted, found = ([pa.array([100.0, 0.5]), pa.array(["a", "b"])] for _ in range(2))
    found[0] = pa.array([101.0, 0.505])
    one, other = (pa.record_batch(columns, ["score", "text"]) for columns in (found, wanted))
    assert max_relative(one, other) == pytest.approx(0.01)
    assert column_deviation(one["score"], other["score"]).max_abs == pytest.approx(1.0)
    assert max_relative(other.set_column(1, "text", pa.array(["a", "c"])), other) == float("inf")


def test_a_nan_on_one_side_is_infinitely_far() -> None:
    """And NaNs on both sides are alike, as are infinities."""
    nan, inf = float("nan"), float("inf")
    assert column_deviation(pa.array([1.0, nan, inf]), pa.array([1.0, nan, inf])).max_abs == 0
    assert column_deviation(pa.array([1.0, 2.0]), pa.array([1.0, nan])).max_abs == inf
    assert column_deviation(pa.array([1.0, inf]), pa.array([1.0, 2.0])).max_abs == inf


def test_lists_are_compared_by_cosine_and_by_number() -> None:
    """The least similar row counts; rows of another length are as far as can be."""
    one = pa.array([[1.0, 0.0], [0.0, 2.0]])
    other = pa.array([[1.0, 0.0], [2.0, 2.0]])
    found = column_deviation(other, one)
    assert found.cosine == pytest.approx(np.sqrt(0.5))
    assert found.max_abs == 2.0
    assert column_deviation(pa.array([[1.0], [0.0]]), one).cosine == -1


def test_texts_are_alike_or_not() -> None:
    """A label that changes is no small difference."""
    assert column_deviation(pa.array(["a", "b"]), pa.array(["a", "b"])) == Deviation()
    assert column_deviation(pa.array(["a", "c"]), pa.array(["a", "b"])).max_abs == float("inf")


def test_a_budget_names_what_it_does_not_hold() -> None:
    """Each limit is a sentence with what was found and what is allowed; a NaN keeps no budget."""
    budget = AccuracyBudget(max_abs=1e-4, rank_correlation=0.999, decision_flips="1%", totals="0.1%")
    assert (
        Deviation(max_abs=1e-4, rank_correlation=0.999, flips=1, decisions=100, totals=0.001).breaks(budget)
        == []
    )
    said = Deviation(max_abs=0.5, rank_correlation=0.9, flips=2, decisions=100, totals=0.5).breaks(budget)
    assert len(said) == 4
    assert "0.5, allowed 0.0001" in said[0]
    assert "2 of 100 decisions flip, allowed 1%" in said[2]
    assert Deviation(max_abs=float("nan")).breaks(AccuracyBudget(max_abs=1.0))


def test_a_change_is_read_back_as_it_was_written() -> None:
    """Also one that a later version wrote with more in it."""
    change = Deviation(0.1, 0.9, 0.8, 3, 10, 0.2, 0.5, 0.6)
    assert deviation_from({**change.as_dict(), "later": 1.0}) == change


def test_lists_of_texts_are_the_same_or_another_decision() -> None:
    """They have no distance, and no cosine."""
    wanted = pa.array([["a"], ["b", "c"]])
    assert column_deviation(wanted, wanted) == Deviation()
    assert column_deviation(pa.array([["a"], ["c", "b"]]), wanted) == Deviation(max_abs=float("inf"))
