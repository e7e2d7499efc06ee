"""One Airflow DAG for each job folder of the workspace. To add a job, add its folder; nothing here is edited.

The workspace is $NIGHTSCORE_WORKSPACE, else the folder that holds this folder; of $NIGHTSCORE_WORKSPACES,
which names several, the one that this folder lies in, else all of them.

This file must never raise: Airflow gives an import error to a file, and takes every DAG of that file for
stale until it is gone. A job that can't be read has a stub here, and dags/broken_jobs.py says what is wrong.
"""

from airflow.sdk import get_parsing_context

from nightscore.airflow.dag import dags
from nightscore.airflow.workspaces import workspaces_of_file

only = get_parsing_context().dag_id  # given where a worker reads this file to run one task

for workspace in workspaces_of_file(__file__):
    for dag in dags(workspace, only):
        if only is None or dag.dag_id == only:
            globals()[dag.dag_id] = dag
