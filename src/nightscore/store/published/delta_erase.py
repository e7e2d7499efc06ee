"""One commit by which files stand in the place of others at a table's head, for what was erased of them.

Written as a file of the log, as a repair is (`delta_repair`): deltalake's transactions replace whole days.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from nightscore.common import NotYet
from nightscore.store import delta, delta_commit
from nightscore.store.published.receipt_rows import LOGGED, RECEIPTS
from nightscore.store.records.erasures import ErasureRow
from nightscore.store.storage import Place
from nightscore.store.tables.commits import ERASURE
from nightscore.store.tables.snapshots import Snapshot

ATTEMPTS = 20


def replace_at_head(root: Place, instead: Mapping[str, ErasureRow], action: str) -> None:
    """Let a table's newest version have new files for old; nothing where it has none of the old ones.

    Raises:
        NotYet: others are committing all the time.
    """
    for _ in range(ATTEMPTS):
        head = delta.read_snapshot(root)
        rows = [row for row in head.adds.to_pylist() if row["path"] in instead]
        if not rows:
            return
        now = int(time.time() * 1000)
        info = {"timestamp": now, "operation": ERASURE, "engineInfo": "nightscore", "action": action}
        actions = [one for row in rows for one in _actions(head, row, instead[row["path"]], now)]
        text = "\n".join(json.dumps(one) for one in ({"commitInfo": info}, *actions)) + "\n"
        log = root / "_delta_log" / f"{head.version + 1:020}.json"
        if log.create_text(text) == text:
            return
    raise NotYet(f"table {root.name}: {ATTEMPTS} commits failed; others are writing")


def _actions(head: Snapshot, row: Mapping[str, Any], new: ErasureRow, now: int) -> list[dict[str, Any]]:
    of_day = {"dataChange": True, "partitionValues": {"day": row["day"]}}
    gone = {"path": row["path"], "size": row["bytes"], "deletionTimestamp": now, **of_day}
    if not new.replaced_by:
        return [{"remove": gone}]
    told = _told(row) if head.root.name == RECEIPTS else {}
    stats = {"numRecords": new.rows_left} | delta_commit.stats_of_row(told)
    come = {"path": new.replaced_by, "size": new.bytes, "modificationTime": new.modified, **of_day}
    return [{"remove": gone}, {"add": come | {"stats": json.dumps(stats)}}]


def _told(row: Mapping[str, Any]) -> dict[str, object]:
    """What the log tells of a receipt, where it does: it is to tell the same of the new file."""
    told = {name: row.get(f"min.{name}") for name in LOGGED}
    is_told = row["rows"] == 1 and all(v is not None and v == row.get(f"max.{n}") for n, v in told.items())
    return told if is_told else {}
