"""Days of a job that reads its own past: what is published out of its turn says so, and how to mend it."""

import datetime as dt
import shlex
from pathlib import Path

import pandas as pd
import pytest

from nightscore import load, query, report, run
from nightscore.cli.main import call
from nightscore.common import NotYet
from nightscore.store import Receipt
from tests.behaviour.conftest import Build
from tests.behaviour.test_chain import OWN, add

DAYS = tuple(f"2026-01-{number:02}" for number in range(1, 7))
LOOKBACK = 3  # a day reads the two before it
DAILY = f"{OWN.replace('lookback: 10', f'lookback: {LOOKBACK}')}schedule: {{daily: '02:00'}}\n"
# Each day is one more than the days that it reads together, so that an error goes on from day to day.
SQL = """\
SELECT r.id, r.a, r.b, 1 + coalesce(b.seen, 0)::BIGINT AS seen
FROM rows r LEFT JOIN (SELECT id, sum(seen) AS seen FROM before GROUP BY id) b USING (id)
WHERE r.day = getvariable('day')
"""


def world(fresh: Build, more: str = "") -> Path:
    root = fresh(rows=20, days=DAYS)
    add(root, "own", DAILY + more, SQL)
    return root


def truth(days: tuple[str, ...]) -> pd.Series:
    """What each of some days is, published in their order: by pandas."""
    numbers = pd.Series(0, index=pd.to_datetime(list(days)))
    for day in numbers.index:
        before = numbers[(numbers.index < day) & (numbers.index > day - pd.Timedelta(days=LOOKBACK))]
        numbers[day] = 1 + before.sum()
    return numbers


def published(root: Path) -> pd.Series:
    found = query("SELECT DISTINCT day, seen FROM own_scores ORDER BY day", root).to_pandas()
    return pd.Series(found["seen"].to_numpy(), index=pd.to_datetime(found["day"]))


def wrong(root: Path) -> list[str]:
    """The published days that are not what they would be in their order."""
    found = published(root)
    return [f"{day:%Y-%m-%d}" for day in found.index[found.to_numpy() != truth(_text(found)).to_numpy()]]


def _text(days: pd.Series) -> tuple[str, ...]:
    return tuple(f"{day:%Y-%m-%d}" for day in days.index)


def spelled(spans: tuple[str, ...]) -> list[str]:
    """The days of some spans."""
    ends = [span.partition("/")[::2] for span in spans]
    return [f"{day:%Y-%m-%d}" for first, last in ends for day in pd.date_range(first, last or first)]


def mend(root: Path, receipt: Receipt) -> None:
    """Type what the receipt says."""
    assert receipt.out_of_order
    said = shlex.split(receipt.out_of_order.mend)
    assert said[0] == "nightscore"
    assert call(["--workspace", str(root), *said[1:]]) == 0


@pytest.mark.disk_only(reason="what is asked is which days are named; the next test does so in a bucket")
def test_a_day_behind_those_that_would_have_read_it_says_so_when_it_is_published(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which days lack it, as `late` names them; and the command that it gives makes all of them right."""
    root = world(fresh)
    for day in DAYS[2:5]:
        in_turn = run(load("own", root), day)
        assert in_turn.out_of_order is None and in_turn.days_seen["before"].missing == ()
    assert wrong(root) == []
    assert call(["--workspace", str(root), "plan", "own", "--day", DAYS[1]]) == 0
    planned = capsys.readouterr().out
    behind = run(load("own", root), DAYS[1])
    assert behind.days_seen["before"].missing == (), "no policy of gaps sees it"
    found = behind.out_of_order
    assert found and spelled(found.later) == list(DAYS[2:4]) and found.unseen == ()
    assert wrong(root) == list(DAYS[2:5]), "an error goes on from day to day"
    assert call(["--workspace", str(root), "late", "own", "--since", DAYS[0], "--list-only"]) == 0
    late = capsys.readouterr().out
    assert [day for day in DAYS if f"own {day}" in late] == spelled(found.later)
    said = f"published before it, and made without it: {DAYS[2]} to {DAYS[3]}"
    assert said in planned and said in report("own", DAYS[1], root)
    mend(root, behind)
    assert wrong(root) == []
    assert "out of order" not in capsys.readouterr().out, "the days to come are mended by the same command"
    assert run(load("own", root), DAYS[5]).out_of_order is None


def test_a_day_that_was_published_while_the_next_one_ran_is_said_or_waited_for(fresh: Build) -> None:
    """Two days of a table that has none yet, at once: none of them has a gap to see."""
    root = world(fresh)
    begun: list[Receipt] = []

    def first_night(stage: str, *_: int) -> None:
        if stage == "audit" and not begun:
            begun.append(run(load("own", root), DAYS[0]))

    second = run(load("own", root), DAYS[1], report=first_night)
    assert begun[0].out_of_order is None
    assert second.out_of_order and second.out_of_order.unseen == (DAYS[0],)
    assert wrong(root) == [DAYS[1]]
    mend(root, second)
    assert wrong(root) == []


@pytest.mark.disk_only(reason="what is asked is the policy; buckets read as disks do")
def test_where_gaps_fail_a_day_that_was_published_meanwhile_is_not_passed_over(fresh: Build) -> None:
    """The next one is *not yet*, and right when it is tried again."""
    root = world(fresh, "policy: {gaps: fail}\n")

    def first_night(stage: str, *_: int) -> None:
        if stage == "audit":
            run(load("own", root), DAYS[0])

    with pytest.raises(NotYet, match=f"{DAYS[0]} of its own past was published while it ran"):
        run(load("own", root), DAYS[1], report=first_night)
    assert run(load("own", root), DAYS[1]).out_of_order is None
    assert wrong(root) == [] and _text(published(root)) == DAYS[:2]


@pytest.mark.slow
@pytest.mark.disk_only(reason="what is asked is what the receipt says; buckets read as disks do")
def test_closed_days_are_to_be_restated_and_as_reported_ones_are_left(fresh: Build) -> None:
    """A closed day isn't made again by a backfill; one that is read as first reported is read no more."""
    root = world(fresh, "close: true\n")
    for day in (DAYS[2], DAYS[0]):
        last = run(load("own", root), day)
    assert last.out_of_order and last.out_of_order.mend == (
        f"nightscore run own --day DAY --restate --because TEXT, of {DAYS[2]}"
    )
    yaml = root / "jobs/own/job.yaml"
    yaml.write_text(DAILY.replace("own_scores,", "own_scores, as_reported: true,"))
    job = load("own", root)
    assert run(job, DAYS[1]).out_of_order, "it was not there when it was first reported"
    again = run(job, DAYS[1], force=True)
    assert dt.date.fromisoformat(again.day) and again.status == "published"
    assert again.out_of_order is None
