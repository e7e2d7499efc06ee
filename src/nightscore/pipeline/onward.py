"""What is published goes onward: after the commit and the receipt, by the process that published."""

import datetime as dt

from nightscore.common import ProgressCallback, silent
from nightscore.job import Job
from nightscore.store import DeliveryRecord, Receipt


def send_on(job: Job, receipt: Receipt, report: ProgressCallback = silent) -> list[DeliveryRecord]:
    """Deliver the day of a receipt where the job says so and it is not delivered yet; gives how it stands.

    Raises:
        Undelivered, Undeliverable: a target has it not; the day is published.
    """
    if not job.spec.deliver or receipt.status not in ("published", "unchanged"):
        return []
    from nightscore.delivery import deliver_day

    return deliver_day(job, dt.date.fromisoformat(receipt.day), report)
