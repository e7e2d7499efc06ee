"""Which workspace this Airflow's pages are about."""

import os
from pathlib import Path

from airflow.configuration import conf

from nightscore.common.workspace import VARIABLE, Workspace, open_workspace


def workspace() -> Workspace:
    """$NIGHTSCORE_WORKSPACE, else the folder that holds the DAGs' folder: as dags/nightly.py finds it.

    Raises:
        Broken: it is no workspace.
    """
    return open_workspace(os.environ.get(VARIABLE) or Path(conf.get("core", "dags_folder")).parent)
