"""An input that somebody points at: how its days lie, and which columns it has, seen without being told."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, Workspace
from nightscore.store import Asked, Engine, catalog, delta_input, fetched, quote_identifier, tree_of

ISO, DIGITS = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{8}"
BY_NAME = {"year": "{day:%Y}", "month": "{day:%m}", "day": "{day:%d}"}  # of levels year=2026/month=01/day=05
DAY_COLUMNS = {"day", "date", "ds", "dt", "snapshot_date", "business_date", "as_of", "as_of_date"}
CSV_TYPES = (
    (pa.types.is_integer, "BIGINT"),
    (pa.types.is_floating, "DOUBLE"),
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_timestamp, "TIMESTAMP"),
)
ALLOWED = "allowed: a Parquet or CSV file, a folder of them, or a Delta Lake table"
FIRST_BYTES = 1 << 20  # of a CSV file, by which its types are guessed


@dataclass(frozen=True)
class SeenInput:
    """An input: what job.yaml says of it, its columns, and the column of the day ("" without days).

    `newest` is one of its newest files, in which a key can be looked for; None of a CSV file. `of_folders`
    are columns that folders give, but for the day's.
    """

    said: Mapping[str, object]
    columns: pa.Schema
    day: str
    newest: Path | None
    of_folders: tuple[str, ...] = ()


def see_input(workspace: Workspace, path: str) -> SeenInput:
    """What lies at a path of the workspace, or of a root as in lake:customers.

    Raises:
        Broken: nothing, or nothing that is known here; or it lies outside the workspace and its roots.
        NotYet: it can't be read.
    """
    place = workspace.resolve(path)
    root, colon, below = workspace.relative(place).rpartition(":")
    said: dict[str, object] = {"root": root} if colon else {}
    try:
        kind = tree_of(workspace, place).kind(place)
        if not kind:
            raise Broken(f"--input {path}: nothing is there; {ALLOWED}, by its path in {workspace.root}")
        if kind == "folder" and "_delta_log" in _names(workspace, place):
            return _delta(workspace, place, said | {"delta": below})
        return _files(workspace, place, said | {"path": below})
    except OSError as error:
        raise NotYet(f"--input {path}: can't be read: {error}") from error


def _names(workspace: Workspace, folder: Path) -> Sequence[str]:
    return sorted(entry.name for entry in tree_of(workspace, folder).entries(folder))


def _files(workspace: Workspace, place: Path, said: dict[str, object]) -> SeenInput:
    """Files of a folder or a lone one."""
    levels, file = _descend(workspace, place)
    template, column, keys = _partition(levels)
    is_csv = file.name.lower().removesuffix(".gz").removesuffix(".zst").endswith(".csv")
    schema = _csv_schema(workspace, file) if is_csv else _parquet_schema(workspace, file)
    if template:
        said["partition"] = template
    elif column := next((f.name for f in schema if f.name.lower() in DAY_COLUMNS and _is_time(f.type)), ""):
        said["day_column"] = column
    if is_csv:
        said |= {"format": "csv", "columns": {field.name: _csv_type(field.type) for field in schema}}
    given = [pa.field(column, pa.date32())] if template else []
    given += [pa.field(key, pa.string()) for key in keys]
    columns = pa.schema([*schema, *(field for field in given if field.name not in schema.names)])
    return SeenInput(said, columns, column, None if is_csv else fetched(workspace, file), tuple(keys))


def _descend(workspace: Workspace, place: Path) -> tuple[list[str], Path]:
    """The names of the levels below a folder down to a newest file, its own the last, and that file.

    Of a lone file there are no levels.
    """
    levels: list[str] = []
    tree = tree_of(workspace, place)
    while tree.kind(place) == "folder":
        names = [name for name in _names(workspace, place) if not re.match(r"[._](?!.*=)", name)]
        data = [n for n in names if n != "SHA256SUMS" and not n.endswith(".crc")]
        if not data:
            raise Broken(f"{workspace.relative(place)} is empty; {ALLOWED}")
        place = place / data[-1]
        levels.append(data[-1])
    if not re.search(r"\.(parquet|parq|pq|csv(\.gz|\.zst)?)$", place.name, re.IGNORECASE):
        raise Broken(f"{workspace.relative(place)}: is none of the files that are known here; {ALLOWED}")
    return levels, place


def _partition(levels: Sequence[str]) -> tuple[str, str, list[str]]:
    """What `partition` says of levels of names, the column of the day, and those of other folders.

    All empty where no name says a day.
    """
    parts = [_part(level) for level in levels[:-1]]
    if not any("{day" in part for part in parts):
        parts += [
            re.sub(DIGITS, "{day:%Y%m%d}", re.sub(ISO, "{day}", name, count=1), count=1)
            for name in levels[-1:]
        ]
    while parts and "{day" not in parts[-1]:  # levels below the day's are found by themselves
        parts.pop()
    if not parts:
        return "", "", []
    key, _, value = parts[-1].rpartition("=")
    column = key if value in ("{day}", "{day:%Y%m%d}") and key else "day"
    plain = len(parts) == 1 and parts[0] == f"{column}={{day}}"
    return (column if plain else "/".join(parts)), column, [p[:-2] for p in parts if p.endswith("=*")]


def _part(level: str) -> str:
    """The template of one level: of region=eu region=*, of day=2026-01-05 day={day}."""
    key, equals, value = level.rpartition("=")
    for pattern, day in ((ISO, "{day}"), (DIGITS, "{day:%Y%m%d}")):
        if re.fullmatch(pattern, value):
            return f"{key}{equals}{day}"
    if key.lower() in BY_NAME and value.isdigit():
        return f"{key}={BY_NAME[key.lower()]}"
    return f"{key}=*" if equals else level


def _parquet_schema(workspace: Workspace, file: Path) -> pa.Schema:
    try:
        return pq.read_schema(fetched(workspace, file))
    except pa.ArrowInvalid as error:
        raise Broken(f"{workspace.relative(file)}: is no Parquet file that can be read: {error}") from error


def _csv_schema(workspace: Workspace, file: Path) -> pa.Schema:
    """Columns of a CSV file, with the types of its first rows."""
    options = pyarrow.csv.ReadOptions(block_size=FIRST_BYTES)
    try:
        with pyarrow.csv.open_csv(fetched(workspace, file), read_options=options) as rows:
            return rows.schema
    except pa.ArrowInvalid as error:
        raise Broken(
            f"{workspace.relative(file)}: is no CSV file with a header and commas: {error}"
        ) from error


def _csv_type(kind: pa.DataType) -> str:
    return next((name for is_kind, name in CSV_TYPES if is_kind(kind)), "VARCHAR")


def _delta(workspace: Workspace, place: Path, said: dict[str, object]) -> SeenInput:
    """A Delta Lake table, by its log."""
    if "root" in said and workspace.roots[str(said["root"])].is_bucket:
        raise Broken(f"{said['root']}:{said['delta']}: a table in a bucket; write its job.yaml by hand")
    table = delta_input.read_delta(place, Asked(workspace.relative(place)))
    files = sorted(table.files, key=lambda file: str(sorted(file.values.items())))
    values = files[-1].values if files else {}
    day = next((key for key, value in values.items() if re.fullmatch(ISO, value or "")), "")
    if day:
        said["partition"] = day
    casts = [f"CAST(NULL AS {c.kind}) AS {quote_identifier(c.name)}" for c in table.columns]
    with Engine([], catalog.query_resources(workspace)) as engine:
        columns = engine.schema(f"SELECT {', '.join(casts)}")
    if not day and (found := [f.name for f in columns if f.name.lower() in DAY_COLUMNS and _is_time(f.type)]):
        said["day_column"] = day = found[0]
    return SeenInput(said, columns, day, files[-1].path if files else None)


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))
