"""What SQL sees under a name: files, which rows of them and which columns, as the SQL that gives it.

Light to import: an `Engine` makes views of it.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.store.documents.file_columns import FileColumns, FolderGiven, parquet_source
from nightscore.store.documents.folder_columns import DAY
from nightscore.store.documents.sql_text import literal, quote_identifier
from nightscore.store.sql.image_files import ImageFiles, image_source
from nightscore.store.sql.text_files import TextColumns, text_source

FLOATING = re.compile(r"\b(FLOAT|DOUBLE)\b")  # in a type; a field of that name does no harm
WIDE = re.compile(r"DECIMAL\(38, ?0\)((?:\[\])*)")  # as a table stores a HUGEINT, and lists of such


@dataclass(frozen=True)
class UpTo:
    """A column, and the greatest value of it with which a row is seen."""

    column: str
    value: dt.date  # or an instant


@dataclass(frozen=True)
class Within:
    """A column of a type (DATE, or a timestamp), and the first and last day with which a row is seen."""

    column: str
    kind: str
    first: dt.date
    last: dt.date

    @property
    def sql(self) -> str:
        """The condition: of the column itself, so that statistics of files and row groups are asked."""
        name, after = quote_identifier(self.column), self.last + dt.timedelta(days=1)
        first, end = (f"CAST({literal(day.isoformat())} AS {self.kind})" for day in (self.first, after))
        return f"{name} >= {first} AND {name} < {end}"


@dataclass(frozen=True)
class Among:
    """A column, and the texts of it with which a row is seen."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Parquet files under one name. `partition` is a hive key in their paths, seen as a DATE column.

    `folder_types` (name -> DuckDB type) are the columns that folders give, where there are more than that,
    `folder_sql` what gets them where their names are no hive folders'.
    `columns` (name -> DuckDB type) describes the view while it has no files. With `up_to` or `among` only
    some rows are seen, `within` those of some days; `text` or `images` say how files are read that are no
    Parquet.
    Where files have not all columns alike, `by_name` gives null for those that one lacks, or `by_file` says
    file by file what is read of it.
    In files of ours, `stored`, a DECIMAL(38, 0) is the HUGEINT that it was before it was stored.
    `problem` says why it can't be read, and has no files: whoever reads another is not concerned.
    """

    name: str
    files: tuple[Path, ...]
    partition: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    up_to: tuple[UpTo, ...] = ()
    among: Among | None = None
    by_name: bool = False
    folder_types: Mapping[str, str] = field(default_factory=dict)
    folder_sql: Mapping[str, str] = field(default_factory=dict)
    within: Within | None = None
    text: TextColumns | None = None
    images: ImageFiles | None = None
    stored: bool = False
    by_file: Mapping[Path, FileColumns] = field(default_factory=dict)
    problem: str = ""


def from_sql(view: View) -> str:
    """What a view's rows come from, in a FROM: its files, or nothing in the columns that it would have."""
    if not view.files:
        columns = ", ".join(f"CAST(NULL AS {t}) AS {quote_identifier(c)}" for c, t in view.columns.items())
        return f"(SELECT {columns} WHERE false)"
    folders = view.folder_types or ({view.partition: DAY} if view.partition else {})
    # The files stand in the text, and not in a variable, which SQL of a job could read.
    if view.text:
        return text_source(view.files, view.text, folders, view.folder_sql)
    if view.images:
        return image_source(view.files, view.images, folders)
    given = FolderGiven(folders, view.folder_sql)
    return parquet_source(view.files, view.by_file, given, view.by_name)


def seen_as(columns: Mapping[str, str], view: View) -> str:
    """SQL that gives some columns otherwise than they are read.

    What holds floats, lists and structs of them too, stands behind a TRY, which changes no value, and hides
    from the optimizer what a footer says of them. And a HUGEINT, such as a sum of integers, is stored as a
    DECIMAL(38, 0): one of 38 digits has no room for places, and DuckDB takes `CASE WHEN a THEN s ELSE 0.5
    END` for 1.
    """
    seen = {}
    for column, kind in columns.items():
        name = quote_identifier(column)
        if FLOATING.search(kind) and view.files and view.text is None:
            seen[name] = f"TRY({name})"
        elif view.stored and (lists := WIDE.fullmatch(kind)):
            seen[name] = f"CAST({name} AS HUGEINT{lists[1]})"
    return f" REPLACE ({', '.join(f'{sql} AS {name}' for name, sql in seen.items())})" if seen else ""


def where_sql(view: View) -> str:
    """Which rows of a view are seen, as SQL."""
    terms = []
    for bound in view.up_to:
        kind = "TIMESTAMPTZ" if isinstance(bound.value, dt.datetime) else "DATE"
        value = f"CAST({literal(bound.value.isoformat())} AS {kind})"
        terms.append(f"{quote_identifier(bound.column)} <= {value}")
    if view.within is not None:
        terms.append(view.within.sql)
    if view.among is not None:
        values = ", ".join(map(literal, view.among.values))
        terms.append(f"{quote_identifier(view.among.column)} IN ({values})")
    return f" WHERE {' AND '.join(terms)}" if terms else ""
