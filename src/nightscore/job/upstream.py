"""What of a job's days follows from other jobs and from its own: as far as job.yaml says it."""

from nightscore.job.inputs import TableInput
from nightscore.job.loader import Job


def reads_itself(job: Job) -> bool:
    """Whether the job reads its own tables of the days before, so that its days have an order."""
    inputs = job.spec.inputs.values()
    return any(isinstance(source, TableInput) and source.table in job.spec.tables for source in inputs)
