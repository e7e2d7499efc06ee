"""What workspace.yaml says to Airflow, and what a job makes of it."""

from pydantic import ValidationError

from nightscore.common import WORKSPACE_FILE, Broken, Workspace
from nightscore.job.fields import StrictModel
from nightscore.job.loader import Job
from nightscore.job.mistakes import explain_mistakes
from nightscore.job.parts.airflow_settings import AirflowSettings


class _File(StrictModel):
    """The part of workspace.yaml that is read here."""

    airflow: AirflowSettings = AirflowSettings()


def read_airflow_settings(workspace: Workspace) -> AirflowSettings:
    """What workspace.yaml says of all jobs' tasks.

    Raises:
        Broken: it has a mistake; names its line and what is allowed.
    """
    document, lines = workspace.settings
    try:
        return _File.model_validate({key: document[key] for key in document.keys() & {"airflow"}}).airflow
    except ValidationError as error:
        raise Broken(explain_mistakes(error, WORKSPACE_FILE, lines)) from None


def airflow_settings_of(job: Job) -> AirflowSettings:
    """A job's settings; what it does not say is as its workspace says.

    Raises:
        Broken: workspace.yaml has a mistake; names its line and what is allowed.
    """
    return (job.spec.airflow or AirflowSettings()).over(read_airflow_settings(job.workspace))
