"""Somebody erased from a workspace: from every file below data/ but the lake, which is the source.

What is to stand in the place of each file is written first, and proven; one commit records all of it, and
from then on no reader of ours sees them; then what was recorded is done (`store/published/erasing.py`), by
this process or by the next. Nothing is written before everything has been looked for, nothing recorded that
is not proven.
"""

import contextlib
import datetime as dt
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nightscore.common import Broken, Workspace, refuse_unsaid
from nightscore.lifecycle.erasure_beside import AGAIN, at_work, find_beside, list_runs
from nightscore.lifecycle.erasure_highlights import tells_of
from nightscore.lifecycle.erasure_keys import ErasureKeys, InTexts
from nightscore.lifecycle.erasure_restated import telling_tables, write_restatements
from nightscore.lifecycle.erasure_search import Search, TableFile
from nightscore.lifecycle.erasure_write import (
    ReceiptChange,
    Written,
    has_bounds,
    write_receipts,
    write_without,
)
from nightscore.pipeline import complete_publication, read_held_days
from nightscore.store import (
    FEATURE_GROUP_ROWS,
    GROUP_ROWS,
    RECEIPTS,
    RESTATEMENTS,
    CatalogEntry,
    ErasureRow,
    Place,
    RunFolder,
    catalog,
    complete_erasures,
    erasures,
    keyed_hash,
    list_deliveries,
    owners,
    run_folder,
    storage,
)

NEVER = dt.datetime.fromtimestamp(0, dt.UTC)


@dataclass(frozen=True)
class Erasure:
    """What an erasure has done, or with a dry run would do.

    `files` are those of tables, `beside` what else is written again or removed (paths in the workspace),
    `held` and `stopped` runs that end, `deliveries` where rows of theirs were sent to. `untouched` says why
    tables are left as they are, `notes` what else a person should know.
    """

    action: str
    rows: tuple[ErasureRow, ...]
    untouched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of_kind(self, *kinds: str) -> list[ErasureRow]:
        """The rows of some kinds: of `file`, those that lose a row."""
        return [r for r in self.rows if r.kind in kinds and (r.kind != erasures.FILE or r.rows)]


def forget(
    workspace: Workspace, keys: ErasureKeys, *, because: str, by: str, dry_run: bool = False
) -> Erasure:
    """Erase some keys from everything below data/ but the lake; with `dry_run` only look for them.

    Ends what was begun before. Where they were delivered to is told, and is the caller's to send anew.

    Raises:
        Broken: no table has the key's columns, a value is none of a column's type, `because` or `by` is empty
            or has the key in it, the secret is not set, or a file is not what its receipt says: nothing is
            erased then.
        NotYet: a run is publishing one of the tables, or is at work on one of their jobs; others are
            committing all the time.
    """
    note = _note(keys, because, by)
    if dry_run:
        return _Work(Search(catalog.read_catalog(workspace), keys), note).planned()
    secret = keyed_hash.read_secret()
    complete_erasures(workspace)
    _complete_publications(workspace)
    with contextlib.ExitStack() as locks:
        locks.enter_context(owners.alone(workspace, erasures.ERASURES))
        first = Search(catalog.read_catalog(workspace), keys)
        for table in sorted({*first.schemas, *_held_tables(workspace)}):
            locks.enter_context(owners.alone(workspace, table))
        _remove_leftovers(workspace)
        now = dt.datetime.fromtimestamp(storage.storage_of(workspace).now(), dt.UTC)
        search = Search(catalog.read_catalog(workspace), keys)
        work = _Work(search, note, f"erasure-{secrets.token_hex(6)}", now, secret)
        rows = work.write()
        erasures.record_erasure(workspace, rows)
        complete_erasures(workspace)
    return Erasure(rows[0].action, tuple(rows), tuple(work.search.untouched()), tuple(work.notes()))


def _note(keys: ErasureKeys, because: str, by: str) -> dict[str, str]:
    refuse_unsaid(by=by, because=because)
    for option, text in (("because", because), ("by", by)):
        if InTexts(keys.typed).are_in(text):
            raise Broken(f"--{option} has a key in it, which the record must not have; write it without")
    return {"because": because.strip(), "by": by.strip()}


def _complete_publications(workspace: Workspace) -> None:
    """Complete each run that was killed while it published: its rows are in tables, or will be."""
    home = storage.runs(workspace)
    for run in [RunFolder(path) for path in home.glob_folders("*", "*", "*") if path.lies_in(home)]:
        if run.publishing and run.is_idle():
            with run.in_use():
                complete_publication(workspace, run)


def _held_tables(workspace: Workspace) -> set[str]:
    """The tables of days that are held: one may be released in this moment."""
    return {table for held in read_held_days(workspace, thorough=True) for table in held.receipt.tables}


def _remove_leftovers(workspace: Workspace) -> None:
    """Remove what an erasure has left in runs' folders that was stopped before its record."""
    for place in storage.runs(workspace).glob("*", "*", "*", f"{AGAIN}*", hidden=True):
        place.remove()


@dataclass(frozen=True)
class _Work:
    """One erasure at work, with the locks of all tables; without an `action` it only looks."""

    search: Search
    note: Mapping[str, str]
    action: str = ""
    at: dt.datetime = NEVER
    secret: bytes = b""

    @property
    def workspace(self) -> Workspace:
        return self.search.state.workspace

    def planned(self) -> Erasure:
        """What would be done; nothing is written."""
        files = self.search.files()
        rows = [self._of_file(file) for file in files]
        rows += [*self.beside(files), *self.deliveries(files)]
        return Erasure("", tuple(rows), tuple(self.search.untouched()), tuple(self.notes()))

    def write(self) -> list[ErasureRow]:
        """Write what is to stand in the place of what they are in, proven; gives the record of it."""
        files = self.search.files()
        self._refuse_at_work()
        rows = [*self.searched(), *self.beside(files), *self.deliveries(files)]
        written = {(file.table, file.path): self._again(file) for file in files if file.stays}
        rows = [self._put_again(row) if row.replaced_by else row for row in rows]
        rows += [self._of_file(file, **_as(written.get((file.table, file.path)))) for file in files]
        rows += self._receipts(files, written)
        return rows

    def row(self, kind: str, **said: Any) -> ErasureRow:
        """One row of the record."""
        return ErasureRow(
            self.action, kind, self.at, erased_by=self.note["by"], because=self.note["because"], **said
        )

    def _of_file(self, file: TableFile, **said: Any) -> ErasureRow:
        return self.row(
            erasures.FILE, table_name=self.search.state.home(file.table).name, erased_day=file.day,
            run_id=file.run_id, rows=file.rows, file=file.path, **said,
        )  # fmt: skip

    def searched(self) -> Iterator[ErasureRow]:
        """The keys, as hashes, and the tables that they were looked for in."""
        own = keyed_hash.secret_id(self.secret)
        texts = {key: None for t in self.search.searched for key in self._texts(t)}
        said = {"key_columns": ",".join(self.search.keys.columns), "secret_id": own}
        for key in texts:
            yield self.row(erasures.KEY, key_hash=keyed_hash.hash_key(self.secret, key), **said)
        for table, names in self.search.searched.items():
            root = self.search.state.home(table)
            yield self.row(erasures.TABLE, table_name=root.name, key_columns=",".join(names), secret_id=own)
            for version in self.search.quoting(root):
                yield self.row(erasures.LOG, table_name=root.name, detail=str(version))

    def _texts(self, table: str) -> Sequence[tuple[str, ...]]:
        return self.search.keys.matcher(table, self.search.schemas[table]).texts

    def _again(self, file: TableFile) -> Written:
        name = erasures.new_name(file.path, of_receipts=False)
        root = self.search.state.home(file.table)
        return write_without(file.place, root / name, self.search.mask_of(file.place, file.table), GROUP_ROWS)

    def beside(self, files: Sequence[TableFile]) -> list[ErasureRow]:
        """What goes of what lies beside the tables."""
        affected = {file.run_id for file in files}
        return find_beside(self.search, affected, self.row, looks_only=not self.action)

    def _put_again(self, row: ErasureRow) -> ErasureRow:
        old, new = (storage.place_of(self.workspace, name) for name in (row.file, row.replaced_by))
        job = self.search.state.names.jobs.current(row.job)
        mask = self.search.mask_of(old, f"{job}_scores")
        written = write_without(old, new, mask, FEATURE_GROUP_ROWS)
        return replace(row, **written.numbers)

    def _refuse_at_work(self) -> None:
        """Raise `NotYet` while a run is at work on a job of one of the tables: it may stage them now."""
        state = self.search.state
        jobs = {state.publisher(table) for table in self.search.searched} | {
            entry.job for entry in state.history if not self.search.searched.keys().isdisjoint(entry.versions)
        }
        for run in list_runs(self.search):
            if state.names.jobs.current(run.path.parent.parent.name) in jobs and not run.is_idle():
                raise at_work(run)
        run_folder.remove_spilled(self.workspace, "*")

    # Receipts.

    def _receipts(
        self, files: Sequence[TableFile], written: Mapping[tuple[str, str], Written]
    ) -> list[ErasureRow]:
        """The receipts of runs that lose a row, or have a key as a bound, written again."""
        state, names = self.search.state, self.search.searched
        lost, rows = {(file.table, file.day) for file in files}, []
        runs = {file.run_id for file in files}
        by_file: dict[Place, dict[str, ReceiptChange]] = {}
        for entry in state.history:
            own = {
                table: found for table in entry.versions
                if (found := [written[table, file.path] for file in self._its(entry, table, files)])
            }  # fmt: skip
            if telling := telling_tables(entry, lost):
                rows += [
                    self._of_run(entry, RESTATEMENTS, *one)
                    for one in write_restatements(state, entry, telling)
                ]
            receipt = entry.read_receipt_or_reason()
            shown = tells_of(receipt, self.search.texts, runs, loses=bool(own))
            if own or telling or shown or has_bounds(receipt, self._values()):
                note = {"action": self.action, "at": self.at, **self.note}
                change = ReceiptChange(state, entry, own, names, note, telling, shown)
                by_file.setdefault(entry.file, {})[entry.run_id] = change
        for old, changes in by_file.items():
            root = storage.tables(self.workspace) / RECEIPTS
            path = old.relative_to(root)
            again = write_receipts(old, root / erasures.new_name(path, of_receipts=True), changes)
            rows += [self._of_run(one.entry, RECEIPTS, path, again) for one in changes.values()]
        return rows

    def _of_run(self, entry: CatalogEntry, table: str, path: str, again: Written) -> ErasureRow:
        """That a file of a table of ours says something else of a run."""
        said = _as(again, storage.tables(self.workspace) / table)
        of = {"job": entry.job, "erased_day": entry.day, "run_id": entry.run_id}
        return self.row(erasures.FILE, **of, table_name=table, file=path, **said)

    def _its(self, entry: CatalogEntry, table: str, files: Sequence[TableFile]) -> list[TableFile]:
        """Those of some files that are a run's of a table; none where its own are lost."""
        there = [file for file in files if (file.table, file.day) == (table, entry.day) and file.stays]
        own: set[Place] = set()
        with contextlib.suppress(Broken):
            own = {one.path for one in self.search.state.files_of(entry, table)} if there else own
        return [file for file in there if file.place in own]

    def _values(self) -> dict[str, set[str]]:
        """Column -> the values of the keys there, as receipts write them."""
        found: dict[str, set[str]] = {}
        for table, names in self.search.searched.items():
            for at, name in enumerate(names):
                found.setdefault(name, set()).update(key[at] for key in self._texts(table))
        return found

    # Who else has it.

    def deliveries(self, files: Sequence[TableFile]) -> list[ErasureRow]:
        """Where rows of theirs were delivered to, by whichever run."""
        sent = {(file.table, file.day, file.run_id) for file in files}
        rows: dict[tuple[str, ...], ErasureRow] = {}
        for one in list_deliveries(self.workspace):
            if one.status == "delivered" and (one.table, one.day, one.run_id) in sent:
                row = self.row(
                    erasures.DELIVERY, job=one.job, table_name=one.table, erased_day=one.day,
                    run_id=one.run_id, file=one.delivery, detail=one.target,
                )  # fmt: skip
                rows[one.job, one.day, one.delivery, one.run_id, one.target] = row
        return list(rows.values())

    def notes(self) -> Iterator[str]:
        """What a person should know beside."""
        others = {row.secret_id for row in self.search.state.erased.of_kind(erasures.KEY)}
        if self.secret and others - {keyed_hash.secret_id(self.secret)}:
            yield (
                f"the secret is another than that of an erasure before (id {', '.join(sorted(others))}): "
                "with one of them a run can't tell whether keys of the other have come back"
            )


def _as(written: Written | None, root: Place | None = None) -> dict[str, Any]:
    if written is None:
        return {}
    home = root or written.old.parent.parent
    return {"replaced_by": written.new.relative_to(home), **written.numbers}
