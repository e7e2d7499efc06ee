"""Shares of a day's pieces, one a mapped task, and what was staged as XCom takes it."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nightscore.common import ProgressCallback, silent
from nightscore.job import Job
from nightscore.store import Piece, Plan, plan_from_json

if TYPE_CHECKING:
    from nightscore.store import StagedFile


def score_share(job: Job, plan: Plan, share: Sequence[int], report: ProgressCallback) -> list[dict[str, Any]]:
    """The staged files of the pieces with these numbers, as XCom takes them."""
    from nightscore.pipeline import LOCAL_THREADS

    staged = LOCAL_THREADS.map(job, plan, [plan.pieces[i] for i in share], report)
    return [dataclasses.asdict(file) for file in staged]


@dataclasses.dataclass(frozen=True)
class Shares:
    """An executor that scores pieces as the mapped tasks do: in `tasks` shares, all values through JSON."""

    tasks: int

    def map(
        self, job: Job, plan: Plan, pieces: Sequence[Piece], report: ProgressCallback = silent
    ) -> "list[StagedFile]":
        """The staged files, in order."""
        done: list[list[dict[str, Any]]] = []
        rows, total = 0, sum(piece.rows for piece in pieces)
        for share in shares(len(pieces), self.tasks):
            pulled = plan_from_json(plan.to_json())
            numbers = [pieces[i].index for i in share]
            progress = _report_share(report, rows, total)
            done.append(json.loads(json.dumps(score_share(job, pulled, numbers, progress))))
            rows += sum(pieces[i].rows for i in share)
        return staged_files(done)


def _report_share(report: ProgressCallback, before: int, total: int) -> ProgressCallback:
    """The progress of one share, reported as that of all: `before` rows are done already."""
    return lambda stage, done, _: report(stage, before + done, total)


def shares(pieces: int, tasks: int) -> list[list[int]]:
    """The numbers of the pieces in `tasks` runs of neighbours, as equal as can be; none of them empty."""
    count = min(pieces, tasks)
    bounds = [pieces * i // count for i in range(count + 1)] if count else [0]
    return [list(range(start, stop)) for start, stop in pairwise(bounds)]


def staged_files(staged: Iterable[Iterable[Mapping[str, Any]]] | None) -> "list[StagedFile]":
    """The staged files of all shares, in the plan's order."""
    from nightscore.store import StagedFile

    return [StagedFile(**file) for share in staged or () for file in share]
