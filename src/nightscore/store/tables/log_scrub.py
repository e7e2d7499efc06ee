"""A table's log without what it tells of erased rows: bounds of keys, and keys that a commit quotes.

A commit of another engine has the least and the greatest value of each column of its files, and the condition
of its DELETE; checkpoints repeat the former. Each file is replaced whole, by the same but for that, so that
every version stays what it was; done again, it changes nothing.
"""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.store.storage import Place

BOUNDS = ("minValues", "maxValues")
FILES = ("add", "remove")
QUOTED = ("operationParameters", "readPredicate")  # what a commit says of how it was made


def scrub_log(root: Place, gone: Collection[str], columns: Collection[str], quoting: Collection[int]) -> None:
    """Take out of a table's log what it tells of erased rows.

    That are the bounds of files that are `gone`, those of some `columns` of all files, and how the commits of
    the versions `quoting` were made.

    Raises:
        NotYet: the storage takes nothing.
    """
    log = root / "_delta_log"
    for file in (*log.glob("*.json"), *log.glob("*.crc")):
        if file.name.startswith("_"):
            continue
        if file.name.endswith(".crc"):  # a sum that some engines keep, with all files in it; none needs it
            _remove_sum(file, columns)
            continue
        quotes = file.stem.isdigit() and int(file.stem) in quoting
        text = file.read_text()
        said = "\n".join(_line(line, gone, columns, quotes) for line in text.split("\n"))
        if said != text:
            file.replace_text(said)
    for file in (*log.glob("*.parquet"), *log.glob("_sidecars", "*.parquet")):
        _scrub_checkpoint(file, gone, columns)


def _remove_sum(file: Place, columns: Collection[str]) -> None:
    text = file.read_text()
    if any(bound in text for bound in BOUNDS) and any(column in text for column in columns):
        file.remove()


def _line(line: str, gone: Collection[str], columns: Collection[str], quotes: bool) -> str:
    if not line.strip():
        return line
    action: dict[str, Any] = json.loads(line)
    before = json.dumps(action)
    for kind in FILES:
        if isinstance(file := action.get(kind), dict) and file.get("stats"):
            file["stats"] = _stats(file["stats"], unquote(file["path"]) in gone, columns)
    if quotes and "commitInfo" in action:
        action["commitInfo"] = {k: v for k, v in action["commitInfo"].items() if k not in QUOTED}
    return line if json.dumps(action) == before else json.dumps(action)


def _stats(text: str, is_gone: bool, columns: Collection[str]) -> str:
    """Statistics without the bounds of a file, or of some of its columns."""
    try:
        stats = json.loads(text)
    except ValueError:
        return text
    before = json.dumps(stats)
    for bound in BOUNDS:
        if is_gone:
            stats.pop(bound, None)
        elif isinstance(values := stats.get(bound), dict):
            stats[bound] = {name: value for name, value in values.items() if name not in columns}
    return text if json.dumps(stats) == before else json.dumps(stats)


def _scrub_checkpoint(file: Place, gone: Collection[str], columns: Collection[str]) -> None:
    table = pq.read_table(file.local(), partitioning=None)
    new = table
    for kind in FILES:
        if kind in table.column_names:
            rows = table[kind].to_pylist()
            said = [_row(row, gone, columns) for row in rows]
            if said != rows:
                at = table.column_names.index(kind)
                new = new.set_column(
                    at, table.schema.field(kind), pa.array(said, table.schema.field(kind).type)
                )
    if new is not table:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.parquet"
            pq.write_table(new, path, write_statistics=False)
            file.replace_file(path)


def _row(
    row: dict[str, Any] | None, gone: Collection[str], columns: Collection[str]
) -> dict[str, Any] | None:
    if row is None:
        return None
    is_gone, found = unquote(row["path"]) in gone, dict(row)
    if found.get("stats"):
        found["stats"] = _stats(found["stats"], is_gone, columns)
    if isinstance(parsed := found.get("stats_parsed"), dict):
        found["stats_parsed"] = parsed | {
            bound: None if is_gone else {n: None if n in columns else v for n, v in parsed[bound].items()}
            for bound in BOUNDS
            if isinstance(parsed.get(bound), dict)
        }
    return found
