"""Which files of an input a run of a day may read, by what lies in its folders or by receipts."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import Broken, read_day
from nightscore.job import Input, Job, PathInput
from nightscore.pipeline.read.as_reported import published_files
from nightscore.store import SUMS, Found, Walk


@dataclass(frozen=True)
class Listed:
    """The files of an input with the day of each, sorted; the files of sums; and what `ignore` leaves out."""

    files: tuple[tuple[str, Path], ...]
    sums: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()


def window(job: Job, source: Input, day: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day that a run of `day` may read of an input."""
    first = day - dt.timedelta(days=min(source.lookback, day.toordinal()) - 1)
    return first, day - dt.timedelta(days=1) if own_table(job, source) else day


def own_table(job: Job, source: Input) -> bool:
    """Whether an input is an output table of the job itself."""
    return not isinstance(source, PathInput) and source.table in job.spec.tables


def list_input(job: Job, name: str, source: Input, day: dt.date) -> Listed:
    """The files of an input that a run of `day` may read.

    Raises:
        Broken: a folder can't be listed, or holds what is not understood; see `Walk`.
        NotYet: a folder does not answer, or a file is still being written.
    """
    first, last = window(job, source, day)
    if isinstance(source, PathInput):
        at = ("inputs", name, "path")
        with _at(job, at):
            return _days(job, name, source, first, last) if source.partition else _files(job, source)
    return Listed(tuple((f.day, f.path) for f in published_files(job, name, source, first, last)))


def list_input_days(job: Job) -> list[dt.date]:
    """The days for which every partitioned path input has a partition, in order.

    A day counts, too, if what lies in its folder would be refused: the run of it says why. Errors as
    `list_input`'s.
    """
    days_by_input = []
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput) and source.partition:
            with _at(job, ("inputs", name, "path")):
                walk = _walk(job, source)
                days = _partitions(job, name, source, walk)[0]
                days_by_input.append({day for day, folder in days if walk.holds_data(walk.root / folder)})
    return sorted(set.intersection(*days_by_input)) if days_by_input else []


def list_days(job: Job, name: str, source: PathInput) -> list[dt.date]:
    """The days of which an input has a partition. Errors as `list_input`'s."""
    with _at(job, ("inputs", name, "path")):
        return [day for day, _ in _partitions(job, name, source, _walk(job, source))[0]]


def list_full_days(job: Job) -> list[dt.date]:
    """The days for which every input has its rows, tables of other jobs too, in order.

    Errors as `list_input`'s.
    """
    days = (
        [set(list_input_days(job))] if any(_has_days(source) for source in job.spec.inputs.values()) else []
    )
    for name, source in job.spec.inputs.items():
        if not isinstance(source, PathInput) and not own_table(job, source):
            files = published_files(job, name, source, dt.date.min, dt.date.max)
            days.append({dt.date.fromisoformat(file.day) for file in files})
    return sorted(set.intersection(*days)) if days else []


def _has_days(source: Input) -> bool:
    return isinstance(source, PathInput) and bool(source.partition)


def _walk(job: Job, source: PathInput) -> Walk:
    root = job.workspace.resolve(source.path)
    try:
        root.stat()
    except FileNotFoundError:
        raise Broken(f"there is no {source.path} in the workspace {job.workspace.root}") from None
    except OSError as error:
        raise Broken(f"{source.path} can't be looked at: {error.strerror}") from error
    return Walk(job.workspace, root, source.ignore)


def _files(job: Job, source: PathInput) -> Listed:
    """All data files of an input without partitions."""
    walk = _walk(job, source)
    if not walk.root.is_dir():
        sums = walk.root.with_name(SUMS)
        return Listed((("", walk.root),), (sums,) if sums.is_file() else ())
    found = walk.files()
    if not found.files:
        raise Broken(f"{source.path} holds no .parquet file")
    return Listed(tuple(("", path) for path in found.files), found.sums, found.ignored)


def _days(job: Job, name: str, source: PathInput, first: dt.date, last: dt.date) -> Listed:
    """The files of an input's days from `first` to `last`.

    Folders of other days are not opened: a lake of decades has thousands of them.
    """
    walk = _walk(job, source)
    days, beside = _partitions(job, name, source, walk)
    files, sums, ignored = [], [*beside.sums], [*beside.ignored]
    for day, folder in days:
        if first <= day <= last:
            found = walk.files(walk.root / folder)
            files += [(day.isoformat(), path) for path in found.files]
            sums += found.sums
            ignored += found.ignored
    return Listed(tuple(sorted(files)), tuple(sums), tuple(ignored))


def _partitions(
    job: Job, name: str, source: PathInput, walk: Walk
) -> tuple[list[tuple[dt.date, str]], Found]:
    """The days that an input has, each with the name of its folder; and what else lies beside them."""
    key = source.partition or ""
    partitions = walk.partitions(key)
    days = []
    for text, folder in partitions.folders:
        day = read_day(text)
        if day is None:
            job.raise_broken(
                ("inputs", name, "partition"),
                f"{job.workspace.relative(walk.root / folder)}: {text!r} is no day; a partition is "
                f"{key}=YYYY-MM-DD{_rows_without(folder)}",
            )
        days.append((day, folder))
    return days, partitions.beside


def _rows_without(folder: str) -> str:
    """The way on where a writer has put rows that have no day."""
    if not folder.endswith("__HIVE_DEFAULT_PARTITION__"):
        return ""
    return f", and these are rows without one; ignore: [{folder}] in the input leaves them out, and says so"


@contextlib.contextmanager
def _at(job: Job, at: tuple[str, ...]) -> Iterator[None]:
    """A context in which `Broken` names the line of job.yaml, unless it does already."""
    try:
        yield
    except Broken as error:
        if str(error).startswith(f"{job.shown}:"):
            raise
        job.raise_broken(at, str(error))
