"""Commands that run days: see what would be done, do it, do it for many days."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nightscore.cli.options import (
    AsJson,
    Day,
    Device,
    Force,
    JobName,
    KnownAt,
    Limit,
    ModelPath,
    Person,
    Reason,
    Restating,
    Settings,
    open_chosen_workspace,
    parse_day_option,
    restatement,
    settings,
)
from nightscore.cli.output import print_error, print_json
from nightscore.common import Broken, NightscoreError, NotYet

if TYPE_CHECKING:
    from nightscore.store import Receipt


def jobs(*, json: AsJson = False) -> int:
    """List every job, its schedule and its last published day."""
    from nightscore.job import load_all
    from nightscore.review import text
    from nightscore.store import catalog

    found, broken = load_all(open_chosen_workspace())
    last: dict[str, str] = {}
    for (name, day), _ in sorted(catalog.read_catalog(open_chosen_workspace()).in_force.items()):
        last[name] = day
    if json:
        print_json(
            {
                "jobs": [{**j.spec.model_dump(mode="json"), "last_day": last.get(j.name)} for j in found],
                "broken": [str(error) for error in broken],
            }
        )
    else:
        text.print_jobs(found, last)
        for error in broken:
            print_error("broken", error)
    return Broken.exit_code if broken else 0


def check(job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /) -> int:
    """Validate spec, SQL and model without reading data."""
    from nightscore.job import load, load_all
    from nightscore.pipeline import check_job, check_schedule

    found, broken = ([load(job, open_chosen_workspace())], []) if job else load_all(open_chosen_workspace())
    for one in found:
        try:
            check_schedule(one)
            print(f"{one.name}: {check_job(one)}")
        except Broken as error:
            broken.append(error)
    for mistake in broken:
        print_error("broken", mistake)
    return Broken.exit_code if broken else 0


def plan(
    job: JobName, /, *, day: Day, set: Settings = [], force: Force = False, limit: Limit = None,
    model: ModelPath = None, device: Device = None, known_at: KnownAt = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Show what a run would do: pieces, rows, bytes, and what is done already. Nothing is written."""
    from nightscore.job import load
    from nightscore.pipeline import RunRequest, draft_plan, streamed_files, with_pieces
    from nightscore.review import text
    from nightscore.store import run_folder

    found = load(job, open_chosen_workspace())
    request = RunRequest(settings(found, set), force, limit, model, device, known_at)
    made = draft_plan(found, parse_day_option(day), request)
    if made.status == "score" and not made.run_id and found.features_sql is None:
        made = with_pieces(found, made, streamed_files(found, made))
    if json:
        print(made.to_json())
    else:
        text.print_plan(
            made, run_folder.folder_of_plan(open_chosen_workspace(), made) if made.run_id else None
        )
    return 0


def run(
    job: JobName, /, *, day: Day, force: Force = False, set: Settings = [], limit: Limit = None,
    model: ModelPath = None, device: Device = None, known_at: KnownAt = None, restate: Restating = False,
    because: Reason = None, by: Person = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Score one day and publish it.

    Safe to call again at any time: a day whose inputs, model, SQL and parameters have not changed is
    `unchanged`, and a run that was killed is taken up where it stopped. Of a job with `close: true` a
    published day is closed: if something has changed, the run says what and ends with exit code 1, and only
    --restate --because TEXT publishes the day anew.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import RunRequest, executors
    from nightscore.review import text

    found = load(job, open_chosen_workspace())
    restating = restatement(restate, because, by)
    request = RunRequest(settings(found, set), force, limit, model, device, known_at, restating)
    with show_progress() as report:
        receipt = executors.run(found, parse_day_option(day), request, report=report)
    if json:
        print(receipt.to_json(indent=2))
    else:
        text.print_receipt(receipt)
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
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import RunRequest, executors

    wanted = load(job, open_chosen_workspace())
    found: dict[str, Receipt | NightscoreError] = {}
    with show_progress() as report:
        request = RunRequest(settings(wanted, set), force)
        for day, result in executors.backfill(
            wanted, parse_day_option(from_), parse_day_option(to), report, request
        ):
            found[day.isoformat()] = result
            if not json:
                print(f"{day}  {_one_line(result)}", flush=True)
    if json:
        print_json([_as_json(day, result) for day, result in found.items()])
    codes = {result.exit_code for result in found.values() if isinstance(result, NightscoreError)}
    return Broken.exit_code if Broken.exit_code in codes else max(codes, default=0)


def _one_line(result: "Receipt | NightscoreError") -> str:
    if isinstance(result, NightscoreError):
        status = "not yet" if isinstance(result, NotYet) else "broken"
        return f"{status}: {result}"
    return f"{result.status}  {result.rows.published:,} rows  {result.reason}".rstrip()


def _as_json(day: str, result: "Receipt | NightscoreError") -> Mapping[str, Any]:
    if isinstance(result, NightscoreError):
        return {
            "day": day,
            "status": "not yet" if isinstance(result, NotYet) else "broken",
            "message": str(result),
        }
    return result.model_dump(mode="json", by_alias=True)
