"""The rows of a published day that were set aside, by reason."""

import datetime as dt
from typing import Any

from pydantic import BaseModel

from nightscore.common import Broken
from nightscore.job import Job
from nightscore.store import catalog, quote_identifier

EXAMPLES = 3


class RejectReason(BaseModel):
    """Why rows were set aside: stage and code, with how many rows, and the first of them by key."""

    stage: str
    reason: str
    rows: int
    examples: list[dict[str, Any]]


def summarize_rejects(job: Job, day: dt.date) -> list[RejectReason]:
    """The reasons of a day, the most frequent first.

    Raises:
        Broken: the day is not published, or the job sets no rows aside.
    """
    state = catalog.read_catalog(job.workspace)
    receipt = state.read_receipt(job.name, day)
    if receipt is None:
        raise Broken(f"job {job.name}: {day} is not published")
    table = job.spec.rejects_table
    if table not in receipt.tables or not receipt.tables[table].files:
        raise Broken(f"job {job.name}: {day} has no rejects; policy.bad_row in {job.shown} is fail")
    key = ", ".join(map(quote_identifier, job.spec.key))
    rows = catalog.query(
        f"SELECT stage, reason, count(*) OVER (PARTITION BY stage, reason) AS rows, {key}, message, features "
        f"FROM {quote_identifier(table)} WHERE day = $1 "
        f"QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY {key}) <= {EXAMPLES} "
        f"ORDER BY rows DESC, stage, reason, {key}",
        job.workspace,
        values=[day],
    ).to_pylist()
    reasons: dict[tuple[str, str], RejectReason] = {}
    for row in rows:
        why = row.pop("stage"), row.pop("reason")
        count = row.pop("rows")
        reasons.setdefault(why, RejectReason(stage=why[0], reason=why[1], rows=count, examples=[]))
        reasons[why].examples.append(row)
    return list(reasons.values())
