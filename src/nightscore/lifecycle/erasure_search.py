"""Where somebody is in a workspace: in every file of every table, in what runs have left, in pages and notes.

Read are the files themselves, whichever version of a table names them: so an old version holds nothing that
the search has missed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.common import Broken, first_line
from nightscore.lifecycle.erasure_keys import ErasureKeys, InTexts, Mask, NotOfType
from nightscore.store import (
    RECEIPTS,
    RESTATED_ROWS,
    RESTATEMENTS,
    Pinned,
    Place,
    RunFolder,
    committed_files,
    delta,
    erasures,
    is_replacement,
    removals,
    storage,
)

OWN = (RECEIPTS, RESTATEMENTS, removals.REMOVALS, erasures.ERASURES)  # without a row of a job
BAD_LINES, LINES = "_bad_lines", ("message", "text")
JSON_TEXTS = ("key", "before", "after")
PAGES = {".html", ".json", ".txt", ".log", ".csv", ".md", ".yaml"}


@dataclass(frozen=True)
class TableFile:
    """A file of a table that has rows to be erased; what `stays` is written again, else it is removed."""

    table: str
    day: str
    run_id: str
    place: Place
    path: str  # in the table's log
    rows: int
    stays: bool


@dataclass(frozen=True)
class Search:
    """Some keys in a workspace as it is in a state."""

    state: Pinned
    keys: ErasureKeys
    _not_of_type: dict[str, NotOfType] = field(default_factory=dict)

    @cached_property
    def roots(self) -> list[Place]:
        """Every table that may have rows of somebody, in order of its name."""
        found = storage.tables(self.state.workspace).glob_folders("*")
        return [root for root in found if root.name not in OWN and delta.table_exists(root)]

    @cached_property
    def schemas(self) -> Mapping[str, pa.Schema]:
        """Table -> its columns at its newest version."""
        return {self.called(root): self.state.snapshot(root).schema for root in self.roots}

    def called(self, root: Place) -> str:
        """What the table in a folder is called now, as all tables are named here."""
        return self.state.names.tables.current(root.name)

    @cached_property
    def searched(self) -> dict[str, tuple[str, ...]]:
        """Table -> the columns that are the key there.

        Raises:
            Broken: no table has all columns of the key, or in each a value is none of the column's type.
        """
        found = {}
        for table, schema in self.schemas.items():
            names = self.keys.names_in(table)
            if table == RESTATED_ROWS or set(names) - set(schema.names):
                continue
            try:
                self.keys.matcher(table, schema)
            except NotOfType as error:
                self._not_of_type[table] = error
            else:
                found[table] = names
        if not found and self._not_of_type:
            raise next(iter(self._not_of_type.values()))
        if not found:
            raise Broken(
                f"no table has {_columns(self.keys.columns)}; tables: {', '.join(self.schemas) or 'none'}. "
                "Where a table calls it otherwise: --column TABLE.COLUMN=KEYCOLUMN"
            )
        self._refuse_unknown()
        return found

    def untouched(self) -> list[str]:
        """Why tables are left as they are, a sentence each."""
        lines = []
        for table, schema in self.schemas.items():
            missing = [name for name in self.keys.names_in(table) if name not in schema.names]
            if table in self._not_of_type:
                lines.append(f"{table}: untouched: {self._not_of_type[table]}")
            elif missing and table != RESTATED_ROWS and not table.endswith(BAD_LINES):
                ways = " ".join(f"--column {table}.COLUMN={name}" for name in missing)
                lines.append(
                    f"{table}: untouched: it has no {_columns(missing)}; if it calls that otherwise: {ways}"
                )
        return lines

    @cached_property
    def texts(self) -> InTexts:
        """The keys as texts, as each table's type writes them."""
        written = [self.keys.matcher(t, self.schemas[t]).texts for t in self.searched]
        return InTexts(list(dict.fromkeys([*(key for keys in written for key in keys), *self.keys.typed])))

    def files(self) -> list[TableFile]:
        """Every file of a table that has rows of theirs.

        Raises:
            Broken: one is damaged.
        """
        return [file for root in self.roots for file in self._of_table(root)]

    def _of_table(self, root: Place) -> Iterator[TableFile]:
        table = self.called(root)
        if not (table in self.searched or table == RESTATED_ROWS or table.endswith(BAD_LINES)):
            return
        runs = {e.run_id for e in self.state.history if table in e.versions or table == RESTATED_ROWS}
        named = committed_files(root) | self.state.erased.files_in(root)
        changes = root.glob("_change_data", "day=*", "*", hidden=True)  # of another engine: rows, too
        for place in (*root.glob("day=*", "*", hidden=True), *changes):
            run_id, hidden = delta.file_run_id(place.name), place.name.startswith((".", "_"))
            left = is_replacement(place.name) and place not in named  # by one that was stopped
            stays = not hidden and not left and (run_id in runs or place in named)
            if rows := self.rows_in(place, table, torn=not stays):
                day = place.parent.name.removeprefix("day=")
                yield TableFile(table, day, run_id, place, place.relative_to(root), rows, stays)

    def rows_in(self, place: Place, table: str, *, torn: bool = False) -> int:
        """How many rows of a file are theirs; of one that nobody names and nobody can read, `torn`, one.

        Raises:
            Broken: it is damaged.
        """
        try:
            with pq.ParquetFile(place.local(), page_checksum_verification=True, pre_buffer=False) as file:
                mask = self.mask(table, file.schema_arrow)
                if mask is None:
                    return 0
                columns = self._read_columns(table, file.schema_arrow)
                found = (mask(batch) for batch in file.iter_batches(columns=columns))
                return sum(rows.true_count for rows in found)
        except (OSError, pa.ArrowException, ValueError) as error:
            if torn:
                return 1
            raise Broken(
                f"{place}: damaged or gone ({first_line(error)}); nothing is erased. `nightscore verify` "
                "names every such file; restore it from a backup, or run its day again with --force"
            ) from error

    def mask(self, table: str, schema: pa.Schema) -> Mask | None:
        """What says which rows of a file of a table are theirs; None where it can have none."""
        if table == RESTATED_ROWS:
            return self._restated
        if table.endswith(BAD_LINES) and set(LINES) <= set(schema.names):
            return self.texts.mask(LINES)
        if set(self.keys.names_in(table)) - set(schema.names):
            return None
        try:
            return self.keys.matcher(table, schema).mask
        except NotOfType:
            return None

    def mask_of(self, place: Place, table: str) -> Mask:
        """The same of a file that was found to have some.

        Raises:
            Broken: it is another now.
        """
        mask = self.mask(table, pq.read_schema(place.local()))
        if mask is None:
            raise Broken(f"{place}: changed while it was looked at; nothing is erased")
        return mask

    def _read_columns(self, table: str, schema: pa.Schema) -> list[str]:
        if table == RESTATED_ROWS:
            return ["table_name", *JSON_TEXTS]
        own = self.keys.names_in(table)
        return list(own if not table.endswith(BAD_LINES) or set(own) <= set(schema.names) else LINES)

    def _restated(self, rows: pa.RecordBatch) -> pa.Array:
        """Which rows of `restated_rows` are of theirs: by their key, else by the row's texts."""
        columns = [rows.column(name).to_pylist() for name in ("table_name", *JSON_TEXTS)]
        return pa.array([self._is_restated(*row) for row in zip(*columns, strict=True)], pa.bool_())

    def _is_restated(self, table: str, *texts: str | None) -> bool:
        row: dict[str, Any] = {}
        for text in texts:
            row |= json.loads(text) if text else {}
        names = self.keys.names_in(self.state.names.tables.current(table))
        return tuple(row.get(name) for name in names) in self._written

    @cached_property
    def _written(self) -> set[tuple[str | None, ...]]:
        return set(self.texts.keys)

    def in_run(self, run: RunFolder) -> dict[Place, int]:
        """The Parquet files in a run's folder that have rows of theirs, and how many.

        Raises:
            Broken: one is damaged.
        """
        found = {}
        for seen in run.path.walk():
            place = replace(run.path, key=seen.key)
            if place.name.endswith((".parquet", ".tmp")):
                torn = place.name.startswith(".") or not run.receipt.exists()
                if rows := self.rows_in(place, self._table_of(run, place), torn=torn):
                    found[place] = rows
        return found

    def _table_of(self, run: RunFolder, place: Place) -> str:
        """By which table's columns a file of a run's folder is read."""
        job = self.state.names.jobs.current(run.path.parent.parent.name)
        own = self.state.names.tables.current(place.stem)
        if own in (RESTATED_ROWS, *self.schemas):
            return own
        tables = {"bad_lines": f"{job}_bad_lines", "rejects": f"{job}_rejects"}
        if place.parent.name == "rejects":
            return tables["rejects"]
        return tables.get(place.stem, f"{job}_scores")

    def pages(self, files: Iterable[Path]) -> list[Path]:
        """The pages and notes among some files of this machine that have a key as a word."""
        texts = (path for path in files if path.suffix in PAGES)
        return [path for path in texts if self.texts.are_in(path.read_text(errors="replace"))]

    def quoting(self, root: Place) -> list[int]:
        """The versions of a table whose commit quotes a key, such as in the condition of a DELETE."""
        commits = [file for file in (root / "_delta_log").glob("*.json") if file.stem.isdigit()]
        return [int(c.stem) for c in commits if any(map(self._quotes, c.read_text().splitlines()))]

    def _quotes(self, line: str) -> bool:
        info = json.loads(line).get("commitInfo") if '"commitInfo"' in line else None
        said = {name: value for name, value in (info or {}).items() if name != "timestamp"}
        return bool(said) and self.texts.are_in(json.dumps(said))

    def _refuse_unknown(self) -> None:
        for table, names in self.keys.called.items():
            schema = self.schemas.get(table)
            if schema is None:
                raise Broken(f"--column: {table} is no table; tables: {', '.join(self.schemas)}")
            for name in names.values():
                if name not in schema.names:
                    raise Broken(
                        f"--column: table {table} has no column {name!r}; it has {', '.join(schema.names)}"
                    )


def _columns(names: Sequence[str]) -> str:
    return f"column{'' if len(names) == 1 else 's'} {', '.join(names)}"
