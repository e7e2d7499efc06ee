"""Whether the day's partition of an input is complete, by the rule that the input gives: its `ready`.

What is not is waited for, whatever `policy.missing` says: a day that is half written is neither broken nor to
be skipped. The plan and Airflow's trigger ask the same. Light to import: a triggerer asks each minute.
"""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

from nightscore.common import NotYet
from nightscore.job import Job, PathInput, parse_minutes
from nightscore.pipeline.read.listing import day_partitions, open_walk
from nightscore.store import Partition, Walk, one_look


def refuse_unready(job: Job, day: dt.date) -> None:
    """Raise `NotYet` unless what there is of the day, of each input with a rule, is complete.

    Raises:
        NotYet: names the input, what it has and what its rule asks for.
        Broken: as of `list_input`.
    """
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput) and source.ready:
            for why in _lacking(job, name, source, day):
                raise NotYet(f"job {job.name}, day {day}: input {name} is not ready: {why}")


def waited_for(job: Job, day: dt.date) -> dict[str, str]:
    """What a run of a day waits for, by input: a day without data, where that is waited for, or a rule.

    Raises:
        Broken: as of `list_input`: waiting does not help.
    """
    found = {}
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput) and source.has_days:
            try:
                with one_look():
                    why = _absent(job, name, source, day) or next(_lacking(job, name, source, day), "")
            except NotYet as error:  # a disk that does not answer, or a file that is being written
                why = str(error)
            if why:
                found[name] = why
    return found


def _absent(job: Job, name: str, source: PathInput, day: dt.date) -> str:
    if job.spec.missing != "wait" or _has_data(job, name, source, day):
        return ""
    return f"nothing of {day} in {source.address}"


def _has_data(job: Job, name: str, source: PathInput, day: dt.date) -> bool:
    if source.day_column:
        from nightscore.pipeline.read import inputs  # DuckDB: only where rows are asked

        return day.isoformat() in inputs.days_of(job, name, inputs.resolve_inputs(job, day), day)
    walk = open_walk(job, source)
    parts = day_partitions(job, name, source, walk, day)
    return any(walk.holds_data(walk.root / part.path) for part in parts)


def _lacking(job: Job, name: str, source: PathInput, day: dt.date) -> Iterator[str]:
    """What the day's partition lacks by the rule; nothing where there is none of the day at all."""
    rule, walk = source.ready, open_walk(job, source)
    parts = day_partitions(job, name, source, walk, day) if rule else []
    if rule is None or not parts:
        return
    mark = rule.mark(day)
    for folder in dict.fromkeys(_folder(walk, source, part) for part in parts) if mark else ():
        if mark not in (entry.name for entry in walk.tree.entries(folder)):
            yield f"{job.workspace.relative(folder)} has no {mark} yet"
    if rule.count is not None and (count := sum(_count(walk, part) for part in parts)) < rule.count:
        yield f"{count} of {rule.count} folders or files have come"
    files = [path for part in parts for path in walk.at(part).files]
    if rule.rows is not None and (rows := _rows(walk, files)) < rule.rows:
        yield f"{rows:,} of at least {rule.rows:,} rows have come"
    if rule.age is not None:  # an empty folder has begun to come when it was made
        yield from _too_new(walk, files or [walk.root / part.path for part in parts], rule.age)


def _too_new(walk: Walk, paths: list[Path], age: str) -> Iterator[str]:
    if (wait := parse_minutes(age).total_seconds() - _age(walk, paths)) > 0:
        yield f"a file came less than {age} ago ({wait:.0f} s to go)"


def _folder(walk: Walk, source: PathInput, part: Partition) -> Path:
    """The folder of a partition, or the one that its file lies in."""
    path = walk.root / part.path
    return path.parent if source.layout and source.layout.of_files else path


def _count(walk: Walk, part: Partition) -> int:
    """The folders with data right below a partition's, or its files where it has no folders."""
    files = walk.at(part).files
    top = walk.root / part.path
    return len({path.relative_to(top).parts[:1] for path in files})


def _rows(walk: Walk, files: list[Path]) -> int:
    import pyarrow.parquet as pq

    walk.tree.fetch(files)
    return sum(pq.read_metadata(path).num_rows for path in files)


def _age(walk: Walk, files: list[Path]) -> float:
    """Seconds since the newest of some files was written; without an end where there is none."""
    names = {str(path) for path in files}
    folders = dict.fromkeys(path.parent for path in files)
    times = (e.stat().st_mtime for f in folders for e in walk.tree.entries(f) if e.path in names)
    return time.time() - max(times, default=0.0)
