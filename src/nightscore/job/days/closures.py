"""The override file: closures and early closes of exchanges that no calendar foresaw.

    XNYS:
      closed: [2025-01-09]            # the day of mourning for President Carter
      early: {2026-11-27: "13:00"}    # a time of the exchange's own zone

Light to import; `nightscore.job.days.calendars` says what it means for the days of an exchange.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from nightscore.common import Broken, LineNumbers, Path_, clipped, read_yaml
from nightscore.job.days.exchanges import exchange_problem

FILE = "calendars.yaml"  # of a workspace
ALLOWED = 'allowed: closed: [YYYY-MM-DD, …] and early: {YYYY-MM-DD: "HH:MM"}'


@dataclass(frozen=True)
class CalendarOverride:
    """What one exchange does otherwise: days without trading, and early closes in its own time."""

    closed: frozenset[dt.date] = frozenset()
    early: Mapping[dt.date, dt.time] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as plain JSON, which `parse_overrides` reads."""
        closed = sorted(map(str, self.closed))
        return {
            "closed": closed,
            "early": {str(day): f"{at:%H:%M}" for day, at in sorted(self.early.items())},
        }


def read_workspace_overrides(root: Path) -> dict[str, CalendarOverride]:
    """What the workspace's calendars.yaml says; nothing where there is none.

    Raises:
        Broken: it has a mistake; names file, line and what is allowed.
    """
    return read_overrides(root / FILE, FILE) if (root / FILE).exists() else {}


def read_overrides(path: Path, shown: str | None = None) -> dict[str, CalendarOverride]:
    """What an override file says, by exchange. `shown` is its name in error messages.

    Raises:
        Broken: it can't be read or has a mistake; names file, line and what is allowed.
    """
    shown = shown or str(path)
    document, lines = read_yaml(path, shown)
    return _Reader(shown, lines).all(document)


def parse_overrides(document: Any, shown: str = "overrides") -> dict[str, CalendarOverride]:
    """The same from a mapping of the file's form.

    Raises:
        Broken: it has a mistake; names the value and what is allowed.
    """
    return _Reader(shown, {}).all(document)


@dataclass(frozen=True)
class _Reader:
    """Reads one document; has its name and its lines, for messages."""

    shown: str
    lines: LineNumbers

    def all(self, document: Any) -> dict[str, CalendarOverride]:
        if not isinstance(document, Mapping):
            self.wrong((), f"{clipped(document)} is no mapping from exchanges; {ALLOWED}")
        return {code: self.exchange(code, override) for code, override in document.items()}

    def exchange(self, code: str, override: Any) -> CalendarOverride:
        if problem := exchange_problem(code):
            self.wrong((code,), problem)
        if not isinstance(override, Mapping):
            self.wrong((code,), f"{clipped(override)} is no mapping; {ALLOWED}")
        for key in override.keys() - {"closed", "early"}:
            self.wrong((code, key), f"{clipped(key)} is unknown; {ALLOWED}")
        closed = self.closed((code, "closed"), override.get("closed", []))
        early = self.early((code, "early"), override.get("early", {}))
        for day in closed & early.keys():
            self.wrong((code, "early", str(day)), f"{day} is closed, too; say one of the two")
        return CalendarOverride(closed, early)

    def closed(self, at: Path_, days: Any) -> frozenset[dt.date]:
        if not isinstance(days, list):
            self.wrong(at, f"{clipped(days)} is no list; {ALLOWED}")
        return frozenset(self.day((*at, i), value) for i, value in enumerate(days))

    def early(self, at: Path_, times: Any) -> dict[dt.date, dt.time]:
        if not isinstance(times, Mapping):
            self.wrong(at, f"{clipped(times)} is no mapping; {ALLOWED}")
        return {self.day((*at, key), key): self.time((*at, key), value) for key, value in times.items()}

    def day(self, at: Path_, value: Any) -> dt.date:
        try:
            day = dt.date.fromisoformat(str(value))
        except ValueError:
            day = None
        if day is None or str(day) != str(value):
            self.wrong(at, f"{clipped(str(value))} is no day; write YYYY-MM-DD")
        return day

    def time(self, at: Path_, value: Any) -> dt.time:
        try:
            return dt.datetime.strptime(value, "%H:%M").time()
        except (TypeError, ValueError):
            self.wrong(at, f'{clipped(value)} is no time; write "HH:MM", in quotes')

    def wrong(self, at: Path_, message: str) -> NoReturn:
        line = next((self.lines[at[:n]] for n in range(len(at), -1, -1) if at[:n] in self.lines), None)
        where = self.shown if line is None else f"{self.shown}:{line}"
        raise Broken(": ".join([where, *(str(part) for part in at if isinstance(part, str)), message]))
