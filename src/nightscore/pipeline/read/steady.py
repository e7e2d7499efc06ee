"""Whether the inputs are still what the plan found: what was read of others may be a mixture."""

import contextlib
import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from nightscore.common import NotYet
from nightscore.job import Job, PathInput
from nightscore.pipeline.read.listing import Listed, list_input
from nightscore.pipeline.read.parquet.files import file_stat
from nightscore.store import InputFile, bring, one_look, storage

Files = Mapping[str, tuple[InputFile, ...]]


@contextlib.contextmanager
def steady_inputs(job: Job, files: Files, day: dt.date) -> Iterator[None]:
    """A context to read inputs in: NotYet where they have changed at its end, also instead of an error in it.

    Raises:
        NotYet: one is gone, was changed or has come since the run listed them; what was read may be a
            mixture, so nothing is published.
    """
    every = [file for input_files in files.values() for file in input_files]
    with _held(job, every, lambda: _refuse_changed(job, files, every, day)):
        yield


@contextlib.contextmanager
def steady_files(job: Job, files: Files, paths: Collection[str]) -> Iterator[None]:
    """The same for some of the files, by path; which others there are is not looked at.

    Raises:
        NotYet: one is gone, or was changed.
    """
    read = [file for input_files in files.values() for file in input_files if file.path in paths]
    with _held(job, read, lambda: _refuse_other_files(job, read)):
        yield


@contextlib.contextmanager
def _held(job: Job, files: Sequence[InputFile], refuse_changed: Callable[[], None]) -> Iterator[None]:
    """A context in which files are on this machine, and that refuses at its end, however that comes."""
    bring(job.workspace, (job.workspace.locate(file.path) for file in files))
    try:
        yield
    except Exception:
        refuse_changed()
        raise
    refuse_changed()


def _refuse_changed(job: Job, files: Files, every: Sequence[InputFile], day: dt.date) -> None:
    _refuse_other_files(job, every)
    with one_look():  # as the folders are now, whatever was listed before
        for name, source in job.spec.inputs.items():
            # Published tables gain files all the time; a run stays with those that receipts named.
            if isinstance(source, PathInput):
                _refuse_other_names(job, name, list_input(job, name, source, day), files[name])
    _refuse_other_files(job, every)  # of a bucket: the listing has fetched again what is another now


def _refuse_other_names(job: Job, name: str, listed: Listed, files: Sequence[InputFile]) -> None:
    there = {job.workspace.relative(path) for _, path in listed.files}
    for path in sorted(there ^ {file.path for file in files}):
        what = "came" if path in there else "removed"
        raise NotYet(f"{path}: {what} while input {name} was being read; nothing is published")


def _refuse_other_files(job: Job, files: Sequence[InputFile]) -> None:
    for file in files:
        try:
            now = file_stat(job.workspace, storage.locate(job.workspace, file.path))
        except OSError:
            raise NotYet(f"{file.path}: removed while it was being read; nothing is published") from None
        if now != file.stat:
            raise NotYet(
                f"{file.path}: changed while it was being read (inode:bytes:time {file.stat} -> {now}); "
                "nothing is published"
            )
