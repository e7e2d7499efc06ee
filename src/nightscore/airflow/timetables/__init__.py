"""Timetables: which days Airflow runs of a job, and when."""
