"""Commands about deliveries: what went where, once more, and back."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, JobName, PublishedDay, open_chosen_workspace, parse_day_option
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from nightscore.delivery import Standing
    from nightscore.job import Job
    from nightscore.store import DeliveryRecord, Pinned

ABSENT = ("not delivered", "left")  # what no record says

To = Annotated[str | None, Parameter(help="One delivery, by its name; default: all of the job.")]


def print_records(records: "Iterable[DeliveryRecord]") -> None:
    """Print what became of deliveries, a line each."""
    for one in records:
        say(f"{one.job} {one.day}  {one.delivery}: {one.status}  {one}")


def standings(state: "Pinned", job: str | None, day: str | None) -> "dict[tuple[str, str], list[Standing]]":
    """How days stand at the targets of their jobs."""
    from nightscore.delivery import delivery_standings
    from nightscore.job import load_all

    return delivery_standings(state, load_all(state.workspace)[0], job, day)


def print_delivered(job: str, day: str) -> None:
    """Print how one day stands at the targets of its job, after it was published."""
    from nightscore.store import catalog

    found = standings(catalog.read_catalog(open_chosen_workspace()), job, day)
    for one in found.get((job, day), ()):
        say(f"onward    {one}")


def print_onward(job: "Job") -> None:
    """Print where a published day of a job goes, and what is not set here for that."""
    from nightscore.delivery import unset_connection

    for one in job.spec.deliver:
        unset = unset_connection(one)
        noted = f" ({unset})" if unset else ""
        say(f"onward    {one.called}: {job.spec.delivered_table(one)} to {one.target}{noted}")


def print_absent(found: "dict[tuple[str, str], list[Standing]]") -> int:
    """Print of some days what is not delivered, and what stays at a target of before; gives how many."""
    absent = [(key, one) for key, ones in found.items() for one in ones if one.status in ABSENT]
    for (job, day), one in absent:
        say(f"{job} {day}  {one}")
    return len(absent)


def deliveries(
    job: Annotated[str | None, Parameter(help="One job; default: all.")] = None, /, *,
    day: Annotated[str | None, Parameter(help="One day, YYYY-MM-DD.")] = None, json: AsJson = False,
) -> int:  # fmt: skip
    """List what was delivered where: each record, with the rows that were counted at the target.

    A day of a job is delivered after it is published, to every target that `deliver` in job.yaml names. Then
    come published days that are `not delivered`: the next run of the day delivers it, and so does
    `redeliver`; and what is `left` where job.yaml sends nothing any more.
    """
    from nightscore.store import catalog, list_deliveries

    only_day = parse_day_option(day).isoformat() if day else None
    found = list_deliveries(open_chosen_workspace(), job, only_day)
    stand = standings(catalog.read_catalog(open_chosen_workspace()), job, only_day)
    if json:
        absent = [
            {"job": key[0], "day": key[1], **one.document()}
            for key, ones in stand.items()
            for one in ones
            if one.status in ABSENT
        ]
        print_json([*(one.model_dump(mode="json") for one in found), *absent])
        return 0
    print_records(found)
    if not print_absent(stand) and not found:
        say("nothing is delivered")
    return 0


def redeliver(job: JobName, /, *, day: PublishedDay, to: To = None, json: AsJson = False) -> int:
    """Deliver a published day again, whatever is recorded: also what was skipped as late, or withdrawn.

    Nothing is scored: what is sent is what the day's receipt names. At the target it takes the place of what
    is there of the day, whole.
    """
    from nightscore.common import show_progress
    from nightscore.delivery import deliver_day
    from nightscore.job import load

    with show_progress() as report:
        loaded = load(job, open_chosen_workspace())
        records = deliver_day(loaded, parse_day_option(day), report, to=to, again=True)
    if json:
        print_json([one.model_dump(mode="json") for one in records])
        return 0
    print_records(records)
    if not records:
        say(f"{job} {day}: nothing is sent, for the job has no deliver")
    return 0


def withdraw(
    job: JobName, /, *, day: PublishedDay,
    to: Annotated[str, Parameter(help="The delivery, by its name.")],
    by: Annotated[str, Parameter(help="Who decides; it goes into the record.")],
    because: Annotated[str, Parameter(help="Why; it goes into the record.")],
    json: AsJson = False,
) -> int:  # fmt: skip
    """Take a delivered day away from its target; an earlier run of the day that was there stands again.

    The published table stays as it is. No run delivers the same run there again; a run that publishes the day
    anew does, and so does `redeliver`.
    """
    from nightscore.delivery import withdraw_day
    from nightscore.job import load

    loaded = load(job, open_chosen_workspace())
    record = withdraw_day(loaded, parse_day_option(day), to=to, by=by, because=because)
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        print_records([record])
    return 0
