"""The days of a calendar; sessions of exchanges are kept between nights.

To compute them takes exchange_calendars, whose import and calendars are a good part of a light night.
"""

import datetime as dt
import json
from pathlib import Path

from nightscore.common import Workspace
from nightscore.job import Calendar, Sessions, calendars_version
from nightscore.store import choices, json_digest


def calendar_days(workspace: Workspace, calendar: Calendar, first: dt.date, last: dt.date) -> list[dt.date]:
    """The days of a calendar from `first` to `last`, both included, in rising order.

    Sessions are kept by year in `data/choices/`, under a hash of all that they follow from: the version of
    exchange_calendars, the exchanges and what the workspace says of them.

    Raises:
        Broken: exchange_calendars is missing, or can't compute an exchange.
    """
    if not isinstance(calendar, Sessions):
        return calendar.days(first, last)
    kept = _file(workspace, calendar, first.year, last.year)
    days = _read(kept)
    if days is None:
        days = calendar.days(dt.date(first.year, 1, 1), dt.date(last.year, 12, 31))
        choices.record(kept, json.dumps([day.isoformat() for day in days]))
    return [day for day in days if first <= day <= last]


def _file(workspace: Workspace, calendar: Sessions, first: int, last: int) -> Path:
    overrides = {name: override.plain() for name, override in sorted(calendar.overrides.items())}
    causes = json_digest(calendars_version(), calendar.exchanges, overrides, first, last)
    return workspace.choices / f"{'-'.join(calendar.exchanges[:3])}-{causes[:12]}.days"


def _read(path: Path) -> list[dt.date] | None:
    try:
        return [dt.date.fromisoformat(day) for day in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return None
