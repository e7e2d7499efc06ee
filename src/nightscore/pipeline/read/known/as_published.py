"""The files of published tables, held to what was published: one that was replaced in its place is not read.

A table's log has the size and the time of change of each file, as they were when it was committed; holding
a file to them costs a look at it. A copy or a backup gives the same bytes another time: such a file is held
to the sha256 in the receipt of its run.
"""

from collections.abc import Iterable

from nightscore.common import file_sha256
from nightscore.job import Job
from nightscore.store import LiveFile, Pinned, Place

A_MOMENT = 1.5  # ms by which two times of one file differ in rounding


def hold_to_published(job: Job, name: str, state: Pinned, table: str, files: Iterable[LiveFile]) -> None:
    """Hold the files of a table input, in the state that it is read in, to what their runs published.

    One that is gone, or can't be looked at, is left to whoever reads it next.

    Raises:
        Broken: one is another file than was published; or its time of change is another, and the receipt
            that has its sha256 can't be read.
    """
    for file in files:
        if problem := _problem(state, table, file):
            job.raise_broken(
                ("inputs", name, "table"),
                f"{file.path} is not what run {file.run_id} published for "
                f"{file.day}: {problem}. Restore it from a backup; of a day in force, `nightscore run "
                f"{state.published[table][file.day].job} --day {file.day} --force` publishes it again. "
                "`nightscore verify` names every such file",
            )


def published_sha256(state: Pinned, table: str, day: str) -> tuple[str, ...]:
    """The sha256 of the files that were published for a day of a table; none of an older version's.

    Raises:
        Broken: the receipt is damaged.
    """
    entry = state.published.get(table, {}).get(day)
    return entry.read_receipt().tables[table].sha256 if entry else ()


def _problem(state: Pinned, table: str, file: LiveFile) -> str:
    """What is not as it was published, "" where it is."""
    try:
        seen = file.path.look()
    except OSError:  # whoever opens it says so
        seen = None
    if seen is None:
        return ""
    if seen.bytes != file.bytes:
        return f"it has {seen.bytes:,} bytes, and the table's log says {file.bytes:,}"
    if abs(seen.modified * 1000 - file.modified) <= A_MOMENT:
        return ""
    return _other_bytes(file.path, published_sha256(state, table, file.day))


def _other_bytes(file: Place, recorded: tuple[str, ...]) -> str:
    now = file_sha256(file.local()) if recorded else ""
    return f"its sha256 is {now}, which its receipt does not have" if now not in ("", *recorded) else ""
