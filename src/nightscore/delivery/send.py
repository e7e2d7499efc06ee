"""A published day sent onward: to each delivery of its job once, and what went where is recorded.

Who delivers has the delivery's lock, reads what is recorded, has the channel deliver, and records it. A
process that is killed in between leaves no record, and the next one asks the channel again, which knows.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from nightscore.common import (
    Broken,
    NightscoreError,
    NotYet,
    ProgressCallback,
    file_sha256,
    first_line,
    refuse_unsaid,
    silent,
)
from nightscore.delivery.contract import Channel, Parcel, Sent, sent_schema
from nightscore.delivery.key_hash import hash_files
from nightscore.delivery.registry import open_channel
from nightscore.delivery.standing import digest_of, still_with_erased
from nightscore.job import BUILT_IN, Delivery, Job
from nightscore.store import (
    CatalogEntry,
    DeliveryRecord,
    Pinned,
    catalog,
    delivering,
    list_deliveries,
    record_delivery,
    standing_record,
    stands,
    storage,
)


class Undelivered(NotYet):
    """A day is published, and not everywhere delivered yet: trying again delivers it."""


class Undeliverable(Broken):
    """A day is published, and can't be delivered as it is set."""


@dataclass(frozen=True)
class _Round:
    """One day of a job on its way to one delivery."""

    job: Job
    day: dt.date
    delivery: Delivery
    state: Pinned

    @property
    def name(self) -> str:
        return self.delivery.called

    @property
    def table(self) -> str:
        return self.job.spec.delivered_table(self.delivery)

    @property
    def entry(self) -> CatalogEntry | None:
        """The run whose day of the table is in force, if the job is the one that published it."""
        found = self.state.published.get(self.table, {}).get(self.day.isoformat())
        return found if found and found.job == self.job.name else None

    @property
    def digest(self) -> str:
        return digest_of(self.delivery, self.state)

    def has_erased(self, entry: CatalogEntry, records: Sequence[DeliveryRecord]) -> bool:
        """Whether what stands at the target has rows that were erased since."""
        return still_with_erased(self.state, self.job.name, entry, self.name, records) is not None

    def is_there(self, entry: CatalogEntry, records: Sequence[DeliveryRecord]) -> bool:
        """Whether nothing is to be sent."""
        return stands(records, entry.run_id, self.digest) and not self.has_erased(entry, records)

    def records(self) -> list[DeliveryRecord]:
        return list_deliveries(self.job.workspace, self.job.name, self.day.isoformat(), self.name)

    def record(self, channel: Channel, **said: object) -> DeliveryRecord:
        fields = {
            "job": self.job.name, "day": self.day.isoformat(), "delivery": self.name, "table": self.table,
            "kind": self.delivery.kind, "target": channel.target, "settings": self.digest,
            "at": dt.datetime.now(dt.UTC), **said,
        }  # fmt: skip
        return record_delivery(self.job.workspace, DeliveryRecord.model_validate(fields))


def deliver_day(
    job: Job, day: dt.date, report: ProgressCallback = silent,
    *, to: str | None = None, again: bool = False,
) -> list[DeliveryRecord]:  # fmt: skip
    """Deliver a published day to all deliveries of its job, or to one, where it is not delivered yet.

    `again`: a person asks for it, whatever is recorded: also what was skipped, withdrawn or delivered before.

    Returns:
        The newest record of each delivery.

    Raises:
        Undelivered: (NotYet) a target did not answer; the day is published, and stays so.
        Undeliverable: (Broken) what is sent does not fit a target, or there is no such delivery.
    """
    chosen = _chosen(job, to)
    if not chosen:
        return []
    state = catalog.read_catalog(job.workspace)
    records: list[DeliveryRecord] = []
    failed: list[NightscoreError] = []
    for number, delivery in enumerate(chosen, 1):
        one = _Round(job, day, delivery, state)
        report(f"deliver {one.name}", number - 1, len(chosen))
        try:
            records += _deliver(one, again)
        except NightscoreError as error:
            failed.append(type(error)(f"{one.name}: {error}"))
        except Exception as error:
            if delivery.kind in BUILT_IN:
                raise
            text = f"the plug-in {delivery.kind} has failed: {type(error).__name__}: {first_line(error)}"
            failed.append(Broken(f"{one.name}: {text}"))
    report("deliver", len(chosen), len(chosen))
    if failed:
        raise _told(state, job, day, failed)
    return records


def withdraw_day(job: Job, day: dt.date, *, to: str, by: str, because: str) -> DeliveryRecord:
    """Take a day away from a target: an earlier run that was delivered there stands again, else nothing.

    No run delivers the same run there again; a newer one does, and so does `again`.

    Raises:
        Broken: nothing of the day is delivered there, `by` or `because` is empty, or the kind can't.
        NotYet: the target does not answer.
    """
    refuse_unsaid(by=by, because=because)
    [delivery] = _chosen(job, to)
    one = _Round(job, day, delivery, catalog.read_catalog(job.workspace))
    with delivering(job.workspace, job.name, day.isoformat(), one.name):
        records = one.records()
        last = standing_record(records)
        if last is None:
            raise Broken(
                f"{one.name}: nothing of {day} stands there; `nightscore deliveries` lists what does"
            )
        channel = open_channel(job.workspace, delivery)
        if last.target != channel.target:
            raise Broken(
                f"{one.name}: {day} stands at {last.target}, and job.yaml says {channel.target} now; set it "
                "back to withdraw it there, or take it away by hand"
            )
        gone = _parcel(one, _entry_of(one, last.run_id))
        before = _earlier(one, records, last)
        sent = channel.withdraw(gone, before)
        return one.record(
            channel, status="withdrawn", withdrew=last.run_id, by=by.strip(), because=because.strip(),
            run_id=before.run_id if before else "", run_number=before.run_number if before else 0,
            rows=sent.rows, key_hash=sent.key_hash, detail=dict(sent.detail),
        )  # fmt: skip


def _chosen(job: Job, to: str | None) -> Sequence[Delivery]:
    if to is None:
        return job.spec.deliver
    chosen = [one for one in job.spec.deliver if one.called == to]
    if not chosen:
        names = ", ".join(one.called for one in job.spec.deliver) or "none"
        raise Undeliverable(f"job {job.name} has no delivery {to!r}; its deliveries: {names}")
    return chosen


def _deliver(one: _Round, again: bool) -> list[DeliveryRecord]:
    entry = one.entry
    if entry is None and again:
        raise Broken(f"{one.day} of table {one.table} is not there to be sent: {_why_not(one)}")
    if entry is None:
        return []
    records = one.records()
    if not again and one.is_there(entry, records):
        return records[-1:]
    with delivering(one.job.workspace, one.job.name, one.day.isoformat(), one.name):
        # Another may have had the lock, and published meanwhile: what is sent is what is in force now.
        one = dataclasses.replace(one, state=catalog.read_catalog(one.job.workspace))
        entry, records = one.entry, one.records()
        if entry is None or (not again and one.is_there(entry, records)):
            return records[-1:]
        return [_sent(one, entry, records, again or one.has_erased(entry, records))]


def _sent(one: _Round, entry: CatalogEntry, records: Sequence[DeliveryRecord], again: bool) -> DeliveryRecord:
    channel = open_channel(one.job.workspace, one.delivery)
    run = {"run_id": entry.run_id, "run_number": entry.run_number}
    if not again and (why := _late(one, channel)):
        return one.record(channel, status="skipped", because=why, **run)
    sent: Sent = channel.deliver(_parcel(one, entry), again=again)
    last = standing_record(records)
    left = last.target if last and last.target != channel.target else ""
    said = {"rows": sent.rows, "key_hash": sent.key_hash, "detail": dict(sent.detail), "left": left}
    return one.record(channel, status="delivered", **run, **said)


def _why_not(one: _Round) -> str:
    """Why a day has no files of the job's table."""
    entry = one.state.in_force.get((one.job.name, one.day.isoformat()))
    if entry is None:
        return f"job {one.job.name} has not published the day"
    removed = entry.removed.get(one.table)
    return str(removed) if removed else "another job, or none, has it in force"


def _late(one: _Round, channel: Channel) -> str:
    days = one.delivery.skips_after(getattr(channel, "late", "send"))
    passed = (dt.datetime.now(dt.UTC).date() - one.day).days
    return (
        f"late: {passed} days after {one.day}, and it is skipped after {days}"
        if _is_over(passed, days)
        else ""
    )


def _is_over(passed: int, days: int | None) -> bool:
    return days is not None and passed > days


def _earlier(one: _Round, records: Sequence[DeliveryRecord], last: DeliveryRecord) -> Parcel | None:
    """The run before the one that goes, of those that had been delivered and not withdrawn."""
    gone = {record.withdrew for record in records} | {last.run_id}
    for record in reversed(records):
        if record.status == "delivered" and record.run_id not in gone and record.run_number < last.run_number:
            return _parcel(one, _entry_of(one, record.run_id))
    return None


def _entry_of(one: _Round, run_id: str) -> CatalogEntry:
    found = [entry for entry in one.state.history if entry.run_id == run_id and one.table in entry.versions]
    if not found:
        raise Broken(f"{one.name}: no receipt names run {run_id} of table {one.table}")
    return found[0]


def _parcel(one: _Round, entry: CatalogEntry) -> Parcel:
    """The files of a run's day, held to its receipt by sha256."""
    receipt, workspace = entry.read_receipt(), one.job.workspace
    live = one.state.files_of(entry, one.table)
    files = storage.local_files([file.path for file in live])
    told = receipt.tables[one.table]
    if sorted(map(file_sha256, files)) != sorted(told.sha256):
        raise Broken(
            f"table {one.table}: the files of {one.day} are not those of the receipt of run {entry.run_id}; "
            "`nightscore verify` says how they differ"
        )
    schema = sent_schema(pq.read_schema(files[0]))

    def hashed(key: tuple[str, ...]) -> str:
        return hash_files(workspace, files, schema, key)

    return Parcel(
        one.job.name, one.table, one.day, entry.run_id, entry.run_number, told.rows, schema, files, hashed,
        one.state.names.jobs.every(one.job.name), one.state.names.tables.every(one.table),
    )  # fmt: skip


def _tables(job: Job) -> set[str]:
    return {job.spec.delivered_table(delivery) for delivery in job.spec.deliver}


def _told(state: Pinned, job: Job, day: dt.date, failed: Sequence[NightscoreError]) -> NightscoreError:
    kind = Undeliverable if any(isinstance(error, Broken) for error in failed) else Undelivered
    texts = "\n".join(f"  {error}" for error in failed)
    if not any(day.isoformat() in state.published.get(table, {}) for table in _tables(job)):
        return kind(f"{job.name} {day} is not there to be delivered:\n{texts}")
    return kind(
        f"{job.name} {day} is published, and not delivered everywhere:\n{texts}\nThe next run of the day "
        f"delivers it, and so does `nightscore redeliver {job.name} --day {day}`"
    )
