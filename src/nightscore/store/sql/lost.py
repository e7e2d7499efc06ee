"""What is said of published files that are not there any more, and which of a table's are there."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nightscore.common import Broken, NotYet
from nightscore.store.sql.views import View
from nightscore.store.storage import Place
from nightscore.store.tables.snapshots import LiveFile, erased_meanwhile, was_replaced


def lost_day(root: Place, job: str, day: str, run_id: str) -> Broken:
    """That a table's log does not hold the files of a run for a day any more."""
    there = root.is_folder()
    gone = "its log has lost the files" if there else f"{root} is gone, and with it the files"
    return Broken(
        f"table {root.name}: {gone} of {day}, run {run_id}; {_way_on(root.name, job, day)}. Other tables are "
        "read as ever"
    )


def lost_file(table: str, day: str, name: str) -> str:
    """That a file of a table's day is gone, though the table's log has it."""
    return (
        f"table {table}: day={day}/{name} is gone, which the receipt in force of {day} names: removed by "
        f"hand, or by another engine's VACUUM; {_way_on(table, 'JOB', day)}. Other tables are read as ever"
    )


def _way_on(table: str, job: str, day: str) -> str:
    return (
        f"restore it from a backup, or publish the day again: `nightscore run {job} --day {day} --force` "
        f"(of a closed day, --restate); `nightscore verify` names all that is wrong with {table}"
    )


def gone_file(table: str, files: Sequence[LiveFile]) -> str:
    """What is said of the first of some files of a table that are gone; "" where all are there."""
    lost = next((file for file in files if not file.path.exists()), None)
    return lost_file(table, lost.day, lost.path.name) if lost else ""


def refuse_lost(views: Iterable[View]) -> None:
    """Raise `Broken` where what some view reads is damaged or gone; `NotYet` where it was erased from."""
    for view in views:
        if problem := view.problem or _gone(view):
            if any(was_replaced(path) for path in view.files):
                raise NotYet(erased_meanwhile(f"table {view.name}"))
            raise Broken(problem)


def readable(views: Iterable[View]) -> list[View]:
    """Those of some views whose files are all there."""
    return [view for view in views if not view.problem and not _gone(view)]


def _gone(view: View) -> str:
    lost: Path | None = next((path for path in view.files if not path.exists()), None)
    if lost is None:
        return ""
    return lost_file(view.name, lost.parent.name.partition("=")[2], lost.name)
