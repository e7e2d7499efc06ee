"""What SQL of a job is run as: in one order of rows, unless the job says that its bytes may depend on it."""

from nightscore.job import Job
from nightscore.store import ordered_select


def in_one_order(job: Job, sql: str, where: str) -> str:
    """A SELECT of a job as it is run; no byte of it depends on memory or threads, where the job is exact.

    Raises:
        Broken: something in it depends on the order of rows, and has no ORDER BY; `where` is its file.
    """
    return ordered_select(sql, where) if job.spec.sql == "exact" else sql
