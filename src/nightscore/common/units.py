"""A day as people and partitions write it, in its one spelling: YYYY-MM-DD."""

import datetime as dt

from nightscore.common.errors import Broken


def read_day(text: str) -> dt.date | None:
    """The day that a text spells; None for any other text.

    20171101 and 2017-W44-3 would be further spellings of a day, and so further partitions of it.
    """
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def as_day(day: dt.date | str) -> dt.date:
    """A day, given as a date or as YYYY-MM-DD.

    Raises:
        Broken: it is no such day.
    """
    found = day if isinstance(day, dt.date) else read_day(day)
    if found is None:
        raise Broken(f"{day!r} is no day; a day is YYYY-MM-DD, such as 2017-11-01")
    return found
