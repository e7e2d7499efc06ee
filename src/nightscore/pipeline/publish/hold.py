"""Days that an audit holds back: staged and proven, and published only if a person says so and why."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from nightscore.common import Broken, ProgressCallback, Workspace, file_sha256, silent
from nightscore.pipeline.publish.commit import publish_tables
from nightscore.store import (
    LaterFormat,
    Plan,
    Receipt,
    Release,
    RunFolder,
    StagedFile,
    delta,
    read_staged,
    run_folder,
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
    """Write held.json: what was staged, and the receipt that says which audit has not passed."""
    files = {table: [file.path for file in table_files] for table, table_files in ready.items()}
    waiting = HeldDay(receipt=receipt.model_copy(update={"status": "held"}), files=files)
    run_folder.folder_of_plan(workspace, plan).replace_held(waiting.model_dump_json(by_alias=True, indent=2))


def read_held_days(workspace: Workspace, job: str | None = None) -> Iterator[HeldDay]:
    """The days that are held, of a job or of all, by job and day; of a day the newest run.

    One that can't be read, or is of a later version, has the status `unreadable`, and the reason.
    """
    for folder in sorted(workspace.runs.glob(f"{job or '*'}/*")):
        newest = _newest(folder)
        if newest:
            yield _read_or_reason(newest)


def _read_or_reason(run: RunFolder) -> HeldDay:
    try:
        return _read(run)
    except Broken as error:
        name, day = run.path.parts[-3:-1]
        receipt = Receipt(job=name, day=day, run_id=run.run_id, status="unreadable", reason=str(error))
        return HeldDay(receipt=receipt, files={})


def release_day(
    workspace: Workspace, job: str, day: dt.date, *, by: str, because: str, report: ProgressCallback = silent
) -> Receipt:
    """Publish a held day as it was staged; the receipt says who did so and why.

    Raises:
        Broken: the day is not held, what was staged is damaged or gone, or `by` or `because` is empty.
        NotYet: another run has published the day since.
    """
    run = _held_run(workspace, job, day)
    waiting, plan = _read(run), run_folder.read_plan(run.plan)
    if plan is None:
        raise Broken(f"{workspace.relative(run.plan)}: damaged, or of another version; run the day again")
    files = {t: _unharmed(workspace, waiting.receipt, t, paths) for t, paths in waiting.files.items()}
    for table, staged in files.items():
        if staged:
            schema = pq.read_schema(workspace.root / staged[0].path)
            delta.check_table_schema(workspace.tables / table, schema)
    note = Release(
        by=_non_empty(by, "by"), because=_non_empty(because, "because"), at=dt.datetime.now(dt.UTC)
    )
    receipt = waiting.receipt.model_copy(update={"status": "published", "released": note})
    with run.in_use():
        return publish_tables(workspace, plan, files, receipt, report)


def discard_day(workspace: Workspace, job: str, day: dt.date, *, by: str, because: str) -> HeldDay:
    """Drop a held day: no run takes it up, and `gc` removes what was staged. Errors as `release_day`'s."""
    run = _held_run(workspace, job, day)
    note = {
        "by": _non_empty(by, "by"),
        "because": _non_empty(because, "because"),
        "at": dt.datetime.now(dt.UTC),
    }
    run_folder.record(run.discarded, json.dumps(note, default=str, ensure_ascii=False))
    return _read(run)


def _held_run(workspace: Workspace, job: str, day: dt.date) -> RunFolder:
    run = _newest(workspace.runs_of(job, day))
    if run is None:
        others = [f"{held.receipt.job} {held.receipt.day}" for held in read_held_days(workspace)]
        raise Broken(f"job {job}: {day} is not held; held: {', '.join(others) or 'nothing'}")
    return run


def _newest(folder: Path) -> RunFolder | None:
    """The newest run of a day, if it is held."""
    runs = [RunFolder(path) for path in sorted(folder.glob("*")) if (path / "held.json").is_file()]
    waiting = [run for run in runs if not run.finished and not run.publication.exists()]
    return waiting[-1] if waiting else None


def _read(run: RunFolder) -> HeldDay:
    try:
        return HeldDay.model_validate_json(run.held.read_text(encoding="utf-8"))
    except LaterFormat as error:
        raise LaterFormat(f"{run.held.name} of run {run.run_id} is {error}") from error
    except (OSError, ValidationError) as error:
        raise Broken(f"{run.held.name} of run {run.run_id} can't be read; run the day again") from error


def _unharmed(workspace: Workspace, receipt: Receipt, table: str, paths: Sequence[str]) -> list[StagedFile]:
    """The staged files of a table. Broken where one is not what the receipt says."""
    staged = []
    for path, recorded in zip(paths, receipt.tables[table].sha256, strict=True):
        file = workspace.root / path
        if not file.is_file() or file_sha256(file) != recorded:
            raise Broken(f"{path}: changed or gone since the day was held; run the day again")
        staged.append(read_staged(file, workspace.root))
    return staged


def _non_empty(text: str, option: str) -> str:
    if not text.strip():
        raise Broken(f"{option} is empty; it goes into the receipt, for whoever asks later")
    return text.strip()
