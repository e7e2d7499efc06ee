"""Commands with which a person decides: about days that are held, and about rows that were set aside."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import (
    AsJson,
    JobName,
    On,
    PublishedDay,
    executor,
    open_chosen_workspace,
    parse_day_option,
)
from nightscore.cli.output import print_document, print_json, say

if TYPE_CHECKING:
    from nightscore.pipeline import hold as holding
    from nightscore.store import Receipt

HeldDay = Annotated[str, Parameter(help="The day that is held, YYYY-MM-DD.")]
By = Annotated[str, Parameter(help="Who decides; it goes into the receipt.")]
Because = Annotated[str, Parameter(help="Why; it goes into the receipt.")]


def held(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *, json: AsJson = False
) -> int:
    """List the days that an audit holds back: what has not passed, and where the staged files lie."""
    from nightscore.pipeline import read_held_days
    from nightscore.store import catalog

    workspace = open_chosen_workspace()
    held_days = list(read_held_days(workspace, job))
    if json:
        print_json([held_day.model_dump(mode="json", by_alias=True) for held_day in held_days])
        return 0
    in_force = catalog.read_catalog(workspace).in_force if held_days else {}
    for held_day in held_days:
        _print_held(held_day)
        began = held_day.receipt.started_at
        since = in_force.get((held_day.receipt.job, held_day.receipt.day))
        if since and began and since.published_at > began:
            say(f"  run {since.run_id} has published the day since: this one can only be discarded")
    if not held_days:
        say("no day is held")
    return 0


def _print_held(held_day: "holding.HeldDay") -> None:
    receipt = held_day.receipt
    if receipt.status == "unreadable":
        say(f"{receipt.job} {receipt.day}: {receipt.reason}")
        return
    say(f"{receipt.job} {receipt.day}: held, run {receipt.run_id}, {receipt.rows.scored:,} rows")
    for audit in receipt.audits:
        if not audit.passed:
            say(f"  {audit.severity}: {audit.name}: {audit.detail}")
    for table, files in held_day.files.items():
        say(f"  {table}: {', '.join(files)}")


def release(job: JobName, /, *, day: HeldDay, by: By, because: Because, json: AsJson = False) -> int:
    """Publish a day that an audit holds back, as it was staged.

    The receipt keeps the audits that have not passed, and says who released the day and why.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import Bell, hold, send_on

    workspace = open_chosen_workspace()
    with show_progress() as report:
        receipt = hold.release_day(
            workspace, job, parse_day_option(day), by=by, because=because, report=report
        )
        released = load(job, workspace)
        Bell(released, receipt.day).released(receipt, by, because)
        send_on(released, receipt, report)
    return _print_published(receipt, json)


def discard(job: JobName, /, *, day: HeldDay, by: By, because: Because) -> int:
    """Drop a day that an audit holds back: nothing of it is published, and `gc` removes what was staged."""
    from nightscore.pipeline import hold

    dropped = hold.discard_day(open_chosen_workspace(), job, parse_day_option(day), by=by, because=because)
    say(f"{dropped.receipt.job} {dropped.receipt.day}: run {dropped.receipt.run_id} is discarded")
    return 0


def hand_over(
    table: Annotated[str, Parameter(help="The table, as `nightscore tables` lists it.")], /, *,
    source: Annotated[str, Parameter(name="--from", help="The job that it belongs to now.")],
    target: Annotated[str, Parameter(name="--to", help="The job that publishes it from now on.")],
    by: Annotated[str, Parameter(help="Who decides; it goes into the record.")],
    because: Annotated[str, Parameter(help="Why; it goes into the record.")],
    json: AsJson = False,
) -> int:  # fmt: skip
    """Hand a table over to another job: a job was split in two, say.

    A table belongs to the job that was the first to publish it, and no other job may: `check`, `plan` and
    `run` of one that names it end with exit code 1. After a hand-over it is the other way round. Nothing that
    is published changes: a closed day stays closed, whoever closed it, and its restatement is compared with
    what was reported; `query` and --as-reported show what they showed. A day that is half published is
    completed first; runs that had begun, or are held, publish the table no more: run their days again.

    A job that only gets another name is renamed, with all that it has published, by `nightscore rename-job`.
    A table may be handed back at any time. `nightscore receipts` lists the hand-overs, `nightscore tables`
    whose each table is.
    """
    from nightscore.common import show_progress
    from nightscore.pipeline import hand_over_table, job_names

    workspace = open_chosen_workspace()
    with show_progress() as report:
        note = hand_over_table(
            workspace, table, source=source, target=target, by=by, because=because, report=report
        )
    print(note.model_dump_json(by_alias=True, indent=2) if json else f"{note.table}: {note}")
    if target not in (there := job_names(workspace)):
        print(
            f"nightscore: no job is called {target} yet, and nothing publishes {table} until one is; jobs: "
            f"{', '.join(there)}",
            file=sys.stderr,
        )
    return 0


def repair(
    table: Annotated[str, Parameter(help="The table, as `nightscore tables` lists it.")], /, *,
    by: Annotated[str, Parameter(help="Who decides; it goes into the record.")],
    because: Annotated[str, Parameter(help="Why; it goes into the record.")],
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD; default: all, and the columns.")] = None,
    accept: Annotated[
        bool, Parameter(negative="", help="Take what is there, by a receipt of its own, instead.")
    ] = False,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Mend a table that another engine has changed: put it back, or take it as it is.

    Receipts say what each day of a table holds, and our readers go by them; Spark, Polars and pandas read the
    table's newest version. Where another engine has written to it, the two differ: `nightscore verify` says
    how. Without --accept, what the receipts name is committed anew (the files are there still; they are held
    to their sha256 first), days that no receipt names go, and the columns are as they were. What the other
    engine wrote stays in the table's history.

    With --accept, what is there counts from now on: for each day a receipt, with the rows and the proof as
    they are now, what it was before, who accepted it and why. `query`, `verify` and the inputs of other jobs
    follow it; --as-reported and --as-of still show what was before. The day is unchanged until a cause of it
    changes, and a run that scores it again does not know what the other engine did.
    """
    from nightscore.pipeline import repair_table

    only = parse_day_option(day).isoformat() if day else None
    done = repair_table(open_chosen_workspace(), table, only, by=by, because=because, accept=accept)
    if json:
        print_json([asdict(one) for one in done])
        return 0
    for one in done:
        receipt = f", run {one.run_id}" if one.run_id else ""
        say(f"{one.table} {one.day or 'columns'}: {one.how}{receipt}; it was: {one.was}")
    if not done:
        say(f"table {table} is as its receipts say; nothing is done")
    return 0


def evolve(
    job: JobName, /, *,
    by: Annotated[str, Parameter(help="Who decides; it goes into the tables' logs.")],
    because: Annotated[str, Parameter(help="Why; it goes there, too.")],
    json: AsJson = False,
) -> int:  # fmt: skip
    """Let a job's published tables have the columns that the job gives now: once, and by a person.

    A job that gives other columns than its tables have is refused (`on_schema_change: fail`, the default).
    With this command a new column comes, null for the days before; one that the job does not give any more
    stays, and is null from now on. A renamed column is both. No row and no file changes: days are read as
    they were, and a reader of Delta sees the new columns at once.

    A type stays what it is: cast in SQL to the table's, or give the column another name. With
    `on_schema_change: evolve` in job.yaml none of this is asked.
    """
    from nightscore.job import load
    from nightscore.pipeline import evolve_tables

    done = evolve_tables(load(job, open_chosen_workspace()), by=by, because=because)
    if json:
        print_json([asdict(one) for one in done])
        return 0
    for one in done:
        say(f"{one.table}: {'; '.join(one.changes)}")
    if not done:
        say(f"the tables of {job} have its columns; nothing is done")
    return 0


def rejects(job: JobName, /, *, day: PublishedDay, json: AsJson = False) -> int:
    """Show the rows of a published day that were set aside, by reason, with examples."""
    from nightscore.job import load
    from nightscore.review import summarize_rejects, text

    by_reason = summarize_rejects(load(job, open_chosen_workspace()), parse_day_option(day))
    if json:
        print_json([rows.model_dump(mode="json") for rows in by_reason])
    else:
        text.print_rejects(by_reason)
    return 0


def replay_rejects(job: JobName, /, *, day: PublishedDay, on: On = None, json: AsJson = False) -> int:
    """Score the rejected rows of a published day again, after a fix, and republish the day.

    The day's other scores are carried over as they were; decisions and audits are made for all of them. Rows
    that can't be scored still stay rejected.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import replay_rejects as replay

    with show_progress() as report:
        loaded = load(job, open_chosen_workspace())
        receipt = replay(loaded, parse_day_option(day), report, executor=executor(on))
    return _print_published(receipt, json)


def _print_published(receipt: "Receipt", json: bool) -> int:
    from nightscore.review import text

    if json:
        print_document(receipt.to_json(indent=2))
    else:
        text.print_receipt(receipt)
    return 0
