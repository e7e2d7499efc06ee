"""The model document of a job: what its authors say, `model.md` beside job.yaml, with figures filled in.

A figure is never typed: `{{ card/figures/model/quantile_1/below | .2% }}` is a value of a JSON file, of a
published table, of the parameters in force or of the record, in a format of Python's. The head of the file
names where they come from:

    ---
    figures: {card: data/models/finance/volatility_metrics.json}
    tables:
      coverage: {about: …, sql: SELECT … WHERE day BETWEEN $1 AND $2}
    ---
    ## Purpose
    …

Of a table, `coverage/share_1` is that column of its first row, and the rows stand under *Outcomes analysis*.
"""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightscore.common import Broken, clipped, parse_yaml
from nightscore.job import Job, load_all
from nightscore.store import catalog, named_views, sorted_select, with_names

FILE = "model.md"
SECTIONS = (
    "Purpose", "Data", "Method", "Assumptions", "Limitations", "Outcomes analysis", "Benchmarks",
    "Thresholds", "Changes", "Owner",
)  # fmt: skip
HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
TITLE = re.compile(r"^## +(.+?) *$", re.MULTILINE)
FIGURE = re.compile(r"\{\{\s*([^{}|]+?)\s*(?:\|\s*([^{}|]*?)\s*)?\}\}")
PLACE = re.compile(r"\$([12])\b")
MOST_ROWS = 60  # of a table on the page
PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&])")
NO_VALUE = "no value"  # of a NULL


class Outcome(BaseModel):
    """A table of outcomes: one SELECT over published tables; $1 and $2 are the first and the last day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    sql: str


class Head(BaseModel):
    """What the head of a model document names: JSON files of the workspace, and SELECTs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figures: Annotated[dict[str, str], Field(description="name: JSON file")] = {}
    tables: dict[str, Outcome] = {}

    def twice(self, known: Iterable[str]) -> set[str]:
        """The names that stand for two things, of figures, tables and what is `known` without them."""
        return ({*self.figures, *self.tables} & {*known}) | (self.figures.keys() & self.tables.keys())


@dataclass(frozen=True)
class Said:
    """What stands in the place of figures that are not there."""

    text: str


@dataclass(frozen=True)
class OutcomeRows:
    """What an outcome table holds now; `problem` says why it can't be read, `missing` what it waits for."""

    name: str
    about: str
    sql: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    problem: str = ""
    missing: tuple[str, ...] = ()

    @property
    def first_row(self) -> "dict[str, Any] | Said":
        """Column -> value of the first row; or what is said in its place."""
        if self.problem and not self.missing:
            return Said("can't be read")
        return dict(zip(self.columns, self.rows[0], strict=True)) if self.rows else Said("not published")

    @property
    def shown(self) -> tuple[tuple[Any, ...], ...]:
        """The rows that a page has room for."""
        return self.rows[:MOST_ROWS]


@dataclass(frozen=True)
class Document:
    """A model document: Markdown by section, figures filled in; and the outcome tables it names.

    `shown` is its file; `missing` are sections that nobody has written.
    """

    shown: str
    sections: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[OutcomeRows, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """The sections that nobody has written."""
        return tuple(name for name in SECTIONS if not self.sections.get(name))


def read_document(job: Job, first: dt.date, last: dt.date, known: Mapping[str, Any]) -> Document:
    """A job's model document with its figures; without any section where it has none.

    `known` are figures that need no file: name -> a value, or a mapping of values.

    Raises:
        Broken: the document names a section, a figure or a file that is not there; names file and line.
    """
    path = job.file.with_name(FILE)
    shown = job.workspace.relative(path)
    if not path.exists():
        return Document(shown)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(f"{shown}: can't be read as UTF-8 text: {error}") from error
    head, start = _read_head(text, shown)
    if twice := head.twice(known):
        raise Broken(
            f"{shown}: head: {min(twice)!r} stands for two things; figures and tables have names of their "
            f"own, and none of {', '.join(known)}, which every page has"
        )
    tables = tuple(_run(job, shown, name, one, (first, last)) for name, one in head.tables.items())
    figures = {name: _read_figures(job, shown, name, file) for name, file in head.figures.items()}
    rows = {one.name: one.first_row for one in tables}
    values = {**known, **figures, **rows}
    return Document(shown, _sections(text, start, shown, values), tables, head.figures)


def _read_head(text: str, shown: str) -> tuple[Head, int]:
    """The head, and where the text begins."""
    found = HEAD.match(text)
    if not found:
        return Head(), 0
    document, _ = parse_yaml("\n" + found[1], shown)  # so that lines are those of the file
    try:
        return Head.model_validate(document or {}), found.end()
    except ValidationError as error:
        first = error.errors()[0]
        raise Broken(
            f"{shown}: head: {'.'.join(map(str, first['loc']))}: {first['msg']}; a head has figures: "
            "{name: JSON file} and tables: {name: {about: …, sql: …}}"
        ) from error


def _read_figures(job: Job, shown: str, name: str, file: str) -> Any:
    try:
        return json.loads(job.workspace.resolve(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Broken(f"{shown}: head: figures.{name}: {file} can't be read as JSON: {error}") from error


def _run(job: Job, shown: str, name: str, outcome: Outcome, days: tuple[dt.date, dt.date]) -> OutcomeRows:
    """The rows of an outcome table. One that can't be read is told, and keeps nothing else away."""
    used = sorted(set(PLACE.findall(outcome.sql)))  # DuckDB refuses a value that has no place
    sql = PLACE.sub(lambda place: f"${used.index(place[1]) + 1}", outcome.sql)
    missing: tuple[str, ...] = ()
    try:
        missing = _unpublished(job, sql)
        text = sorted_select(sql, f"tables.{name}")  # so that a page is the same page again
        table = catalog.query(text, job.workspace, values=[days[int(place) - 1] for place in used])
        columns = [column.to_pylist() for column in table.columns]  # by place: two may have one name
    except UnknownTable as error:
        raise Broken(f"{shown}: head: tables.{name}: {error}") from None
    except (Broken, ArithmeticError, ValueError) as error:  # a day that Python has not, such as 20000-01-01
        return OutcomeRows(name, outcome.about, outcome.sql, problem=str(error), missing=missing)
    rows = tuple(zip(*columns, strict=True))
    return OutcomeRows(name, outcome.about, outcome.sql, tuple(table.column_names), rows)


class UnknownTable(Broken):
    """A SELECT reads a table that no job makes."""


def _unpublished(job: Job, sql: str) -> tuple[str, ...]:
    """The tables that a SELECT reads and that have no day yet.

    Raises:
        UnknownTable: one is of no job of the workspace.
        Broken: it is no SELECT.
    """
    there = {view.name.lower() for view in catalog.read_catalog(job.workspace).views()}
    missing = named_views(sql, FILE) - there - with_names(sql, FILE)
    jobs, broken = load_all(job.workspace) if missing else ([], [])
    made = {table.lower() for one in (job, *jobs) for table in one.spec.tables}
    if (unknown := missing - made) and not broken:  # what a job makes that can't be read is not known
        raise UnknownTable(
            f"{min(unknown)!r} is a table of no job; those of {job.name}: {', '.join(job.spec.tables)}; "
            f"published: {', '.join(sorted(there))}"
        )
    return tuple(sorted(missing))


def _sections(text: str, start: int, shown: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Section -> its Markdown, with figures."""
    titles = list(TITLE.finditer(text, start))
    _refuse_unheaded(text, start, titles[0].start() if titles else len(text), shown)
    ends = [*(title.start() for title in titles[1:]), len(text)]
    sections: dict[str, str] = {}
    for title, end in zip(titles, ends, strict=True):
        if title[1] not in SECTIONS or title[1] in sections:
            line = text.count("\n", 0, title.start()) + 1
            raise Broken(
                f"{shown}:{line}: section {clipped(title[1])} is not one of a model document, or is there "
                f"twice; its sections: {', '.join(SECTIONS)}"
            )
        if title[1] == "Limitations" and not FIGURE.search(text, title.end(), end):
            raise Broken(
                f"{shown}: Limitations have no figure; say how much each is, such as "
                "{{ card/figures/model/below | .2% }}"
            )
        sections[title[1]] = _filled(text, (title.end(), end), shown, values).strip()
    return sections


def _refuse_unheaded(text: str, start: int, end: int, shown: str) -> None:
    """Raise `Broken` where a line stands between the head and the first heading."""
    before = text[start:end]
    if before.strip():
        line = text.count("\n", 0, start + len(before) - len(before.lstrip())) + 1
        raise Broken(
            f"{shown}:{line}: {clipped(before.strip().splitlines()[0])} stands before the first heading, "
            f"where no page has it; a model document is a head and sections: ## {', ## '.join(SECTIONS)}"
        )


def _filled(text: str, span: tuple[int, int], shown: str, values: Mapping[str, Any]) -> str:
    """A part of the text with each figure in its place."""
    start, end = span

    def fill(found: re.Match[str]) -> str:
        line = text.count("\n", 0, start + found.start()) + 1
        return _figure(found[1], found[2] or "", f"{shown}:{line}", values)

    return FIGURE.sub(fill, text[start:end])


def _figure(path: str, form: str, place: str, values: Mapping[str, Any]) -> str:
    """One value, formatted, as Markdown that is only text."""
    value: Any = values
    for i, part in enumerate(steps := path.split("/")):
        key: Any = int(part) if isinstance(value, list) and part.isdecimal() else part
        if isinstance(value, Said):
            return value.text
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            at = "/".join(steps[:i]) or "figures"
            raise Broken(f"{place}: {path}: {at} has no {clipped(part)}; there: {_names(value)}") from None
    try:
        written = format(value, form) if value is not None else NO_VALUE
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise Broken(
            f"{place}: {path}: {clipped(str(value))} can't be written as {form!r}: {error}"
        ) from None
    # JSON may hold half of a character, which no page can.
    return PUNCTUATION.sub(r"\\\1", written.encode(errors="replace").decode())


def _names(value: Any) -> str:
    """What a value has, for whoever asked for what it has not."""
    if isinstance(value, Mapping):
        return ", ".join(map(str, value))
    return f"0 to {len(value) - 1}" if isinstance(value, list) else f"no more than {clipped(str(value))}"
