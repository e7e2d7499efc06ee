"""The published days that a table input reads: those in force, or each as it was first published.

Either way its files are those that were published, and no others (`as_published`).
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from nightscore.common import Broken
from nightscore.job import Job, TableInput
from nightscore.pipeline.read.known.as_published import hold_to_published
from nightscore.store import InputFile, LiveFile, Pinned, catalog


def table_state(state: Pinned, source: TableInput) -> Pinned:
    """The state of all tables that an input goes by: that of now, or each day as it was first published."""
    return state.as_reported if source.as_reported else state


def published_files(job: Job, name: str, source: TableInput, first: dt.date, last: dt.date) -> list[LiveFile]:
    """The files of a table input's days from `first` to `last`.

    Raises:
        Broken: those of a day as it was first published are gone, which `nightscore gc` keeps; or one is not
            what was published.
    """
    state = table_state(catalog.read_catalog(job.workspace), source)
    days = (source.table, first.isoformat(), last.isoformat())
    files = _first_files(job, name, source, state, days) if source.as_reported else state.files(*days)
    hold_to_published(job, name, state, source.table, files)
    return files


def _first_files(
    job: Job, name: str, source: TableInput, state: Pinned, days: tuple[str, str, str]
) -> list[LiveFile]:
    """The files of a table's days as they were first published; Broken where one is gone."""
    try:
        files = state.files(*days)
    except Broken as error:
        _raise_gone(job, name, source.table, str(error))
    for file in files:
        if not file.path.exists():
            _raise_gone(
                job, name, source.table,
                f"{file.path}, which run {file.run_id} first published for "
                f"{file.day}, is not there any more",
            )  # fmt: skip
    return files


def see_as_reported(job: Job, files: Mapping[str, tuple[InputFile, ...]]) -> dict[str, tuple[str, ...]]:
    """Input -> the days of `files` that were published again since, of each input read as first published."""
    sources = {n: s for n, s in job.spec.inputs.items() if isinstance(s, TableInput) and s.as_reported}
    if not sources:
        return {}
    state = catalog.read_catalog(job.workspace)
    return {name: tuple(_days_again(state, s.table, files[name])) for name, s in sources.items()}


def _days_again(state: Pinned, table: str, files: tuple[InputFile, ...]) -> Iterator[str]:
    """The days among some files for which another run than the first is in force."""
    now, then = state.published.get(table, {}), state.as_reported.published.get(table, {})
    for day in sorted({file.day for file in files}):
        if day not in now or now[day].run_id != then[day].run_id:
            yield day


def _raise_gone(job: Job, name: str, table: str, problem: str) -> None:
    job.raise_broken(
        ("inputs", name, "as_reported"),
        f"table {table} can't be read as it was first published: {problem}. `nightscore gc` keeps such "
        "files, and the tables' logs name them for ten years; another engine's VACUUM or clean-up of the log "
        "may have taken them: restore them from a backup, or take as_reported out to read what is in force",
    )
