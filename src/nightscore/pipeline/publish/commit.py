"""Staged files -> published tables: the commit protocol, the last step of write-audit-publish.

1. The staged files get a second name (a hard link) under their table's root: `day=D/<run_id>-<n>.parquet`.
   No reader looks at them yet.
   Each table is the run's job's, or nobody's yet and claimed now: a table of another job publishes nothing.
2. `outcome.json` appears in the run's folder: it says `publish`, with the receipt and each table's files. It
   is created once, and is there before where somebody has discarded the run, or `gc` has collected it. From
   here on the run is completed by whoever comes next, should it be killed.
3. One commit per table, in the job's order. The first is made only if the day still holds what the run saw
   when it began, so it decides between runs that overlap; those after it follow. Of a restatement, one commit
   each that appends to `restated_rows` and `restatements`.
4. The row in the table `receipts`, which names the version of each table. Readers go by it.
5. `receipt.json` in the run's folder.

Each step is idempotent: a link that exists is the same file, a commit knows its own
transaction, and a second receipt row is refused by the same means.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from nightscore.common import Broken, NotYet, ProgressCallback, Workspace, silent
from nightscore.job import Job
from nightscore.pipeline.publish.order import with_order
from nightscore.pipeline.publish.ownership import Foreign, claim_or_explain
from nightscore.store import (
    PUBLISH,
    RECEIPTS,
    RESTATED_ROWS,
    RESTATEMENT_SCHEMAS,
    RESTATEMENTS,
    SUPERSEDED,
    LaterFormat,
    Place,
    Plan,
    Receipt,
    RunFolder,
    StagedFile,
    TableResult,
    delta,
    delta_commit,
    link_staged,
    owners,
    read_receipt_text,
    read_staged,
    renames,
    run_folder,
    storage,
    told_row,
    write_rows,
)

RECEIPT_ROW = pa.schema(
    [
        ("job", pa.string()), ("run_id", pa.string()), ("run_number", pa.int64()), ("status", pa.string()),
        ("started_at", pa.timestamp("us", "UTC")), ("published_at", pa.timestamp("us", "UTC")),
        ("rows_read", pa.int64()), ("rows_scored", pa.int64()), ("rows_rejected", pa.int64()),
        ("rows_published", pa.int64()), ("rows_per_second", pa.int64()), ("device", pa.string()),
        ("model_path", pa.string()), ("model_sha256", pa.string()), ("key_hash", pa.string()),
        ("audits_failed", pa.int64()), ("tables", pa.string()), ("receipt", pa.string()),
    ]
)  # fmt: skip


class Publication(BaseModel):
    """What a run is about to commit: its receipt, and for each table its files, in order of commit.

    Paths are relative to the table's root; `seen` are the files of the first table that may be replaced.
    `appended` are files of tables to which the runs of all jobs append. `hand_overs` is how often each table
    had been handed over when the run began, where it had. `has_order`: days of the job follow from days.
    """

    receipt: Receipt
    files: dict[str, list[str]]
    seen: list[str]
    appended: dict[str, list[str]] = {}
    hand_overs: dict[str, int] = {}
    has_order: bool = False


def publish_tables(
    workspace: Workspace, plan: Plan, staged: Mapping[str, Sequence[StagedFile]], receipt: Receipt,
    report: ProgressCallback = silent,
) -> Receipt:  # fmt: skip
    """Publish a day's staged files with their receipt; where the run is being published, with that one's.

    Raises:
        Foreign: (Broken) a table is another job's, or has changed hands since this run began.
        NotYet: another run has published the day since this one began, or it was decided that this one is not
            published.
    """
    run = run_folder.folder_of_plan(workspace, plan)
    files = {table: _link(workspace, plan, table, table_files) for table, table_files in staged.items()}
    report("link", len(files), len(files))
    files |= {table: [] for table in receipt.tables if table not in files}  # whose day ends
    rows = [read_staged(run.decided(RESTATED_ROWS))] if receipt.restatement else []
    appended = {RESTATED_ROWS: _link(workspace, plan, RESTATED_ROWS, rows)} if rows else {}
    publication = Publication(
        receipt=receipt,
        files=files,
        seen=list(plan.seen),
        appended=appended,
        hand_overs=dict(plan.hand_overs),
        has_order=bool(plan.own_past),
    )
    with owners.sharing(workspace, files):
        if reason := _foreign(workspace, publication):
            run.decide(SUPERSEDED, {"reason": reason})
            raise Foreign(f"job {plan.job}: {plan.day} is not published: {reason}")
        run.decide(PUBLISH, publication.model_dump(mode="json", by_alias=True))
        report("publication", 1, 1)
        run.refuse_ended()
        return _complete(workspace, run, _read(run), report)  # the tables are held, and ours, still


def complete_publication(workspace: Workspace, run: RunFolder, report: ProgressCallback = silent) -> Receipt:
    """Commit what a run's `outcome.json` says, as far as it is not done yet.

    Raises:
        Foreign: (Broken) nothing of it is committed yet, and a table has changed hands since the run began.
        NotYet: another run has published the day since this one began, or it says that this one is not
            published.
        Broken: it is damaged.
    """
    run.refuse_ended()
    publication = _read(run)
    with owners.sharing(workspace, publication.files):
        reason = _foreign(workspace, publication)
        if reason and not _begun(workspace, publication):
            run_folder.record(run.superseded, json.dumps({"reason": reason}))
            raise Foreign(f"{publication.receipt.job} {publication.receipt.day} is not published: {reason}")
        return _complete(workspace, run, publication, report)


def complete_half_published(workspace: Workspace, job: str, table: str, report: ProgressCallback) -> None:
    """Complete the days of a job of which a table is to be handed over, where a part of them is committed.

    The caller has the lock of that table. A run that has committed nothing yet is left: it will find the
    table another's, and publish nothing.
    """
    for run in run_folder.list_job_runs(workspace, job):
        if run.publishing:
            publication = _read(run)
            if table in publication.files and _begun(workspace, publication):
                with run.in_use():
                    _complete(workspace, run, publication, report)


def _begun(workspace: Workspace, publication: Publication) -> bool:
    """Whether a table of the day is committed: from the first on, all of them have to be."""
    receipt = publication.receipt
    return any(
        (file.day, file.run_id) == (receipt.day, receipt.run_id)
        for table in publication.files
        for file in delta.list_live_files(renames.table_home(workspace, table))
    )


def _foreign(workspace: Workspace, publication: Publication) -> str:
    """Why a run may not publish its tables, "" where it may."""
    job = publication.receipt.job
    return claim_or_explain(workspace, job, publication.files, publication.hand_overs)


def _complete(
    workspace: Workspace, run: RunFolder, publication: Publication, report: ProgressCallback
) -> Receipt:
    try:
        results = _commit_tables(workspace, publication, report)
    except delta_commit.Superseded as error:
        run_folder.record(run.superseded, json.dumps({"reason": str(error)}))
        raise
    now = dt.datetime.now(dt.UTC)
    _commit_restatement(workspace, publication, report)
    receipt = publication.receipt.model_copy(update={"tables": results, "published_at": now})
    if publication.has_order and (plan := run_folder.read_plan(run.plan)):
        receipt = with_order(
            workspace, plan, receipt
        )  # as late as can be: another may be published meanwhile
    receipt = commit_receipt(workspace, receipt)
    report(f"commit {RECEIPTS}", 1, 1)
    run_folder.record(run.receipt, receipt.to_json(indent=2))
    report("receipt", 1, 1)
    return receipt


def _read(run: RunFolder) -> Publication:
    outcome = run.outcome
    shown = outcome.path if outcome else run.path
    try:
        return Publication.model_validate(outcome.content if outcome else {})
    except LaterFormat as error:
        raise LaterFormat(f"{shown} is {error}") from error
    except ValidationError as error:
        raise Broken(
            f"{shown}: damaged; it says what a run that was stopped was about to commit. Remove it, and the "
            "day is run again"
        ) from error


def roll_forward(job: Job, day: dt.date, report: ProgressCallback = silent) -> None:
    """Complete every run of a day that was killed while it was publishing."""
    for run in run_folder.list_run_folders(job.workspace, job.name, day):
        if run.publishing:
            with contextlib.suppress(NotYet, Foreign), run.in_use():
                complete_publication(job.workspace, run, report)


def _link(workspace: Workspace, plan: Plan, table: str, staged: Sequence[StagedFile]) -> list[str]:
    files = [storage.place_of(workspace, file.path) for file in staged]
    return link_staged(renames.table_home(workspace, table), plan.day, plan.run_id, files)


def _commit_tables(
    workspace: Workspace, publication: Publication, report: ProgressCallback
) -> dict[str, TableResult]:
    results = {}
    for i, (table, result) in enumerate(publication.receipt.tables.items()):
        root = renames.table_home(workspace, table)
        files = tuple(root / name for name in publication.files[table])
        commit = _table_commit(publication.receipt, files)
        version = delta_commit.commit_files(root, commit, publication.seen if i == 0 else None)
        results[table] = result.model_copy(update={"version": version})
        report(f"commit {table}", i + 1, len(publication.files))
    return results


def _commit_restatement(workspace: Workspace, publication: Publication, report: ProgressCallback) -> None:
    """Append a restatement to its two tables, of which readers see only runs that have a receipt."""
    receipt = publication.receipt
    for table, names in publication.appended.items():
        root = storage.tables(workspace) / table
        commit = _table_commit(receipt, tuple(root / name for name in names))
        delta_commit.commit_files(root, dataclasses.replace(commit, mode="append"))
        report(f"commit {table}", 1, 1)
    if receipt.restatement:
        _append(workspace, RESTATEMENTS, receipt, _restatement_rows(receipt))
        report(f"commit {RESTATEMENTS}", 1, 1)


def commit_receipt(workspace: Workspace, receipt: Receipt) -> Receipt:
    """Commit the receipt's row; returns the receipt as it is in the table."""
    row = _row(receipt)
    version = _append(workspace, RECEIPTS, receipt, row, told_row(row))
    live = delta.live_files_of(storage.tables(workspace) / RECEIPTS, receipt.day, version)
    [file] = [f.path for f in live if f.path.name.startswith(f"{receipt.run_id}-")]
    return Receipt.model_validate_json(read_receipt_text(file, receipt.run_id))


def _append(
    workspace: Workspace,
    table: str,
    receipt: Receipt,
    rows: pa.Table,
    told: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Append a run's rows to a table, once; returns the version with which they are there.

    `told` are columns of the one row that there is, for the table's log.
    """
    root = storage.tables(workspace) / table
    # Whoever completes a run writes its rows under a name of its own; one commit of them succeeds.
    path = root / f"day={receipt.day}" / f"{receipt.run_id}-{secrets.token_hex(4)}.parquet"
    write_rows(path, rows)
    commit = dataclasses.replace(_table_commit(receipt, (path,)), mode="append", row=told)
    return delta_commit.commit_files(root, commit)


def _table_commit(receipt: Receipt, files: tuple[Place, ...]) -> delta_commit.TableCommit:
    metadata = {"job_hash": receipt.job_hash, "fingerprint": receipt.fingerprint}
    if receipt.model:
        metadata["model_sha256"] = receipt.model.sha256
    return delta_commit.TableCommit(
        receipt.job, receipt.day, receipt.run_id, receipt.run_number, files, metadata=metadata
    )


def _row(receipt: Receipt) -> pa.Table:
    rows, model = receipt.rows, receipt.model
    row = {
        **{name: getattr(receipt, name) for name in RECEIPT_ROW.names if hasattr(receipt, name)},
        **{f"rows_{name}": getattr(rows, name) for name in ("read", "scored", "rejected", "published")},
        "model_path": model.path if model else None,
        "model_sha256": model.sha256 if model else None,
        "key_hash": receipt.key_hash.out,
        "audits_failed": sum(not a.passed for a in receipt.audits),
        "tables": json.dumps({name: table.version for name, table in receipt.tables.items()}),
        "receipt": receipt.to_json(),
    }
    return pa.Table.from_pylist([row], RECEIPT_ROW)


def _restatement_rows(receipt: Receipt) -> pa.Table:
    """A row for each table of the day that was restated."""
    note = receipt.restatement
    if note is None:
        return RESTATEMENT_SCHEMAS[RESTATEMENTS].empty_table()
    common = {"job": receipt.job, "run_id": receipt.run_id, "number": note.number, "replaces": note.replaces}
    common |= {"because": note.because, "restated_by": note.by, "restated_at": note.at}
    rows = [
        {
            **common,
            "table_name": table,
            **difference.model_dump(),
            "moved": json.dumps(dict(difference.moved)),
        }
        for table, difference in note.tables.items()
    ]
    return pa.Table.from_pylist(rows, RESTATEMENT_SCHEMAS[RESTATEMENTS])
