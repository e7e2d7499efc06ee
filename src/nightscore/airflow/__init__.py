"""A job as Airflow sees it: DAGs, tasks, timetables, the form, the page in its UI. Nothing imports it."""
