"""No DAG: the import error of the jobs that can't be read, so that Airflow's UI shows what is wrong.

It stands in a file of its own because an import error takes with it every DAG of its file (dags/nightly.py).
"""

from nightscore.airflow.dag import problems
from nightscore.airflow.workspaces import workspaces_of_file
from nightscore.common import Broken

messages = [one for workspace in workspaces_of_file(__file__) for one in problems(workspace)]
if messages:
    raise Broken("\n".join(messages))
