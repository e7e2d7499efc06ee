"""A day's rows, staged as a run would stage them, for trials: in run folders that are removed afterwards."""

import contextlib
import dataclasses
import datetime as dt
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightscore.common.errors import Broken
from nightscore.common.progress import Report
from nightscore.job.loader import Job
from nightscore.pipeline.binding import bind
from nightscore.pipeline.context import Day
from nightscore.pipeline.prepare import in_pieces, refuse_full_disk, source
from nightscore.pipeline.read import inputs
from nightscore.pipeline.score.open_model import open_model
from nightscore.pipeline.steps import outlook
from nightscore.scorers.variant import plain
from nightscore.store import run_folder
from nightscore.store.chunking import chunk_rows
from nightscore.store.plan import InputFile, Piece, Plan, digest

EVERY_ROW = 1 << 62  # a limit that limits nothing: what is planned is not to be published


@dataclass(frozen=True)
class Ground:
    """One day of a job for trials: `plan` scores it by the reference, `rows` is where its rows lie."""

    job: Job
    plan: Plan
    rows: tuple[InputFile, ...]

    @property
    def folder(self) -> Path:
        """The run folder that holds the rows."""
        return run_folder.folder(self.job.workspace, self.plan).path

    def first(self, limit: int) -> "Ground":
        """The same day with its first so many rows only."""
        plan = dataclasses.replace(self.plan, limit=limit)
        return dataclasses.replace(self, plan=in_pieces(self.job, plan, self.rows))

    def last(self, rows: int) -> "Ground":
        """The same day with its last pieces only, of so many rows or a few more."""
        pieces: list[Piece] = []
        while len(pieces) < len(self.plan.pieces) and sum(piece.rows for piece in pieces) < rows:
            pieces.insert(0, self.plan.pieces[-1 - len(pieces)])
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, pieces=tuple(pieces)))


@contextlib.contextmanager
def ground(job: Job, day: dt.date, report: Report) -> Iterator[Ground]:
    """The rows of a day, features made, cut in pieces. Nothing of it stays.

    Raises:
        Broken, NotYet: as `plan_day`'s, for the job, its model and its inputs.
    """
    open_model(job)  # as it is pinned
    plan = outlook(job, day, force=True, limit=EVERY_ROW)
    if plan.status != "score":
        raise Broken(f"job {job.name}: no bake-off of {day}: {plan.reason}")
    rivals = tuple(dataclasses.replace(one, refused="it takes no part") for one in plan.challengers)
    mark = digest("bakeoff", plan.fingerprint, secrets.token_hex(8))
    plan = dataclasses.replace(
        plan, fingerprint=mark, limit=None, tuned=None, challengers=rivals,
        run_id=run_folder.new_run_id(mark, plan.started), variant=plain(job.spec.model.kind, plan.device),
    )  # fmt: skip
    run = run_folder.folder(job.workspace, plan)
    try:
        with run.in_use():
            rows = tuple(source(job, plan, run, report))
            refuse_full_disk(job, plan, run, rows)
            size = chunk_rows(job.spec.scoring.chunk_rows, _bytes_per_row(rows))
            plan = in_pieces(job, dataclasses.replace(plan, chunk_rows=size), rows)
            bind(Day(job, plan), open_model(job).scorer)
            yield Ground(job, plan, rows)
    finally:
        for one in run_folder.folders(job.workspace, job.name, day):
            if f"-{mark[:8]}-" in one.run_id:
                shutil.rmtree(one.path, ignore_errors=True)


def day_before(job: Job, day: dt.date) -> dt.date | None:
    """The newest day with data before `day`: the held-out day; None where there is none."""
    earlier = [one for one in inputs.days(job) if one < day]
    return earlier[-1] if earlier else None


def past_days(job: Job, before: dt.date, most: int) -> list[dt.date]:
    """The newest `most` days with data before a day, the newest last: what recipes learn from."""
    return [one for one in inputs.days(job) if one < before][-most:]


def _bytes_per_row(rows: tuple[InputFile, ...]) -> float:
    return sum(f.bytes for f in rows) / max(sum(f.rows for f in rows), 1)
