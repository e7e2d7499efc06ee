"""Days that read less, or more, than there was: holes in a lookback, files that were overlooked, tables."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from nightscore.common import Broken, NightscoreError
from nightscore.job import Job, TableInput
from nightscore.pipeline import inputs, refuse_incomplete, see_days
from nightscore.review.recheck.published_day import Finding, PublishedDay

HOLE, OVERLOOKED, REFUSED, LISTED = (
    "hole in lookback",
    "files overlooked",
    "input refused",
    "files listed, not there",
)
NAMED = 3  # files in a sentence


def absences(published: PublishedDay, doubts: list[str]) -> Iterator[Finding]:
    """What the day did not see, and what it saw that is no row of it; `doubts` gets what is not known."""
    yield from _holes(published, doubts)
    try:
        now = inputs.resolve_inputs(published.job, published.day)
    except NightscoreError as error:
        if published.changed or not isinstance(error, Broken):
            doubts.append(f"its inputs can't be listed now: {error}")
        else:
            yield Finding(kind=REFUSED, evidence=str(error))
        return
    yield from _overlooked(published, now, doubts)
    try:
        refuse_incomplete(published.job, published.day)
    except NightscoreError as error:
        yield Finding(kind=LISTED, evidence=str(error))


def _holes(published: PublishedDay, doubts: list[str]) -> Iterator[Finding]:
    try:
        seen = see_days(_patient(published.job), published.seen_days, published.day)
    except NightscoreError as error:
        doubts.append(f"which days its inputs had is not known: {error}")
        return
    for name, days in seen.items():
        if days.unknown:
            doubts.append(f"input {name}: {days}")
        elif any(span.rpartition("/")[2] >= _first_day(published, name) for span in days.missing):
            yield Finding(kind=HOLE, evidence=f"input {name}: days seen: {days}")


def _first_day(published: PublishedDay, name: str) -> str:
    """The first day that an input has at all: what is missing before it is no hole."""
    source = published.job.spec.inputs[name]
    if isinstance(source, TableInput):
        return min(published.state.published.get(source.table, {}), default="")
    return min((day.isoformat() for day in inputs.every_day(published.job, name, source)), default="")


def _patient(job: Job) -> Job:
    """The job as one that says what is missing, and stops at nothing."""
    policy = job.spec.policy.model_copy(update={"gaps": "warn"})
    return dataclasses.replace(job, spec=job.spec.model_copy(update={"policy": policy}))


def _overlooked(published: PublishedDay, now: inputs.Files, doubts: list[str]) -> Iterator[Finding]:
    """Files that this version reads and the day did not: there already then, or late."""
    read = {file.path for file in published.receipt.inputs}
    new = {f.path for files in now.values() for f in files} - read
    before = sorted(path for path in new if _was_there(published, path))
    late = sorted(new - set(before))
    if before:
        yield Finding(kind=OVERLOOKED, evidence=f"lay there and was not read: {_some(before)}")
    if late:
        doubts.append(f"files have come since (`nightscore late` says more): {_some(late)}")
    gone = sorted(read - {f.path for files in now.values() for f in files} - set(published.changed))
    if gone:
        doubts.append(f"what it read is not read any more: {_some(gone)}")


def _was_there(published: PublishedDay, path: str) -> bool:
    """Whether a file was there when the day was read: of a name that was overlooked, or by its time."""
    homes = [published.home(source) for source in published.job.spec.inputs.values()]
    placed = any(path == home or path.startswith(f"{home}/") for home in homes)
    if not placed or _is_linked(published, path, homes) or not path.endswith(".parquet"):
        return True
    began = published.receipt.started_at
    stat = published.locate(path).stat()
    return began is not None and max(stat.st_mtime, stat.st_ctime) < began.timestamp()


def _is_linked(published: PublishedDay, path: str, homes: list[str]) -> bool:
    """Whether a folder below an input's own, on the way to a file, is a link: older versions left it out."""
    above = [folder for folder in Path(path).parents if folder.as_posix() not in (*homes, ".")]
    inside = [f for f in above if any(f.as_posix().startswith(f"{home}/") for home in homes)]
    return any(published.locate(folder.as_posix()).is_symlink() for folder in inside)


def _some(paths: list[str]) -> str:
    named = ", ".join(paths[:NAMED])
    return named + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
