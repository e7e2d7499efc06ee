"""The night as Airflow sees it: timetables, and what registers them. Nothing else imports it."""
