"""What a job's days are that comes after others, through the chain; and which jobs read themselves."""

import datetime as dt
from pathlib import Path

import pytest

from nightscore.job.loader import load
from nightscore.job.upstream import calendar_of, first_jobs, reads_itself
from tests.airflow.test_dags import add

FIRST, LAST = dt.date(2026, 11, 20), dt.date(2026, 11, 30)  # Thanksgiving and two weekends
SESSIONS = ["2026-11-20", "2026-11-23", "2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30"]
EVERY = [f"2026-11-{day}" for day in range(20, 31)]
CHAINS = {
    "daily": ("{after: [daily_top]}", ["daily"], EVERY, "2026-11-28T08:00+00:00"),
    "exchange": ("{after: [trading_top]}", ["trading"], SESSIONS, "2026-11-27T19:30+00:00"),
    "both": (
        "{after: [daily_top, trading_scores]}",
        ["daily", "trading"],
        SESSIONS,
        "2026-11-28T08:00+00:00",
    ),
    "a chain": ("{after: [middle_top, daily_top]}", ["daily", "trading"], SESSIONS, "2026-11-28T08:00+00:00"),
    "by hand": ("{after: [hand_top]}", ["hand"], EVERY, "2026-11-28T00:00+00:00"),
    "a circle": ("{after: [round_top]}", ["round"], EVERY, "2026-11-28T00:00+00:00"),
    "two tables of one": ("{after: [daily_top, daily_scores]}", ["daily"], EVERY, "2026-11-28T08:00+00:00"),
}


@pytest.mark.parametrize(("schedule", "first", "days", "complete"), CHAINS.values(), ids=CHAINS)
def test_the_days_of_a_chain(
    tmp_path: Path, schedule: str, first: list[str], days: list[str], complete: str
) -> None:
    """Those that all jobs at its head have; each is complete when it is in all of them."""
    add(tmp_path, "daily", '{daily: "02:00", timezone: America/Chicago}')
    add(tmp_path, "trading", "{exchange: XNYS, after_close: 90m}")
    add(tmp_path, "middle", "{after: [trading_top]}")
    add(tmp_path, "hand", "none")
    add(tmp_path, "round", "{after: [last_top]}")
    add(tmp_path, "last", schedule)
    job = load("last", tmp_path)
    assert sorted(found.name for found in first_jobs(job)) == first
    calendar = calendar_of(job, {})
    assert [str(day) for day in calendar.days(FIRST, LAST)] == days
    assert calendar.complete(dt.date(2026, 11, 27)) == dt.datetime.fromisoformat(complete)


def test_a_job_that_reads_its_own_table_reads_itself(tmp_path: Path) -> None:
    """And one that reads another's table does not."""
    for name, table in (("one", "one_top"), ("two", "one_top")):
        file = add(tmp_path, name)
        source = f"inputs:\n  before: {{table: {table}, lookback: 5, columns: {{id: BIGINT}}}}\n"
        file.write_text(file.read_text().replace("inputs:\n", source))
    assert [reads_itself(load(name, tmp_path)) for name in ("one", "two")] == [True, False]
