"""`nightscore night`: every job that is due, upstream first, as many together as memory allows."""

import contextlib
import dataclasses
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli import watch
from nightscore.cli.options import AsJson, count, open_chosen_workspace, parse_day_option
from nightscore.cli.output import print_json, say
from nightscore.common import Broken, NightscoreError, NotYet, as_day

if TYPE_CHECKING:
    from nightscore.review import DueNight

REACH = dt.timedelta(days=400)  # how far back is read what became of days
LOOK_SECONDS = 0.2
WATCH_SECONDS = 60.0  # between two looks at deadlines
AGAIN_SECONDS = 60.0  # between two tries of a day that is not yet there
ENDS = {0: "is published", Broken.exit_code: "is broken or held", NotYet.exit_code: "is not yet there"}


def night(
    *,
    day: Annotated[str | None, Parameter(help="One day for every job; default: all that is due.")] = None,
    wait: Annotated[int, count("Minutes to try again what is not yet there.", least=0)] = 0,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would be run.")] = False,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Run every job that is due, upstream first, in parallel as memory allows. For cron, without Airflow.

    Due is the latest day of a job's schedule that is complete, and what was missed before it as far as the
    schedule's `catchup` says (a week by default); of a job that comes after others, what their tables have,
    or get tonight. Days that are published or held are left alone, and jobs with `schedule: none` are not
    run. Each day is a process of its own, `nightscore run`, and its state is told as in Airflow (`nightscore
    runs`). Where one fails, what needs it is not run, and all others are. As many run at once as there are
    cores, and as their memory allows: a job's `memory`, or twice what its last nights took.

    Two calls at once do no harm: a day is published once. With --wait a day that is not yet there is tried
    again every minute. While it runs, those whom a job's `notify` names are told which days are late or at
    risk, as `nightscore watch` does.

    Exit code: 0 if all is published; 1 if a day is broken or held; else 75 if one is not yet there.
    """
    from nightscore.review import list_due_nights, open_logbook

    workspace = open_chosen_workspace()
    since = (dt.datetime.now(dt.UTC) - REACH).date().isoformat()
    chosen = parse_day_option(day).isoformat() if day else None
    nights = list_due_nights(open_logbook(workspace, since=since), chosen)
    tell: Callable[[str], None] = _nothing if json else say
    works = Works(nights, time.monotonic() + 60.0 * wait, tell)
    if dry_run:
        for one in nights:
            tell(f"{one}{' after ' + ', '.join(map(str, one.needs)) if one.needs else ''}")
    else:
        works.run()
    if json:
        print_json([{"job": n.job.name, "day": n.day, "exit_code": works.ended.get(n)} for n in nights])
    elif not nights:
        say("nothing is due that is not published")
    codes = set(works.ended.values()) - {0}
    return Broken.exit_code if codes - {NotYet.exit_code} else max(codes, default=0)


def _nothing(_: str) -> None:
    pass


@dataclasses.dataclass
class Works:
    """Some nights on their way: each is begun when what it needs is published, and there is memory for it."""

    nights: list["DueNight"]
    until: float  # by the monotonic clock: until then what is not yet there is tried again
    tell: Callable[[str], None]
    ended: dict["DueNight", int] = dataclasses.field(default_factory=dict)
    at_work: dict["DueNight", subprocess.Popen[bytes]] = dataclasses.field(default_factory=dict)
    not_before: dict["DueNight", float] = dataclasses.field(default_factory=dict)
    next_watch: float = 0.0

    def run(self) -> None:
        """Run them all to their ends."""
        while len(self.ended) < len(self.nights):
            for one, process in list(self.at_work.items()):
                if (code := process.poll()) is not None:
                    del self.at_work[one]
                    self._end(one, code)
            for one in self.nights:
                if one not in self.ended and one not in self.at_work:
                    self._begin(one)
            self._watch()
            time.sleep(LOOK_SECONDS)

    def _watch(self) -> None:
        """Now and then tell of what is late or at risk."""
        if time.monotonic() < self.next_watch:
            return
        self.next_watch = time.monotonic() + WATCH_SECONDS
        if any(one.job.spec.notify and one.job.spec.deadline for one in self.nights):
            with contextlib.suppress(NightscoreError, OSError):  # the nights go on
                for problem in watch.look()[1]:
                    self.tell(f"not told: {problem}")

    def _end(self, one: "DueNight", code: int) -> None:
        again = time.monotonic() + AGAIN_SECONDS
        if code == NotYet.exit_code and again < self.until:
            self.not_before[one] = again
            self.tell(f"{one}: is not yet there; tried again in a minute")
            return
        self.ended[one] = code
        self.tell(f"{one}: {'is held' if self._is_held(one) else _ended(code)}")

    @staticmethod
    def _is_held(one: "DueNight") -> bool:
        from nightscore.pipeline import is_held

        return is_held(one.job.workspace, one.job.name, as_day(one.day))

    def _begin(self, one: "DueNight") -> None:
        carried, lost = _is_carried(one), next((need for need in one.needs if self.ended.get(need)), None)
        if lost and not carried:
            self.ended[one] = NotYet.exit_code
            self.tell(f"{one}: not run, since {lost} {_ended(self.ended[lost])}")
        elif (carried or all(need in self.ended for need in one.needs)) and self._may_begin(one):
            self.tell(f"{one}: begins")
            self.at_work[one] = _start(one, quiet=self.tell is _nothing)

    def _may_begin(self, one: "DueNight") -> bool:
        """Whether it is time, and there is memory for it, and a core, beside those at work."""
        from nightscore.scorers import read_hardware

        if time.monotonic() < self.not_before.get(one, 0.0):
            return False
        machine, used = read_hardware(), sum(other.memory for other in self.at_work)
        fits = used + one.memory <= machine.memory and len(self.at_work) < machine.cores
        return fits or not self.at_work


def _is_carried(one: "DueNight") -> bool:
    """Whether it is so late that a night goes on with the day before, whatever became of those it needs."""
    from nightscore.pipeline import is_carry_due

    return is_carry_due(one.job, one.day)


def _ended(code: int) -> str:
    return ENDS.get(code, f"ended with exit code {code}")


def _start(one: "DueNight", *, quiet: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nightscore", "--workspace", str(one.job.workspace.root)]
    command += ["run", one.job.name, "--day", one.day]
    return subprocess.Popen(  # noqa: S603 - our own command, with a job's name and a day
        command, stdout=subprocess.DEVNULL if quiet else None, stdin=subprocess.DEVNULL
    )
