"""Commands about days that were published: late data, two runs of one, and what an upgrade shows of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, JobName, PublishedDay, open_chosen_workspace, parse_day_option
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from nightscore.review import LateDay, RecheckedDay

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


def recheck(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *,
    since: Since, list_only: ListOnly = False, json: AsJson = False,
) -> int:  # fmt: skip
    """After an upgrade: name published days that versions before may have got wrong. Nothing is published.

    What it looks for, in each day in force: SQL that compares a column with NaN, or (DuckDB 2.0.0) names a
    plain text column with nulls and one other value; holes in a lookback, files that were overlooked, folders
    that are tables of other engines, SHA256SUMS with more files than came; a model whose columns contradict
    job.yaml, or whose scores depend on the rows beside; values that the model's type does not hold, and
    features_null that became another value. Whatever else this version refuses is told, too.

    How much a restatement would move: the day is scored and decided with the job as it is now, in a folder
    that is removed. A finding that moves 0 rows did no harm. A cause stays one until the day is restated.

    What it does not look for: built-in audits, challengers, bake-offs, and days that a restatement has
    replaced. Last bits that depended on memory are a note. A day whose job, model or inputs are not what they
    were can't be rechecked, and is told so; days that this version published were held to all of it then.

    Next: mend what a finding names (what is refused can't be restated before), then `nightscore run JOB --day
    DAY --force`, and of a closed day `nightscore run JOB --day DAY --force --restate --because TEXT`. By its
    causes the day has not changed: without --force it stays as it is.

    Exit code: 0 if nothing was found, 1 if a day may be wrong or can't be rechecked.
    """
    from nightscore.common import Broken, show_progress
    from nightscore.review import recheck_days

    day, space = parse_day_option(since), open_chosen_workspace()
    found = []
    with show_progress() as report:
        for one in recheck_days(space, day, job, list_only=list_only, report=report):
            found.append(one)
            if not json:
                _print_rechecked(one)
    if json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        touched, held = sum(one.touched for one in found), sum(one.held for one in found)
        since_held = f", {held} published by this version, which held them to it" if held else ""
        say(f"{len(found)} published days: {touched} to be looked at{since_held}")
    return Broken.exit_code if any(one.touched for one in found) else 0


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


def _print_rechecked(one: "RecheckedDay") -> None:
    if not (one.touched or one.notes):
        return
    say(f"{one.job} {one.day}: {'closed' if one.closed else 'open'}, run {one.run_id}")
    for sentence in _rechecked_sentences(one):
        say(f"  {sentence}")


def _rechecked_sentences(one: "RecheckedDay") -> Iterator[str]:
    from nightscore.review import text

    yield from (f"{finding.kind}: {finding.evidence}" for finding in one.findings)
    yield from (f"can't be rechecked: {doubt}" for doubt in one.doubts)
    yield from (f"note: {note}" for note in one.notes)
    for table, change in (one.tables or {}).items():
        yield f"would move {table}: {text.table_change_text(change)}"
    if one.problem and one.problem not in {finding.evidence for finding in one.findings}:
        yield f"a run of it would publish nothing: {one.problem}"
    if one.findings:
        first = "mend that; then " if one.problem else ""
        restate = " --restate --because TEXT" if one.closed else ""
        yield f"next: {first}nightscore run {one.job} --day {one.day} --force{restate}"
