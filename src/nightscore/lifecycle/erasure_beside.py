"""What lies beside the tables and has somebody in it, and what becomes of it: leftovers, pages, notes.

Of a published run the features are written again, and what it had staged is removed: it lies in its tables.
A run that was held or stopped ends: nobody is to publish them again.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from nightscore.common import Broken, NotYet
from nightscore.lifecycle.erasure_highlights import tells_of
from nightscore.lifecycle.erasure_search import Search
from nightscore.pipeline import HeldDay
from nightscore.store import (
    PUBLISHED_STAGED,
    REPORT,
    ErasureRow,
    Place,
    RunFolder,
    erasures,
    find_attempt_files,
    has_report,
    read_report,
    storage,
)

FEATURES, AGAIN = "features", ".erased-"  # the names of snapshots, and of what is to stand in their place
Row = Callable[..., ErasureRow]  # a kind and what it says -> a row of the record


def list_runs(search: Search) -> list[RunFolder]:
    """Every run's folder of the workspace."""
    home = storage.runs(search.state.workspace)
    return [RunFolder(path) for path in home.glob_folders("*", "*", "*") if path.lies_in(home)]


def find_beside(search: Search, affected: set[str], row: Row, *, looks_only: bool) -> list[ErasureRow]:
    """What is to be written again or removed; `affected` are the runs of whose tables something goes.

    Raises:
        NotYet: one of the runs is at work, unless one only looks.
    """
    rows = []
    for run in list_runs(search):
        there = search.in_run(run)
        told = _is_told_of(run, search, loses=bool(there))
        if not run.finished and (there or told):
            if not (looks_only or run.is_idle()):
                raise at_work(run)
            kind = erasures.HELD if run.held.exists() else erasures.STOPPED
            rows.append(row(kind, **_of(run), rows=sum(there.values()), file=run.path.key))
        elif there or told or run.run_id in affected:
            rows += _published(run, there, row)
            rows += [row(erasures.BESIDE, **_of(run), file=run.held.key)] if told else []
    gone = {one.file for one in rows}
    named = [
        *map(search.state.workspace.relative, search.pages(_pages(search))),
        *_messages(search),
        *_kept_pages(search),
    ]
    return [*rows, *(row(erasures.BESIDE, file=name) for name in named if name not in gone)]


def _is_told_of(run: RunFolder, search: Search, *, loses: bool) -> bool:
    """Whether the receipt with which a run was held tells of a key in its highlights; none published it.

    `loses` says that rows of theirs are in what it had staged.
    """
    if not run.held.exists() or run.receipt.exists():
        return False
    text = run.held.read_text()
    try:
        return tells_of(HeldDay.model_validate_json(text).receipt, search.texts, (), loses=loses)
    except (ValueError, Broken):  # it can't be read, and nobody can release it
        return search.texts.are_in(text)


def at_work(run: RunFolder) -> NotYet:
    """That a run can't be ended now."""
    return NotYet(
        f"job {run.path.parent.parent.name}: run {run.run_id} of {run.path.parent.name} is at work; try "
        "again once it has ended"
    )


def _of(run: RunFolder) -> dict[str, str]:
    job, day = run.path.key.split("/")[-3:-1]
    return {"job": job, "erased_day": day, "run_id": run.run_id}


def _published(run: RunFolder, there: dict[Place, int], row: Row) -> Iterator[ErasureRow]:
    """What goes of a run that is published, or never will be."""
    staged = [place for name in PUBLISHED_STAGED if _is_there(place := run.path / name)]
    within = {place.key for place in staged}
    for place, rows in there.items():
        if run.receipt.exists() and place.name.startswith(FEATURES):
            new = place.parent / f"{AGAIN}{secrets.token_hex(4)}-{place.name}"
            yield row(erasures.BESIDE, **_of(run), rows=rows, file=place.key, replaced_by=new.key)
        elif not {place.key, place.parent.key} & within:
            yield row(erasures.BESIDE, **_of(run), rows=rows, file=place.key)
    report = [run.path / REPORT] if has_report(run.path) else []
    yield from (row(erasures.BESIDE, **_of(run), file=place.key) for place in (*staged, *report))


def _is_there(place: Place) -> bool:
    return place.exists() or place.is_folder()


def _messages(search: Search) -> Iterator[str]:
    """What was told of runs whose message names somebody: a row that could not be scored, say."""
    for place in find_attempt_files(search.state.workspace):
        with contextlib.suppress(FileNotFoundError):
            if search.texts.are_in(place.read_text()):
                yield place.key


def _kept_pages(search: Search) -> Iterator[str]:
    """The pages of runs that are kept elsewhere than on this machine, and have a key in them."""
    for run in list_runs(search):
        is_here = (run.path.scratch() / REPORT).exists()
        if not is_here and search.texts.are_in(read_report(run.path) or ""):
            yield (run.path / REPORT).key


def _pages(search: Search) -> Iterator[Path]:
    """The pages and notes of this machine, by whoever made them."""
    space = search.state.workspace
    for folder in (space.choices, space.dossiers, space.bakeoffs):
        yield from sorted(folder.rglob("*"))
    runs = storage.runs(space).scratch()
    yield from sorted(path for path in runs.rglob("*") if path.suffix in (".html", ".log"))
