"""Days that an audit holds back: staged and proven, and published only if a person says so and why."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from nightscore.common import (
    Broken,
    NightscoreError,
    NotYet,
    ProgressCallback,
    Workspace,
    file_sha256,
    refuse_unsaid,
    silent,
)
from nightscore.pipeline.publish.commit import publish_tables
from nightscore.store import (
    DISCARDED,
    HELD,
    PUBLISH,
    LaterFormat,
    Plan,
    Receipt,
    Release,
    RunFolder,
    StagedFile,
    delta,
    find_held_runs,
    mark_held,
    read_staged,
    renames,
    run_folder,
    storage,
    unmark_held,
)


class Held(Broken):
    """An audit of severity `fail` has not passed. The day is staged; a person releases or discards it."""

    def __init__(self, job: str, day: str, failed: Sequence[str]) -> None:
        next_steps = (
            f"nothing is published; {day} is held. See `nightscore held {job}`; after a look, "
            f"`nightscore release {job} --day {day} --by NAME --because TEXT` publishes it, and "
            f"`nightscore discard {job} --day {day} --by NAME --because TEXT` drops it"
        )
        super().__init__("\n".join([*failed, next_steps]))


class HeldDay(BaseModel):
    """A day that is held: its receipt as it would be, and the staged files of each table."""

    receipt: Receipt
    files: dict[str, list[str]]


def hold_day(
    workspace: Workspace, plan: Plan, ready: Mapping[str, Sequence[StagedFile]], receipt: Receipt
) -> None:
    """Write held.json: what was staged, and the receipt that says which audit has not passed.

    Raises:
        NotYet: the day was held before, and somebody has released or discarded it meanwhile.
    """
    files = {table: [file.path for file in table_files] for table, table_files in ready.items()}
    waiting = HeldDay(receipt=receipt.model_copy(update={"status": "held"}), files=files)
    run = run_folder.folder_of_plan(workspace, plan)
    mark_held(run)
    run.replace_held(waiting.model_dump_json(by_alias=True, indent=2))
    if outcome := run.outcome:
        raise NotYet(
            f"job {plan.job}: {plan.day} was held, and would be again; but {outcome}. Look at it again"
        )


def read_held_days(
    workspace: Workspace, job: str | None = None, *, thorough: bool = False
) -> Iterator[HeldDay]:
    """The days that are held, of a job or of all, by job and day; of a day the newest run.

    One that can't be read, or is of a later version, has the status `unreadable`, and the reason. `thorough`
    looks at every run (`store/places/held.py`), for what would be wrong if one were overlooked.
    """
    home = renames.runs_home(workspace, job) if job else storage.runs(workspace)
    runs = find_held_runs(workspace, thorough=thorough)
    wanted = [run for run in runs if run.path.key.startswith(f"{home.key}/")]
    for _, of_a_day in groupby(wanted, key=lambda run: run.path.parent.key):
        waiting = [run for run in of_a_day if not _is_decided(run)]
        if waiting:
            yield _read_or_reason(waiting[-1])


def _is_decided(run: RunFolder) -> bool:
    """Whether somebody has decided about a run that was held; then nobody has to look for it again."""
    if decided := run.outcome is not None:
        unmark_held(run)
    return decided


def _read_or_reason(run: RunFolder) -> HeldDay:
    try:
        return _read(run)
    except Broken as error:
        name, day = run.path.key.split("/")[-3:-1]
        receipt = Receipt(job=name, day=day, run_id=run.run_id, status="unreadable", reason=str(error))
        return HeldDay(receipt=receipt, files={})


def release_day(
    workspace: Workspace, job: str, day: dt.date, *, by: str, because: str, report: ProgressCallback = silent
) -> Receipt:
    """Publish a held day as it was staged; the receipt says who did so and why.

    Raises:
        Broken: the day is not held, what was staged is damaged or gone, `by` or `because` is empty, or
            somebody else has released or discarded it in this moment.
        NotYet: another run has published the day since.
    """
    run = _held_run(workspace, job, day)
    refuse_unsaid(by=by, because=because)
    note = Release(by=by.strip(), because=because.strip(), at=dt.datetime.now(dt.UTC))
    with run.in_use(), _told_by_whom(run, "released"):
        waiting, plan = _read(run), run_folder.read_plan(run.plan)
        if plan is None:
            raise Broken(f"{run.plan}: damaged, or of another version; run the day again")
        receipt = waiting.receipt.model_copy(update={"status": "published", "released": note})
        files = _staged(workspace, waiting)
        published = publish_tables(workspace, plan, files, receipt, report)
        if published.released != note:
            raise _Lost
    unmark_held(run)
    return published


def _staged(workspace: Workspace, waiting: HeldDay) -> dict[str, list[StagedFile]]:
    """The staged files of each table. Broken where one has changed, or the table has other columns now."""
    files = {t: _unharmed(workspace, waiting.receipt, t, paths) for t, paths in waiting.files.items()}
    for table, staged in files.items():
        if staged:
            schema = pq.read_schema(storage.place_of(workspace, staged[0].path).local())
            root = renames.table_home(workspace, table)
            delta.check_table_schema(root, schema, evolve=True, job=waiting.receipt.job, table=table)
    return files


def discard_day(workspace: Workspace, job: str, day: dt.date, *, by: str, because: str) -> HeldDay:
    """Drop a held day: no run takes it up, and `gc` removes what was staged. Errors as `release_day`'s."""
    run = _held_run(workspace, job, day)
    waiting = _read(run)
    refuse_unsaid(by=by, because=because)
    note = {"by": by.strip(), "because": because.strip(), "at": dt.datetime.now(dt.UTC).isoformat()}
    with _told_by_whom(run, "discarded"):
        if not run.decide(DISCARDED, note).is_(DISCARDED, note):
            raise _Lost
    unmark_held(run)
    return waiting


class _Lost(Exception):
    """Somebody else has decided what becomes of a held day."""


@contextlib.contextmanager
def _told_by_whom(run: RunFolder, wanted: str) -> Iterator[None]:
    """A context in which whoever comes too late is told what was decided instead, and by whom.

    Raises:
        Broken: it was decided otherwise: trying again won't help.
    """
    try:
        yield
    except (_Lost, NightscoreError, OSError) as error:
        outcome = run.outcome  # what fails may do so because another has decided: its files are gone, say
        lost = isinstance(error, _Lost) or (outcome is not None and outcome.kind != PUBLISH)
        if not lost:
            raise
        raise Broken(
            f"run {run.run_id} of {run.path.parent.name} is not {wanted}: {outcome}; `nightscore held` lists "
            "what is held now"
        ) from None


def is_held(workspace: Workspace, job: str, day: dt.date) -> bool:
    """Whether a day waits for a person."""
    return _newest(_once_held(workspace, job, day)) is not None


def last_decision(workspace: Workspace, job: str, day: dt.date) -> RunFolder | None:
    """The newest run of a day about which a person has decided; `gc` may have removed all else of it."""
    runs = run_folder.list_run_folders(workspace, job, day)
    decided = [run for run in runs if (end := run.outcome) and (run.held.exists() or end.kind == DISCARDED)]
    return decided[-1] if decided else None


def find_held_day(workspace: Workspace, job: str, day: dt.date) -> HeldDay | None:
    """A day that waits for a person, as `read_held_days` gives it; None where it does not."""
    run = _newest(_once_held(workspace, job, day))
    return _read_or_reason(run) if run else None


def _held_run(workspace: Workspace, job: str, day: dt.date) -> RunFolder:
    run = _newest(_once_held(workspace, job, day))
    if run is None:
        others = [f"{held.receipt.job} {held.receipt.day}" for held in read_held_days(workspace)]
        last = last_decision(workspace, job, day)
        decided = f"; run {last.run_id} was: {last.outcome}" if last else ""
        raise Broken(f"job {job}: {day} is not held; held: {', '.join(others) or 'nothing'}{decided}")
    return run


def _once_held(workspace: Workspace, job: str, day: dt.date) -> list[RunFolder]:
    """The runs of a day that an audit has held, whatever became of them; the newest last."""
    folder = renames.runs_home(workspace, job) / day.isoformat()
    return [RunFolder(file.parent) for file in folder.glob("*", HELD)]


def _newest(runs: Sequence[RunFolder]) -> RunFolder | None:
    """The newest of those runs of a day that are held still."""
    waiting = [run for run in runs if run.outcome is None]
    return waiting[-1] if waiting else None


def _read(run: RunFolder) -> HeldDay:
    try:
        return HeldDay.model_validate_json(run.held.read_text())
    except LaterFormat as error:
        raise LaterFormat(f"{run.held.name} of run {run.run_id} is {error}") from error
    except (OSError, ValidationError) as error:
        raise Broken(f"{run.held.name} of run {run.run_id} can't be read; run the day again") from error


def _unharmed(workspace: Workspace, receipt: Receipt, table: str, paths: Sequence[str]) -> list[StagedFile]:
    """The staged files of a table. Broken where one is not what the receipt says."""
    staged = []
    for path, recorded in zip(paths, receipt.tables[table].sha256, strict=True):
        file = storage.place_of(workspace, path)
        if not file.exists() or file_sha256(file.local()) != recorded:
            raise Broken(f"{path}: changed or gone since the day was held; run the day again")
        staged.append(read_staged(file))
    return staged
