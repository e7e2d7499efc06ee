"""Days that were delivered with somebody who is erased since, sent anew without them."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightscore.common import NightscoreError, Workspace
from nightscore.delivery import deliver_day
from nightscore.job import load
from nightscore.store import DeliveryRecord, ErasureRow, Pinned, catalog, erasures, list_deliveries


@dataclass(frozen=True)
class SentAnew:
    """What became of one delivery of theirs: what stands there, a `problem`, or why it is left."""

    job: str
    day: str
    delivery: str
    said: str
    problem: NightscoreError | None = None

    def __str__(self) -> str:
        return f"{self.job} {self.day}  {self.delivery}: {self.said}"


def send_anew(workspace: Workspace) -> list[SentAnew]:
    """Deliver each day again that stands somewhere with rows that were erased since, by whichever erasure.

    A target that fails is told, and those after it go on: the next call sends what is still owed. One where
    the job delivers no more is told once, after the erasure.
    """
    state = catalog.read_catalog(workspace)
    owed: dict[tuple[str, ...], ErasureRow] = {}
    for row in state.erased.of_kind(erasures.DELIVERY):
        owed[row.job, row.erased_day, row.file, row.detail] = row
    return [found for row in owed.values() if (found := _anew(state, row))]


def _anew(state: Pinned, row: ErasureRow) -> SentAnew | None:
    """What became of one; None where what stands there was sent since."""
    job_name, table = state.names.jobs.current(row.job), state.names.tables.current(row.table_name)
    records = list_deliveries(state.workspace, job_name, row.erased_day, row.file)
    told = (job_name, row.erased_day, row.file)
    if _is_left(state, job_name, row, records):
        is_new = row.erased_at == max(one.erased_at for one in state.erased.rows)
        text = f"{row.detail} has them still, and the job delivers there no more; erase them there by hand"
        return SentAnew(*told, text) if is_new else None
    newest = records[-1] if records else None
    if newest is None or newest.at > row.erased_at:
        return None
    if newest.status != "delivered" or newest.run_id != row.run_id:
        return SentAnew(*told, f"{newest.status} since, of run {newest.run_id or 'none'}; left as it is")
    entry = state.published.get(table, {}).get(row.erased_day)
    if entry is None or (entry.run_id, entry.job) != (row.run_id, job_name):
        return SentAnew(
            *told, f"run {row.run_id} stands there and is not in force any more; withdraw it there"
        )
    try:
        job = load(job_name, state.workspace)
        sent = deliver_day(job, dt.date.fromisoformat(row.erased_day), to=row.file, again=True)
    except NightscoreError as error:
        again = f"nightscore redeliver {job_name} --day {row.erased_day} --to {row.file}"
        return SentAnew(*told, f"still delivered with them: {error}; `{again}`", error)
    return SentAnew(*told, f"delivered anew: {_told(sent)}{_stays(job.spec.deliver, row.file)}")


def _is_left(state: Pinned, job: str, row: ErasureRow, records: Sequence[DeliveryRecord]) -> bool:
    """Whether they stand where the job delivers no more: at another target, or by a delivery that went."""
    there = [record for record in records if record.target == row.detail]
    if not there or there[-1].status == "withdrawn":
        return False
    try:
        called = {one.called for one in load(job, state.workspace).spec.deliver}
    except NightscoreError:  # a job that can't be read is told where it is sent
        called = {row.file}
    return records[-1].target != row.detail or row.file not in called


def _told(sent: Sequence[DeliveryRecord]) -> str:
    return "; ".join(str(record) for record in sent)


def _stays(deliveries: Iterable[object], name: str) -> str:
    """What is said of a target in which rows stay whose keys come no more."""
    for one in deliveries:
        postgres = getattr(one, "postgres", None)
        if getattr(one, "called", "") == name and getattr(postgres, "mode", "") == "upsert":
            return "; with mode upsert a row stays whose key comes no more: delete theirs there by hand"
    return ""
