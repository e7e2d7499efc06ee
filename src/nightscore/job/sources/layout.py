"""How a lake is laid out by days: which folders or files below an input's path are of which day.

    day                                          short for day={day}, which is day=2026-01-05
    dt={day:%Y%m%d}
    year={day:%Y}/month={day:%m}/day={day:%d}
    region=*/day={day}
    {day:%Y/%m/%d}
    customers_{day:%Y%m%d}.parquet               one file a day, in one folder

A template is parsed once and then asked by all that list, wait for or name the days of an input. It knows
names only, and opens nothing. Light to import.
"""

import calendar
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from nightscore.job.sources.layout_names import DIRECTIVES, NAME, Part, Segment, digits_of

PARTS = re.compile(r"\{day(?::(?P<format>[^{}]*))?\}|\{(?P<key>[A-Za-z_][A-Za-z0-9_]{0,62})\}|\*|[^{}*]+|.")
DAY = "day"  # the column of a day that no one key holds
ISO = "%Y-%m-%d"
FILES = re.compile(r".*\.(parquet|parq|pq|csv|json|jsonl|ndjson|png|jpg|jpeg)(\.gz|\.zst)?", re.IGNORECASE)
ALLOWED = (
    "allowed: the name of a hive key, such as day; or a template of names, such as 'dt={day:%Y%m%d}', "
    "'year={day:%Y}/month={day:%m}/day={day:%d}', 'region=*/day={day}' or 'customers_{day:%Y%m%d}.parquet'"
)


@dataclass(frozen=True)
class Layout:
    """A parsed template, of one segment a level of folders."""

    segments: tuple[Segment, ...]
    template: str

    @cached_property
    def column(self) -> str:
        """The column of the day: the key of the one level `key=…` that is all of it, else `day`."""
        of_day = [segment for segment in self.segments if segment.of_day]
        whole = len(of_day) == 1 and all(p.kind in DIRECTIVES or p.kind == "text" for p in of_day[0].parts)
        return (of_day[0].hive_key or DAY) if whole else DAY

    @cached_property
    def is_plain(self) -> bool:
        """Whether each level is `key=value`, one of them the day as YYYY-MM-DD, as hive readers have it."""
        plain = [s for s in self.segments if s.of_day and s.parts == (Part("text", f"{s.hive_key}="), *_ISO)]
        others = [s for s in self.segments if not s.of_day]
        return len(plain) == 1 and all(
            s.parts == (Part("text", f"{s.hive_key}="), Part("key", s.hive_key or "")) for s in others
        )

    @property
    def shown(self) -> str:
        """How a message spells the template, such as dt=YYYYMMDD."""
        return "/".join(segment.shown for segment in self.segments)

    @cached_property
    def of_files(self) -> bool:
        """Whether the last level is a file, and no folder."""
        return FILES.fullmatch(self.segments[-1].shown) is not None

    @cached_property
    def varying(self) -> tuple[Part, ...]:
        """The parts that are no text, in the order of the groups of `pattern`."""
        return tuple(part for segment in self.segments for part in segment.parts if part.kind != "text")

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns beside the day, in the template's order."""
        return tuple(part.text for part in self.varying if part.kind == "key")

    @cached_property
    def pattern(self) -> str:
        """What a path of it matches, below the input's own: a group for each part that is no text."""
        return "/".join(segment.pattern for segment in self.segments)

    def day_of(self, names: Sequence[str]) -> dt.date | None:
        """The day of a path's first names, one a level; None where they do not fit, or are of no day."""
        return self._days(tuple(names))

    @cached_property
    def _days(self) -> Callable[[tuple[str, ...]], dt.date | None]:
        """`day_of`, which remembers: a night lists each input several times, often of thousands of days."""
        return lru_cache(maxsize=50_000)(self._day_of)

    def _day_of(self, names: tuple[str, ...]) -> dt.date | None:
        found = self._matched(names)
        if len(names) < len(self.segments) or found is None or self.is_ambiguous(names):
            return None
        return _day({part.kind: value for part, value in found if part.kind in DIRECTIVES}, found)

    def is_ambiguous(self, names: Sequence[str]) -> bool:
        """Whether one of a path's first names can be read in more than one way, and so is of no one day."""
        return any(segment.is_ambiguous(n) for segment, n in zip(self.segments, names, strict=False))

    def keys_of(self, names: Sequence[str]) -> dict[str, str]:
        """What the names of a path say of the columns beside the day."""
        return {part.text: value for part, value in self._matched(names) or () if part.kind == "key"}

    def span_of(self, names: Sequence[str]) -> tuple[dt.date, dt.date] | None:
        """The first and the last day that may lie below a path's first names; None where no day can."""
        found = self._matched(names)
        return None if found is None else _bounds({part.kind: value for part, value in found})

    def prefixes(self, first: dt.date, last: dt.date) -> list[str]:
        """How the paths of a span's days begin, as far as a day alone says it: what a bucket is asked for."""
        days = (first + dt.timedelta(days=i) for i in range((last - first).days + 1))
        return list(dict.fromkeys("".join(self._beginning(day)) for day in days))

    def path_of(self, day: dt.date) -> str | None:
        """The path of a day; None where names have more in them than the day."""
        names = [segment.name_of(day) for segment in self.segments]
        return None if None in names else "/".join(name or "" for name in names)

    def _beginning(self, day: dt.date) -> Iterator[str]:
        for i, segment in enumerate(self.segments):
            name = segment.name_of(day)
            yield segment.head if name is None else name
            if name is None:
                return
            if i + 1 < len(self.segments) or not self.of_files:
                yield "/"

    def _matched(self, names: Sequence[str]) -> list[tuple[Part, str]] | None:
        """What the names of the first levels of a path say; None where one does not match."""
        found: list[tuple[Part, str]] = []
        for segment, name in zip(self.segments, names, strict=False):
            matched = segment.match(name)
            if matched is None:
                return None
            found += matched
        return found


def _day(fields: dict[str, str], found: list[tuple[Part, str]]) -> dt.date | None:
    """The day that digits say; None where there is none, or two levels differ."""
    bounds = _bounds(fields)
    day = bounds[0] if bounds and bounds[0] == bounds[1] else None
    if day is None or any(digits_of(p.kind, day) != v for p, v in found if p.kind in DIRECTIVES):
        return None
    return day


def _bounds(said: dict[str, str]) -> tuple[dt.date, dt.date] | None:
    """The first and the last day that digits leave open; None where they are of no day."""
    if "%Y" not in said:
        return dt.date.min, dt.date.max
    try:
        year = int(said["%Y"])
        if "%j" in said:
            first = last = dt.date(year, 1, 1) + dt.timedelta(days=int(said["%j"]) - 1)
            return (first, last) if first.year == year else None
        month, date = (said.get(f"%{x}", said.get(f"%-{x}")) for x in ("m", "d"))
        if month is None:
            return dt.date(year, 1, 1), dt.date(year, 12, 31)
        last_date = calendar.monthrange(year, int(month))[1]
        first = dt.date(year, int(month), 1 if date is None else int(date))
        return first, (first.replace(day=last_date) if date is None else first)
    except (ValueError, OverflowError):  # IllegalMonthError is one
        return None


@lru_cache(maxsize=1024)
def parse_layout(template: str) -> Layout:
    """The layout that a template says; a bare name N is short for N={day}.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    if NAME.fullmatch(template):
        return parse_layout(f"{template}={{day}}")
    levels: list[list[Part]] = [[]]
    for part in _parts(template):
        first, *more = part.text.split("/") if part.kind == "text" else [part.text]
        levels[-1] += [Part(part.kind, first)] if first or part.kind != "text" else []
        levels += [[Part("text", text)] if text else [] for text in more]
    segments = tuple(Segment(_keyed(_joined(level))) for level in levels)
    layout = Layout(segments, template)
    _check(layout)
    return layout


def _parts(template: str) -> Iterator[Part]:
    for found in PARTS.finditer(template):
        text = found[0]
        if found["key"]:
            yield Part("key", found["key"])
        elif text.startswith("{day"):
            yield from _format(found["format"] or ISO, template)
        elif text == "*":
            yield Part("any")
        elif text in "{}":
            raise ValueError(f"{template!r} has a {text} that belongs to no {{day:…}} or {{key}}; {ALLOWED}")
        else:
            yield Part("text", text)


def _format(written: str, template: str) -> Iterator[Part]:
    """The parts of a day's format."""
    for text in re.findall(r"%-?.|[^%]+|%", written.replace("%F", ISO)):
        if text.startswith("%") and text not in DIRECTIVES:
            allowed = ", ".join(DIRECTIVES)
            raise ValueError(f"{text!r} in {template!r} is no part of a day; allowed: {allowed}, %F")
        yield Part(text if text in DIRECTIVES else "text", "" if text in DIRECTIVES else text)


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts with neighbouring texts made one."""
    joined: list[Part] = []
    for part in parts:
        if joined and part.kind == joined[-1].kind == "text":
            joined[-1] = Part("text", joined[-1].text + part.text)
        else:
            joined.append(part)
    return tuple(joined)


def _keyed(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts of a level; of `region=*` the star is the key's value."""
    if len(parts) == 2 and parts[0].kind == "text" and parts[1].kind == "any":
        key, mark, rest = parts[0].text.partition("=")
        if mark and not rest and NAME.fullmatch(key):
            return parts[0], Part("key", key)
    return parts


def _check(layout: Layout) -> None:
    """Raise ValueError unless each day has its own place, and each level a name."""
    template = layout.template
    if not all(segment.parts and segment.shown not in (".", "..") for segment in layout.segments):
        raise ValueError(f"{template!r} has a level without a name; {ALLOWED}")
    kinds = {part.kind.replace("-", "") for segment in layout.segments for part in segment.parts}
    if not ({"%Y", "%m", "%d"} <= kinds or {"%Y", "%j"} <= kinds):
        raise ValueError(f"{template!r} does not say a whole day: year, month and day; {ALLOWED}")
    columns = [layout.column.lower(), *(key.lower() for key in layout.keys)]
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ValueError(f"{template!r} gives a value of {twice!r} twice; {ALLOWED}")


_ISO = tuple(_joined(list(_format(ISO, ISO))))
