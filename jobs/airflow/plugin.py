"""What Airflow finds through the entry point group `airflow.plugins`.

Every process that reads a DAG's schedule needs it: scheduler, DAG processor, API server, triggerer.
"""

from airflow.plugins_manager import AirflowPlugin

from jobs.airflow.prefill import FormDay
from jobs.airflow.priority import TonightFirst
from jobs.airflow.timetable import ByHandTimetable, DailyPartitionTimetable, TradingDayTimetable


class NightscorePlugin(AirflowPlugin):
    """The timetables of nightscore, usable by any DAG, and who comes first where slots are short."""

    name = "nightscore"
    timetables = [ByHandTimetable, DailyPartitionTimetable, TradingDayTimetable]
    priority_weight_strategies = [TonightFirst]
    fastapi_root_middlewares = [{"name": "the day of a form", "middleware": FormDay}]
