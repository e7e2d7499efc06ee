"""An erasure that is recorded, ended: by what was recorded alone, whoever comes next, as often as it takes.

Delta's newest versions get the new files, then what lies beside the tables goes or is put in its place, then
the old files go, and what logs tell of them; at last the erasure is `done`.
"""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightscore.common import Workspace, remove_path
from nightscore.store import delta, renames, storage
from nightscore.store.places.outcome import COLLECTED, DISCARDED
from nightscore.store.places.reports import remove_report
from nightscore.store.places.run_folder import HELD as HELD_FILE
from nightscore.store.places.run_folder import RunFolder
from nightscore.store.published.delta_erase import replace_at_head
from nightscore.store.published.receipt_rows import RECEIPTS, read_receipt_text
from nightscore.store.records.erasures import (
    BESIDE,
    DONE,
    FILE,
    HELD,
    LOG,
    STOPPED,
    TABLE,
    Erased,
    ErasureRow,
    read_erased,
    record_erasure,
)
from nightscore.store.storage import Place
from nightscore.store.tables.log_scrub import scrub_log

EMBEDDED = {  # documents of a run's folder, and where in them its receipt stands
    "receipt.json": (), "outcome.json": ("publish", "receipt"), "publication.json": ("receipt",),
    HELD_FILE: ("receipt",),
}  # fmt: skip


def complete_erasures(workspace: Workspace) -> list[str]:
    """End each erasure that was begun; gives their actions.

    Raises:
        NotYet: the storage takes nothing, or others are committing all the time.
        Broken: a file can't be removed, or a log is damaged.
    """
    erased = read_erased(workspace)
    for action in erased.pending:
        _complete(workspace, erased, [row for row in erased.rows if row.action == action])
    return list(erased.pending)


def _complete(workspace: Workspace, erased: Erased, rows: Sequence[ErasureRow]) -> None:
    action, tables = rows[0].action, _tables(workspace, rows)
    for root in tables:
        replace_at_head(root, erased.replaced.get(root.name, {}), action)
    for row in rows:
        if row.kind in (HELD, STOPPED):
            _end_run(workspace, row)
        elif row.kind == BESIDE:
            _put_beside(workspace, row)
        elif row.kind == FILE and row.table_name == RECEIPTS:
            _tell_run(workspace, erased, row)
    for root in tables:
        _remove_old(root, [row for row in rows if row.table_name == root.name])
    now = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
    record_erasure(workspace, [ErasureRow(action, DONE, rows[0].erased_at, detail=now)], ended=True)


def _remove_old(root: Place, rows: Sequence[ErasureRow]) -> None:
    """Remove what was replaced of a table, and what its log tells of it."""
    files = {row.file for row in rows if row.kind == FILE}
    if root.name != RECEIPTS:  # its log tells readers what receipts say, and no key
        columns = {name for row in rows if row.kind == TABLE for name in row.key_columns.split(",")}
        scrub_log(root, files, columns, {int(row.detail) for row in rows if row.kind == LOG})
    for file in files:
        (root / file).remove()


def _tables(workspace: Workspace, rows: Sequence[ErasureRow]) -> list[Place]:
    names = sorted({row.table_name for row in rows if row.kind in (FILE, TABLE, LOG)})
    roots = [storage.tables(workspace) / name for name in names]
    return [root for root in roots if delta.table_exists(root)]


def _end_run(workspace: Workspace, row: ErasureRow) -> None:
    """Keep a run from being published or taken up, and remove all that it has made."""
    run = RunFolder(storage.place_of(workspace, row.file))
    why = {"by": row.erased_by, "because": row.because, "at": row.erased_at.isoformat()}
    run.decide(DISCARDED if row.kind == HELD else COLLECTED, why)
    run.collect()
    remove_report(run.path)


def _put_beside(workspace: Workspace, row: ErasureRow) -> None:
    """Put what was written again in the place of what lies beside the tables, or remove that."""
    place = storage.place_of(workspace, row.file)
    if row.replaced_by:
        new = storage.place_of(workspace, row.replaced_by)
        if new.exists():  # else it was put there before
            place.replace_file(new.local())
            place.with_suffix(".sha256").replace_text(row.sha256)
            new.remove()
        return
    place.remove()
    for copy in (place.scratch(), workspace.locate(row.file)):  # of this machine, where `data` is a bucket
        remove_path(Path(copy))


def _tell_run(workspace: Workspace, erased: Erased, row: ErasureRow) -> None:
    """Let the documents of a run say what its receipt says now."""
    new = erased.replaced[RECEIPTS][row.file].replaced_by
    receipt = json.loads(read_receipt_text(storage.tables(workspace) / RECEIPTS / new, row.run_id))
    folder = renames.runs_home(workspace, row.job) / row.erased_day / row.run_id
    remove_report(folder)  # somebody may have made one since they were looked for
    there = {place.name: place for place in folder.glob("*.json")}
    for name, at in EMBEDDED.items():
        if name in there:
            text = there[name].read_text()
            said = json.dumps(_with(json.loads(text), at, receipt), ensure_ascii=False, indent=2)
            if json.loads(said) != json.loads(text):
                there[name].replace_text(said)


def _with(document: dict[str, Any], at: Sequence[str], receipt: dict[str, Any]) -> dict[str, Any]:
    """A document with a receipt in the place of the one that it has; what became of the run it says still."""
    if not at:
        return receipt | {"status": document.get("status", receipt["status"])}
    if not isinstance(inner := document.get(at[0]), dict):
        return document
    return document | {at[0]: _with(inner, at[1:], receipt)}
