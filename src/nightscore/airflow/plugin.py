"""What Airflow finds through the entry point group `airflow.plugins`.

Every process that reads a DAG's schedule needs it: scheduler, DAG processor, API server, triggerer.
"""

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from nightscore.airflow.events.deadline import DayDeadline
from nightscore.airflow.one_writer import OneWriter
from nightscore.airflow.prefill import FormDay
from nightscore.airflow.priority import TonightFirst
from nightscore.airflow.run_day import RunDay
from nightscore.airflow.timetables.after import DayMapper
from nightscore.airflow.timetables.timetable import TIMETABLES
from nightscore.airflow.web import PREFIX, Page, views
from nightscore.airflow.web.slash import Slash

ON_SQLITE = conf.get("database", "sql_alchemy_conn", fallback="").startswith("sqlite")


class NightscorePlugin(AirflowPlugin):
    """The timetables of nightscore, usable by any DAG; who comes first where slots are short; the page."""

    name = "nightscore"
    timetables = TIMETABLES
    partition_mappers = [DayMapper]
    deadline_references = [DayDeadline]
    priority_weight_strategies = [TonightFirst]
    fastapi_root_middlewares = [
        {"name": "the day of a form", "middleware": FormDay},
        {"name": "the day of a run", "middleware": RunDay},
        {"name": "the page's slash", "middleware": Slash},
        *([{"name": "one writer", "middleware": OneWriter}] if ON_SQLITE else []),
    ]
    fastapi_apps = [{"app": Page(), "url_prefix": PREFIX, "name": "Nightscore"}]
    external_views = views(conf.get("api", "base_url", fallback=""))
