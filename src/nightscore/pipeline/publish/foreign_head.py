"""Before a run: are the tables that it publishes and reads still as their receipts say, for every engine?

By the tables' logs alone. Of what a run reads, our readers take what receipts name: a warning, which the
receipt keeps. Of what it publishes, the day that it scores would be replaced, and with it, unseen, what
another engine has done there: that is refused, unless the run is forced. Other days of it are a warning, too.
"""

from collections.abc import Mapping

from nightscore.common import Broken
from nightscore.job import Job, TableInput
from nightscore.store import Pinned, compare_heads


class ForeignHead(Broken):
    """Another engine has changed the day, or the columns, of a table that the run would publish."""


def see_foreign(job: Job, day: str, state: Pinned, *, may_replace: bool) -> Mapping[str, tuple[str, ...]]:
    """Table -> how its head differs from what receipts say, of the tables that a run publishes and reads.

    Raises:
        ForeignHead: (Broken) what differs is what the run would replace, and it may not.
    """
    read = [one.table for one in job.spec.inputs.values() if isinstance(one, TableInput)]
    found: dict[str, tuple[str, ...]] = {}
    for one in compare_heads(state, dict.fromkeys([*job.spec.tables, *read])):
        mine = one.table in job.spec.tables and one.day in ("", day) and not (one.harmless or one.gone)
        if mine and not may_replace:
            raise ForeignHead(
                f"{job.shown}: {one}; the run would replace it without a word. `nightscore run {job.name} "
                f"--day {day} --force` (of a closed day, --restate) does so; its receipt says what was there"
            )
        found[one.table] = (*found.get(one.table, ()), str(one))
    return found
