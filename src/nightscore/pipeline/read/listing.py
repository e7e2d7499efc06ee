"""Which files of an input a run of a day may read, by what lies in its folders or by receipts."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nightscore.common import DATA, Broken
from nightscore.job import Input, Job, Layout, PathInput, SnapshotInput, own_table
from nightscore.pipeline.read.known.as_reported import published_files
from nightscore.pipeline.read.snapshots import in_order, read_snapshot
from nightscore.store import ENDINGS, NOTHING, SUMS, Found, Partition, Partitions, Span, Walk, storage


@dataclass(frozen=True)
class Listed:
    """The files of an input with the day of each, sorted; the files of sums; and what `ignore` leaves out."""

    files: tuple[tuple[str, Path], ...]
    sums: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()


def window(job: Job, source: Input | SnapshotInput, day: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day that a run of `day` may read of an input."""
    first = day - dt.timedelta(days=min(source.lookback, day.toordinal()) - 1)
    return first, day - dt.timedelta(days=1) if own_table(job, source) else day


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
        snapshot = read_snapshot(job, name, source, (first, last))
        found = tuple((file.iso_day, file.path) for file in in_order(snapshot))
        return Listed(found, ignored=snapshot.ignored)
    files = published_files(job, name, source, first, last)
    local = storage.local_files(file.path for file in files)
    return Listed(tuple((file.day, path) for file, path in zip(files, local, strict=True)))


def days_with_data(job: Job, name: str, source: PathInput) -> set[dt.date]:
    """The days of which an input has a partition that holds something.

    A day counts, too, if what lies in its folder would be refused: the run of it says why. Errors as
    `list_input`'s.
    """
    if source.layout is None:
        return set()
    with _at(job, ("inputs", name, "path")):
        walk = open_walk(job, source)
        days = _partitions(job, name, source.layout, walk)[0]
        if not source.layout.of_files:
            walk.tree.preload((walk.root / p.path for p in days if p.day), deep=True)
        return {p.day for p in days if p.day and walk.holds_data(walk.root / p.path)}


def list_days(
    job: Job, name: str, source: PathInput | SnapshotInput, span: Span | None = None
) -> list[dt.date]:
    """The days of which an input has a partition, empty or not, in order. Errors as `list_input`'s.

    Of the folders above days only those are opened that may hold one of `span`, where it is given.
    """
    if isinstance(source, SnapshotInput):
        return list(read_snapshot(job, name, source, None).days)
    if source.layout is None:
        return []
    with _at(job, ("inputs", name, "path")):
        days = _partitions(job, name, source.layout, open_walk(job, source), span)[0]
        return sorted({p.day for p in days if p.day})


def day_partitions(job: Job, name: str, source: PathInput, walk: Walk, day: dt.date) -> list[Partition]:
    """The partitions of one day of an input. Errors as `list_input`'s."""
    if source.layout is None:
        return []
    with _at(job, ("inputs", name, "path")):
        return [p for p in _partitions(job, name, source.layout, walk, (day, day))[0] if p.day == day]


def open_walk(job: Job, source: PathInput) -> Walk:
    """The folder of an input, to be listed.

    Raises:
        Broken: it is not there, or can't be looked at.
    """
    root = job.workspace.resolve(source.address)
    try:
        ignore = [*source.ignore, *(source.ready.pattern if source.ready else [])]
        walk = Walk(job.workspace, root, ignore, source.format)
        is_there = bool(walk.tree.kind(root))
    except OSError as error:
        raise Broken(f"{source.address} can't be looked at: {error.strerror}") from error
    if not is_there:
        raise Broken(f"there is no {source.address} in {_place(job, source)}")
    return walk


def _place(job: Job, source: PathInput) -> str:
    """The workspace, or the root, in which an input lies, for messages."""
    if source.root is None:
        return f"the workspace {job.workspace.root}"
    space = job.workspace
    root = space.data_root if source.root == DATA else space.roots[source.root]
    mounted = "" if root.is_bucket else ": is it mounted?"
    return f"root {root.name}, which is {root.at} (by {root.setting}){mounted}"


def _files(job: Job, source: PathInput) -> Listed:
    """All data files of an input without partitions."""
    walk = open_walk(job, source)
    if walk.tree.kind(walk.root) == "file":
        sums = walk.root.with_name(SUMS)
        beside = (sums,) if walk.tree.kind(sums) == "file" else ()
        walk.tree.fetch([walk.root, *beside])
        return Listed((("", walk.root),), beside)
    found = walk.files()
    if not found.files:
        raise Broken(f"{source.address} holds no {ENDINGS[source.format][0]} file")
    walk.tree.fetch([*found.files, *found.sums])
    return Listed(tuple(("", path) for path in found.files), found.sums, found.ignored)


def _days(job: Job, name: str, source: PathInput, layout: Layout, span: Span) -> Listed:
    """The files of an input's days of a span.

    Folders of other days are not opened: a lake of decades has thousands of them.
    """
    walk = open_walk(job, source)
    days, beside = _partitions(job, name, layout, walk, span)
    files, sums, ignored = [], [*beside.sums], [*beside.ignored]
    wanted = [p for p in days if p.day and span[0] <= p.day <= span[1]]
    walk.tree.preload(() if layout.of_files else [walk.root / p.path for p in wanted], deep=True)
    for partition in wanted:
        found = walk.at(partition)
        files += [(str(partition.day), path) for path in found.files]
        sums += found.sums
        ignored += found.ignored
    walk.tree.fetch([*(path for _, path in files), *sums])
    return Listed(tuple(sorted(files)), tuple(sums), tuple(ignored))


def _partitions(
    job: Job, name: str, layout: Layout, walk: Walk, span: Span | None = None
) -> tuple[tuple[Partition, ...], Found]:
    """The partitions that an input has, and what else lies beside them."""
    partitions = walk.partitions(layout, span)
    source = job.spec.inputs[name]
    without = [path for day, path in partitions.found if day is None and NOTHING in path]
    if without and isinstance(source, PathInput) and source.no_day == "ignore":
        beside = replace(partitions.beside, ignored=(*partitions.beside.ignored, *without))
        partitions = Partitions(tuple(p for p in partitions.found if p.path not in without), beside)
    for day, path in partitions.found:
        if day is None:
            level = path.rpartition("/")[2]
            text = level.partition("=")[2] if "=" in level else level
            job.raise_broken(
                ("inputs", name, "partition"),
                f"{job.workspace.relative(walk.root / path)}: {text!r} is no day; a partition is "
                f"{layout.shown}{_rows_without(path)}{_two_ways(layout, path)}",
            )
    return partitions.found, partitions.beside


def _rows_without(folder: str) -> str:
    """The way on where a writer has put rows that have no day."""
    if NOTHING not in folder:
        return ""
    return ", and these are rows without one; no_day: ignore in the input leaves them out, and says so"


def _two_ways(layout: Layout, path: str) -> str:
    """The way on where a name has no end between two parts of the template."""
    if not layout.is_ambiguous(path.split("/")):
        return ""
    return ", and this can be read in two ways: put something between the parts of the template, or of names"


@contextlib.contextmanager
def _at(job: Job, at: tuple[str, ...]) -> Iterator[None]:
    """A context in which `Broken` names the line of job.yaml, unless it does already."""
    try:
        yield
    except Broken as error:
        if str(error).startswith(f"{job.shown}:"):
            raise
        job.raise_broken(at, str(error))
