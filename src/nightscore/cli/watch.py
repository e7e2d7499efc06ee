"""`nightscore watch`: which days are late or at risk, said here and to those who are to be told."""

import datetime as dt
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.nights import missing_line
from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_json, say
from nightscore.common import Broken, NotYet

if TYPE_CHECKING:
    from nightscore.review import DayState

REACH = dt.timedelta(days=14)  # how far back is read what became of days
SECONDS = 60.0  # between two looks


def watch(
    *,
    once: Annotated[bool, Parameter(negative="", help="Look once, as cron does every five minutes.")] = False,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Look at the days that have a `deadline` and are not published: which are late, which are at risk.

    At risk is a run whose expected end lies after its deadline, and a day that no run is at while less is
    left than a night usually takes. Whom a job's `notify` names for `overdue` or `at_risk` is told, once a
    day and target; what did not arrive before is sent again. Without --once it looks every minute.

    In Airflow no such process is needed: a run tells by itself that it is at risk, and a deadline alert that
    it is overdue. It does no harm beside it.

    Exit code of --once: 0 if no day is late or at risk; 1 if one is; 75 if somebody could not be told.
    """
    while True:
        states, problems = look()
        if json:
            print_json({"days": [one.as_json() for one in states], "untold": problems})
        else:
            for line in [*map(missing_line, states), *(f"not told: {one}" for one in problems)]:
                say(line)
            if once and not states:
                say("no day is late or at risk")
        if once:
            return NotYet.exit_code if problems else (Broken.exit_code if states else 0)
        time.sleep(SECONDS)


def look() -> tuple[list["DayState"], list[str]]:
    """The days that are late or at risk, and who could not be told of them."""
    from nightscore.review import open_logbook, tell_deadlines, watched_days

    since = (dt.datetime.now(dt.UTC) - REACH).date().isoformat()
    book = open_logbook(open_chosen_workspace(), since=since)
    problems = tell_deadlines(book)
    return [one for one in watched_days(book) if one.due], problems
