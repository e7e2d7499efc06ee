"""No DAG: the import error of the jobs that can't be read, so that Airflow's UI shows what is wrong.

It stands in a file of its own because an import error takes with it every DAG of its file (dags/nightly.py).
"""

import os
from pathlib import Path

from nightscore.airflow.dag import problems
from nightscore.common import WORKSPACE_VARIABLE, Broken, open_workspace

workspace = open_workspace(os.environ.get(WORKSPACE_VARIABLE) or Path(__file__).resolve().parents[1])
messages = problems(workspace)
if messages:
    raise Broken("\n".join(messages))
