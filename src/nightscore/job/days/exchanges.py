"""What exchange_calendars knows: which exchanges there are, their zones, sessions and closes. Its only user.

Light to import: exchange_calendars (with pandas, 2 seconds) is imported when sessions are computed.
"""

import datetime as dt
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from nightscore.common import Broken, clipped


@lru_cache(maxsize=1)
def known_exchanges() -> frozenset[str]:
    """The codes that exchange_calendars has a calendar for; none at all where it isn't installed.

    Read from its file names: to import it takes seconds, and each DAG file is parsed again and again.
    """
    spec = find_spec("exchange_calendars")
    folders = (spec.submodule_search_locations or []) if spec else []
    files = (file for folder in folders for file in Path(folder).glob("exchange_calendar_????.py"))
    return frozenset(file.stem[-4:].upper() for file in files)


def calendars_version() -> str:
    """The version of exchange_calendars, without importing it; "" where it isn't installed."""
    try:
        return version("exchange_calendars")
    except PackageNotFoundError:
        return ""


def exchange_problem(code: object) -> str | None:
    """What is wrong with an exchange's code, or None.

    Where exchange_calendars isn't installed every code is right: a later error says what is missing.
    """
    codes = known_exchanges()
    if isinstance(code, str) and (code in codes or not codes):
        return None
    near = difflib.get_close_matches(str(code).upper(), sorted(codes), 1, 0.7)
    hint = f"did you mean {near[0]}?" if near else "allowed: an ISO 10383 code that it has, such as XNYS"
    return f"exchange_calendars has no exchange {clipped(code)}; {hint}"


@dataclass(frozen=True)
class Facts:
    """What exchange_calendars knows of an exchange: its zone, and the days between which it knows it."""

    zone: ZoneInfo
    first: dt.date
    last: dt.date


@lru_cache(maxsize=128)
def facts_of(exchange: str) -> Facts:
    """The facts of one exchange.

    Raises:
        Broken: exchange_calendars is missing, or can't compute the exchange.
    """
    calendar = _get(exchange)
    low, high = calendar.bound_min(), calendar.bound_max()
    first = low.date() if low is not None else dt.date(1990, 1, 1)
    last = high.date() if high is not None else dt.date(2199, 12, 31)
    return Facts(ZoneInfo(str(calendar.tz)), first, last)


def closes_of(exchange: str, first: dt.date, last: dt.date) -> Iterator[tuple[dt.date, dt.datetime]]:
    """The sessions from `first` to `last` (both included) with the moment (in UTC) of each one's close.

    Raises:
        Broken: exchange_calendars is missing, or can't compute the exchange.
    """
    facts = facts_of(exchange)
    first, last = max(first, facts.first), min(last, facts.last)
    for decade in range(first.year // 10, last.year // 10 + 1):
        yield from ((day, close) for day, close in _decade(exchange, decade).items() if first <= day <= last)


@lru_cache(maxsize=64)
def _decade(exchange: str, decade: int) -> dict[dt.date, dt.datetime]:
    # Whole decades, because one costs what a year does (0.2 s), and what is kept never grows old: a calendar
    # got without bounds ends a year after the day on which a scheduler was started.
    facts = facts_of(exchange)
    first = max(facts.first, dt.date(decade * 10, 1, 1))
    last = min(facts.last, dt.date(decade * 10 + 9, 12, 31))
    calendar = _get(exchange, start=first.isoformat(), end=last.isoformat())
    closes = (close.to_pydatetime().astimezone(dt.UTC) for close in calendar.closes)
    return dict(zip((session.date() for session in calendar.sessions), closes, strict=True))


def _get(exchange: str, **bounds: str) -> Any:
    try:
        import exchange_calendars
    except ImportError as error:
        raise Broken("exchange_calendars is not installed; it is in nightscore[exchanges]") from error
    try:
        return exchange_calendars.get_calendar(exchange, **bounds)
    # It raises what pandas raises: with pandas 3, NotImplementedError for what hangs on Orthodox Easter.
    except Exception as error:
        version = exchange_calendars.__version__
        raise Broken(
            f"exchange_calendars {version} has no calendar of {exchange}: {clipped(error)}"
        ) from error
