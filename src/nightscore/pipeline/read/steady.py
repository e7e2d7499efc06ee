"""Whether the inputs are still what the plan found: what was read of others may be a mixture."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from nightscore.common import NotYet
from nightscore.job import Job, PathInput
from nightscore.pipeline.read.listing import Listed, list_input
from nightscore.pipeline.read.parquet_files import file_stat
from nightscore.store import InputFile, bring, one_look, storage

Files = Mapping[str, tuple[InputFile, ...]]


@contextlib.contextmanager
def steady_inputs(job: Job, files: Files, day: dt.date) -> Iterator[None]:
    """A context to read inputs in: NotYet where they have changed at its end, also instead of an error in it.

    Raises:
        NotYet: one is gone, was changed or has come since the run listed them; what was read may be a
            mixture, so nothing is published.
    """
    every = (file for input_files in files.values() for file in input_files)
    bring(job.workspace, (job.workspace.locate(file.path) for file in every))
    try:
        yield
    except Exception:
        _refuse_changed(job, files, day)
        raise
    _refuse_changed(job, files, day)


def _refuse_changed(job: Job, files: Files, day: dt.date) -> None:
    _refuse_other_files(job, files)
    with one_look():  # as the folders are now, whatever was listed before
        for name, source in job.spec.inputs.items():
            # Published tables gain files all the time; a run stays with those that receipts named.
            if isinstance(source, PathInput):
                _refuse_other_names(job, name, list_input(job, name, source, day), files[name])
    _refuse_other_files(job, files)  # of a bucket: the listing has fetched again what is another now


def _refuse_other_names(job: Job, name: str, listed: Listed, files: Sequence[InputFile]) -> None:
    there = {job.workspace.relative(path) for _, path in listed.files}
    for path in sorted(there ^ {file.path for file in files}):
        what = "came" if path in there else "removed"
        raise NotYet(f"{path}: {what} while input {name} was being read; nothing is published")


def _refuse_other_files(job: Job, files: Files) -> None:
    for file in (file for input_files in files.values() for file in input_files):
        try:
            now = file_stat(job.workspace, storage.locate(job.workspace, file.path))
        except OSError:
            raise NotYet(f"{file.path}: removed while it was being read; nothing is published") from None
        if now != file.stat:
            raise NotYet(
                f"{file.path}: changed while it was being read (inode:bytes:time {file.stat} -> {now}); "
                "nothing is published"
            )
