"""The highlights of a day: a few rows of its own tables, beside those of the day before, for its receipt.

They are asked after the audits, of what is about to be published. One that fails stops nothing: the day is
published, and its receipt says that the highlight failed and why. What can be known before the night (that it
is one SELECT, which tables and columns it names) is refused by `nightscore check` and by the plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from nightscore.common import HTML, Broken, NightscoreError, as_day, cell_text
from nightscore.job import CHALLENGERS, SCORES, SHOWN_ROWS, Highlight, Job, Misplaced, highlight_place
from nightscore.pipeline.context import Day
from nightscore.pipeline.row_order import in_one_order
from nightscore.store import (
    CatalogEntry,
    Engine,
    HighlightBefore,
    HighlightColumn,
    HighlightResult,
    Pinned,
    Plan,
    SqlMistakes,
    catalog,
    is_number,
    named_views,
    repeatable_select,
    sorted_select,
    with_names,
)

Rows = tuple[tuple[str | None, ...], ...]
FLOATS = {"FLOAT", "DOUBLE"}
LONGEST_PAGE = 50_000


def check_highlights(job: Job) -> None:
    """Hold a job's highlights to what can be known without inputs and model.

    Raises:
        Broken: one is no single SELECT that gives the same rows at each run, or reads what is no table of
            the job's own.
    """
    for i, sql in enumerate(job.highlight_sql):
        place = highlight_place(job, i)
        repeatable_select(sql, place, job.spec.variables)
        _select(job, i)
        allowed = {name.lower(): table for name, table in _own_tables(job).items()} | {"params": ""}
        for name in sorted(read_views(sql, place) - allowed.keys()):
            raise Broken(
                f"{place}: reads {name}, which is no table of the job's day; allowed: {', '.join(allowed)}"
            )


def bind_highlights(job: Job, engine: Engine) -> None:
    """Hold them to the columns of the engine's views, before there is any data.

    Raises:
        Broken: the SQL names a column that is not there, or gives two of one name; or `by` or `format` name
            one that it does not give, or that holds no numbers.
    """
    for i, highlight in enumerate(job.spec.highlights):
        place, select = highlight_place(job, i), _select(job, i)
        with SqlMistakes(place):
            types, names = engine.types(select), engine.schema(select).names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise Broken(f"{place}: gives column {twice[0]!r} twice")
        try:
            highlight.check_columns(names, [name for name, kind in types.items() if is_number(kind)])
        except Misplaced as error:
            job.raise_broken(("highlights", i, *error.at), str(error))


def read_highlights(day: Day, engine: Engine) -> tuple[HighlightResult, ...]:
    """What each highlight of a job gives on the day whose staged tables the engine sees."""
    asked = range(len(day.job.spec.highlights))
    earlier = _Earlier(day) if asked else None
    return tuple(_read_one(day, engine, i, earlier) for i in asked if earlier)


def _read_one(day: Day, engine: Engine, index: int, earlier: "_Earlier") -> HighlightResult:
    highlight = day.job.spec.highlights[index]
    by, chart = tuple(highlight.by or ()), tuple(highlight.chart or ())
    result = HighlightResult(title=highlight.title, by=by, chart=chart)
    try:
        columns, rows = _ask(day.job, engine, index)
        before = earlier.read(index) if highlight.against else None
    except NightscoreError as error:
        return result.model_copy(update={"reason": str(error)})
    return result.model_copy(update={"columns": columns, "rows": rows, "before": before})


@dataclass(frozen=True)
class _Earlier:
    """The last published day of the job before the one at work."""

    day: Day

    @cached_property
    def _found(self) -> tuple[Pinned, CatalogEntry | None]:
        state = catalog.read_catalog(self.day.workspace)
        return state, state.previous(self.day.job.name, as_day(self.day.plan.day))

    def read(self, index: int) -> HighlightBefore | None:
        """The rows of a highlight on that day, or why there are none; None where there is no such day."""
        state, entry = self._found
        if entry is None:
            return None
        before = HighlightBefore(day=entry.day, run_id=entry.run_id)
        try:
            return before.model_copy(update={"rows": self._rows(state, entry, index)})
        except NightscoreError as error:
            return before.model_copy(update={"reason": str(error)})

    def _rows(self, state: Pinned, entry: CatalogEntry, index: int) -> Rows:
        job = self.day.job
        receipt = entry.read_receipt()
        plan = Plan(job.name, entry.day, "score", params=job.own_params(receipt.params))
        read = read_views(job.highlight_sql[index], highlight_place(job, index))
        read |= {SCORES} if CHALLENGERS in read else set()  # of whose files they are columns
        files = {
            name: [file.path.local() for file in state.files_of(entry, table)]
            for name, table in _own_tables(job).items()
            if name.lower() in read and name != CHALLENGERS
        }
        with Day(job, plan).published_engine(files) as engine:
            return _ask(job, engine, index)[1]


def _ask(job: Job, engine: Engine, index: int) -> tuple[tuple[HighlightColumn, ...], Rows]:
    """The columns and rows of a highlight.

    Raises:
        Broken: the SQL fails on these rows, or gives too many, or two of one name.
    """
    highlight, place, select = job.spec.highlights[index], highlight_place(job, index), _select(job, index)
    rows: list[tuple[str | None, ...]] = []
    with SqlMistakes(place):
        types = engine.types(select)
        pages = [highlight.format.get(name) == HTML for name in types]
        for batch in engine.stream(select):
            columns = [column.to_pylist() for column in batch.columns]
            rows += [tuple(map(_written, row, pages)) for row in zip(*columns, strict=True)]
            if len(rows) > SHOWN_ROWS:
                raise Broken(f"{place}: gives more than {SHOWN_ROWS} rows; choose the first with a LIMIT")
    _refuse_unnamed(highlight, list(types), rows, place)
    return tuple(HighlightColumn(name=n, format=_format(highlight, n, k)) for n, k in types.items()), tuple(
        rows
    )


def _refuse_unnamed(
    highlight: Highlight, columns: list[str], rows: list[tuple[str | None, ...]], place: str
) -> None:
    """Refuse rows that are to be matched with those of another day, and can't be told apart."""
    if highlight.against and len(rows) > 1 and not highlight.by:
        raise Broken(f"{place}: gives {len(rows)} rows, and no `by` says which columns name one")
    at = [columns.index(name) for name in highlight.by or ()]
    names = [tuple(row[i] for i in at) for row in rows]
    for name in {name for name in names if at and names.count(name) > 1}:
        shown = ", ".join(str(part) for part in name)
        raise Broken(f"{place}: gives {names.count(name)} rows of {', '.join(highlight.by or ())} {shown}")


def _select(job: Job, index: int) -> str:
    """The SELECT of a highlight as it is run: its rows in an order of their own."""
    place = highlight_place(job, index)
    return sorted_select(in_one_order(job, job.highlight_sql[index], place), place)


def _own_tables(job: Job) -> Mapping[str, str]:
    """The job's own tables as its highlights see them: the name in SQL -> the table."""
    others = [table for table in job.spec.tables if table != job.spec.scores_table]
    rivals = {CHALLENGERS: job.spec.scores_table} if job.spec.model.rivals else {}
    return {SCORES: job.spec.scores_table, **{name: name for name in others}, **rivals}


def read_views(sql: str, place: str) -> set[str]:
    """The views that a SELECT reads, in lower case, by its parsed text; without those that its WITH makes."""
    return {*named_views(sql, place)} - with_names(sql, place)


def _format(highlight: Highlight, column: str, kind: str) -> str:
    if highlight.format.get(column) == HTML:
        return HTML
    if not is_number(kind) or column in (highlight.by or ()):
        return ""
    default = "number" if kind in FLOATS else "decimal" if kind.startswith("DECIMAL") else "integer"
    return highlight.format.get(column, default)


def _written(value: object, is_page: bool = False) -> str | None:
    """A cell: a number as an exact text, a page as it is, anything else as people read it.

    Raises:
        Broken: a page is longer than a receipt should be.
    """
    if is_page and isinstance(value, str):
        if len(value) > LONGEST_PAGE:
            raise Broken(f"gives a page of {len(value):,} letters; allowed: {LONGEST_PAGE:,}")
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int | float):
        return repr(value)
    return None if value is None else cell_text(value)
