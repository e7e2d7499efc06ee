"""One SELECT of a person, within limits: what `nightscore query` and the page in Airflow ask."""

import contextlib
import difflib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from nightscore.common import Broken
from nightscore.job import macros_called
from nightscore.store.sql.checks import single_select
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.inexact import refuse_inexact_types, refuse_infinite_moments
from nightscore.store.sql.lost import readable, refuse_lost
from nightscore.store.sql.mistakes import SqlMistakes
from nightscore.store.sql.views import View

BATCH_ROWS = 65_536  # of a result without a limit
VECTOR_ROWS = 2_048  # of one with a limit: DuckDB's own step
AGAIN_SECONDS = 0.05  # between two interrupts
LISTING = ("information_schema", "duckdb_", "pg_", "sqlite_", "show", "describe", "summarize", "query")


@dataclass(frozen=True)
class QueryLimits:
    """Where a query ends. None: nowhere.

    `rows` of its result are read, and no more; a result of more than `size` bytes is refused; after
    `seconds` it is stopped.
    """

    rows: int | None = None
    size: int | None = None
    seconds: float | None = None


NONE = QueryLimits()
WHERE = "query"  # in front of what is wrong with it
UNKNOWN = "Table with name"  # as DuckDB says it of one that does not exist
NAMED = re.compile(rf"{UNKNOWN} (.+?) does not exist!")
GUESS = re.compile(r'\nDid you mean "[^\n]*"\?')  # of DuckDB's own catalog, too, which nobody here means


def run_query(
    sql: str, views: Sequence[View], resources: EngineResources, values: Sequence[object] = (),
    limits: QueryLimits = NONE,
) -> pa.Table:  # fmt: skip
    """The result of one SELECT over some views, on a connection that reads them and nothing else.

    `values` stand for $1, $2, … in the SQL.

    Raises:
        Broken: no SELECT, a mistake in it, or beyond a limit; lists the views where one is not known. Or a
            column whose values Arrow does not have, with the cast that it has.
        NotYet: it needs more memory or disk than it may use.
    """
    with _tables_listed(views):
        single_select(sql, WHERE)
    with (
        _tables_listed(views, UNKNOWN),
        Engine(_named_in(sql, views), resources, macros=macros_called(sql).values()) as engine,
        _timed(engine, limits.seconds),
        SqlMistakes(WHERE),
    ):
        refuse_inexact_types(engine.column_types(sql, values))
        schema = engine.schema(sql, values)
        batches = engine.stream(sql, BATCH_ROWS if limits == NONE else VECTOR_ROWS, values)
        result = pa.Table.from_batches(_within(batches, limits), schema)
    return result if limits.rows is None else result.slice(0, limits.rows)


def _named_in(sql: str, views: Sequence[View]) -> list[View]:
    """The views that SQL may read: DuckDB takes 0.3 ms of CPU for each file that it is told of, asked or not.

    All of them that can be read where the SQL may ask what there is.

    Raises:
        Broken: one that the SQL names can't be read; says why.
    """
    text = sql.lower()
    named = [view for view in views if view.name.lower() in text]
    refuse_lost(view for view in named if re.search(rf"(?<!\w){re.escape(view.name.lower())}(?!\w)", text))
    asked = views if any(word in text for word in LISTING) else named
    return readable(asked)


@contextlib.contextmanager
def _tables_listed(views: Sequence[View], only: str = "") -> Iterator[None]:
    """A context in which a mistake that says `only` is followed by the tables that there are.

    Followed: before it, forty names would hide a slip of the pen.
    """
    try:
        yield
    except Broken as error:
        if only not in str(error):
            raise
        names = [view.name for view in views]
        listed = ", ".join(names) or "none published yet"
        raise Broken(f"{_guessed_again(str(error), names)}\ntables: {listed}") from error


def _guessed_again(message: str, names: Sequence[str]) -> str:
    """A message in which a table that is not known is guessed to be one of ours, or nothing is guessed."""
    unknown = NAMED.search(message)
    if unknown is None:
        return message
    near = difflib.get_close_matches(unknown[1].lower(), names, 1)
    ours = f'\nDid you mean "{near[0]}"?' if near else ""
    return NAMED.sub(lambda said: said[0] + ours, GUESS.sub("", message), count=1)


@contextlib.contextmanager
def _timed(engine: Engine, seconds: float | None) -> Iterator[None]:
    """A context whose SQL is interrupted after some seconds.

    DuckDB looks up between two vectors of rows: one call of a function on one huge value it finishes.

    Raises:
        Broken: it was; names the limit.
    """
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            late.set()
        while not done.wait(AGAIN_SECONDS):  # an interrupt that falls between two statements is lost
            engine.interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except Broken as error:
        raise query_timed_out(seconds) if seconds and late.is_set() else error from None
    finally:
        done.set()
        watcher.join()


def query_timed_out(seconds: float) -> Broken:
    """What is said of a query that was stopped."""
    return Broken(f"the query was stopped after {seconds:g} seconds, the limit; nothing of it is shown")


def _within(batches: Iterable[pa.RecordBatch], limits: QueryLimits) -> Iterator[pa.RecordBatch]:
    """The batches that hold the first `limits.rows` rows.

    Raises:
        Broken: they are larger than `limits.size`.
    """
    rows = size = 0
    for batch in batches:
        refuse_infinite_moments(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if limits.size is not None and size > limits.size:
            raise Broken(
                f"the result is larger than {limits.size / 1e6:,.0f} MB, the limit of a query; "
                "choose fewer columns or rows"
            )
        yield batch
        if limits.rows is not None and rows >= limits.rows:
            return
