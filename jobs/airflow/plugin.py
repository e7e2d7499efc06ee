"""What Airflow finds through the entry point group `airflow.plugins`.

Every process that reads a DAG's schedule needs it: scheduler, DAG processor, API server, triggerer.
"""

from airflow.plugins_manager import AirflowPlugin

from jobs.airflow.timetable import DailyPartitionTimetable, TradingDayTimetable


class NightscorePlugin(AirflowPlugin):
    """The timetables of nightscore, usable by any DAG."""

    name = "nightscore"
    timetables = [DailyPartitionTimetable, TradingDayTimetable]
