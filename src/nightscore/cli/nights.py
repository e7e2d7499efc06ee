"""Commands about nights as they went: every try with its message, and the days that are not there."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, count, open_chosen_workspace, parse_day_option
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nightscore.review import DayState
    from nightscore.store import Attempt

OneJob = Annotated[str | None, Parameter(help="One job; default: all.")]
DAYS = 30  # of missing days, without --days
COLUMNS = ("job", "day", "state", "began (UTC)", "took", "rows", "message")


def runs(
    job: OneJob = None, /, *,
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD.")] = None,
    failed: Annotated[bool, Parameter(negative="", help="Only those that did not end well.")] = False,
    last: Annotated[int, count("How many, the newest.")] = 30,
    json: AsJson = False,
) -> int:  # fmt: skip
    """List every try to run a day, published or not: when, by whom, how far it came, and its message.

    `receipts` lists what was published; here is what happened: running (with the stage), waiting (a retryable
    error: what it needs was not there), failed, held (an audit), stopped (its process is gone), published,
    unchanged, skipped; and late, where the `deadline` of the job passed before they had published. Runs of
    the command line, of `nightscore night` and of Airflow are listed alike, for
    90 days. Previews are not.
    """
    from nightscore.job import load
    from nightscore.review import list_deadlines
    from nightscore.store import list_attempts

    workspace, moment = open_chosen_workspace(), parse_day_option(day).isoformat() if day else ""
    found = list_attempts(workspace, job, moment, moment or "9")
    if job and not found:
        load(job, workspace)  # a job that is gone may have run; one that never was is a slip of the pen
    now = dt.datetime.now(dt.UTC)
    shown = sorted((one for one in found if not (failed and (one.good or _at_work(one, now)))), key=_begun)
    shown = shown[-last:]
    due = list_deadlines(workspace, {(one.job, one.day) for one in shown})
    late = _late_runs(found, now, due)
    if json:
        print_json([_run_json(one, now, due.get((one.job, one.day)), one.attempt in late) for one in shown])
    elif shown:
        _print_runs(shown, now, late)
    else:
        say("no run is told of" if not failed else "no run that did not end well is told of")
    return 0


def missing(
    job: OneJob = None, /, *,
    days: Annotated[int, count("How many days to look back.")] = DAYS,
    json: AsJson = False,
) -> int:  # fmt: skip
    """List the days that should be published and are not, and why: failed, held, waiting, stopped, never ran.

    A job's days are those of its schedule; of one that comes after others, those that all their tables have
    (published by the command line or released, too, of which Airflow heard nothing). Looked at is what lies
    after its first published day, and what was tried: else a job owes nothing. A day that the job's policy
    skipped is not missing. A day that was late and is published degraded (`overdue`) is listed once all
    that it needs is there: `nightscore run` makes it whole. `nightscore night` runs the others, upstream
    first; `nightscore backfill` a range of one job.

    Exit code: 0 if none is missing, else 1.
    """
    from nightscore.common import Broken
    from nightscore.job import load
    from nightscore.review import open_logbook

    workspace = open_chosen_workspace()
    since = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)
    book = open_logbook(workspace, since=since.isoformat())
    names = [load(job, workspace).name] if job else sorted(book.jobs)
    found = [one for name in names for one in (*book.missing(name, days), *book.degraded(name, days))]
    if json:
        print_json([state.as_json() for state in found])
    else:
        for state in found:
            say(missing_line(state))
        if not found:
            say(f"no day is missing in the last {days} days")
        new = [name for name in names if name not in book.first_days and book.due.latest(name)]
        if new:
            say(
                f"never published, so that no day of them counts as missing: {', '.join(new)}; "
                "`nightscore night` runs the last day of each that is due"
            )
    return Broken.exit_code if found else 0


def missing_line(state: "DayState") -> str:
    """A day that is not published, and why."""
    first, *_ = state.message.splitlines() or [""]
    due = f", {state.due} (due by {state.deadline:%Y-%m-%d %H:%M} UTC)" if state.due else ""
    return f"{state.job} {state.day}: {state.state}{due}{': ' + first if first else ''}"


def _run_json(one: "Attempt", now: dt.datetime, due: dt.datetime | None, late: bool) -> dict[str, object]:
    told = {**one.model_dump(mode="json"), "state": "stopped" if one.is_gone(now) else one.state}
    return {**told, "deadline": due.isoformat() if due else None, "late": late}


def _late_runs(
    attempts: "Iterable[Attempt]", now: dt.datetime, due: "Mapping[tuple[str, str], dt.datetime]"
) -> set[str]:
    """The runs that were, or are, at work past the deadline of a day that nobody had published by then."""
    late, there = set(), set()
    for one in sorted(attempts, key=_begun):
        key, ended = (one.job, one.day), now if _at_work(one, now) else one.updated
        if key in due and key not in there and ended > due[key]:
            late.add(one.attempt)
        if one.good:
            there.add(key)
    return late


def _print_runs(attempts: "Iterable[Attempt]", now: dt.datetime, late: "Collection[str]") -> None:
    from nightscore.common import duration_text
    from nightscore.review import terminal_tables

    rows = [
        (
            one.job, one.day, _state(one, now) + (", late" if one.attempt in late else ""),
            f"{one.started:%Y-%m-%d %H:%M:%S}", duration_text(one.seconds), _rows(one), _message(one, now),
        )
        for one in attempts
    ]  # fmt: skip
    terminal_tables.console().print(terminal_tables.text_table(rows, COLUMNS, ("took", "rows")))


def _rows(one: "Attempt") -> str:
    if one.ended:
        return f"{one.rows:,}" if one.rows else ""
    return f"{one.done:,} of {one.total:,}" if one.total and one.stage == "score" else ""


def _message(one: "Attempt", now: dt.datetime) -> str:
    where = f" (stage {one.stage})" if one.stage and not one.good and one.state != "held" else ""
    if one.is_gone(now):
        return f"its process is gone{where}"
    untold = f"; not told: {'; '.join(one.untold)}" if one.untold else ""
    said = one.degraded or (one.message.splitlines() or [""])[0]
    return f"{said}{where}{untold}".strip("; ")


def _state(one: "Attempt", now: dt.datetime) -> str:
    return "stopped" if one.is_gone(now) else one.state + (", degraded" if one.degraded else "")


def _at_work(one: "Attempt", now: dt.datetime) -> bool:
    return not one.ended and not one.is_gone(now)


def _begun(one: "Attempt") -> dt.datetime:
    return one.started
