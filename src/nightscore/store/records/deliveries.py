"""What went where: records of deliveries, `data/deliveries/<job>/<day>/<delivery>/<number>.json`.

The folder bears the name that the job had first. Each is created once and never written again; the newest of
a delivery's day says how it stands. Who delivers has the delivery's lock, which goes with its process.
"""

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nightscore.common import Broken, NotYet, Workspace
from nightscore.store import renames, storage
from nightscore.store.records.renames import Names
from nightscore.store.storage import Place, ask_each

HOME = "data/deliveries"
PATIENCE = 60.0  # seconds that one who delivers waits for another


class DeliveryRecord(BaseModel):
    """What became of one day of a table at one target, by which run.

    `rows` and `key_hash` were counted at the target, and are those of the published files. `settings` is a
    digest of how the delivery was set. Of a withdrawal `run_id` is the run whose rows stand there since, ""
    for none, and `withdrew` the one whose rows went. `left` is a target of before, where an earlier
    delivery of the day stays as it is. `detail` is what a kind says beside.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int = 0
    job: str
    day: str
    delivery: str
    kind: str
    target: str
    table: str
    status: Literal["delivered", "skipped", "withdrawn"]
    run_id: str
    run_number: int = 0
    rows: int = 0
    key_hash: str = ""
    settings: str = ""
    at: dt.datetime
    by: str = ""
    because: str = ""
    withdrew: str = ""
    left: str = ""
    detail: Mapping[str, str] = {}

    def __str__(self) -> str:
        when = f"{self.at:%Y-%m-%d %H:%M} UTC"
        match self.status:
            case "delivered":
                left = f"; what was delivered to {self.left} stays there" if self.left else ""
                return f"{self.rows:,} rows of run {self.run_id} to {self.target} at {when}{left}"
            case "skipped":
                return f"run {self.run_id} not sent to {self.target}: {self.because} ({when})"
        stands = f"run {self.run_id} stands again" if self.run_id else "nothing of the day stands there"
        by = f"{self.by} at {when}: {self.because}"
        return f"run {self.withdrew} withdrawn from {self.target} by {by}; {stands}"


def list_deliveries(
    workspace: Workspace, job: str | None = None, day: str | None = None, delivery: str | None = None
) -> list[DeliveryRecord]:
    """Every record of a job, a day or a delivery, by job, day, delivery and number.

    Raises:
        Broken: one can't be read.
    """
    names = renames.last_names(workspace)
    folder = names.jobs.origin(job) if job else "*"
    files = storage.place_of(workspace, HOME).glob(folder, day or "*", delivery or "*", "*.json")
    ordered = sorted(files, key=lambda file: (file.parent.key, int(file.stem)))
    return [_called(names, record) for record in ask_each(_read, ordered)] if ordered else []


def deliveries_of_run(workspace: Workspace, run_id: str) -> list[DeliveryRecord]:
    """Where one run has been delivered to, whether it stands there still or not."""
    found = list_deliveries(workspace)
    return [one for one in found if run_id in (one.run_id, one.withdrew) and one.status != "skipped"]


def deliveries_of_table(workspace: Workspace, table: str) -> list[DeliveryRecord]:
    """Where the days of one table have been delivered to: to whom a key of it may have gone."""
    return [one for one in list_deliveries(workspace) if one.table == table and one.status != "skipped"]


def standing_record(records: Sequence[DeliveryRecord]) -> DeliveryRecord | None:
    """What says which run's rows stand at a target; None where none do."""
    sent = [one for one in records if one.status != "skipped"]
    return sent[-1] if sent and sent[-1].run_id else None


def stands(records: Sequence[DeliveryRecord], run_id: str, settings: str) -> bool:
    """Whether nothing is to be done for a run: it is delivered as it is set now, skipped, or withdrawn."""
    told = [record for record in records if run_id in (record.run_id, record.withdrew)]
    if not told:
        return False
    if told[-1].withdrew == run_id:
        return True
    return records[-1] == told[-1] and told[-1].settings == settings


def record_delivery(workspace: Workspace, record: DeliveryRecord) -> DeliveryRecord:
    """Write a record after those that are there; who calls it has the lock.

    Raises:
        NotYet: another has written one meanwhile.
    """
    home = _home(workspace, record.job, record.day, record.delivery)
    there = [int(file.stem) for file in home.glob("*.json")]
    record = record.model_copy(update={"number": 1 + max(there, default=-1)})
    text = record.model_dump_json(indent=2)
    if (home / f"{record.number}.json").create_text(text) != text:
        raise NotYet(f"{home}: another process has recorded a delivery in this moment; try again")
    return record


@contextlib.contextmanager
def delivering(workspace: Workspace, job: str, day: str, delivery: str) -> Iterator[None]:
    """A context in which nobody else delivers the same day of the same delivery.

    Raises:
        NotYet: another does, for longer than PATIENCE.
    """
    home = _home(workspace, job, day, delivery)
    with home.storage.lock(home.key, shared=False, seconds=PATIENCE) as locked:
        if not locked:
            raise NotYet(f"{day} of delivery {delivery} is being delivered by another process; try again")
        yield


def settings_digest(text: str) -> str:
    """What stands for a delivery's settings in a record."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _home(workspace: Workspace, job: str, day: str, delivery: str) -> Place:
    folder = renames.last_names(workspace).jobs.origin(job)
    return storage.place_of(workspace, f"{HOME}/{folder}/{day}/{delivery}")


def _called(names: Names, record: DeliveryRecord) -> DeliveryRecord:
    """A record under the names of now."""
    now = {"job": names.jobs.current(record.job), "table": names.tables.current(record.table)}
    return record.model_copy(update=now)


def _read(file: Place) -> DeliveryRecord:
    try:
        return DeliveryRecord.model_validate_json(file.read_text())
    except (OSError, ValueError, ValidationError) as error:
        raise Broken(
            f"{file}: damaged; it says what was delivered. Restore it from a backup; or remove it, and the "
            "day is delivered again"
        ) from error
