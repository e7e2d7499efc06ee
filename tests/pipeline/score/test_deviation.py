"""How far two sets of scores and decisions are apart."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr

from nightscore.evaluation.decision_changes import Decisions
from nightscore.job.accuracy_budget import AccuracyBudget
from nightscore.pipeline.score.deviation import Change, apart, change_from, rank_correlation
from nightscore.store.engine import Resources

FEW = st.integers(-3, 3).map(float)  # many ties


@given(st.integers(2, 40).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=FEW)] * 2)))
def test_rank_correlation_is_spearmans_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """With ties, too; where SciPy has none because one side is constant, it is 0, or 1 if the ranks agree."""
    one, other = pair
    found = rank_correlation(one, other)
    if np.ptp(one) and np.ptp(other):
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    else:
        assert found in (0.0, 1.0)


def test_a_nan_on_one_side_is_infinitely_far() -> None:
    """And NaNs on both sides are alike, as are infinities."""
    nan, inf = float("nan"), float("inf")
    assert apart(pa.array([1.0, nan, inf]), pa.array([1.0, nan, inf])).max_abs == 0
    assert apart(pa.array([1.0, 2.0]), pa.array([1.0, nan])).max_abs == inf
    assert apart(pa.array([1.0, inf]), pa.array([1.0, 2.0])).max_abs == inf


def test_lists_are_compared_by_cosine_and_by_number() -> None:
    """The least similar row counts; rows of another length are as far as can be."""
    one = pa.array([[1.0, 0.0], [0.0, 2.0]])
    other = pa.array([[1.0, 0.0], [2.0, 2.0]])
    found = apart(other, one)
    assert found.cosine == pytest.approx(np.sqrt(0.5))
    assert found.max_abs == 2.0
    assert apart(pa.array([[1.0], [0.0]]), one).cosine == -1


def test_texts_are_alike_or_not() -> None:
    """A label that changes is no small difference."""
    assert apart(pa.array(["a", "b"]), pa.array(["a", "b"])) == Change()
    assert apart(pa.array(["a", "c"]), pa.array(["a", "b"])).max_abs == float("inf")


def decisions(folder: Path, reference: pa.Table, candidate: pa.Table) -> Decisions:
    files = {}
    for name, table in (("reference", reference), ("candidate", candidate)):
        files[name] = folder / f"{name}.parquet"
        pq.write_table(table, files[name])
    room = Resources(1, 256 << 20, folder)
    return Decisions({"top": files["reference"]}, {"top": files["candidate"]}, room)


def test_a_flip_is_a_row_that_is_decided_otherwise(tmp_path: Path) -> None:
    """Scores may move; of two products that change places both rows count, and of the set alone none."""
    before = pa.table({"id": [1, 1], "rank": [1, 2], "product": [7, 8], "score": [0.9, 0.8]})
    after = pa.table({"id": [1, 1], "rank": [1, 2], "product": [8, 7], "score": [0.7, 0.6]})
    with decisions(tmp_path, before, after) as both:
        assert both.flips({}) == (2, 2)
        assert both.flips({"top": ["id", "product"]}) == (0, 2)
        assert both.totals() == pytest.approx(0.4 / 1.7)


def test_a_row_that_is_lost_and_one_that_is_new_are_one_flip(tmp_path: Path) -> None:
    """The larger of both counts, so that a replaced row is not counted twice."""
    before = pa.table({"id": [1, 2, 3]})
    with decisions(tmp_path, before, pa.table({"id": [1, 2, 4]})) as both:
        assert both.flips({}) == (1, 3)


def test_a_budget_names_what_it_does_not_hold() -> None:
    """Each limit is a sentence with what was found and what is allowed; a NaN keeps no budget."""
    budget = AccuracyBudget(max_abs=1e-4, rank_correlation=0.999, decision_flips="1%", totals="0.1%")
    assert (
        Change(max_abs=1e-4, rank_correlation=0.999, flips=1, decisions=100, totals=0.001).breaks(budget)
        == []
    )
    said = Change(max_abs=0.5, rank_correlation=0.9, flips=2, decisions=100, totals=0.5).breaks(budget)
    assert len(said) == 4
    assert "0.5, allowed 0.0001" in said[0]
    assert "2 of 100 decisions flip, allowed 1%" in said[2]
    assert Change(max_abs=float("nan")).breaks(AccuracyBudget(max_abs=1.0))


def test_a_change_is_read_back_as_it_was_written() -> None:
    """Also one that a later version wrote with more in it."""
    change = Change(0.1, 0.9, 0.8, 3, 10, 0.2, 0.5, 0.6)
    assert change_from({**change.as_dict(), "later": 1.0}) == change
