"""A day's rows, staged as a run would stage them, for trials: in run folders that are removed afterwards."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.common import Broken, ProgressCallback
from nightscore.job import Job
from nightscore.pipeline import (
    Day,
    RunRequest,
    begin,
    bind_job,
    draft_plan,
    hold_to_rows,
    inputs,
    open_job_model,
    trial_plan,
    with_pieces,
)
from nightscore.scorers import plain_variant_of
from nightscore.store import InputFile, Piece, Plan, rows_per_chunk, run_folder

EVERY_ROW = 1 << 62  # a limit that limits nothing: what is planned is not to be published


@dataclass(frozen=True)
class Workload:
    """One day of a job for trials: `plan` scores it by the reference, `rows` is where its rows lie."""

    job: Job
    plan: Plan
    rows: tuple[InputFile, ...]

    @property
    def folder(self) -> Path:
        """The run folder that holds the rows."""
        return run_folder.folder_of_plan(self.job.workspace, self.plan).path.scratch()

    def first(self, limit: int) -> "Workload":
        """The same day with its first `limit` rows only."""
        plan = dataclasses.replace(self.plan, limit=limit)
        return dataclasses.replace(self, plan=with_pieces(self.job, plan, self.rows))

    def last(self, rows: int) -> "Workload":
        """The same day with its last pieces only, of `rows` rows or a few more."""
        pieces: list[Piece] = []
        while len(pieces) < len(self.plan.pieces) and sum(piece.rows for piece in pieces) < rows:
            pieces.insert(0, self.plan.pieces[-1 - len(pieces)])
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, pieces=tuple(pieces)))


@contextlib.contextmanager
def stage_workload(job: Job, day: dt.date, report: ProgressCallback) -> Iterator[Workload]:
    """The rows of a day, features made, cut in pieces. Nothing of it stays.

    Raises:
        Broken, NotYet: as `plan_day`'s, for the job, its model and its inputs.
    """
    open_job_model(job)  # as it is pinned
    draft = draft_plan(job, day, RunRequest(force=True, limit=EVERY_ROW))
    if draft.status != "score":
        raise Broken(f"job {job.name}: no bake-off of {day}: {draft.reason}")
    rivals = tuple(dataclasses.replace(rival, refused="it takes no part") for rival in draft.challengers)
    draft = dataclasses.replace(draft, limit=None, tuned=None, challengers=rivals)
    rows: list[InputFile] = []

    def plain_variant(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
        rows.extend(source)
        size = rows_per_chunk(job.spec.scoring.chunk_rows, _bytes_per_row(source))
        return dataclasses.replace(
            hold_to_rows(job, plan, source),
            variant=plain_variant_of(job.spec.model.kind, plan.device), chunk_rows=size,
        )  # fmt: skip

    with trial_plan(job, draft, "bakeoff") as marked:
        plan = begin(job, marked, choose=plain_variant, report=report)
        with run_folder.folder_of_plan(job.workspace, plan).in_use():
            bind_job(Day(job, plan), open_job_model(job).scorer)
            yield Workload(job, plan, tuple(rows))


def find_held_out_day(job: Job, day: dt.date) -> dt.date | None:
    """The newest day with data before `day`: the held-out day; None where there is none."""
    earlier = [other for other in inputs.list_input_days(job) if other < day]
    return earlier[-1] if earlier else None


def past_days(job: Job, before: dt.date, most: int) -> list[dt.date]:
    """The newest `most` days with data before a day, the newest last: what recipes learn from."""
    return [day for day in inputs.list_input_days(job) if day < before][-most:]


def _bytes_per_row(rows: Sequence[InputFile]) -> float:
    return sum(f.bytes for f in rows) / max(sum(f.rows for f in rows), 1)
