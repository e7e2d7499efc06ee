"""Which stages of a night took longer than they usually do."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nightscore.common.workspace import Workspace
from nightscore.store.documents.receipt import Cost, Receipt, RowCounts
from nightscore.store.records.paces import KEPT, Pace, find_slower, note_pace, read_paces, slower_stages


def nights(seconds: list[float], rows: int = 2_000_000) -> list[Pace]:
    return [
        Pace(day=f"2026-01-{i + 1:02}", run_id=str(i), rows=rows, seconds={"score": s, "plan": 1.0})
        for i, s in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("took", "is_slower"),
    [(10.2, False), (14.9, False), (15.4, True), (40.0, True), (5.0, False)],
)
def test_a_stage_beyond_the_usual_spread_is_named(took: float, is_slower: bool) -> None:
    """Half as long again as the median, and beyond five deviations as SciPy's MAD estimates them."""
    usual = [10.0, 10.1, 9.9, 10.3, 9.8, 10.0, 10.2, 30.0, 9.9, 10.1]  # one slow night is no new usual
    spread = stats.median_abs_deviation(usual, scale="normal")
    assert bool(took > max(np.median(usual) * 1.5, np.median(usual) + 5 * spread)) is is_slower
    [*found] = slower_stages(nights(usual), nights([took])[0])
    assert [line.partition(":")[0] for line in found] == (["score"] if is_slower else [])
    if is_slower:  # per million rows, of two million
        expected = f"score: {took / 2:,.1f} s per million rows, usually {np.median(usual) / 2:.1f}"
        assert found[0].startswith(expected)


def test_nights_of_other_sizes_are_compared_per_row() -> None:
    """Ten times the rows in ten times the time is usual; in thirty times it is not."""
    usual = nights([10.0] * 9)
    assert slower_stages(usual, nights([100.0], 20_000_000)[0]) == ()
    assert len(slower_stages(usual, nights([300.0], 20_000_000)[0])) == 1


def test_few_nights_or_short_ones_say_nothing() -> None:
    """Of seven nights nothing is usual; and a stage of milliseconds is never slow."""
    assert slower_stages(nights([1.0] * 7), nights([100.0])[0]) == ()
    assert slower_stages(nights([0.01] * 9), nights([1.0])[0]) == ()


def test_what_nights_took_is_kept_and_bounded(tmp_path: Path) -> None:
    """Of a run that is told twice once; a damaged file is as if nothing had been told."""
    space = Workspace(tmp_path)
    for i in (*range(KEPT + 5), KEPT + 4):
        seconds = {"score": 3.0 + i % 2}
        note_pace(
            space,
            Receipt(
                job="mini", day=f"d{i}", run_id=f"r{i}", status="published", rows=RowCounts(scored=1_000_000),
                seconds=seconds, cost=Cost(cpu_seconds={"score": 2.0}),
            ),
        )  # fmt: skip
    paces = read_paces(space, "mini")
    assert [one.run_id for one in paces] == [f"r{i}" for i in range(5, KEPT + 5)]
    late = Receipt(
        job="mini", day="d", run_id="r", status="published", rows=RowCounts(scored=1_000_000),
        seconds={"score": 4.0}, cost=Cost(cpu_seconds={"score": 9.0}),
    )  # fmt: skip
    assert [line.partition(" CPU")[0] for line in find_slower(space, late)] == ["score: 9.0"]
    (tmp_path / "data/attempts/mini/paces.json").write_text("{")
    assert read_paces(space, "mini") == [] and find_slower(space, late) == ()
