"""The sessions of XNYS, XLON and XTKS from 2023 to 2026, with closes in UTC: golden answers made by hand.

    python tests/job/golden/make_sessions.py     # writes XNYS.csv, XLON.csv and XTKS.csv beside itself

Neither our code nor a calendar package is called: only the closed days and early closes below, weekdays, and
the standard library's time zones. Dates are written out instead of computed from rules, because a rule is
what a calendar package may have wrong.

XNYS  NYSE Group's press releases "Holiday and Early Closings Calendar" of 2021-12-27 (for 2022 to 2024),
      2022-12-21 (2023 to 2025), 2024-11-08 (2025 to 2027) and 2025-12-23 (2026 to 2028). They agree. None has
      2025-01-09, the National Day of Mourning for President Carter, of which the exchange gave notice on
      2024-12-30: the notice is right. On 2025-12-24 and 2025-12-26 the federal government was closed by
      executive order, the exchange was not: 13:00 and 16:00, as listed.
XLON  Worked out from the exchange's rule: closed on the bank holidays of England and Wales (among them the
      Coronation, 2023-05-08); 12:30 on the last working day before Christmas Day and before New Year's Day.
      The close is the end of continuous trading, 16:30; the closing auction ends some minutes later.
XTKS  Worked out from the exchange's rule: closed on the holidays of the Act on National Holidays (one on a
      Sunday moves to the next day that is none; a day between two is one, too: 2026-09-22) and from December
      31 to January 3; equinoxes as gazetted. The close moved from 15:00 to 15:30 on 2024-11-05. No half days.

exchange_calendars 4.13.2 and pandas_market_calendars 5.5.0 (no independent source: it shares much of the
former's ancestry) were compared by hand: both agree with every row.
"""

import csv
import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2026, 12, 31)

NEW_YORK = """
2023 01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25
2024 01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25
2025 01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25
2026 01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25
"""
NEW_YORK_EARLY = """
2023 07-03 11-24
2024 07-03 11-29 12-24
2025 07-03 11-28 12-24
2026 11-27 12-24
"""
LONDON = """
2023 01-02 04-07 04-10 05-01 05-08 05-29 08-28 12-25 12-26
2024 01-01 03-29 04-01 05-06 05-27 08-26 12-25 12-26
2025 01-01 04-18 04-21 05-05 05-26 08-25 12-25 12-26
2026 01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28
"""
LONDON_EARLY = """
2023 12-22 12-29
2024 12-24 12-31
2025 12-24 12-31
2026 12-24 12-31
"""
TOKYO = """
2023 01-02 01-03 01-09 02-23 03-21 05-03 05-04 05-05 07-17 08-11 09-18 10-09 11-03 11-23
2024 01-01 01-02 01-03 01-08 02-12 02-23 03-20 04-29 05-03 05-06 07-15 08-12 09-16 09-23 10-14 11-04 12-31
2025 01-01 01-02 01-03 01-13 02-11 02-24 03-20 04-29 05-05 05-06 07-21
2025 08-11 09-15 09-23 10-13 11-03 11-24 12-31
2026 01-01 01-02 01-12 02-11 02-23 03-20 04-29 05-04 05-05 05-06 07-20
2026 08-11 09-21 09-22 09-23 10-12 11-03 11-23 12-31
"""

Days = set[dt.date]


def listed(text: str) -> Days:
    """The dates of a table above: a year, then months and days."""
    rows = (line.split() for line in text.split("\n") if line)
    return {dt.date.fromisoformat(f"{year}-{day}") for year, *days in rows for day in days}


def weekdays() -> list[dt.date]:
    """Monday to Friday: none of the three trades on a weekend."""
    every = (FIRST + dt.timedelta(days=i) for i in range((LAST - FIRST).days + 1))
    return [day for day in every if day.isoweekday() <= 5]


def write(name: str, zone: str, closed: Days, closes: dict[dt.date, dt.time]) -> None:
    """NAME.csv: each session and its close in UTC. Stops where a table names a day that can't be meant."""
    for day in closed:
        assert day.isoweekday() <= 5, f"{name}: {day} is on a weekend: it closes nothing"
    sessions = [day for day in weekdays() if day not in closed]
    with (HERE / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["session", "close_utc"])
        for day in sessions:
            close = dt.datetime.combine(day, closes[day], ZoneInfo(zone)).astimezone(dt.UTC)
            rows.writerow([day, f"{close:%Y-%m-%dT%H:%M:%SZ}"])


def closing(usual: dt.time, early: Days, at: dt.time) -> dict[dt.date, dt.time]:
    """The local close of each weekday."""
    return {day: at if day in early else usual for day in weekdays()}


def tokyo_closing() -> dict[dt.date, dt.time]:
    """15:00, and 15:30 from the day on which the session was lengthened."""
    later = dt.date(2024, 11, 5)
    return {day: dt.time(15, 30) if day >= later else dt.time(15) for day in weekdays()}


def main() -> None:
    """The three files."""
    new_york = closing(dt.time(16), listed(NEW_YORK_EARLY), dt.time(13))
    london = closing(dt.time(16, 30), listed(LONDON_EARLY), dt.time(12, 30))
    write("XNYS", "America/New_York", listed(NEW_YORK), new_york)
    write("XLON", "Europe/London", listed(LONDON), london)
    write("XTKS", "Asia/Tokyo", listed(TOKYO), tokyo_closing())


if __name__ == "__main__":
    main()
