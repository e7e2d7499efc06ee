"""What became of a run: one record in its folder, `outcome.json`, created once, which decides it.

Whoever would end a run (its own publication, a person who releases or discards it, `gc`) tries to create the
record, and reads what is there: of several at once exactly one has won, and the others know who. It is an
object of one key:

    {"publish": …}      all is staged and audited, and is committed: by whoever comes next, if need be
    {"discarded": …}    by a person: by, because, at
    {"superseded": …}   it may not be published any more: reason
    {"collected": …}    by `gc`: at; what was staged is removed, or is about to be

Versions before had a file each: publication.json, discarded.json, superseded.json; they are read as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.store.storage import Place

PUBLISH, DISCARDED, SUPERSEDED, COLLECTED = "publish", "discarded", "superseded", "collected"
KINDS = (PUBLISH, DISCARDED, SUPERSEDED, COLLECTED)
FILE = "outcome.json"
EARLIER = {"publication.json": PUBLISH, "discarded.json": DISCARDED, "superseded.json": SUPERSEDED}


@dataclass(frozen=True)
class Outcome:
    """One decision: its kind, one of the four above, and what goes with it. `path` is where it was read."""

    kind: str
    content: Mapping[str, Any]
    path: Place

    def __str__(self) -> str:
        what = self.content
        match self.kind:
            case "discarded":
                return f"{_person(what)} discarded it: {what.get('because', '')}"
            case "superseded":
                return str(what.get("reason", "another run took its place"))
            case "collected":
                return "`nightscore gc` has removed it, since nobody had taken it up"
        released = (what.get("receipt") or {}).get("released")
        return f"{_person(released)} released it: {released['because']}" if released else "it was published"

    def is_(self, kind: str, content: Mapping[str, Any]) -> bool:
        """Whether it is this very decision, and not another's of the same kind."""
        return (self.kind, self.content) == (kind, _as_read(content))


def read_outcome(folder: Place) -> Outcome | None:
    """What became of the run in a folder; None while it is open.

    A record that can't be read counts as a publication: it is kept, and named by whoever completes it.
    """
    there = {path.name for path in folder.glob("*.json")}
    if FILE in there:
        return _read(folder / FILE)
    for name, kind in EARLIER.items():  # where there are two, a publication was begun, and counts
        if name in there:
            return Outcome(kind, _content(folder / name), folder / name)
    return None


def record_outcome(folder: Place, kind: str, content: Mapping[str, Any]) -> Outcome:
    """Decide what becomes of a run, unless that is decided; gives what was decided, by whomever."""
    if found := read_outcome(folder):
        return found
    text = json.dumps({kind: content}, ensure_ascii=False, default=str, indent=2)
    (folder / FILE).create_text(text)
    return _read(folder / FILE)


def _read(path: Place) -> Outcome:
    kind, inner = next(iter(_content(path).items()), (PUBLISH, {}))
    known = kind in KINDS and isinstance(inner, dict)
    return Outcome(kind, inner, path) if known else Outcome(PUBLISH, {}, path)


def _content(path: Place) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _as_read(content: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(content, default=str))


def _person(note: Mapping[str, Any] | None) -> str:
    note = note or {}
    return f"{note.get('by', 'somebody')} ({str(note.get('at', 'some time ago'))[:16]})"
