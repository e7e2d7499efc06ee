"""How published days stand at the targets of their jobs: as recorded; and what is not there, which is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.job import Delivery, Job
from nightscore.store import (
    CatalogEntry,
    DeliveryRecord,
    ErasureRow,
    Pinned,
    erasures,
    list_deliveries,
    settings_digest,
    standing_record,
    stands,
)

Records = Mapping[str, list[DeliveryRecord]]  # by delivery


@dataclass(frozen=True)
class Standing:
    """How one day stands at one target.

    `status` is that of the newest record (delivered, skipped, withdrawn); `not delivered` where the run in
    force is not there as job.yaml says it now; `left` where job.yaml has no such delivery any more, and what
    it has delivered stays. `record` says which run's rows stand there, how many and since when.
    """

    delivery: str
    status: str
    target: str
    text: str
    record: DeliveryRecord | None = None

    def __str__(self) -> str:
        return f"{self.delivery}: {self.status}  {self.text}"

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        told = self.record.model_dump(mode="json") if self.record else {}
        kept = ("run_id", "rows", "key_hash", "at", "withdrew", "by", "because")
        named = {
            "delivery": self.delivery, "status": self.status, "target": self.target, "text": self.text
        }  # fmt: skip
        return named | {name: told[name] for name in kept if name in told}


def digest_of(delivery: Delivery, state: Pinned) -> str:
    """What stands for the settings of a delivery in its records: with others a day is delivered again.

    A rename of its table is no other setting.
    """
    first = state.names.tables.first.get(delivery.from_ or "", delivery.from_)
    called_first = delivery.model_copy(update={"from_": first})
    return settings_digest(called_first.model_dump_json(by_alias=True, exclude={"late"}))


def still_with_erased(
    state: Pinned, job: str, entry: CatalogEntry, delivery: str, records: Sequence[DeliveryRecord]
) -> ErasureRow | None:
    """What has erased rows of a run in force since it was sent to where it stands; None where nothing has.

    `records` are those of one day and delivery. An earlier run that stands, for a person has withdrawn the
    one in force, is not sent again by itself.
    """
    last = standing_record(records)
    if last is None or last.run_id != entry.run_id:
        return None
    for row in state.erased.of_kind(erasures.DELIVERY):
        of_run = (row.erased_day, row.run_id, row.file) == (last.day, last.run_id, delivery)
        if of_run and state.names.jobs.current(row.job) == job and row.erased_at >= last.at:
            return row
    return None


def delivery_standings(
    state: Pinned, jobs: Sequence[Job], job: str | None = None, day: str | None = None
) -> dict[tuple[str, str], list[Standing]]:
    """(job, day) -> how it stands at each target, of a job and a day or of all; days without any are absent.

    Of a job that is not among `jobs` there is what its records say.

    Raises:
        Broken: a record can't be read.
    """
    found: dict[tuple[str, str], dict[str, list[DeliveryRecord]]] = {}
    for record in list_deliveries(state.workspace, job, day):
        found.setdefault((record.job, record.day), {}).setdefault(record.delivery, []).append(record)
    for key in state.in_force:
        if job in (None, key[0]) and day in (None, key[1]):
            found.setdefault(key, {})
    named = {one.name: one for one in jobs}
    standings = {key: list(_of_day(state, named.get(key[0]), key, found[key])) for key in sorted(found)}
    return {key: ones for key, ones in standings.items() if ones}


def run_deliveries(state: Pinned, job: str, day: str, run_id: str) -> list[Standing]:
    """What the records say of one run of a day, whatever stands there now."""
    records = list_deliveries(state.workspace, job, day)
    return [_recorded(one) for one in records if run_id in (one.run_id, one.withdrew)]


def _of_day(state: Pinned, job: Job | None, key: tuple[str, str], records: Records) -> Iterator[Standing]:
    deliveries = {one.called: one for one in job.spec.deliver} if job else {}
    for delivery in deliveries.values():
        known = records.get(delivery.called, [])
        if job and (owed := _owed(state, job, key[1], delivery, known)):
            yield owed
        elif known:
            yield _recorded(known[-1])
    for name in records.keys() - deliveries.keys():
        last = standing_record(records[name])
        if job and last:
            text = f"{last}; job.yaml has this delivery no more, and it stays there as it is"
            yield Standing(name, "left", last.target, text, last)
        else:
            yield _recorded(records[name][-1])


def _owed(
    state: Pinned, job: Job, day: str, delivery: Delivery, records: list[DeliveryRecord]
) -> Standing | None:
    """That the run in force is not where job.yaml sends it; None where it is."""
    entry = state.published.get(job.spec.delivered_table(delivery), {}).get(day)
    if entry is None or entry.job != job.name:
        return None
    erased = still_with_erased(state, job.name, entry, delivery.called, records)
    if not erased and stands(records, entry.run_id, digest_of(delivery, state)):
        return None
    last = standing_record(records)
    there = f"; there is: {last}" if last else ""
    with_them = f", with rows that were erased on {erased.erased_at:%Y-%m-%d}" if erased else ""
    text = (
        f"run {entry.run_id} is not at {delivery.target} yet{there}{with_them}; `nightscore redeliver "
        f"{job.name} --day {day} --to {delivery.called}` sends it"
    )
    return Standing(delivery.called, "not delivered", delivery.target, text, last)


def _recorded(record: DeliveryRecord) -> Standing:
    return Standing(record.delivery, record.status, record.target, str(record), record)
