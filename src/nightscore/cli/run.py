"""Commands that run days: see what would be done, do it, do it for many days."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nightscore.cli.deliver import print_delivered, print_onward
from nightscore.cli.options import (
    AsJson,
    Day,
    Device,
    Force,
    JobName,
    KnownAt,
    Limit,
    ModelPath,
    On,
    Person,
    Reason,
    Restating,
    Settings,
    executor,
    open_chosen_workspace,
    parse_day_option,
    parse_days,
    restatement,
    settings,
)
from nightscore.cli.output import print_document, print_error, print_json, say
from nightscore.common import Broken, NightscoreError, NotYet

if TYPE_CHECKING:
    from nightscore.store import Receipt


def jobs(*, json: AsJson = False) -> int:
    """List every job, its schedule and its last published day."""
    from nightscore.job import load_all
    from nightscore.pipeline import refuse_former_names
    from nightscore.review import text
    from nightscore.store import catalog

    readable, broken = load_all(open_chosen_workspace())
    state = catalog.read_catalog(open_chosen_workspace())
    last: dict[str, str] = {}
    for (name, day), _ in sorted(state.in_force.items()):
        last[name] = day
    for named in readable:
        try:
            refuse_former_names(named, state.names)
        except Broken as renamed:
            broken.append(renamed)
    if json:
        print_json(
            {
                "jobs": [{**j.spec.model_dump(mode="json"), "last_day": last.get(j.name)} for j in readable],
                "broken": [str(error) for error in broken],
            }
        )
    else:
        text.print_jobs(readable, last)
        for error in broken:
            print_error("broken", error)
    return Broken.exit_code if broken else 0


def check(job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /) -> int:
    """Validate spec, SQL and model without reading data."""
    from nightscore.job import load, load_all
    from nightscore.pipeline import check_job, check_schedule

    workspace = open_chosen_workspace()
    readable, broken = ([load(job, workspace)], []) if job else load_all(workspace)
    for checked in readable:
        try:
            check_schedule(checked)
            say(f"{checked.name}: {check_job(checked)}")
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
    from nightscore.pipeline import RunRequest, draft_plan, see_order, streamed_files, with_pieces
    from nightscore.review import text
    from nightscore.store import run_folder

    loaded = load(job, open_chosen_workspace())
    request = RunRequest(settings(loaded, set), force, limit, model, device, known_at)
    draft = draft_plan(loaded, parse_day_option(day), request)
    if draft.status == "score" and not draft.run_id and loaded.features_sql is None:
        draft = with_pieces(loaded, draft, streamed_files(loaded, draft))
    if json:
        print_document(draft.to_json())
    else:
        folder = run_folder.folder_of_plan(open_chosen_workspace(), draft) if draft.run_id else None
        text.print_plan(draft, folder, loaded.spec.features)
        if draft.status == "score" and (order := see_order(loaded.workspace, draft)):
            say(f"order     {order}")
        print_onward(loaded)
    return 0


def run(
    job: JobName, /, *, day: Day, force: Force = False, set: Settings = [], limit: Limit = None,
    model: ModelPath = None, device: Device = None, known_at: KnownAt = None, restate: Restating = False,
    because: Reason = None, by: Person = None, on: On = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Score one day and publish it.

    Safe to call again at any time: a day whose inputs, model, SQL and parameters have not changed is
    `unchanged`, and a run that was killed is taken up where it stopped. Of a job with `close: true` a
    published day is closed: if something has changed, the run says what and ends with exit code 1, and only
    --restate --because TEXT publishes the day again.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import RunRequest, executors
    from nightscore.review import text

    loaded = load(job, open_chosen_workspace())
    restating = restatement(restate, because, by)
    request = RunRequest(settings(loaded, set), force, limit, model, device, known_at, restating)
    with show_progress() as report:
        receipt = executors.run(loaded, parse_day_option(day), request, executor=executor(on), report=report)
    if json:
        print_document(receipt.to_json(indent=2))
    else:
        text.print_receipt(receipt)
        if loaded.spec.deliver and receipt.status in ("published", "unchanged"):
            print_delivered(loaded.name, receipt.day)
    return 0


def score(
    job: JobName, /, *, day: Day,
    run: Annotated[str, Parameter(name="--run", help="The run whose plan it is.")],
    on: On = None,
) -> int:  # fmt: skip
    """Score the pieces of a plan that another process has made and publishes; Airflow's tasks call it."""
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import score_planned

    loaded, moment, who = load(job, open_chosen_workspace()), parse_day_option(day), executor(on)
    with show_progress() as report:
        staged = score_planned(loaded, moment, run, executor=who, report=report)
    say(f"{loaded.name} {moment}: {len(staged)} pieces are staged")
    return 0


def backfill(
    job: JobName, /, *,
    from_: Annotated[str, Parameter(name="--from", help="The first day, YYYY-MM-DD.")],
    to: Annotated[str, Parameter(help="The last day, YYYY-MM-DD.")],
    force: Force = False, set: Settings = [], on: On = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Run a range of days, the newest first; days that are published and unchanged are skipped.

    Of a job that goes on from its own table of the days before, the oldest comes first. A day that fails does
    not keep the others from running; the exit code is 1 if one is broken, else 75 if one is not yet there. A
    day that the schedule has not, such as a weekend of an exchange, and of which no input has anything is
    skipped.
    """
    from nightscore.common import show_progress
    from nightscore.job import load
    from nightscore.pipeline import RunRequest, executors

    loaded, days = load(job, open_chosen_workspace()), parse_days(from_, to)
    results: dict[str, Receipt | NightscoreError] = {}
    with show_progress() as report:
        request = RunRequest(settings(loaded, set), force)
        who = executor(on)
        for day, result in executors.backfill(loaded, *days, request, executor=who, report=report):
            results[day.isoformat()] = result
            if not json:
                say(f"{day}  {_one_line(result, days[-1].isoformat())}")
    if json:
        print_json([_as_json(day, result) for day, result in results.items()])
    codes = {result.exit_code for result in results.values() if isinstance(result, NightscoreError)}
    return Broken.exit_code if Broken.exit_code in codes else max(codes, default=0)


def _one_line(result: "Receipt | NightscoreError", last: str) -> str:
    if isinstance(result, NightscoreError):
        status = "not yet" if isinstance(result, NotYet) else "broken"
        return f"{status}: {result}"
    gaps = [
        f"days seen of {n}: {seen}" for n, seen in result.days_seen.items() if seen.missing or seen.unknown
    ]
    said = "; ".join([*gaps, *_behind(result, last)])
    return f"{result.status}  {result.rows.published:,} rows  {result.reason}{said}".rstrip()


def _behind(result: "Receipt", last: str) -> list[str]:
    """What a day is out of order with, unless the days to be run again are those that this backfill runs."""
    found = result.out_of_order
    beyond = found and (found.unseen or found.later[-1].rpartition("/")[2] > last)
    return [f"out of order: {found}"] if beyond and result.status == "published" else []


def _as_json(day: str, result: "Receipt | NightscoreError") -> Mapping[str, Any]:
    if isinstance(result, NightscoreError):
        return {
            "day": day,
            "status": "not yet" if isinstance(result, NotYet) else "broken",
            "message": str(result),
        }
    return result.model_dump(mode="json", by_alias=True)
