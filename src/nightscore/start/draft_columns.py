"""The columns of a first job: the key of an input, and the SQL that gives a model its columns."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.scorers import DescribedModel, serves
from nightscore.start.lake import SeenInput
from nightscore.start.sql_names import sql_as, sql_name

IDS = re.compile(r"(^|_)(id|key|number|no|code|uuid)$", re.IGNORECASE)
MOST_ROWS = 1_000_000  # in which a key is looked for
WHAT = {"text": "texts", "image": "bytes"}  # that a column has whose name the model leaves to the job
NEAR = 0.5  # how alike two names are that are shown as near, 0..1


@dataclass(frozen=True)
class Line:
    """A column of the model: the SQL that gives it, or what is wrong."""

    column: str
    sql: str
    problem: str = ""


def model_lines(seen: SeenInput, model: DescribedModel, key: Sequence[str]) -> Iterator[Line]:
    """A line for each column that the model takes, in its order."""
    if model.unnamed is not None:
        names = "the model takes one matrix, and nothing says which columns it is made of"
        for column in unnamed_columns(model):
            yield Line(
                column, "", f"{column}: {names}: name them in model.columns, in the order of the training"
            )
    elif model.one is not None:
        yield _one_line(seen, model, model.one, key)
    else:
        yield from _lines_by_name(seen, model, key)


def _lines_by_name(seen: SeenInput, model: DescribedModel, key: Sequence[str]) -> Iterator[Line]:
    lower = {name.lower(): name for name in seen.columns.names}
    for needed in model.takes:
        found = lower.get(needed.name.lower())
        if found is None:
            near = _near(needed.name, seen.columns.names)
            yield Line(needed.name, "", f"{needed.name} ({needed.type}): the input has no such column{near}")
        elif not model.can_take(needed.name, kind := seen.columns.field(found).type):
            said = f"is {kind}, and the model takes {needed.type}: say it as it was trained"
            yield Line(needed.name, "", f"{needed.name}: the input's column {found} {said}")
        elif needed.name not in key:
            yield Line(needed.name, _given(model, kind, found, needed.name))
        else:
            yield Line(needed.name, "")


def _one_line(seen: SeenInput, model: DescribedModel, kind: pa.DataType, key: Sequence[str]) -> Line:
    """The line of the one column that a model takes: by its name, or else the only one of its type."""
    named = model.takes.names[0] if model.takes.names else ""
    of_type = _of_type(seen, kind)
    found = [name for name in of_type if name not in key] or of_type
    if named in found or len(found) == 1:
        chosen = named if named in found else found[0]
        column = named or chosen
        return Line(column, "" if column in key else sql_as(chosen, column))
    called = named or model.kind
    if not found:
        return Line(called, "", f"{called} ({kind}): the input has no column of {WHAT.get(model.kind, kind)}")
    return Line(
        called,
        "",
        f"{called} ({kind}): the input has {', '.join(found)}: say the one that the model was trained with",
    )


def _of_type(seen: SeenInput, kind: pa.DataType) -> list[str]:
    """Columns of the rows themselves that can stand for one of a type; no day and no id."""
    return [
        field.name
        for field in seen.columns
        if serves(field.type, kind)
        and field.name not in (seen.day, *seen.of_folders)
        and not IDS.search(field.name)
    ]


def columns_said(model: DescribedModel, lines: Sequence[Line]) -> list[str]:
    """What `model.columns` says; empty where the model says it itself."""
    if model.unnamed is not None:
        return unnamed_columns(model)
    return [line.column for line in lines] if model.one is not None and not model.takes.names else []


def unnamed_columns(model: DescribedModel) -> list[str]:
    """What the columns of a matrix are called until a person names them."""
    return [f"feature_{number + 1}" for number in range(model.unnamed or 1)]


def _near(name: str, names: Sequence[str]) -> str:
    """The names that are most like one, as a message ends with them."""
    bare = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in names}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), list(bare), 3, NEAR)
    return f"; near: {', '.join(bare[one] for one in found)}" if found else ""


def find_key(seen: SeenInput, model: DescribedModel) -> tuple[list[str], str]:
    """Columns that tell a day's rows apart, and how that is known; the model's own come last."""
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    texts = [f.name for f in seen.columns if any(is_kind(f.type) for is_kind in kinds) and f.name != seen.day]
    own = {*model.takes.names, *(_of_type(seen, model.one) if model.one is not None else ())}
    order = sorted(texts, key=lambda name: (name in own, not IDS.search(name)))
    ids = [name for name in order if IDS.search(name)] or order[:1]
    if seen.newest is not None:
        rows = _first_rows(seen.newest, order)
        inside = rows.column_names
        pairs = combinations([name for name in inside if name in ids], 2)
        for names in [*([name] for name in inside), *map(list, pairs)]:
            if rows.num_rows and not any(rows[name].null_count for name in names) and _is_unique(rows, names):
                return names, f"no two of {len(rows):,} rows of {seen.newest.name} are alike in it"
    key = ids[:1] or seen.columns.names[:1]
    return key, "guessed: nothing was found that tells the rows of a day apart"


def _first_rows(file: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a file, of its first row groups: of up to `MOST_ROWS` rows, and one group more."""
    with pq.ParquetFile(file) as opened:
        inside = [name for name in columns if name in opened.schema_arrow.names]
        groups: list[int] = []
        rows = 0
        while len(groups) < opened.num_row_groups and rows < MOST_ROWS:
            rows += opened.metadata.row_group(len(groups)).num_rows
            groups.append(len(groups))
        return opened.read_row_groups(groups, columns=inside)


def _is_unique(rows: pa.Table, names: list[str]) -> bool:
    return bool(rows.select(names).group_by(names).aggregate([]).num_rows == rows.num_rows)


def _given(model: DescribedModel, kind: pa.DataType, found: str, name: str) -> str:
    """The SQL of a column of the input as the model takes it, so that a null is a missing value.

    A date becomes the number of days since 1970-01-01.
    """
    if name in model.days and not pa.types.is_floating(kind):
        return f"CAST(CAST({sql_name(found)} AS DATE) - DATE '1970-01-01' AS DOUBLE) AS {sql_name(name)}"
    if name in model.nullable and pa.types.is_integer(kind):
        return f"CAST({sql_name(found)} AS DOUBLE) AS {sql_name(name)}"
    return sql_as(found, name)
