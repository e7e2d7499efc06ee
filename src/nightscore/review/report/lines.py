"""A column of a highlight as a small line over its rows, in SVG's own words: no library and no script.

Its colours are those of the page that it stands in.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH, HEIGHT, EDGE = 320, 64, 5  # of a drawing, and what is left free of it for dots

Point = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """The points of one column: `paths` of those that stand side by side, `dots` of all.

    `least` and `most` are the values at the foot and the top of the drawing, as the cells have them. Without
    a number in the column all of it is empty.
    """

    paths: tuple[str, ...] = ()
    dots: tuple[Point, ...] = ()
    least: str = ""
    most: str = ""
    width: int = WIDTH
    height: int = HEIGHT


def draw_line(cells: Sequence[str | None]) -> Line:
    """The line over the rows of a column; a cell that is null, NaN or infinite is a gap in it."""
    values = [math.nan if cell is None else float(cell) for cell in cells]
    there = [(value, str(cell)) for value, cell in zip(values, cells, strict=True) if math.isfinite(value)]
    if not there:
        return Line()
    (low, least), (high, most) = min(there), max(there)
    runs = list(_runs(values, low, high))
    paths, dots = (" ".join(map(",".join, run)) for run in runs), (point for run in runs for point in run)
    return Line(tuple(paths), tuple(dots), least, most)


def _runs(values: Sequence[float], low: float, high: float) -> Iterator[list[Point]]:
    """The points of the rows without a gap between them; a column of one value lies in the middle."""
    step, span = (WIDTH - 2 * EDGE) / max(len(values) - 1, 1), high / 2 - low / 2  # by halves it is finite
    foot, tall = (HEIGHT - EDGE, HEIGHT - 2 * EDGE) if span else (HEIGHT / 2, 0)
    for is_there, run in groupby(enumerate(values), key=lambda one: math.isfinite(one[1])):
        if is_there:
            yield [
                (f"{EDGE + i * step:.1f}", f"{foot - (value / 2 - low / 2) / (span or 1) * tall:.1f}")
                for i, value in run
            ]
