"""Commands that look at what was published."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nightscore.cli.deliver import print_absent, print_records, standings
from nightscore.cli.options import (
    AsJson,
    Day,
    Form,
    JobName,
    OpenIt,
    OutFile,
    PublishedDay,
    RunId,
    open_chosen_workspace,
    pairs,
    parse_day_option,
    parse_days,
    state_as_of,
)
from nightscore.cli.output import print_document, print_error, print_json, say
from nightscore.common import Broken

if TYPE_CHECKING:
    from nightscore.store import Pinned, Receipt


def tables(*, json: AsJson = False) -> int:
    """List the published tables: their days, rows and files, as receipts name them, and whose each is."""
    from nightscore.review import terminal_tables
    from nightscore.store import catalog, compare_heads

    state = catalog.read_catalog(open_chosen_workspace())
    columns = ("table", "days", "first_day", "last_day", "rows", "bytes", "job")
    listed = [_listed(state, name) for name in state.tables()]
    problems = [problem for _, problem in listed if problem]
    if json:
        documents = [
            dict(zip(columns, row, strict=True)) | ({"problem": str(problem)} if problem else {})
            for row, problem in listed
        ]
        print_json({"as_of_version": state.version, "tables": documents})
    else:
        rows = [row for row, _ in listed]
        terminal_tables.console().print(terminal_tables.text_table(rows, columns, ("days", "rows", "bytes")))
        for name in (name for name in state.tables() if state.home(name).name != name):
            say(f"{name} lies in {state.home(name)}, as it was called first")
    differences = [one for one in compare_heads(state, state.tables()) if not one.gone]
    for difference in differences:
        print_error("warning", Broken(str(difference)))
    for problem in problems:
        print_error("broken", problem)
    return Broken.exit_code if problems else 0


def _listed(state: "Pinned", table: str) -> tuple[tuple[str | int | None, ...], Broken | None]:
    """A table's days, rows and bytes, and whose it is; and why it can't be read, if it can't."""
    from nightscore.store import owners

    problem, files = None, []
    try:
        files = state.files(table)
    except Broken as error:
        problem = error
    days = sorted({file.day for file in files})
    first, last = (days[0], days[-1]) if days else (None, None)
    owner = owners.read_owner(state.workspace, table, state)
    counts = sum(file.rows for file in files), sum(file.bytes for file in files)
    return (table, len(days), first, last, *counts, owner.to if owner else ""), problem


def query(
    sql: Annotated[str, Parameter(help="One SELECT over the published tables, and over `receipts`.")], /, *,
    format: Annotated[Form, Parameter(help="How to print it.")] = "table",
    as_of: Annotated[
        str | None, Parameter(help="A version of the table `receipts`, or a time (ISO 8601, default UTC).")
    ] = None,
    as_reported: Annotated[
        bool, Parameter(negative="", help="Each day as it was first published, whatever was restated since.")
    ] = False,
    raw: Annotated[
        bool,
        Parameter(
            negative="",
            help="Of --format csv: texts as they are. Otherwise those that a spreadsheet would take for a "
            "formula (=, +, -, @, a tab or a carriage return first) get an apostrophe before them.",
        ),
    ] = False,
) -> int:  # fmt: skip
    """Query the published tables, read-only. Every table is a view, pinned to what receipts name."""
    from nightscore.review import terminal_tables, write_rows
    from nightscore.store import catalog

    result = catalog.query(sql, open_chosen_workspace(), state_as_of(as_of), as_reported=as_reported)
    if format == "table":
        terminal_tables.print_rows(result)
    else:
        write_rows(result, format, sys.stdout.buffer, raw=raw)
    return 0


def receipts(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *,
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD.")] = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Show what was published, and its proof: every receipt, the newest last; then hand-overs and renames."""
    from nightscore.job import load
    from nightscore.review import text
    from nightscore.store import catalog

    only_day = parse_day_option(day).isoformat() if day else None
    state = catalog.read_catalog(open_chosen_workspace())
    history, job = state.history, state.names.jobs.current(job) if job else None
    entries = [e for e in history if job in (None, e.job) and only_day in (None, e.day)]
    listed = [entry.read_receipt_or_reason() for entry in entries]
    if job and not any(entry.job == job for entry in history):
        # A job that was never published has no receipts; one that is not there is an error.
        load(job, open_chosen_workspace())
    if json:
        print_json(_with_deliveries(state, listed, job, only_day))
    elif len(listed) == 1:
        text.print_receipt(listed[0])
    else:
        text.print_receipts(listed)
    if not json:
        _print_beside(state, job, only_day)
    unreadable = [Broken(receipt.reason) for receipt in listed if receipt.status == "unreadable"]
    for error in unreadable:
        print_error("broken", error)
    return Broken.exit_code if unreadable else 0


def _with_deliveries(
    state: "Pinned", receipts: "Sequence[Receipt]", job: str | None, day: str | None
) -> list[dict[str, Any]]:
    """Receipts as JSON has them, each with what went where of its run; of that in force what did not, too."""
    from nightscore.store import list_deliveries

    records = list_deliveries(state.workspace, job, day)
    stand = standings(state, job, day)
    documents = []
    for receipt in receipts:
        told = [
            one.model_dump(mode="json") for one in records if receipt.run_id in (one.run_id, one.withdrew)
        ]
        entry = state.in_force.get((receipt.job, receipt.day))
        owed = stand.get((receipt.job, receipt.day), ()) if entry and entry.run_id == receipt.run_id else ()
        told += [one.document() for one in owed if one.status == "not delivered"]
        documents.append(
            receipt.model_dump(mode="json", by_alias=True) | ({"deliveries": told} if told else {})
        )
    return documents


def _print_beside(state: "Pinned", job: str | None, day: str | None) -> None:
    """Print what of some days went where, what did not, and who handed tables over."""
    from nightscore.store import list_deliveries, owners, renames

    print_records(list_deliveries(open_chosen_workspace(), job, day))
    print_absent(standings(state, job, day))
    names = renames.last_names(open_chosen_workspace())
    once = names.jobs.every(job) if job else frozenset()
    for note in owners.list_hand_overs(open_chosen_workspace()):
        if job is None or once & {note.source, note.to}:
            print(f"table {note.table} {note}")
    for rename in names.renames:
        if job is None or (rename.kind == "job" and rename.old in once):
            print(rename)


def report(
    job: JobName, /, *, day: PublishedDay, run: RunId = None, out: OutFile = None, open: OpenIt = False
) -> int:
    """Write the report of a published day: one HTML page, for a browser, a mail or a printer.

    Control totals and audits; scores and decisions beside the day before; time, inputs and model; the
    first rows of each table, and how to query it. Needs the extra `report`. Prints the file's path.
    """
    import webbrowser

    from nightscore.job import load
    from nightscore.review import gather_facts
    from nightscore.review.report import html
    from nightscore.store import write_page

    facts = gather_facts(load(job, open_chosen_workspace()), parse_day_option(day), run)
    file = out or html.report_file(facts)
    write_page(file, html.render_page(facts))
    say(str(file))
    if open and not webbrowser.open(file.absolute().as_uri()):
        print("nightscore: no browser could be started; open the file by hand", file=sys.stderr)
    return 0


def dossier(
    job: JobName, /, *,
    first: Annotated[str, Parameter(name="--from", help="The first business date, YYYY-MM-DD.")],
    last: Annotated[str, Parameter(name="--to", help="The last business date, YYYY-MM-DD.")],
    out: Annotated[
        Path | None, Parameter(help="The file to write; default: data/dossiers/JOB/FROM_TO.html.")
    ] = None,
    open: OpenIt = False,
) -> int:  # fmt: skip
    """Write the dossier of a job over some days, for whoever validates its model: one HTML page.

    First its model document, from model.md beside job.yaml: purpose, data, method, assumptions, limitations,
    outcomes analysis, benchmarks, thresholds, changes, owner. Figures in it are read from the files and
    tables that it names, each time, and never typed. Then the record of the published days: every receipt,
    restatements with what moved and why, approvals (releases, discards, promotions, hand-overs), audits with
    the nights when they had not passed, and which night had which job, model, parameters and libraries.

    A job without a model.md has the record all the same, and the page says what nobody has written. Nothing
    is computed again: `nightscore verify` does that. Needs the extra `report`. Prints the file's path.
    """
    import webbrowser

    from nightscore.job import load
    from nightscore.review import gather_record
    from nightscore.review.dossier import page
    from nightscore.store import write_page

    days = parse_days(first, last)
    record = gather_record(load(job, open_chosen_workspace()), *days)
    file = out or page.dossier_file(record)
    write_page(file, page.render_dossier(record))
    say(str(file))
    if open and not webbrowser.open(file.absolute().as_uri()):
        print("nightscore: no browser could be started; open the file by hand", file=sys.stderr)
    return 0


def verify(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *,
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD; default: all.")] = None,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Recompute the proof of published days from the tables' files, and name what is not as it was.

    Files by sha256 and page checksums, rows, the key hash, and of every column the nulls, the exact sum, the
    least and the greatest value (not of a key's). A day whose tables were removed, or of which somebody was
    erased, says so.

    And what Spark, Polars and pandas read, each table's newest version, is held to the receipts: what another
    engine has deleted, appended, updated, restored or done to columns is named, with its commit, and how to
    mend it (`nightscore repair`). The same rows in other files, as after an OPTIMIZE, are harmless. Exit
    code 1 if anything differs.
    """
    from nightscore.review import verify_days
    from nightscore.store import catalog

    only_day = parse_day_option(day).isoformat() if day else None
    checks, workspace = [], open_chosen_workspace()
    stand = standings(catalog.read_catalog(workspace), job, only_day)
    for check in verify_days(workspace, job, only_day):
        checks.append(check)
        if not json:
            status = "differs" if check.differences else "holds" if check.files else "removed"
            counts = f"{check.rows:,} rows, {check.files} files"
            first = f", first reported: {', '.join(check.first_reported)}" if check.first_reported else ""
            run = f", run {check.run_id}" if check.run_id else ""
            say(f"{check.job} {check.day or 'columns'}: {status}  {counts}{run}{first}")
            for line in (*check.differences, *check.removed, *check.erased):
                say(f"  {line}")
            for note in check.notes:
                say(f"  harmless: {note}")
            for one in stand.get((check.job, check.day), ()):
                say(f"  {one}")
    if json:
        delivered = {key: [one.document() for one in ones] for key, ones in stand.items()}
        print_json([c.model_dump() | {"deliveries": delivered.get((c.job, c.day), [])} for c in checks])
    return Broken.exit_code if any(check.differences for check in checks) else 0


def why(
    job: JobName, /, *, day: Day,
    key: Annotated[str, Parameter(help="The row: every key column, as household_id=1,product_id=2.")],
    json: AsJson = False,
) -> int:  # fmt: skip
    """Show why a row got what it got: its features as scored, the model, its scores, the decisions."""
    from nightscore.job import load
    from nightscore.review import explain_row, text

    row = pairs(key.split(","), "--key")
    explanation = explain_row(load(job, open_chosen_workspace()), parse_day_option(day), row)
    if json:
        print_document(explanation.model_dump_json(indent=2))
    else:
        text.print_explanation(explanation)
    return 0
