"""A day's highlights in a message: a few rows each, as text in columns, as HTML, and as JSON.

The rest stands in the report. A cell is a value of a row: it breaks no line, no table and no page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nightscore.common import cell_text, format_change, format_value, visible_cell
from nightscore.store import HighlightColumn, HighlightResult

HIGHLIGHTS, ROWS, COLUMNS, LONGEST = 4, 5, 6, 40  # of a message: so many, of so many characters a cell
PAGE = "a page: see the report"
CELL = "padding:2px 10px;border-bottom:1px solid #ddd"

Cells = tuple[str | None, ...]


@dataclass(frozen=True)
class _Grid:
    """A highlight as texts: which columns stand on the right, and what is said below."""

    title: str
    header: list[str]
    is_number: list[bool]
    rows: list[list[str]]
    notes: list[str]


def figures_text(highlights: Sequence[HighlightResult]) -> str:
    """Highlights as text, for a font whose letters have one width; "" for none."""
    parts = ["\n".join(_lines(_grid(one))) for one in highlights[:HIGHLIGHTS]]
    return "\n\n".join([*parts, *_more(highlights)])


def figures_html(highlights: Sequence[HighlightResult]) -> str:
    """Highlights as tables of HTML, each with its own style: a mail has no style sheet."""
    parts = ["".join(_tags(_grid(one))) for one in highlights[:HIGHLIGHTS]]
    return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in _more(highlights))])


def figures_json(highlights: Sequence[HighlightResult]) -> list[dict[str, Any]]:
    """Highlights for a program: each number exactly (a text), as people read it, and of the day before."""
    return [
        {
            "title": one.title, "reason": one.reason, "more_rows": max(0, len(one.rows) - ROWS),
            "against": one.before.day if one.before and one.compared else None,
            "rows": [_fields(one, row, before) for row, before in _first(one)],
        }
        for one in highlights[:HIGHLIGHTS]
    ]  # fmt: skip


def _first(one: HighlightResult) -> list[tuple[Cells, Cells | None]]:
    return list(one.pairs())[:ROWS]


def _fields(one: HighlightResult, row: Cells, before: Cells | None) -> dict[str, dict[str, str | None]]:
    earlier = before or (None,) * len(row)
    found: dict[str, dict[str, str | None]] = {}
    for column, value, old in zip(one.columns, row, earlier, strict=True):
        if column.is_page:
            continue
        found[column.name] = {"value": value, "text": format_value(value, column.format)}
        if one.compared and column.is_number:
            found[column.name] |= {"before": old, "change": format_change(value, old, column.format)}
    return found


def _grid(one: HighlightResult) -> _Grid:
    columns = one.columns[:COLUMNS]
    pairs = _first(one)
    changes = [one.compared and column.is_number for column in columns]
    header = [
        name
        for column, changed in zip(columns, changes, strict=True)
        for name in (_named(column), *(["change"] if changed else []))
    ]
    numbers = [c.is_number for c, changed in zip(columns, changes, strict=True) for _ in range(1 + changed)]
    rows = [
        [cell for i, column in enumerate(columns) for cell in _cells(column, i, row, before, changes[i])]
        for row, before in pairs
    ]
    return _Grid(_cell(one.title), header, numbers, rows, list(_notes(one)))


def _cells(
    column: HighlightColumn, at: int, row: Cells, before: Cells | None, is_changed: bool
) -> Iterator[str]:
    yield PAGE if column.is_page else _cell(format_value(row[at], column.format))
    if is_changed:
        yield _cell(format_change(row[at], before[at], column.format) if before else "new")


def _notes(one: HighlightResult) -> Iterator[str]:
    if one.reason:
        yield f"no numbers: {_cell(one.reason, 200)}"
        return
    if not one.rows:
        yield "no rows"
    if (more := len(one.rows) - ROWS) > 0:
        yield f"and {more} more rows: see the report"
    if (more := len(one.columns) - COLUMNS) > 0:
        yield f"and {more} more columns: see the report"
    if one.before and one.before.reason:
        yield f"not held against {one.before.day}: {_cell(one.before.reason, 200)}"
    elif one.before:
        yield f"changes are against {one.before.day}"


def _more(highlights: Sequence[HighlightResult]) -> list[str]:
    more = len(highlights) - HIGHLIGHTS
    return [f"and {more} more highlights: see the report"] if more > 0 else []


def _lines(grid: _Grid) -> Iterator[str]:
    yield grid.title
    table = [grid.header, *grid.rows] if grid.rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, grid.is_number, strict=True)
        yield "  ".join(f"{text:>{w}}" if right else f"{text:<{w}}" for text, w, right in cells).rstrip()
    yield from grid.notes


def _tags(grid: _Grid) -> Iterator[str]:
    yield f"<h3>{escape(grid.title)}</h3>"
    if grid.rows:
        yield '<table style="border-collapse:collapse">'
        yield from (
            _row("th", grid.header, grid.is_number),
            *(_row("td", r, grid.is_number) for r in grid.rows),
        )
        yield "</table>"
    yield from (f"<p>{escape(note)}</p>" for note in grid.notes)


def _row(tag: str, cells: Sequence[str], is_number: Sequence[bool]) -> str:
    sides = ("right" if right else "left" for right in is_number)
    made = (
        f'<{tag} style="{CELL};text-align:{side}">{escape(cell)}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(made)}</tr>"


def _named(column: HighlightColumn) -> str:
    unit = column.format.removeprefix("money ") if column.format.startswith("money") else ""
    return _cell(f"{column.name} {unit}".strip())


def _cell(text: str, longest: int = LONGEST) -> str:
    return visible_cell(cell_text(text, longest))
