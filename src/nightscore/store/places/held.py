"""Which runs an audit has held: an empty mark of each, so that nobody has to look at every run for them.

    data/held/<job>/<day>/<run>   a run that may be held: its folder says so, the mark says where to look
    data/held/ALL                 all runs that were held before there were marks have one, too

A workspace of years has a hundred thousand files below `data/runs`; the marks are one listing. A mark is made
before its run is held, and goes when somebody has decided about it, so that there may be one too many, and
none too few. Of runs that versions without marks have held, `gc` makes the marks, and whoever first asks.
"""

import contextlib
from collections.abc import Iterable

from nightscore.common import NightscoreError, Workspace
from nightscore.store import storage
from nightscore.store.places.run_folder import HELD, RunFolder
from nightscore.store.storage import Place

HOME, ALL = "data/held", "ALL"


def mark_held(run: RunFolder) -> None:
    """Make the mark of a run that is about to be held.

    Not by `create_text`, which reads what is there: who decides about the run may remove the mark meanwhile.
    """
    mark_of(run).replace_text("")


def unmark_held(run: RunFolder) -> None:
    """Remove the mark of a run about which somebody has decided; where that fails, it is one too many."""
    with contextlib.suppress(OSError, NightscoreError):
        mark_of(run).remove()


def find_held_runs(workspace: Workspace, *, thorough: bool = False) -> list[RunFolder]:
    """The runs that were held, by job, day and time; somebody may have decided about one since.

    By their marks; `thorough`, or where not all have one, by a look at all runs.

    Raises:
        Broken: the folder can't be listed.
    """
    marks = None if thorough else _list_marks(workspace)
    if marks is not None:
        return [run for run in marks if run.held.exists()]
    found = [RunFolder(file.parent) for file in storage.runs(workspace).glob("*", "*", "*", HELD)]
    with contextlib.suppress(OSError, NightscoreError):  # who may only read looks at all runs again
        mark_all(workspace, found)
    return found


def mark_all(workspace: Workspace, held: Iterable[RunFolder]) -> None:
    """Make the marks of all runs that are held, of which these are those that are known."""
    for run in held:
        if run.outcome is None:
            mark_held(run)
    (storage.place_of(workspace, HOME) / ALL).replace_text("")


def mark_of(run: RunFolder) -> Place:
    """The mark of a run."""
    job, day, name = run.path.key.split("/")[-3:]
    return Place(run.path.storage, f"{HOME}/{job}/{day}/{name}")


def list_marked(workspace: Workspace) -> list[RunFolder]:
    """The runs that have a mark."""
    return _list_marks(workspace) or []


def _list_marks(workspace: Workspace) -> list[RunFolder] | None:
    """The runs that have a mark, in order; None where there may be held ones that have none."""
    home, runs = storage.place_of(workspace, HOME), storage.runs(workspace)
    names = sorted(seen.key[len(home.key) + 1 :] for seen in home.walk())
    if ALL not in names:
        return None
    return [RunFolder(runs / name) for name in names if name.count("/") == 2]  # job, day, run
