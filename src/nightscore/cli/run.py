"""Commands that run days: see what would be done, do it, do it for many days."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jobs.commands.said import complain, print_json
from jobs.errors import Broken, NightError, NotYet
from jobs.options import (
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
    day_of,
    restatement,
    settings,
    workspace,
)

if TYPE_CHECKING:
    from jobs.job import Job
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
        print_json(
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
    from jobs.check import check_schedule
    from jobs.job import load, load_all
    from jobs.steps import checked

    found, broken = ([load(job, workspace())], []) if job else load_all(workspace())
    for one in found:
        try:
            check_schedule(one)
            print(f"{one.name}: {checked(one)}")
        except Broken as error:
            broken.append(error)
    for mistake in broken:
        complain("broken", mistake)
    return Broken.exit_code if broken else 0


def plan(
    job: JobName, /, *, day: Day, set: Settings = [], force: Force = False, limit: Limit = None,
    model: ModelPath = None, device: Device = None, known_at: KnownAt = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Show what a run would do: pieces, rows, bytes, and what is done already. Nothing is written."""
    from jobs import runs, show
    from jobs.job import load
    from jobs.source import in_pieces, streamed
    from jobs.steps import outlook

    found = load(job, workspace())
    options = _options(found, set, force=force, limit=limit, model=model, device=device, known_at=known_at)
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
    model: ModelPath = None, device: Device = None, known_at: KnownAt = None, restate: Restating = False,
    because: Reason = None, by: Person = None, json: AsJson = False,
) -> int:  # fmt: skip
    """Score one day and publish it.

    Safe to call again at any time: a day whose inputs, model, SQL and parameters have not changed is
    `unchanged`, and a run that was killed is taken up where it stopped. Of a job with `close: true` a
    published day is closed: if something has changed, the run says what and ends with exit code 1, and only
    --restate --because TEXT publishes the day anew.
    """
    from jobs import night, show
    from jobs.job import load
    from jobs.progress import shown

    found = load(job, workspace())
    options = _options(
        found, set, force=force, limit=limit, model=model, device=device, known_at=known_at,
        restate=restatement(restate, because, by),
    )  # fmt: skip
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
        options = _options(wanted, set, force=force)
        for day, result in night.backfill(wanted, day_of(from_), day_of(to), report, **options):
            found[day.isoformat()] = result
            if not json:
                print(f"{day}  {_one_line(result)}", flush=True)
    if json:
        print_json([_as_json(day, result) for day, result in found.items()])
    codes = {result.exit_code for result in found.values() if isinstance(result, NightError)}
    return Broken.exit_code if Broken.exit_code in codes else max(codes, default=0)


def _options(job: "Job", given: list[str], **asked: Any) -> dict[str, Any]:
    """What a run is asked for, with the job's parameters as `--set` gives them."""
    return {"params": settings(job, given), **asked}


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
