"""What a job's highlights were of a day: a part of its receipt, so that later readers only read."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from nightscore.common import HTML

Cells = tuple[str | None, ...]  # a row: numbers are texts, exact in every reader


class HighlightColumn(BaseModel):
    """A column, and what its numbers are (`nightscore.common.format_value`); "" for what is no number.

    Of a text that is a page of its own, such as a mail, it is `html`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    format: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.format not in ("", HTML)

    @property
    def is_page(self) -> bool:
        """Whether its texts are HTML."""
        return self.format == HTML


class HighlightBefore(BaseModel):
    """The same SELECT over the last published day before; without rows, and a `reason`, where it failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    day: str
    run_id: str
    rows: tuple[Cells, ...] = ()
    reason: str = ""


class HighlightResult(BaseModel):
    """The rows of one highlight. `reason` says why there are none; `by` are the columns that name a row.

    `before` is there where the numbers are held against the day before, and there was one. `chart` are the
    columns that are drawn.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str
    columns: tuple[HighlightColumn, ...] = ()
    by: tuple[str, ...] = ()
    chart: tuple[str, ...] = ()
    rows: tuple[Cells, ...] = ()
    before: HighlightBefore | None = None
    reason: str = ""

    @property
    def compared(self) -> bool:
        """Whether there are numbers of the day before."""
        return self.before is not None and not self.before.reason

    def drawn(self) -> Iterator[tuple[HighlightColumn, list[str | None]]]:
        """Each column that is drawn, and its cells in the order of the rows."""
        for i, column in enumerate(self.columns):
            if column.name in self.chart:
                yield column, [row[i] for row in self.rows]

    def pairs(self) -> Iterator[tuple[Cells, Cells | None]]:
        """Each row, and the one of its name on the day before, if any."""
        earlier = {self._name(row): row for row in self.before.rows} if self.before else {}
        yield from ((row, earlier.get(self._name(row))) for row in self.rows)

    def gone(self) -> list[Cells]:
        """The rows of the day before whose name no row of the day has."""
        names = {self._name(row) for row in self.rows}
        return [row for row in (self.before.rows if self.before else ()) if self._name(row) not in names]

    def _name(self, row: Cells) -> Cells:
        return tuple(cell for column, cell in zip(self.columns, row, strict=True) if column.name in self.by)

    def without_rows(self, reason: str) -> "HighlightResult":
        """The same as it is to be where its numbers may not stay: none, and why."""
        before = self.before and self.before.model_copy(update={"rows": ()})
        return self.model_copy(update={"rows": (), "before": before, "reason": reason})
