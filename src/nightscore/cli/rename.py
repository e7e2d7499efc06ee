"""Commands that give a job or a table another name."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from nightscore.lifecycle import Renamed

New = Annotated[str, Parameter(help="The name from now on; one that nothing else has, or ever had.")]
By = Annotated[str, Parameter(help="Who decides; it goes into the record.")]
Because = Annotated[str, Parameter(help="Why; it goes into the record.")]
DryRun = Annotated[bool, Parameter(negative="", help="Only say what would follow, and what is to be edited.")]


def rename_job(
    job: Annotated[str, Parameter(help="The job, as receipts name it.")], new: New, /, *,
    because: Because, by: By, dry_run: DryRun = False, json: AsJson = False,
) -> int:  # fmt: skip
    """Give a job another name, and its tables that are named after it (`<job>_scores`, …).

    Its receipts, runs, closed days, deliveries and tables follow: `unchanged` stays unchanged. Rename first,
    and then edit the lines that this command lists: what still says the old name is refused from then on, by
    its line. Called again, it lists what is still to be edited.

    No file moves: the tables' folders keep the name that they had first, so other engines read on as they
    did; `nightscore tables` shows where a renamed table lies. The old name is never another job's; it may be
    given back. In Airflow the job is a new DAG, with new assets. Refused while a run of the job is at work,
    or a day of it is held.
    """
    from nightscore.common import show_progress
    from nightscore.lifecycle import rename_job as rename

    with show_progress() as report:
        done = rename(
            open_chosen_workspace(), job, new, because=because, by=by, dry_run=dry_run, report=report
        )
    return _print(done, dry_run, json)


def rename_table(
    table: Annotated[str, Parameter(help="The table, as `nightscore tables` lists it.")], new: New, /, *,
    because: Because, by: By, dry_run: DryRun = False, json: AsJson = False,
) -> int:  # fmt: skip
    """Give the table of a decision another name; see `rename-job`.

    Its days and receipts follow. Then write the name under `decide`, and where the table is read, in the
    lines that are listed. A table that is named after its job is renamed with the job.
    """
    from nightscore.common import show_progress
    from nightscore.lifecycle import rename_table as rename

    with show_progress() as report:
        done = rename(
            open_chosen_workspace(), table, new, because=because, by=by, dry_run=dry_run, report=report
        )
    return _print(done, dry_run, json)


def _print(done: "Renamed", dry_run: bool, json: bool) -> int:
    from dataclasses import asdict

    rename = done.rename
    if json:
        document = {"rename": rename.model_dump(mode="json"), "tables": list(map(asdict, done.tables))}
        print_json({**document, "edit": list(map(asdict, done.mentions)), "dry_run": dry_run})
        return 0
    say(f"{rename.kind} {rename.old} would be called {rename.new}" if dry_run else str(rename))
    for table in done.tables:
        say(f"  {table.old} -> {table.new}: {table.days:,} days, in {table.folder} as before")
    for mention in done.mentions:
        say(f"  to be edited: {mention}")
    new, old = ", ".join(rename.tables.values()), ", ".join(rename.tables)
    if rename.kind == "job":
        say(f"  in Airflow it is DAG {rename.new}, paused while it is new there; {rename.old} keeps its runs")
    say(f"  in Airflow the assets are {new} instead of {old}")
    return 0
