"""The files of a job folder, as people read them: job.yaml and its SQL."""

from nightscore.common import Broken
from nightscore.job.loader import Job, read_sql


def read_job_texts(job: Job) -> dict[str, str]:
    """File -> text: job.yaml as it is now, and the .sql files that it names as they were loaded.

    Only files of the job's folder: of others a job can't be loaded.

    Raises:
        Broken: one is gone since the job was loaded.
    """
    spec = job.spec
    try:
        texts = {job.file.name: job.file.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(f"{job.shown}: can't be read any more: {error}") from error
    if spec.source.endswith(".sql") and job.features_sql is not None:
        texts[spec.source] = job.features_sql
    texts |= {spec.decide[table]: sql for table, sql in job.decide_sql.items()}
    texts |= job.audit_sql
    if spec.judge.labels:
        labels = spec.judge.labels.sql
        texts[labels] = read_sql(job, ("judge", "labels", "sql"), labels)
    return texts
