"""What `nightscore check` finds of each job, known before the night; never in a request, nor at a parse.

A check opens the model and binds the SQL: 0.1 to 4 seconds of CPU a job were measured. So it runs in a
process of its own, for all jobs that are due at once, and is kept in memory: until a file of the job, its
model or a file beside it changes, and at most for a while, since the data that it looks at come and go.
"""

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from nightscore.airflow.web.access import Sight
from nightscore.airflow.web.process import run_worker
from nightscore.common import Broken, NightscoreError, NotYet, Workspace
from nightscore.job import Job, TableInput

GOOD_SECONDS = 3_600.0  # how long it is kept that a job is right
BAD_SECONDS = 300.0  # and that it is broken, which somebody may mend by data that arrive
LIMIT_SECONDS = 600.0  # for one process, of all jobs that are due
MODELS = ("path", "champion")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Checked:
    """What came of a check: None where all fits; of which state of the job's files, and when (monotonic)."""

    message: str | None
    state: tuple[object, ...]
    at: float

    @property
    def is_fresh(self) -> bool:
        """Whether it is not too long ago."""
        return time.monotonic() - self.at < (GOOD_SECONDS if self.message is None else BAD_SECONDS)


_known: dict[tuple[Path, str], Checked] = {}
_lock = threading.Lock()
_at_work: set[tuple[Path, str]] = set()


def check_results(sight: Sight, only: str | None = None) -> dict[str, str | None]:
    """Job -> what is wrong with it, None where nothing is; for the jobs that the user may read, or one.

    Jobs that can't be read have their message at once. A job that has not been checked yet, or was changed
    since, is not in it: its check has begun, and the next call may know. Returns at once.
    """
    found: dict[str, str | None] = {}
    due: list[tuple[Job, tuple[object, ...]]] = []
    for name, job in sight.jobs.items():
        if only not in (None, name):
            continue
        if isinstance(job, Broken):
            found[name] = str(job)
            continue
        state = (*_state(job), *_upstream(sight, job))
        known = _known.get((sight.workspace.root, name))
        if known and known.state == state:
            found[name] = known.message  # also where it is due again: better old than nothing
        if not known or known.state != state or not known.is_fresh:
            due.append((job, state))
    _begin(sight.workspace, due)
    return found


def wait_for_checks(seconds: float) -> bool:
    """Wait until no check is at work; gives whether that came true in time. For tests and scripts."""
    end = time.monotonic() + seconds
    while _at_work and time.monotonic() < end:
        time.sleep(0.05)
    return not _at_work


def _state(job: Job) -> tuple[object, ...]:
    """What the files of a job are, as far as it costs a few calls of the system."""
    folder = sorted(job.file.parent.iterdir()) if job.file.parent.is_dir() else []
    return (job.hash, *(_stamp(file) for file in [*folder, *_models(job)]))


def _upstream(sight: Sight, job: Job) -> tuple[object, ...]:
    """How many days the tables have that the job reads: with the first of one much is right that was not."""
    tables = [one.table for one in job.spec.inputs.values() if isinstance(one, TableInput)]
    return tuple((table, len(sight.state.published.get(table, {}))) for table in tables)


def _models(job: Job) -> list[Path]:
    model = job.spec.model
    named = [*(getattr(model, field) for field in MODELS), *model.challengers]
    return [job.workspace.locate(path) for path in named if path and ":" not in path]


def _stamp(file: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), -1, -1
    return str(file), found.st_mtime_ns, found.st_size


def _begin(workspace: Workspace, due: list[tuple[Job, tuple[object, ...]]]) -> None:
    """Check jobs in the background, unless they are being checked."""
    with _lock:
        new = [(job, state) for job, state in due if (workspace.root, job.name) not in _at_work]
        if not new or any(root == workspace.root for root, _ in _at_work):
            return  # one process at a time; whoever looks again begins with the others
        _at_work.update((workspace.root, job.name) for job, _ in new)
    threading.Thread(target=_check, args=(workspace, new), daemon=True).start()


def _check(workspace: Workspace, due: list[tuple[Job, tuple[object, ...]]]) -> None:
    try:
        answers = _ask(workspace, [job.name for job, _ in due])
        now = time.monotonic()
        for job, state in due:
            if job.name in answers:
                _known[workspace.root, job.name] = Checked(answers[job.name], state, now)
    except NightscoreError as error:
        log.warning("the jobs were not checked: %s", error)
    finally:
        with _lock:
            _at_work.difference_update((workspace.root, job.name) for job, _ in due)


def _ask(workspace: Workspace, names: list[str]) -> Mapping[str, str | None]:
    """What a process answers: of each job that could be checked its message, or None."""
    question = {"form": "check", "workspace": workspace.root, "jobs": names}
    late = NotYet(f"their check was not ready after {LIMIT_SECONDS:g} seconds")
    answers: dict[str, str | None] = json.loads(run_worker(question, LIMIT_SECONDS, late, with_storage=True))
    return answers
