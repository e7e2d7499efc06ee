"""How values look to people, on every page: numbers by their type, never as Python writes them.

A number of which nothing more is known is a float of at most six digits, a decimal with all of its places, or
an integer as it is, which may be somebody's number. A format says more: money, a share, a count.
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

LONGEST = 200  # characters of a cell
SHOWN_ITEMS = 8  # of a list in a cell
DIGITS = 6  # of a float
LEAST, MOST = 1e-4, 1e15  # of a float that is written without a power of ten
CENTS_FROM = 1000  # floats from here on have two places, as money has
MINUTE, HOUR = 60, 3600  # seconds
SHORTEST, ONE_DIGIT_FROM = 0.01, 10  # seconds
MONEY = re.compile(r"money [A-Z]{3}")
FORMATS = ("percent", "number", "integer", "decimal", "duration")
HTML = "html"  # of a text: it is a page of its own
ALLOWED_FORMATS = f"money and a currency's three letters (money USD), {', '.join(FORMATS)}; of a text {HTML}"


def is_format(text: str) -> bool:
    """Whether a text names a format: `money USD`, `percent`, `decimal` (as it is), `duration`, `html`."""
    return text in (*FORMATS, HTML) or bool(MONEY.fullmatch(text))


def cell_text(value: object, longest: int = LONGEST) -> str:
    """A value of a table as text; a long one is clipped. Null is "–"."""
    text = _text(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def is_number(value: object) -> bool:
    """Whether a value is a number, which stands on the right of its column."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def format_value(value: object, form: str) -> str:
    """A number, or the text of one, in a format; anything else, and all where that is "", as `cell_text`."""
    number = _number_of(value) if form else None
    if number is None:
        return cell_text(value)
    if form == "decimal":
        return cell_text(number)
    if form == "percent":
        return f"{_fixed(number * 100, 2)} %"
    if form == "integer":
        return _fixed(number, 0)
    if form == "duration":
        return duration_text(float(number))
    return _fixed(number, 2) if form.startswith("money") else number_text(float(number))


def format_change(now: object, before: object, form: str) -> str:
    """By how much a number has changed, signed, and as a share: "+1,000.00 (+4.2 %)"; "" where it is unknown.

    The change of a share is in points of a hundred.
    """
    new, old = _number_of(now), _number_of(before)
    if new is None or old is None:
        return ""
    by = new - old
    if not by:
        return "no change"
    sign = "+" if by > 0 else "-"
    if form == "percent":
        return f"{sign}{_fixed(abs(by) * 100, 2)} points"
    text = f"{sign}{format_value(abs(by), form)}"
    return f"{text} ({sign}{_fixed(abs(by / old) * 100, 1)} %)" if old else text


def number_text(value: float) -> str:
    """A float in at most six digits: 0.0123457, 12.5, 1,234.50; a power of ten only where it is far off."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    size = abs(value)
    if not size:
        return "0"
    if not LEAST <= size < MOST:
        return f"{value:.3e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    if size >= CENTS_FROM:
        whole = value == round(value)
        return f"{value:,.0f}" if whole or size >= 10**DIGITS * 1000 else f"{value:,.2f}"
    return f"{value:,.{DIGITS}g}"


def duration_text(seconds: float) -> str:
    """Seconds as a person says them: 0.23 s, 12.4 s, 2 min 05 s, 1 h 02 min."""
    if not math.isfinite(seconds):
        return number_text(seconds)
    sign, size = ("-" if seconds < 0 else ""), abs(seconds)
    if 0 < size < SHORTEST:
        return f"< {SHORTEST:g} s"
    if round(size) < 2 * MINUTE:
        return f"{sign}{size:.1f} s" if size >= ONE_DIGIT_FROM else f"{sign}{size:.2f} s"
    if round(size) < HOUR:
        minutes, rest = divmod(round(size), MINUTE)
        return f"{sign}{minutes} min {rest:02} s"
    hours, rest = divmod(round(size / MINUTE), MINUTE)
    return f"{sign}{hours:,} h {rest:02} min"


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """What sorts texts as a person does: the numbers in them by their size, 9 before 10."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _text(value: object) -> str:
    kinds = (write for kind, write in WRITTEN.items() if isinstance(value, kind))
    return next(kinds, str)(value)


def _decimal_text(value: Decimal) -> str:
    return f"{value:,f}" if value.is_finite() else number_text(float(value))


def _bytes_text(value: bytes) -> str:
    return f"0x{bytes(value).hex()}" if value else '""'


def _mapping_text(value: Mapping[Any, Any]) -> str:
    return f"{{{_listed(f'{name}: {_text(item)}' for name, item in value.items())}}}"


def _list_text(items: list[Any]) -> str:
    """A list; or a map, which Arrow gives as a list of pairs."""
    if items and all(isinstance(item, tuple) and len(item) == 2 for item in items):
        return f"{{{_listed(f'{_text(name)}: {_text(item)}' for name, item in items)}}}"
    return f"[{_listed(map(_text, items))}]"


def _listed(texts: Iterable[str]) -> str:
    shown = list(texts)
    more = f", … {len(shown):,} in all" if len(shown) > SHOWN_ITEMS else ""
    return ", ".join(shown[:SHOWN_ITEMS]) + more


def _moment(value: dt.datetime) -> str:
    """An instant in UTC; a moment without a zone as it is. Fractions only where there are any."""
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(dt.UTC).replace(tzinfo=None), " UTC"
    return f"{value.isoformat(sep=' ')}{zone}"


def _number_of(value: object) -> Decimal | None:
    """A number, or the text of one, exactly; None for anything else and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _fixed(number: Decimal, places: int) -> str:
    text = f"{number:,.{places}f}"
    return text.removeprefix("-") if not any(digit in text for digit in "123456789") else text


WRITTEN: dict[type, Callable[[Any], str]] = {  # a bool is an int, and a datetime a date: the first that fits
    type(None): lambda _: "–",
    bool: lambda value: str(value).lower(),
    float: number_text,
    Decimal: _decimal_text,
    bytes: _bytes_text,
    bytearray: _bytes_text,
    memoryview: _bytes_text,
    dt.datetime: _moment,
    dt.date: dt.date.isoformat,
    dt.timedelta: lambda value: duration_text(value.total_seconds()),
    Mapping: _mapping_text,
    list: _list_text,
}
