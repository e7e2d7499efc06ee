"""One commit that brings some days of a table, whatever is there, to the files that receipts name.

It is written as a file of the log, and not through deltalake, whose transactions replace whole days alone: a
day of which one file of three is gone would be empty for a moment. The file is created once, by whoever is
first, as every commit is.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.common import NotYet
from nightscore.store import delta, delta_commit
from nightscore.store.storage import Place
from nightscore.store.tables.commits import REPAIR
from nightscore.store.tables.snapshots import LiveFile, Snapshot

ATTEMPTS = 20


def commit_days(
    root: Place, days: Mapping[str, Sequence[LiveFile]], note: Mapping[str, str], marked: Sequence[str] = ()
) -> int:
    """Let a table have some days' files and no others of those days; returns the version that has them.

    `marked` are days whose files have vectors of deleted rows, and are put there without.

    Raises:
        NotYet: others are committing all the time.
    """
    for _ in range(ATTEMPTS):
        head = delta.read_snapshot(root)
        actions = [
            action for day, files in days.items() for action in _actions(head, day, files, day in marked)
        ]
        if not actions:
            return head.version
        if _created(root, head.version + 1, note, actions):
            return head.version + 1
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits failed; others are writing")


def commit_note(root: Place, version: int, note: Mapping[str, str]) -> None:
    """Let a version of a table be ours, with the files of the one before: what a person has accepted.

    A receipt names this version, and not that of another engine, whose commit may have touched more days.

    Raises:
        NotYet: another has made that version meanwhile.
    """
    if not _created(root, version, note, ()):
        raise NotYet(f"table {root.name}: another engine is writing to it; look again, and then accept")


def _created(root: Place, version: int, note: Mapping[str, str], actions: Sequence[dict[str, Any]]) -> bool:
    now = int(time.time() * 1000)
    info = {"timestamp": now, "operation": REPAIR, "engineInfo": "nightscore", **note}
    text = "\n".join(json.dumps(one) for one in ({"commitInfo": info}, *actions)) + "\n"
    return (root / "_delta_log" / f"{version:020}.json").create_text(text) == text


def commit_columns(root: Place, schema: pa.Schema, note: Mapping[str, str]) -> None:
    """Let a table have some columns (`day` among them) again, and no file other than it has."""
    delta_commit.commit_schema(root, schema, {**note, "job": "", "run_id": ""})


def _actions(head: Snapshot, day: str, files: Sequence[LiveFile], anew: bool) -> list[dict[str, Any]]:
    there = {file.path: file for file in head.of_day(day)}
    wanted = {file.path: file for file in files}
    now = int(time.time() * 1000)
    gone = [there[path] for path in there if anew or path not in wanted]
    come = [wanted[path] for path in wanted if anew or path not in there]
    removed = [{"remove": _file(head, day, file) | {"deletionTimestamp": now}} for file in gone]
    stats = [
        {"stats": json.dumps({"numRecords": file.rows}), "modificationTime": file.modified} for file in come
    ]
    return removed + [{"add": _file(head, day, f) | s} for f, s in zip(come, stats, strict=True)]


def _file(head: Snapshot, day: str, file: LiveFile) -> dict[str, Any]:
    return {
        "path": file.path.relative_to(head.root), "dataChange": True, "size": file.bytes,
        "partitionValues": {"day": day},
    }  # fmt: skip
