"""The commits of a table as its log's files say them: which are ours, and what those of others have done."""

import datetime as dt
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from nightscore.store.storage import Place

REPAIR = "NIGHTSCORE REPAIR"  # the operation of our commits that mend a table
ERASURE = "NIGHTSCORE ERASURE"  # and of those by which files stand in the place of others
FILES = ("add", "remove")
SHAPES = ("metaData", "protocol")


@dataclass(frozen=True)
class Commit:
    """A version of a table as its log's file says it; `days` are those whose files it names.

    `moves_only` says that by its own word the rows stay as they were: an OPTIMIZE. `marks` are days of files
    that it gave a vector of deleted rows, under the name that they had.
    """

    version: int
    operation: str
    engine: str
    at: dt.datetime | None
    ours: bool
    days: frozenset[str]
    marks: frozenset[str]
    moves_only: bool
    shapes: bool
    features: tuple[str, ...] = ()

    def __str__(self) -> str:
        when = f" at {self.at:%Y-%m-%d %H:%M} UTC" if self.at else ""
        return f"{self.operation} by {self.engine}{when}, version {self.version}"


def foreign_commits(root: Place, named: set[int], newest: int) -> list[Commit]:
    """The commits of others, among the versions that no receipt names."""
    gaps = (read_commit(root, version) for version in range(1, newest + 1) if version not in named)
    return [one for one in gaps if one and not one.ours and (one.days or one.shapes)]


def read_commit(root: Place, version: int) -> Commit | None:
    """A version's commit; None where the log's file is not there (any more), or is damaged."""
    try:
        return _parsed(version, (root / "_delta_log" / f"{version:020}.json").read_text())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@lru_cache(maxsize=256)
def _parsed(version: int, text: str) -> Commit:
    actions = [json.loads(line) for line in text.splitlines() if line.strip()]
    info: dict[str, Any] = next((one["commitInfo"] for one in actions if "commitInfo" in one), {})
    files = [(kind, one[kind]) for one in actions for kind in FILES if kind in one]
    moved = info.get("timestamp")
    return Commit(
        version,
        str(info.get("operation", "a commit without a name")),
        str(info.get("userName") or info.get("engineInfo") or "another engine"),
        dt.datetime.fromtimestamp(moved / 1000, dt.UTC) if isinstance(moved, int) else None,
        ours=("run_id" in info and "job" in info) or info.get("operation") in (REPAIR, ERASURE),
        days=frozenset(_day_of(file) for _, file in files),
        marks=frozenset(_day_of(f) for kind, f in files if kind == "add" and f.get("deletionVector")),
        moves_only=bool(files) and not any(file.get("dataChange", True) for _, file in files),
        shapes=any(kind in one for one in actions for kind in SHAPES),
        features=tuple(sorted(_features(actions))),
    )


def _day_of(file: dict[str, Any]) -> str:
    values = file.get("partitionValues") or {}
    return str(values.get("day") or unquote(file["path"]).partition("/")[0].partition("=")[2])


def _features(actions: list[dict[str, Any]]) -> set[str]:
    protocols = [one["protocol"] for one in actions if "protocol" in one]
    return {str(name) for protocol in protocols for name in protocol.get("readerFeatures") or ()}
