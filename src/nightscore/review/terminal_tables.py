"""Tables on a terminal: what stands in them is no markup, and steers nothing."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nightscore.common import visible, visible_cell

WIDTH_OF_A_PIPE = 160  # columns, where no terminal says how wide it is
SHOWN_ROWS = 100
COLUMN_GAP = 2  # spaces between two columns of a table


class PlainConsole(Console):
    """A terminal or a pipe whose texts steer nothing: what would is shown (`visible`)."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts in rich's markup, and tables."""
        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to the command: rich would end the process, with exit code 1."""
        raise  # noqa: PLE0704 - it is called where the error is caught


def console() -> Console:
    """Standard output, wide enough for a table where it is no terminal."""
    return PlainConsole(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)


def text_table(rows: Iterable[Sequence[object]], columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table for a terminal; the columns in `right` are numbers. What stands in it is no markup."""
    headed = any(name.strip() for name in columns)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=headed)
    for name in columns:
        table.add_column(_cell(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def print_rows(table: pa.Table) -> None:
    """Print the first SHOWN_ROWS rows of a query's result; one below the other where columns don't fit."""
    numbers = [f.name for f in table.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    columns = [column.to_pylist() for column in table.slice(0, SHOWN_ROWS).columns]  # two may have one name
    rows = [list(row) for row in zip(*columns, strict=True)]
    out, names = console(), table.schema.names
    if sum(cell_len(name) + COLUMN_GAP for name in names) - COLUMN_GAP <= out.width:
        out.print(text_table(rows, names, numbers))
    else:  # not even the names fit side by side: they would be folded letter by letter
        for i, row in enumerate(rows):
            out.print(f"[bold]row {i + 1}[/bold]")
            out.print(text_table(zip(names, row, strict=True), ("", " ")), soft_wrap=True)
    if table.num_rows > SHOWN_ROWS:
        print(
            f"… {table.num_rows:,} rows in all; --format csv, json or parquet gives every one",
            file=sys.stderr,
        )


def _cell(value: object) -> Text:
    return Text(visible_cell(_plain(value)))


def _plain(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
