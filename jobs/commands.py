"""The commands of `nightscore`, one function each: read the options, call the package, show the result.

What is heavy (DuckDB, ONNX Runtime, Arrow, rich) is imported by the command that needs it, so that
`nightscore --help` is there at once.
"""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jobs.errors import Broken, NightError, NotYet
from jobs.options import (
    AsJson,
    Day,
    Device,
    Force,
    Form,
    JobName,
    Limit,
    ModelPath,
    Settings,
    day_of,
    pairs,
    settings,
    state_as_of,
    workspace,
)

if TYPE_CHECKING:
    from jobs.receipt import Receipt


def jobs(*, json: AsJson = False) -> int:
    """List every job, its schedule and its last published day."""
    from jobs import catalog, show
    from jobs.job import load_all

    found, broken = load_all(workspace())
    last: dict[str, str] = {}
    for (name, day), _ in sorted(catalog.pinned(workspace()).in_force.items()):
        last[name] = day
    if json:
        _print_json(
            {
                "jobs": [{**j.spec.model_dump(mode="json"), "last_day": last.get(j.name)} for j in found],
                "broken": [str(error) for error in broken],
            }
        )
    else:
        show.jobs(found, last)
        for error in broken:
            complain("broken", error)
    return Broken.exit_code if broken else 0


def check(job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /) -> int:
    """Validate spec, SQL and model without reading data."""
    from jobs.job import load, load_all
    from jobs.steps import checked

    found, broken = ([load(job, workspace())], []) if job else load_all(workspace())
    for one in found:
        try:
            print(f"{one.name}: {checked(one)}")
        except Broken as error:
            broken.append(error)
    for mistake in broken:
        complain("broken", mistake)
    return Broken.exit_code if broken else 0


def plan(
    job: JobName, /, *, day: Day, set: Settings = [], force: Force = False, limit: Limit = None,
    model: ModelPath = None, device: Device = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Show what a run would do: pieces, rows, bytes, and what is done already. Nothing is written."""
    from jobs import runs, show
    from jobs.job import load
    from jobs.steps import in_pieces, outlook, streamed

    found = load(job, workspace())
    options: dict[str, Any] = {
        "params": settings(found, set),
        "force": force,
        "limit": limit,
        "model": model,
        "device": device,
    }
    made = outlook(found, day_of(day), **options)
    if made.status == "score" and not made.run_id and found.features_sql is None:
        made = in_pieces(found, made, streamed(found, made))
    if json:
        print(made.to_json())
    else:
        show.plan(made, runs.folder(workspace(), made) if made.run_id else None)
    return 0


def run(
    job: JobName, /, *, day: Day, force: Force = False, set: Settings = [], limit: Limit = None,
    model: ModelPath = None, device: Device = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Score one day and publish it.

    Safe to call again at any time: a day whose inputs, model, SQL and parameters have not changed is
    `unchanged`, and a run that was killed is taken up where it stopped.
    """
    from jobs import night, show
    from jobs.job import load
    from jobs.progress import shown

    found = load(job, workspace())
    options: dict[str, Any] = {
        "params": settings(found, set),
        "force": force,
        "limit": limit,
        "model": model,
        "device": device,
    }
    with shown() as report:
        receipt = night.run(found, day_of(day), report=report, **options)
    if json:
        print(receipt.to_json(indent=2))
    else:
        show.receipt(receipt)
    return 0


def backfill(
    job: JobName, /, *,
    from_: Annotated[str, Parameter(name="--from", help="The first day, YYYY-MM-DD.")],
    to: Annotated[str, Parameter(help="The last day, YYYY-MM-DD.")],
    force: Force = False, set: Settings = [], json: AsJson = False,
) -> int:  # fmt: skip
    """Run a range of days, the newest first; days that are published and unchanged are skipped.

    A day that fails does not keep the others from running; the exit code is 1 if one is broken, else 75
    if one is not yet there.
    """
    from jobs import night
    from jobs.job import load
    from jobs.progress import shown

    wanted = load(job, workspace())
    found: dict[str, Receipt | NightError] = {}
    with shown() as report:
        options: dict[str, Any] = {"force": force, "params": settings(wanted, set)}
        for day, result in night.backfill(wanted, day_of(from_), day_of(to), report, **options):
            found[day.isoformat()] = result
            if not json:
                print(f"{day}  {_one_line(result)}", flush=True)
    if json:
        _print_json([_as_json(day, result) for day, result in found.items()])
    codes = {result.exit_code for result in found.values() if isinstance(result, NightError)}
    return Broken.exit_code if Broken.exit_code in codes else max(codes, default=0)


def tables(*, json: AsJson = False) -> int:
    """List the published tables: their days, rows and files, as receipts name them."""
    from jobs import catalog, show

    state = catalog.pinned(workspace())
    rows = []
    for name in state.tables():
        files = state.files(name)
        days = sorted({f.day for f in files})
        rows.append(
            (name, len(days), days[0], days[-1], sum(f.rows for f in files), sum(f.bytes for f in files))
        )
    columns = ("table", "days", "first_day", "last_day", "rows", "bytes")
    if json:
        listed = [dict(zip(columns, row, strict=True)) for row in rows]
        _print_json({"as_of_version": state.version, "tables": listed})
    else:
        show.console().print(show.table(rows, columns, columns[1:2] + columns[4:]))
    return 0


def query(
    sql: Annotated[str, Parameter(help="One SELECT over the published tables, and over `receipts`.")], /, *,
    format: Annotated[Form, Parameter(help="How to print it.")] = "table",
    as_of: Annotated[
        str | None, Parameter(help="A version of the table `receipts`, or a time (ISO 8601, default UTC).")
    ] = None,
) -> int:  # fmt: skip
    """Query the published tables, read-only. Every table is a view, pinned to what receipts name."""
    from jobs import catalog, show

    found = catalog.query(sql, workspace(), state_as_of(as_of))
    if format == "table":
        show.rows_table(found)
    else:
        show.write(found, format, sys.stdout.buffer)
    return 0


def receipts(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *,
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD.")] = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Show what was published, and its proof: every receipt, the newest last."""
    from jobs import catalog, show
    from jobs.job import load

    wanted = day_of(day).isoformat() if day else None
    history = catalog.pinned(workspace()).history
    entries = [e for e in history if (job is None or e.job == job) and (wanted is None or e.day == wanted)]
    found = [entry.receipt() for entry in entries]
    if job and not any(r.job == job for r in history):
        load(
            job, workspace()
        )  # a job that was never published has no receipts; one that is not there is an error
    if json:
        _print_json([r.model_dump(mode="json", by_alias=True) for r in found])
    elif len(found) == 1:
        show.receipt(found[0])
    else:
        show.receipts(found)
    return 0


def why(
    job: JobName, /, *, day: Day,
    key: Annotated[str, Parameter(help="The row: every key column, as household_id=1,product_id=2.")],
    json: AsJson = False,
) -> int:  # fmt: skip
    """Show why a row got what it got: its features as scored, the model, its scores, the decisions."""
    from jobs import show
    from jobs.job import load
    from jobs.why import why as explain

    found = explain(load(job, workspace()), day_of(day), pairs(key.split(","), "--key"))
    if json:
        print(found.model_dump_json(indent=2))
    else:
        show.why(found)
    return 0


def gc(
    *,
    older_than: Annotated[float, Parameter(help="Hours: younger leftovers of stopped runs are kept.")] = 24.0,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be removed.")] = False,
) -> int:
    """Remove staged files that nothing refers to; never one that is live."""
    from jobs.gc import gc as collect

    removed = collect(workspace(), older_than, dry_run)
    for one in removed:
        print(f"{one.path}  {one.bytes:,} bytes: {one.reason}")
    word = "would be removed" if dry_run else "removed"
    print(f"{len(removed)} {word}, {sum(one.bytes for one in removed):,} bytes")
    return 0


def data(lake: Annotated[Literal["retail"], Parameter(help="Which sample lake.")], /) -> int:
    """Write a sample lake from real data: `retail` is The Complete Journey, 1.47 million transactions."""
    from jobs.progress import shown
    from jobs.samples import retail

    with shown() as report:
        retail.write_lake(workspace().root, report)
    print(f"{lake}: data/lake/{lake}")
    return 0


def _one_line(result: "Receipt | NightError") -> str:
    if isinstance(result, NightError):
        status = "not yet" if isinstance(result, NotYet) else "broken"
        return f"{status}: {result}"
    return f"{result.status}  {result.rows.published:,} rows  {result.reason}".rstrip()


def _as_json(day: str, result: "Receipt | NightError") -> Mapping[str, Any]:
    if isinstance(result, NightError):
        return {
            "day": day,
            "status": "not yet" if isinstance(result, NotYet) else "broken",
            "message": str(result),
        }
    return result.model_dump(mode="json", by_alias=True)


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def complain(status: str, error: Exception) -> None:
    """Say on stderr what is wrong."""
    print(f"nightscore: {status}: {error}", file=sys.stderr)
