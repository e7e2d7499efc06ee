"""Which files of an input a run of a day may read, by what lies in its folders or by receipts."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import Broken
from nightscore.job import Input, Job, Layout, PathInput, SnapshotInput, TableInput
from nightscore.pipeline.read.as_reported import published_files
from nightscore.pipeline.read.snapshots import in_order, read_snapshot
from nightscore.store import SUMS, Found, Partition, Span, Walk


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
    return isinstance(source, TableInput) and source.table in job.spec.tables


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
            if source.layout is None:
                return _files(job, source)
            return _days(job, name, source, source.layout, (first, last))
    if isinstance(source, SnapshotInput):
        files = in_order(read_snapshot(job, name, source, (first, last) if source.partition else None))
        return Listed(tuple((file.iso_day, file.path) for file in files))
    return Listed(tuple((f.day, f.path.local()) for f in published_files(job, name, source, first, last)))


def list_input_days(job: Job) -> list[dt.date]:
    """The days for which every partitioned path input has a partition, in order.

    A day counts, too, if what lies in its folder would be refused: the run of it says why. Errors as
    `list_input`'s.
    """
    days_by_input = []
    for name, source in job.spec.inputs.items():
        if isinstance(source, PathInput) and source.layout:
            with _at(job, ("inputs", name, "path")):
                walk = _walk(job, source)
                days = _partitions(job, name, source.layout, walk)[0]
                days_by_input.append({p.day for p in days if p.day and walk.holds_data(walk.root / p.path)})
        elif isinstance(source, SnapshotInput) and source.partition:
            days_by_input.append(set(read_snapshot(job, name, source, None).days))
    return sorted(set.intersection(*days_by_input)) if days_by_input else []


def input_days(job: Job, name: str, source: PathInput | SnapshotInput) -> list[dt.date]:
    """The days of which an input has a partition, empty or not, in order. Errors as `list_input`'s."""
    if isinstance(source, SnapshotInput):
        return list(read_snapshot(job, name, source, None).days)
    if source.layout is None:
        return []
    with _at(job, ("inputs", name, "path")):
        days = _partitions(job, name, source.layout, _walk(job, source))[0]
        return sorted({p.day for p in days if p.day})


def _walk(job: Job, source: PathInput) -> Walk:
    root = job.workspace.resolve(source.address)
    try:
        root.stat()
    except FileNotFoundError:
        raise Broken(f"there is no {source.address} in {_place(job, source)}") from None
    except OSError as error:
        raise Broken(f"{source.address} can't be looked at: {error.strerror}") from error
    return Walk(job.workspace, root, source.ignore)


def _place(job: Job, source: PathInput) -> str:
    """The workspace, or the root, in which an input lies, for messages."""
    if source.root is None:
        return f"the workspace {job.workspace.root}"
    root = job.workspace.roots[source.root]
    return f"root {root.name}, which is {root.at} (by {root.setting}): is it mounted?"


def _files(job: Job, source: PathInput) -> Listed:
    """All data files of an input without partitions."""
    walk = _walk(job, source)
    if not walk.root.is_dir():
        sums = walk.root.with_name(SUMS)
        return Listed((("", walk.root),), (sums,) if sums.is_file() else ())
    found = walk.files()
    if not found.files:
        raise Broken(f"{source.address} holds no .parquet file")
    return Listed(tuple(("", path) for path in found.files), found.sums, found.ignored)


def _days(job: Job, name: str, source: PathInput, layout: Layout, span: Span) -> Listed:
    """The files of an input's days of a span.

    Folders of other days are not opened: a lake of decades has thousands of them.
    """
    walk = _walk(job, source)
    days, beside = _partitions(job, name, layout, walk, span)
    files, sums, ignored = [], [*beside.sums], [*beside.ignored]
    for partition in days:
        if partition.day and span[0] <= partition.day <= span[1]:
            found = walk.at(partition)
            files += [(partition.day.isoformat(), path) for path in found.files]
            sums += found.sums
            ignored += found.ignored
    return Listed(tuple(sorted(files)), tuple(sums), tuple(ignored))


def _partitions(
    job: Job, name: str, layout: Layout, walk: Walk, span: Span | None = None
) -> tuple[tuple[Partition, ...], Found]:
    """The partitions that an input has, and what else lies beside them."""
    partitions = walk.partitions(layout, span)
    for day, path in partitions.found:
        if day is None:
            level = path.rpartition("/")[2]
            text = level.partition("=")[2] if "=" in level else level
            job.raise_broken(
                ("inputs", name, "partition"),
                f"{job.workspace.relative(walk.root / path)}: {text!r} is no day; a partition is "
                f"{layout.shown}{_rows_without(path)}",
            )
    return partitions.found, partitions.beside


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
