"""The folder of one run, `data/runs/<job>/<day>/<run_id>/`: what it planned, staged and published.

plan.json            what is scored; a run that was killed is taken up where it stopped
features.parquet     the rows as they were scored, where SQL made them; features-<part>.parquet in parts
begun.json, compared.json    what parts are made for, and what one of them and the whole query have in common
scores/<hash>.parquet, rejects/<hash>.parquet     of a piece: what was scored, and what could not be
decide/<table>.parquet, rejects.parquet           staged: unique, immutable, unread by others
scored.json          what a process that scores for others has staged, with its times; nobody decides by it
late.json            since when pieces are scored by the variant of a late night, and why
held.json            an audit has failed: staged, and published only if a person releases it
outcome.json         what became of it, decided once (`outcome.py`): it is published, or never will be
receipt.json         published; or superseded.json: it was to be published, and another run was first
"""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from nightscore.common import Broken, NotYet, Workspace
from nightscore.store import renames, storage
from nightscore.store.documents.formats import LaterFormat
from nightscore.store.documents.plan import Plan, plan_from_json
from nightscore.store.places.outcome import EARLIER, FILE, PUBLISH, Outcome, read_outcome, record_outcome
from nightscore.store.storage import Place, disk
from nightscore.store.tables.staging import StagedFile

HELD = "held.json"
PART = "features-"  # and its number: the name of a snapshot of a part
SAME = ("job", "fingerprint", "versions", "seen", "limit", "inputs", "replay_of")  # of plans that do the same


@dataclass(frozen=True)
class RunFolder:
    """The places of one run."""

    path: Place

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def plan(self) -> Place:
        """The plan, written when it is complete."""
        return self.path / "plan.json"

    @property
    def features(self) -> Place:
        """The feature snapshot."""
        return self.path / "features.parquet"

    def part(self, number: int) -> Place:
        """The snapshot of one part of the features."""
        return self.path / f"{PART}{number:05}.parquet"

    @property
    def snapshots(self) -> list[Place]:
        """The feature snapshot, or those of its parts in their order, as far as they are there."""
        if self.features.exists():
            return [self.features]
        return sorted(self.path.glob(f"{PART}*.parquet"), key=lambda path: path.name)

    @property
    def begun(self) -> Place:
        """The plan as far as it is known before a row is read; written where features are made in parts."""
        return self.path / "begun.json"

    @property
    def compared(self) -> Place:
        """What came of holding a part of the features to the whole query."""
        return self.path / "compared.json"

    @property
    def receipt(self) -> Place:
        """The receipt of a published run."""
        return self.path / "receipt.json"

    @property
    def superseded(self) -> Place:
        """Why a run that was to be published was not: another was first."""
        return self.path / "superseded.json"

    @property
    def held(self) -> Place:
        """What is held back, for a person to release or to discard."""
        return self.path / HELD

    def challengers(self, fingerprint: str) -> Place:
        """What became of the challengers in a piece: CPU seconds, and why they failed."""
        return self.path / "challengers" / f"{fingerprint}.json"

    def lost_values(self, fingerprint: str) -> Place:
        """How many values of a piece the model's type can't hold, by column, where the job counts them."""
        return self.path / "lost_values" / f"{fingerprint}.json"

    @property
    def rejected(self) -> Place:
        """The day's rejects, those of all pieces."""
        return self.path / "rejects.parquet"

    @property
    def bad_lines(self) -> Place:
        """The lines of text inputs that were left out."""
        return self.path / "bad_lines.parquet"

    def rejects(self, fingerprint: str) -> Place:
        """The rows of a piece that were set aside; there is no such file where none was."""
        return self.path / "rejects" / f"{fingerprint}.parquet"

    def scores(self, fingerprint: str) -> Place:
        """The staged file of a piece."""
        return self.path / "scores" / f"{fingerprint}.parquet"

    @property
    def late(self) -> Place:
        """Since when pieces are scored by the variant of a late night, and why; written with the first."""
        return self.path / "late.json"

    @property
    def scored(self) -> Place:
        """What the latest job of a cluster has staged: staged files as JSON."""
        return self.path / "scored.json"

    def proof(self, fingerprint: str) -> Place:
        """What was proven of the staged file of a piece, where it was scored."""
        return self.path / "proofs" / f"{fingerprint}.json"

    def decided(self, table: str) -> Place:
        """The staged file of a decision table."""
        return self.path / "decide" / f"{table}.parquet"

    @property
    def outcome(self) -> Outcome | None:
        """What became of the run; None while it is open."""
        return read_outcome(self.path)

    def decide(self, kind: str, content: Mapping[str, Any]) -> Outcome:
        """Decide what becomes of the run, once; gives what was decided, here or by another before."""
        return record_outcome(self.path, kind, content)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for this run."""
        if self.receipt.exists() or self.superseded.exists():
            return True
        outcome = self.outcome
        return outcome is not None and outcome.kind != PUBLISH

    @property
    def publishing(self) -> bool:
        """Whether it was decided that the run is published, and that is not done yet."""
        return not self.finished and self.outcome is not None

    def refuse_ended(self) -> None:
        """Keep a run from coming to life after it was decided that it is not published.

        Raises:
            NotYet: it was; the next run of the day begins anew.
        """
        outcome = self.outcome
        if outcome and outcome.kind != PUBLISH:
            raise NotYet(
                f"run {self.run_id} of {self.path.parent.name} is not published: {outcome}; run the day again"
            )

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `gc` away while a process works here; that goes with the process, however it ends."""
        with self.path.storage.hold(self.path.key):
            yield

    def note_scored(self, staged: Sequence[StagedFile]) -> None:
        """Tell whoever publishes what was staged; of a file that was there already, what was told before."""
        before = self.read_scored()
        told = [file if file.ended else before.get(file.path, file) for file in staged]
        self.scored.replace_text(json.dumps([asdict(file) for file in told]))

    def read_scored(self) -> dict[str, StagedFile]:
        """What was told, by path; nothing where it can't be read: the files say all of it but the times."""
        try:
            told = [StagedFile(**file) for file in json.loads(self.scored.read_text())]
        except (OSError, ValueError, TypeError):
            return {}
        return {file.path: file for file in told}

    def replace_held(self, text: str) -> None:
        """Write `held.json`, instead of one that may be there: held again, a day may have other answers."""
        self.held.replace_text(text)

    def remove_decided(self, table: str) -> None:
        """Remove what an earlier attempt staged of a decision table."""
        self.decided(table).remove()

    def remove_scored(self) -> None:
        """Remove what is staged of pieces: they are scored again."""
        for folder in ("scores", "rejects", "proofs"):
            with contextlib.suppress(Broken):
                (self.path / folder).remove()

    def remove(self) -> None:
        """Remove the folder and all that is in it: of a run that nobody will take up."""
        with contextlib.suppress(Broken):
            self.path.remove()

    def collect(self) -> None:
        """Remove all but what decided the run, which fences whoever comes back to it later."""
        for path in self.remains:
            path.remove()

    @property
    def remains(self) -> list[Place]:
        """What lies in the folder beside the records of what became of the run, and its lock."""
        kept = {FILE, *EARLIER, "lock"}
        return [path for path in self.path.glob("*", hidden=True) if path.name not in kept]

    def is_idle(self) -> bool:
        """Whether no process works here now."""
        return not self.path.storage.is_held(self.path.key)


def folder_of_plan(workspace: Workspace, plan: Plan) -> RunFolder:
    """The folder of a plan's run."""
    return folder_of_run(workspace, plan.job, plan.day, plan.run_id)


def folder_of_run(workspace: Workspace, job: str, day: str, run_id: str) -> RunFolder:
    """The folder of one run; its parts are not looked at, so they are no text of a person."""
    return RunFolder(renames.runs_home(workspace, job) / day / run_id)


def list_run_folders(workspace: Workspace, job: str, day: date) -> list[RunFolder]:
    """Every run of a day, oldest first (a run's name starts with its time)."""
    root = renames.runs_home(workspace, job) / day.isoformat()
    return [RunFolder(path) for path in root.glob_folders("*")]


def list_job_runs(workspace: Workspace, job: str) -> list[RunFolder]:
    """Every run of a job, by day and time."""
    days = [path.name for path in renames.runs_home(workspace, job).glob_folders("*-*-*")]
    return [run for day in days for run in list_run_folders(workspace, job, date.fromisoformat(day))]


def find_spilled(workspace: Workspace, job: str | None = None) -> Iterator[Path]:
    """What killed processes have spilled: of the runs of a job (default: of all), and of queries."""
    home = storage.runs(workspace)
    folder = renames.runs_home(workspace, job).name if job else "*"
    of_runs = home.storage.scratch_folders(home.key, (folder, "*", "*"))
    return disk.find_abandoned_spills([home.scratch(), *of_runs])


def remove_spilled(workspace: Workspace, job: str) -> None:
    """Remove what killed runs of a job have left of temporary files."""
    with contextlib.suppress(OSError):  # a folder that gc removes meanwhile
        for path in find_spilled(workspace, job):
            shutil.rmtree(path, ignore_errors=True)


def remove_trials(workspace: Workspace, job: str, day: date, fingerprint: str) -> None:
    """Remove the runs of a day whose name bears the fingerprint of a trial."""
    for run in list_run_folders(workspace, job, day):
        if f"-{fingerprint[:8]}-" in run.run_id:
            run.remove()


def find_unfinished_plan(workspace: Workspace, new: Plan) -> Plan | None:
    """The plan of a run that was stopped and would have done just what `new` does, if any."""
    for run in reversed(list_run_folders(workspace, new.job, date.fromisoformat(new.day))):
        if run.finished or not run.plan.exists():
            continue
        plan = read_plan(run.plan)
        if plan and _does_same(plan, new):
            return plan
    return None


def find_begun(workspace: Workspace, new: Plan) -> str:
    """The name of a run that was stopped while it made the parts of the features of `new`; "" for none."""
    for run in reversed(list_run_folders(workspace, new.job, date.fromisoformat(new.day))):
        if run.finished or run.plan.exists() or not run.begun.exists():
            continue
        plan = read_plan(run.begun)
        if plan and _does_same(plan, new):
            return run.run_id
    return ""


def _does_same(plan: Plan, new: Plan) -> bool:
    # The inputs too: a file restored with its old time is the same cause, but not what was read.
    return all(getattr(plan, name) == getattr(new, name) for name in SAME)


def read_plan(path: Place) -> Plan | None:
    """The plan in a record; None where it is damaged or of another version: the day is planned again then."""
    try:
        return plan_from_json(path.read_text())
    except (ValueError, TypeError, KeyError, LaterFormat):
        return None


def record(path: Place, text: str) -> None:
    """Write one of a run's documents once, complete and durable, or nothing; one that is there stays."""
    path.create_text(text)


def save_plan(run: RunFolder, plan: Plan) -> Plan:
    """Keep a plan, so that a run that is killed from here on is taken up where it stopped.

    Gives the plan that is kept: another process that had begun the same run may have been first.
    """
    record(run.plan, plan.to_json())
    return plan if plan.parts is None else read_plan(run.plan) or plan


def new_run_id(fingerprint: str, now: float) -> str:
    """A name for a run that sorts by time and is never given twice."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return f"{moment}-{fingerprint[:8]}-{secrets.token_hex(3)}"
