"""The report of a day, made when its publish task has told Airflow that it is done: nothing waits for it.

Airflow calls this after the task's success, and its events, have arrived; what comes after the day is at work
by then. It lets the process go on for `[core] task_success_overtime` seconds (20), and then ends it: a report
that takes longer, or fails, is made for whoever asks first, as one of the command line's nights is.
"""

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


def keep_report_of_day(context: Mapping[str, Any]) -> None:
    """Make and keep the report of what a publish task has published."""
    from nightscore.review import make_kept_report

    task = context["task"]
    receipt = getattr(task, "told", None)
    if receipt is None or receipt.status != "published":
        return
    try:
        make_kept_report(receipt.job, receipt.day, task.workspace, receipt.run_id)
    except Exception as error:  # the day is published, and whoever asks for the report is told what is wrong
        log.warning("the report is made when somebody asks for it, and not now: %s", error)
