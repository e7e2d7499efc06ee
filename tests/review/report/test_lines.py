"""The small lines of a highlight: where each value stands, by hand and by NumPy."""

import numpy as np
import pytest

from nightscore.review.report.lines import EDGE, HEIGHT, WIDTH, draw_line


def test_values_stand_in_proportion() -> None:
    """From the foot, the least, to the top, the most; from left to right as far apart as the rows."""
    cells = ["0.25", "1", "-0.5", "0.3"]
    line = draw_line(cells)
    assert (line.least, line.most, len(line.paths)) == ("-0.5", "1", 1)
    across = np.linspace(EDGE, WIDTH - EDGE, 4)
    up = np.interp([float(cell) for cell in cells], [-0.5, 1], [HEIGHT - EDGE, EDGE])
    found = np.array(line.dots, np.float64)
    assert found == pytest.approx(np.column_stack([across, up]), abs=0.051)
    assert line.paths[0] == " ".join(f"{x},{y}" for x, y in line.dots)


@pytest.mark.parametrize("gap", [None, "nan", "inf", "-inf"])
def test_what_is_no_number_is_a_gap(gap: str | None) -> None:
    line = draw_line(["1", "2", gap, "3"])
    assert [len(path.split()) for path in line.paths] == [2, 1]
    assert [x for x, _ in line.dots] == [x for x, _ in draw_line(["1", "2", "2", "3"]).dots if x != "211.7"]


def test_a_span_beyond_the_largest_float_is_drawn() -> None:
    line = draw_line(["1e308", "0", "-1e308"])
    assert [y for _, y in line.dots] == [f"{y:.1f}" for y in (EDGE, HEIGHT / 2, HEIGHT - EDGE)]


def test_one_value_and_none() -> None:
    """Values that are all the same lie in the middle; where there are none nothing is drawn."""
    assert {y for _, y in draw_line(["7", "7"]).dots} == {f"{HEIGHT / 2:.1f}"}
    assert draw_line(["7"]).dots == ((f"{EDGE:.1f}", f"{HEIGHT / 2:.1f}"),)
    assert draw_line([None, "nan"]).paths == draw_line([]).paths == ()
