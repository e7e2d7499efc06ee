"""What Airflow finds through the entry point group `airflow.plugins`.

Every process that reads a DAG's schedule needs it: scheduler, DAG processor, API server, triggerer.
"""

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from nightscore.airflow.deadline import DayDeadline
from nightscore.airflow.prefill import FormDay
from nightscore.airflow.priority import TonightFirst
from nightscore.airflow.timetable import TIMETABLES
from nightscore.airflow.web import PREFIX, Page, views


class NightscorePlugin(AirflowPlugin):
    """The timetables of nightscore, usable by any DAG; who comes first where slots are short; the page."""

    name = "nightscore"
    timetables = TIMETABLES
    deadline_references = [DayDeadline]
    priority_weight_strategies = [TonightFirst]
    fastapi_root_middlewares = [{"name": "the day of a form", "middleware": FormDay}]
    fastapi_apps = [{"app": Page(), "url_prefix": PREFIX, "name": "Nightscore"}]
    external_views = views(conf.get("api", "base_url", fallback=""))
