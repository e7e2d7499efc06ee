"""One level of a layout's template: how a name of it is written, and what a name says.

Names alone; nothing is opened. Light to import.
"""

import datetime as dt
import re
from dataclasses import dataclass
from functools import cached_property

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
DIRECTIVES = {  # of strptime, those that are digits -> (what they match, as a message says it)
    "%Y": (r"[0-9]{4}", "YYYY"), "%m": (r"[0-9]{2}", "MM"), "%d": (r"[0-9]{2}", "DD"),
    "%-m": (r"[0-9]{1,2}", "M"), "%-d": (r"[0-9]{1,2}", "D"), "%j": (r"[0-9]{3}", "DDD"),
}  # fmt: skip
CALENDAR = {  # the digits that a calendar of our time has; of those of one or two the shorter first
    "%Y": "(?:19|20)[0-9]{2}", "%m": "0[1-9]|1[0-2]", "%d": "0[1-9]|[12][0-9]|3[01]", "%-m": "[1-9]|1[0-2]",
    "%-d": "[1-9]|[12][0-9]|3[01]", "%j": "[0-3][0-9]{2}",
}  # fmt: skip
LONGER = {"%-m": "1[0-2]|[1-9]", "%-d": "[12][0-9]|3[01]|[1-9]"}
WAYS = (  # to read a name: whether as long as may be, and what a star is then (to a person it may be nothing)
    (False, "[^/]+?"), (True, "[^/]*"), (True, "[^/]*?"),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A stretch of a name: `kind` is text, key, any, or a directive such as %Y; `text` is what it says."""

    kind: str
    text: str = ""

    @property
    def pattern(self) -> str:
        """What it matches: a text as it is, a directive its digits, all others what a name may hold."""
        if self.kind == "text":
            return re.escape(self.text)
        return f"({DIRECTIVES[self.kind][0]})" if self.kind in DIRECTIVES else "([^/]+?)"

    def strict(self, longer: bool, star: str) -> str:
        """The same, of digits that a calendar has alone, as short or as long as may be."""
        if self.kind == "text":
            return self.pattern
        digits = LONGER.get(self.kind, CALENDAR.get(self.kind)) if longer else CALENDAR.get(self.kind)
        other = star if self.kind == "any" else "[^/]+" if longer else "[^/]+?"
        return f"({digits or other})"

    @property
    def shown(self) -> str:
        """How a message spells it."""
        if self.kind == "text":
            return self.text
        return DIRECTIVES[self.kind][1] if self.kind in DIRECTIVES else "…"


@dataclass(frozen=True)
class Segment:
    """One level of a template: the name of a folder, or of a file."""

    parts: tuple[Part, ...]

    @cached_property
    def pattern(self) -> str:
        """What a name of this level matches: a group for each part that is no text."""
        return "".join(part.pattern for part in self.parts)

    @cached_property
    def shown(self) -> str:
        """How a message spells it, such as day=YYYY-MM-DD."""
        return "".join(part.shown for part in self.parts)

    @cached_property
    def of_day(self) -> bool:
        """Whether it holds some of the day."""
        return any(part.kind in DIRECTIVES for part in self.parts)

    @cached_property
    def head(self) -> str:
        """The text that a name of this level begins with; may be empty."""
        return self.parts[0].text if self.parts[0].kind == "text" else ""

    @cached_property
    def hive_key(self) -> str | None:
        """The key of a level `key=…`."""
        key, mark, _ = self.head.partition("=")
        return key if mark and NAME.fullmatch(key) else None

    def match(self, name: str) -> list[tuple[Part, str]] | None:
        """What the parts of a name say; None where it is no name of this level."""
        found = re.fullmatch(self.pattern, name)
        if found is None:
            return None
        varying = [part for part in self.parts if part.kind != "text"]
        return list(zip(varying, found.groups(), strict=True))

    def is_ambiguous(self, name: str) -> bool:
        """Whether a name can be read in more than one way, such as 2026111 of a day without zeros."""
        first, *others = (re.fullmatch(pattern, name) for pattern in self._strict)
        return first is not None and any(self._said(found) != self._said(first) for found in others if found)

    def _said(self, found: re.Match[str]) -> list[str]:
        """What the parts say that count, which a star is not."""
        varying = (part.kind for part in self.parts if part.kind != "text")
        return [value for kind, value in zip(varying, found.groups(), strict=True) if kind != "any"]

    @cached_property
    def _strict(self) -> tuple[str, ...]:
        return tuple("".join(part.strict(*way) for part in self.parts) for way in WAYS)

    def name_of(self, day: dt.date) -> str | None:
        """The name of this level for a day; None where it holds more than the day."""
        if any(part.kind in ("key", "any") for part in self.parts):
            return None
        return "".join(part.text if part.kind == "text" else digits_of(part.kind, day) for part in self.parts)


def digits_of(directive: str, day: dt.date) -> str:
    """What a directive such as %m is on a day."""
    number = {"Y": day.year, "m": day.month, "d": day.day, "j": day.timetuple().tm_yday}[directive[-1]]
    return str(number) if "-" in directive else f"{number:0{ {'Y': 4, 'j': 3}.get(directive[-1], 2) }d}"
