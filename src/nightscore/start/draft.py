"""`nightscore new`: a first job.yaml and features.sql for a model and an input, and what they don't know."""

import difflib
import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, Workspace
from nightscore.job import CHALLENGERS, NAME, RESERVED_VIEWS, load_all
from nightscore.scorers import DescribedModel, ModelError, describe_onnx, read_model, what_it_is
from nightscore.start.lake import SeenInput, see_input
from nightscore.start.new_files import schema_files, write_new_files
from nightscore.store import fetched, quote_identifier

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_LETTERS = 63  # of a column that job.yaml names
WORDS = """
all analyse analyze and anti any array as asc asof asymmetric at both case cast check collate column
constraint create cross default deferrable desc describe distinct do else end except false fetch for
foreign from full glob group having ilike in initially inner intersect into is isnull join lambda
lateral leading left like limit natural not notnull null offset on only or order outer overlaps
pivot placing positional primary qualify references returning right select semi show similar some
summarize symmetric table tablesample then to trailing true union unique unpivot using variadic when
where window with
"""  # of DuckDB, which no column is called without quotes
KEYWORDS = frozenset(WORDS.split())
RESERVED = RESERVED_VIEWS | {CHALLENGERS}
IDS = re.compile(r"(^|_)(id|key|number|no|code|uuid)$", re.IGNORECASE)
MOST_ROWS = 1_000_000  # in which a key is looked for
EXPECTED = "_expected.parquet"  # instead of the model's .onnx
NEAR = 0.5  # how alike two names are that are shown as near, 0..1


@dataclass(frozen=True)
class Draft:
    """What was written, and in sentences for a person what was matched and what was not."""

    job: str
    files: Sequence[str]
    matched: Sequence[str]
    unmatched: Sequence[str]
    notes: Sequence[str] = field(default=())


def draft_job(workspace: Workspace, name: str, model: str, source: str) -> Draft:
    """Write `jobs/NAME/job.yaml` and `features.sql` for an .onnx file and an input of the workspace.

    A column of the model that the input has, too, is taken; of each other one there is a line that says so.

    Raises:
        Broken: the name is none for a job, or taken; there is no such model or input; or a file is there
            already. Nothing is written then.
        NotYet: the input can't be read.
    """
    _refuse_name(workspace, name)
    described, shown = _describe(workspace, model)
    expected = _expected_beside(workspace, shown)
    seen = see_input(workspace, source)
    key, how = _find_key(seen, described)
    view = _view(str(seen.said.get("path") or seen.said.get("delta")))
    lines = list(_lines(seen, described, key))
    files = {
        f"jobs/{name}/job.yaml": _job_yaml(
            name, view, seen, described, shown=shown, expected=expected, key=key, how=how
        ).encode(),
        f"jobs/{name}/features.sql": _features_sql(view, seen, key, lines).encode(),
    }
    files |= {path: data for path, data in schema_files().items() if not (workspace.root / path).exists()}
    written = write_new_files(workspace.root, files)
    unmatched = [line.problem for line in lines if line.problem]
    unmatched += [
        f"{column}: training does not score all of its values ({_flow(what)}), and domain in job.yaml "
        "takes no such name: leave those rows out in features.sql"
        for column, what in described.domain.items()
        if not _has_domain(column)
    ]
    return Draft(
        name,
        written,
        [line.column for line in lines if not line.problem],
        unmatched,
        [f"{', '.join(key)}: {how}"],
    )


def _expected_beside(workspace: Workspace, model: str) -> str:
    """The file of what training expects, as `nightscore.export` names it beside the model; empty: none."""
    name = f"{model.removesuffix('.onnx')}{EXPECTED}"
    place = workspace.resolve(name)
    return name if place.exists() else ""


def _refuse_name(workspace: Workspace, name: str) -> None:
    if not re.fullmatch(NAME, name):
        allowed = "small letters, digits and _, a letter first, at most 63"
        raise Broken(f"{name!r} is no name for a job; allowed: {allowed}")
    taken = next((job for job in load_all(workspace)[0] if job.name == name), None)
    if taken:
        raise Broken(f"there is a job {name} already: {taken.shown}; choose another name")


def _describe(workspace: Workspace, model: str) -> tuple[DescribedModel, str]:
    """What an .onnx file of the workspace takes and gives, and its path as a job.yaml says it."""
    place = workspace.resolve(model)
    fetch = functools.partial(fetched, workspace)
    try:
        if not model.lower().endswith(".onnx"):
            looks = what_it_is(read_model(fetch(place), model).data) or "this is none"
            raise Broken(
                f"--model {model}: a first draft is made for an .onnx file; {looks}; nightscore.export "
                "writes one for a model of most libraries (docs/export.md), a function of yours may load it "
                "as it is (docs/scorers.md), and docs/models.md has the other kinds"
            )
        return describe_onnx(read_model(fetch(place), model, fetch)), workspace.relative(place)
    except ModelError as error:
        raise Broken(f"--model {error}") from error


@dataclass(frozen=True)
class Line:
    """A column of the model: the SQL that gives it, or what is wrong."""

    column: str
    sql: str
    problem: str = ""


def _lines(seen: SeenInput, model: DescribedModel, key: Sequence[str]) -> Iterator[Line]:
    """A line for each column that the model takes, in its order."""
    if model.unnamed is not None:
        names = "the model takes one matrix, and nothing says which columns it is made of"
        for column in _unnamed(model):
            yield Line(
                column, "", f"{column}: {names}: name them in model.columns, in the order of the training"
            )
        return
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


def _unnamed(model: DescribedModel) -> list[str]:
    return [f"feature_{number + 1}" for number in range(model.unnamed or 1)]


def _near(name: str, names: Sequence[str]) -> str:
    """The names that are most like one, as a message ends with them."""
    bare = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in names}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), list(bare), 3, NEAR)
    return f"; near: {', '.join(bare[one] for one in found)}" if found else ""


def _find_key(seen: SeenInput, model: DescribedModel) -> tuple[list[str], str]:
    """Columns that tell a day's rows apart, and how that is known; the model's own come last."""
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    texts = [f.name for f in seen.columns if any(is_kind(f.type) for is_kind in kinds) and f.name != seen.day]
    order = sorted(texts, key=lambda name: (name in model.takes.names, not IDS.search(name)))
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


def _view(path: str) -> str:
    """What the input is called in SQL: as its file or folder."""
    last = re.sub(r"[^a-z0-9_]+", "_", Path(path).name.lower().partition(".")[0]).strip("_")
    return last if re.fullmatch(NAME, last) and last not in RESERVED | KEYWORDS else "rows"


def _name(column: str) -> str:
    return column if PLAIN.fullmatch(column) and column.lower() not in KEYWORDS else quote_identifier(column)


def _as(found: str, name: str) -> str:
    return _name(found) if found == name else f"{_name(found)} AS {_name(name)}"


def _given(model: DescribedModel, kind: pa.DataType, found: str, name: str) -> str:
    """The SQL of a column of the input as the model takes it, so that a null is a missing value.

    A date becomes the number of days since 1970-01-01.
    """
    if name in model.days and not pa.types.is_floating(kind):
        return f"CAST(CAST({_name(found)} AS DATE) - DATE '1970-01-01' AS DOUBLE) AS {_name(name)}"
    if name in model.nullable and pa.types.is_integer(kind):
        return f"CAST({_name(found)} AS DOUBLE) AS {_name(name)}"
    return _as(found, name)


def _features_sql(view: str, seen: SeenInput, key: Sequence[str], lines: Sequence[Line]) -> str:
    """One SELECT: the key, and a line for each column of the model; what is missing is a comment."""
    wanted = [(_name(name), "") for name in key] + [(line.sql, line.problem) for line in lines]
    parts = [part for part in wanted if any(part)]
    last = max(i for i, (sql, _) in enumerate(parts) if sql)
    text = [
        f"    {sql}{',' if i < last else ''}" if sql else f"    -- {_remark(problem)}"
        for i, (sql, problem) in enumerate(parts)
    ]
    where = f"\nWHERE {_name(seen.day)} = getvariable('day')" if seen.day else ""
    if seen.said.get("day_column"):
        where = f"\nWHERE CAST({_name(seen.day)} AS DATE) = getvariable('day')"
    return "\n".join(
        ["-- One row of this SELECT is one row to score.", "SELECT", *text, f"FROM {view}{where}", ""]
    )


def _job_yaml(
    name: str, view: str, seen: SeenInput, model: DescribedModel, *, shown: str, expected: str,
    key: Sequence[str], how: str,
) -> str:  # fmt: skip
    columns = f"  columns: {_flow(_unnamed(model))}   # in the order of the training\n"
    said = {column: what for column, what in model.domain.items() if _has_domain(column)}
    allowed = "".join(f"  {_flow(column)}: {_flow(what)}\n" for column, what in said.items())
    domain = f"\ndomain:   # other values have no score in training\n{allowed}" if said else ""
    held = (
        f"  expected: {{features: {_flow(expected)}}}   # what training expects: held to it\n"
        if expected
        else ""
    )
    return (
        f"# yaml-language-server: $schema=../job.schema.json\njob: {name}\n\n"
        f"inputs:\n  {view}: {_flow(seen.said)}\n\n"
        f"features: features.sql\nkey: {_flow(list(key))}   # {_remark(how)}\n\n"
        f"model:\n  path: {_flow(shown)}\n{columns if model.unnamed is not None else ''}"
        f"  outputs: {_flow(dict(model.scores) or {'score': model.output})}   "
        f"# the model has {_remark('; '.join(model.outputs))}\n{held}{domain}"
    )


def _remark(text: str) -> str:
    """A text as the end of a comment: what would end it, or can't be seen, is written as its escape."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _has_domain(column: str) -> bool:
    """Whether job.yaml's `domain` can speak of a column."""
    return bool(PLAIN.fullmatch(column)) and len(column) <= MOST_LETTERS


def _flow(value: object) -> str:
    """A value as YAML on one line; texts are quoted where they are no plain words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    words = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in words
    return text if plain else json.dumps(text, ensure_ascii=False)
