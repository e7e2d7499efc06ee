"""Days and sizes as people write them: YYYY-MM-DD; `4GB`, `512 MiB`."""

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from nightscore.common.errors import Broken

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
PATTERN = rf"^[0-9]{{1,12}}(\.[0-9]{{1,6}})? ?({'|'.join(UNITS)})$"


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
    date = day if isinstance(day, dt.date) else read_day(day)
    if date is None:
        raise Broken(f"{day!r} is no day; a day is YYYY-MM-DD, such as 2017-11-01")
    return date


def parse_size(text: str) -> int:
    """The bytes that a size means, rounded down.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    match = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text) if re.fullmatch(PATTERN, text) else None
    if match is None:
        raise ValueError(
            f"{text!r} is no size; allowed: a number and one of {', '.join(UNITS)}, such as 4GB; or auto"
        )
    whole, _, fraction = match[1].partition(".")
    scaled = int(whole + fraction) * UNITS[match[2]]  # in integers: a float would lose the last bytes
    return scaled // int(10 ** len(fraction))


def _size(value: Any) -> Any:
    if value != "auto":
        parse_size(value if isinstance(value, str) else str(value))
    return value


Size = Annotated[str, StringConstraints(pattern=rf"^auto$|{PATTERN}"), BeforeValidator(_size)]
