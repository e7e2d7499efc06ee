"""A table whose head is not as its receipts say, mended by a person: put back, or taken as it is.

Another engine has deleted, appended, updated, restored or optimized, or changed columns. Put back: one commit
of ours has the receipts' files again. Accepted: what is there gets a receipt of its own, which is a copy of
that in force with the table's rows and proof as they are now, and says who accepted it and why.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.common import Broken, Workspace, file_sha256, refuse_unsaid
from nightscore.pipeline.publish.commit import commit_receipt
from nightscore.pipeline.publish.reconcile import key_hash_select, key_hash_text
from nightscore.store import (
    Accepted,
    Engine,
    HeadDifference,
    KeyHash,
    LiveFile,
    Pinned,
    Receipt,
    Snapshot,
    TableResult,
    View,
    catalog,
    compare_heads,
    compute_table_proof,
    delta,
    delta_repair,
    heads,
    owners,
    query_resources,
    run_folder,
    without_bounds,
)


@dataclass(frozen=True)
class Repaired:
    """What was done about one difference: `how` is `put back` or `accepted`; `run_id` of a receipt."""

    table: str
    day: str
    was: str
    how: str
    run_id: str = ""


def repair_table(
    workspace: Workspace, table: str, day: str | None = None, *, by: str, because: str, accept: bool = False
) -> list[Repaired]:
    """Mend what differs at a table's head: of one day, or of all and of its columns. Gives what was done.

    Raises:
        Broken: nothing is published there, `by` or `because` is empty, the receipt's files are gone or
            changed, or what is there can't be accepted.
        NotYet: a run is publishing the table now.
    """
    refuse_unsaid(by=by, because=because)
    if table not in catalog.read_catalog(workspace).published:
        raise Broken(f"table {table!r} is not published; `nightscore tables` lists those that are")
    with owners.alone(workspace, table):
        state = catalog.read_catalog(workspace)
        found = [one for one in compare_heads(state, [table]) if day in (None, one.day)]
        note = {"by": by.strip(), "because": because.strip()}
        if not found:
            return []
        if found[0].gone:
            raise Broken(f"{found[0]}; there is nothing to repair: restore it from a backup")
        return _accept(state, table, found, note) if accept else _put_back(state, table, found, note)


def _put_back(
    state: Pinned, table: str, found: Sequence[HeadDifference], note: dict[str, str]
) -> list[Repaired]:
    root = state.home(table)
    days = {one.day: _proven(state, table, one.day) for one in found if one.day}
    head = delta.read_snapshot(root)
    if any(not one.day for one in found):
        named = {entry.versions[table] for entry in state.history if table in entry.versions}
        if (schema := heads.last_shape(root, named, head.version)) is None:
            raise Broken(f"table {table}: no version of ours can be read any more; restore it from a backup")
        delta_repair.commit_columns(root, schema, note)
    marked = [one.day for one in found if any(one.day in commit.marks for commit in one.commits)]
    delta_repair.commit_days(root, days, note, marked)
    return [Repaired(table, one.day, one.text, "put back") for one in found]


def _proven(state: Pinned, table: str, day: str) -> list[LiveFile]:
    """The files of a day in force, which are as its receipt says; none where no receipt names the day."""
    entry = state.published[table].get(day)
    if entry is None:
        return []
    files, recorded = state.files_of(entry, table), entry.read_receipt().tables[table]
    for file in files:
        there = file.path.exists()
        if not there or (recorded.sha256 and file_sha256(file.path.local()) not in recorded.sha256):
            what = "is gone" if not there else "is not what the receipt of the day has the sha256 of"
            raise Broken(
                f"table {table}: day={day}/{file.path.name} {what}; nothing is repaired. Restore it from a "
                f"backup, run {entry.job} for {day} again with --force, or accept what is there: `nightscore "
                f"repair {table} --day {day} --accept --because TEXT --by NAME`"
            )
    return files


def _accept(
    state: Pinned, table: str, found: Sequence[HeadDifference], note: dict[str, str]
) -> list[Repaired]:
    for one in found:
        if not one.day:
            raise Broken(f"{one}; other columns can't be accepted: put them back, without --accept")
    root = state.home(table)
    head = delta.read_snapshot(root)
    receipts = [_accepted(state, one, head, note) for one in found]
    delta_repair.commit_note(root, head.version + 1, note)
    done = [commit_receipt(state.workspace, receipt) for receipt in receipts]
    return [
        Repaired(table, one.day, one.text, "accepted", receipt.run_id)
        for one, receipt in zip(found, done, strict=True)
    ]


def _accepted(state: Pinned, one: HeadDifference, head: Snapshot, note: dict[str, str]) -> Receipt:
    """The receipt of a day as it is: that in force, with the table as another engine left it."""
    if any(one.day in commit.marks for commit in one.commits):
        raise Broken(f"{one}; files with rows marked as deleted can't be accepted: rewrite them first")
    table, live, now = one.table, head.of_day(one.day), dt.datetime.now(dt.UTC)
    entry = state.published[table].get(one.day)
    before = entry.read_receipt() if entry else _unknown(state, table, one.day)
    result = _counted(live, head.version + 1, before.key_hash.columns)  # ours, see `_accept`
    held = {name: before.tables[name] for name in (state.holds(entry) if entry else ())}
    past = state.day_history(before.job, [table], one.day)
    number = max([int(now.timestamp() * 1000), *(e.run_number + 1 for e in past)])
    changed = {
        "run_id": run_folder.new_run_id(before.fingerprint or "accepted", now.timestamp()),
        "run_number": number, "started_at": now, "published_at": now, "tables": {**held, table: result},
        "accepted": Accepted(
            table=table, of=entry.run_id if entry else "", was=one.text, at=now,
            commits=tuple(str(commit) for commit in one.commits), **note,
        ),
    }  # fmt: skip
    if entry is None or table == next(iter(before.tables)):
        changed |= _recounted(state, before, live, result)
    return before.model_copy(update=changed)


def _unknown(state: Pinned, table: str, day: str) -> Receipt:
    """A receipt of a day that none names, of the table's job."""
    owner = owners.read_owner(state.workspace, table, state)
    return Receipt(job=owner.to if owner else "", day=day, run_id="", status="published")


def _counted(live: Sequence[LiveFile], version: int, key: Sequence[str]) -> TableResult:
    if not live:
        return TableResult(rows=0, files=0, bytes=0, version=version)
    files = [(file.path.local(), file.path.name) for file in live]
    proof = compute_table_proof(files, None)
    size = sum(file.bytes for file in live)
    return TableResult(
        rows=proof.rows,
        files=len(live),
        bytes=size,
        version=version,
        sha256=proof.sha256,
        columns=without_bounds(proof.columns, key),
    )


def _recounted(
    state: Pinned, before: Receipt, live: Sequence[LiveFile], result: TableResult
) -> dict[str, object]:
    """Rows and key hash of scores that were accepted as they are."""
    rows = before.rows.model_copy(update={"published": result.rows})
    key, out = before.key_hash.columns, before.key_hash.out
    if key and live:
        view = View("scores", tuple(file.path.local() for file in live))
        with Engine([view], query_resources(state.workspace)) as engine:
            [(_, lower, upper)] = engine.rows(key_hash_select("scores", key))
        out = key_hash_text(int(lower), int(upper))
    hashes = KeyHash(in_=before.key_hash.in_, out=out, rejected=before.key_hash.rejected, columns=key)
    return {"rows": rows, "key_hash": hashes}
