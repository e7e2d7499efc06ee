"""Published days verified: the tables' files themselves, held to what the receipt says, any time later.

Verified are the days in force, and of those that were published again what a job reads as first reported.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from nightscore.common import Broken, Workspace, file_sha256
from nightscore.job import TableInput, load_all
from nightscore.pipeline import key_hash_select, key_hash_text
from nightscore.store import (
    CatalogEntry,
    Engine,
    HeadDifference,
    Pinned,
    Place,
    Receipt,
    SqlMistakes,
    View,
    catalog,
    compare_heads,
    compute_table_proof,
    proof_differences,
    query_resources,
)


class Verified(BaseModel):
    """One published day, recomputed. `differences` names what is not as the receipt says; none: all is.

    `first_reported` are the tables that have been published again since, and that a job still reads as they
    were first published by this run. `removed` says of tables of the day that they were removed, and when.
    `erased` says which rows were erased since, without which the day holds.
    `notes` are differences of the tables' heads that show no reader other rows. Where a table's head has a
    day that no receipt names, `run_id` is empty, and where its columns are not those of the receipts, `day`
    is, too.
    """

    job: str
    day: str
    run_id: str
    rows: int
    files: int
    differences: list[str]
    notes: list[str] = []
    first_reported: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()


def verify_days(workspace: Workspace, job: str | None = None, day: str | None = None) -> Iterator[Verified]:
    """Each published day of a job (default: of all), one after the other.

    Each receipt, with the tables that it is in force for, and those that a job reads as it first reported
    them. Of every table: the files by sha256 and page
    checksums, rows, and of each column the nulls, the exact sum, the least and the greatest value; of the
    scores the key hash. And the tables' heads, which other engines read, are held to the receipts.

    Raises:
        Broken: nothing of the job, or of the day, is published.
    """
    state = catalog.read_catalog(workspace)
    chosen = [e for e in state.history if job in (None, e.job) and day in (None, e.day)]
    first = _first_reported(state, _read_as_reported(workspace))
    entries = [e for e in chosen if e.run_id in first or state.holds(e) or _removed(state, e)]
    if not entries:
        subject = " ".join(part for part in (job, day) if part)
        raise Broken(
            f"{subject} is not published; `nightscore receipts` lists what is" if subject else
            "nothing is published yet; `nightscore run JOB --day DAY` does"
        )  # fmt: skip
    heads = [one for one in compare_heads(state, state.tables()) if day in (None, one.day)]
    for entry in sorted(entries, key=lambda e: (e.job, e.day)):
        own = [one for one in heads if one.day == entry.day and one.table in state.holds(entry)]
        yield _with_heads(state, entry, _verified(state, entry, first.get(entry.run_id, ())), own)
    yield from _without_receipt(state, job, heads)


def _with_heads(
    state: Pinned, entry: CatalogEntry, verified: Verified, heads: Sequence[HeadDifference]
) -> Verified:
    """What was verified of a day, and how the heads of its tables differ from it.

    Where the day's own files hold, the head's rows are read: that a commit only moved rows is its own word.
    """
    differences, notes = list(verified.differences), []
    for one in heads:
        if verified.differences and one.harmless:
            notes.append(str(one))
        elif not verified.differences and _same_rows(state, entry, one):
            notes.append(str(one) if one.harmless else f"{one.table}: {one.text}; the rows are the same")
        else:
            differences.append(str(dataclasses.replace(one, harmless=False)))
    return verified.model_copy(update={"differences": differences, "notes": notes})


def _same_rows(state: Pinned, entry: CatalogEntry, one: HeadDifference) -> bool:
    """Whether the head's files of a day have the rows that the receipt proves: they are only other files.

    Whole rows are held to each other: what was swapped between two of them leaves the sum of each column.
    """
    recorded = entry.read_receipt().tables[one.table]
    live = state.snapshot(state.home(one.table)).of_day(entry.day)
    if sum(file.rows for file in live) != recorded.rows or not recorded.columns:
        return False
    theirs = [(file.path.local(), file.path.name) for file in live]
    try:
        proof = compute_table_proof(theirs, None)
        if not one.harmless and proof_differences(recorded.columns, proof.columns):
            return False  # an OPTIMIZE writes the columns, too, that the day has not
        ours = [file.path.local() for file in state.files_of(entry, one.table)]
        files = {"ours": ours, "theirs": [path for path, _ in theirs]}
        views = [View(name, tuple(paths), by_name=True) for name, paths in files.items() if paths]
        with Engine(views, query_resources(state.workspace)) as engine, SqlMistakes(one.table):
            found = [engine.rows(key_hash_select(view.name, list(recorded.columns))) for view in views]
    except (Broken, OSError, MemoryError):
        return False
    return proof.rows == recorded.rows and found[1:] == found[:-1]


def _without_receipt(state: Pinned, job: str | None, heads: Sequence[HeadDifference]) -> Iterator[Verified]:
    """What differs at heads for days that no receipt names, and in columns."""
    for one in heads:
        owner = state.publisher(one.table)
        if one.day not in state.published.get(one.table, {}) and job in (None, owner):
            yield Verified(job=owner, day=one.day, run_id="", rows=0, files=0, differences=[str(one)])


def _removed(state: Pinned, entry: CatalogEntry) -> tuple[str, ...]:
    """What was removed of a day, by its newest receipt: what went of an older one was replaced."""
    newest = state.in_force.get((entry.job, entry.day)) == entry
    return tuple(f"{table}: {one}" for table, one in entry.removed.items()) if newest else ()


def _read_as_reported(workspace: Workspace) -> set[str]:
    """The tables that a job reads as they were first published."""
    sources = [source for job in load_all(workspace)[0] for source in job.spec.inputs.values()]
    return {source.table for source in sources if isinstance(source, TableInput) and source.as_reported}


def _first_reported(state: Pinned, tables: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Run -> those of some tables whose day it was the first to publish, and is not in force of any more."""
    found = {}
    for entry in state.as_reported.history:
        again = [t for t in entry.versions if t in tables and _in_force(state, t, entry.day) != entry.run_id]
        if again:
            found[entry.run_id] = tuple(again)
    return found


def _in_force(state: Pinned, table: str, day: str) -> str:
    """The run whose files are those of a table's day."""
    entry = state.published.get(table, {}).get(day)
    return entry.run_id if entry else ""


def _verified(state: Pinned, entry: CatalogEntry, first: tuple[str, ...]) -> Verified:
    named = {"job": entry.job, "day": entry.day, "run_id": entry.run_id, "first_reported": first}
    named["removed"] = _removed(state, entry)
    held = {*state.holds(entry), *first}
    try:
        receipt = entry.read_receipt()
        found = {t: [_local(f.path) for f in state.files_of(entry, t)] for t in entry.versions if t in held}
    except Broken as error:
        return Verified(**named, rows=0, files=0, differences=[str(error)])
    named["erased"] = tuple(str(one) for one in receipt.erased if one.table in found)
    files = {table: [path for path, _ in paths if path] for table, paths in found.items()}
    differences = [
        f"{table}: {difference}"
        for table in receipt.tables
        if table in files
        for difference in _gone(found[table]) or _table(receipt, table, files[table])
    ]
    if not differences and files.get(next(iter(receipt.tables))):
        differences = _keys(state.workspace, receipt, files)
    count = sum(len(paths) for paths in files.values())
    rows = receipt.rows.published if next(iter(receipt.tables)) in files else 0
    return Verified(**named, rows=rows, files=count, differences=differences)


def _local(place: Place) -> tuple[Path | None, str]:
    """A published file on this machine, None where it is gone; and its name."""
    with contextlib.suppress(FileNotFoundError):
        path = place.local()
        return path if path.is_file() else None, place.name
    return None, place.name


def _gone(files: Sequence[tuple[Path | None, str]]) -> list[str]:
    gone = [name for path, name in files if path is None]
    return [f"{gone[0]} is gone ({len(gone)} of {len(files)} files)"] if gone else []


def _table(receipt: Receipt, table: str, files: Sequence[Path]) -> Iterator[str]:
    """What differs in one table, a sentence each."""
    recorded = receipt.tables[table]
    if not recorded.files:
        return  # the day has none any more
    if not recorded.sha256:
        yield "the receipt holds no proof: it was written by an older version"
        return
    sha256 = [file_sha256(path) for path in files]
    yield from _files(recorded.sha256, files, sha256)
    try:
        proof = compute_table_proof([(path, path.name) for path in files], _of_run(receipt), sha256)
    except (Broken, MemoryError) as error:  # a damaged footer may ask for any amount
        yield str(error) or type(error).__name__
        return
    if proof.rows != recorded.rows:
        yield f"{proof.rows:,} rows, the receipt says {recorded.rows:,}"
    yield from proof_differences(recorded.columns, proof.columns)


def _of_run(receipt: Receipt) -> str | None:
    """The run that all rows are of; None where they are another engine's, or a day's of an accepted table."""
    return None if receipt.accepted else receipt.run_id


def _files(recorded: Sequence[str], files: Sequence[Path], sha256: Sequence[str]) -> Iterator[str]:
    if len(recorded) != len(files):
        yield f"{len(files)} files, the receipt says {len(recorded)}"
    # Files are listed by name, in which ten comes before two; the receipt has them as they were staged.
    for path, now in zip(files, sha256, strict=True):
        if now not in recorded:
            yield f"{path.name} has sha256 {now}, which is in no receipt"


def _keys(workspace: Workspace, receipt: Receipt, files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Whether rows and key hash of the scores are those of the receipt."""
    key = receipt.key_hash.columns
    if not key:
        return []
    scores = next(iter(receipt.tables))
    with (
        Engine([View("scores", tuple(files[scores]))], query_resources(workspace)) as engine,
        SqlMistakes(scores),
    ):
        [(rows, lower, upper)] = engine.rows(key_hash_select("scores", key))
    now = rows, key_hash_text(int(lower), int(upper))
    recorded = receipt.rows.published, receipt.key_hash.out
    return [] if now == recorded else [f"{scores}: rows and key hash are {now}, the receipt says {recorded}"]
