"""What a job lacks, as far as a parse may look: a file or folder that is not there.

Airflow parses the DAG file every half minute, so it costs a call of the system each, and no request of a
bucket. The whole check is on the page (`web/checks.py`).
"""

from nightscore.common import Broken
from nightscore.job import Job, PathInput

NO_MODEL, NO_DATA = "no model", "no data"


def missing_tags(job: Job) -> list[str]:
    """Tags for the list of DAGs: that the job's model file is not there, or a folder of its data."""
    try:
        if job.workspace.data_root.is_bucket:
            return []
        model = job.spec.model
        models = [path for path in (model.path, model.champion) if path]
        data = [one.address for one in job.spec.inputs.values() if isinstance(one, PathInput)]
        lacking = {
            NO_MODEL: any(_is_lacking(job, path) for path in models),
            NO_DATA: any(_is_lacking(job, path.partition("{")[0]) for path in data),
        }
    except Broken:  # of workspace.yaml, which is said elsewhere
        return []
    return [tag for tag, lacks in lacking.items() if lacks]


def _is_lacking(job: Job, path: str) -> bool:
    """Whether a path of a job.yaml leads to nothing; not of one in a root, or in a registry."""
    return ":" not in path and not job.workspace.locate(path).exists()
