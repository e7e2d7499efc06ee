"""Commands about days that were published: has late data come for them, and how do two runs of one differ?"""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, JobName, PublishedDay, open_chosen_workspace, parse_day_option
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from nightscore.review import LateDay

Since = Annotated[str, Parameter(help="The first published day that is looked at, YYYY-MM-DD.")]
ListOnly = Annotated[
    bool, Parameter(negative="", help="Only list the days; do not compute how much would move.")
]
Runs = Annotated[
    tuple[str, str] | None,
    Parameter(help="Two runs of the day; default: the first that was published, and the one in force."),
]


def late(job: JobName, /, *, since: Since, list_only: ListOnly = False, json: AsJson = False) -> int:
    """List published days whose inputs have changed since, and how much would move. Nothing is published.

    How much: each such day is scored and decided with the job as it is now, in a folder that is removed, and
    compared with what is published.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.review import find_late_days

    with show_progress() as report:
        late_days = list(
            find_late_days(
                load(job, open_chosen_workspace()),
                parse_day_option(since),
                list_only=list_only,
                report=report,
            )
        )
    if json:
        print_json([late_day.model_dump(mode="json") for late_day in late_days])
    else:
        for late_day in late_days:
            _print_late(late_day)
        if not late_days:
            say("no published day has changed inputs")
    return 0


def diff(job: JobName, /, *, day: PublishedDay, runs: Runs = None, json: AsJson = False) -> int:
    """Show how two published runs of a day differ, table by table: rows, and sums of columns."""
    from nightscore.pipeline import compare_runs
    from nightscore.review import text

    difference = compare_runs(open_chosen_workspace(), job, parse_day_option(day), runs)
    if json:
        print_json(difference.model_dump(mode="json"))
    else:
        say(f"{difference.job} {difference.day}: run {difference.after} beside run {difference.before}")
        for table, change in difference.tables.items():
            say(f"  {table}: {text.table_change_text(change)}")
    return 0


def _print_late(late_day: "LateDay") -> None:
    from nightscore.review import text

    state = "closed" if late_day.closed else "open"
    say(f"{late_day.job} {late_day.day}: {state}, run {late_day.run_id}")
    for sentence in late_day.causes.sentences():
        say(f"  {sentence}")
    for table, change in (late_day.tables or {}).items():
        say(f"  {table}: {text.table_change_text(change)}")
    if late_day.problem:
        say(f"  a run of it would publish nothing: {late_day.problem}")
