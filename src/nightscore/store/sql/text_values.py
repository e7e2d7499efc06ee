"""How a value has to be written so that its type holds all of it: in text files, and in names of folders.

DuckDB's casts are generous, without a word (2.0): 1.7 is the integer 2, 1_000 a thousand, 1e400 infinity, and
2026-01-05T23:30-05:00 a TIMESTAMP of 23:30. A type is named as DuckDB itself names it, so that no alias of it
(INT4, LONG, DEC) goes by another rule.
"""

import re

import numpy as np

DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
NUMBER = r"[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?"
ENDLESS = r"\s*[+-]?(?i:inf|infinity)\s*"
NOUGHT = "(?:Z| ?UTC|[+-]00(?::?00)?)?"  # a TIMESTAMP has no zone: what is written with one is in UTC
ZONE = "(?:Z|[+-][0-9]{2}(?::?[0-9]{2}){0,2}| ?[A-Za-z][A-Za-z0-9_+/-]*)?"
DIGITS = {  # of a moment's second, behind the point
    "TIMESTAMP": 6, "TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9, "TIMESTAMP WITH TIME ZONE": 6,
    "TIMESTAMPTZ_NS": 9, "TIME": 6, "TIME WITH TIME ZONE": 6, "TIME_NS": 9,
}  # fmt: skip
INTEGER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|BIGNUM")
DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")
FLOATS = {"FLOAT": 2**24, "DOUBLE": 2**53}  # type -> up to here it has every whole number
BEYOND = 2.0**128 - 2.0**103  # from here on the nearest FLOAT is infinite


def whole(kind: str) -> str:
    """What a whole number looks like that a floating-point type may not have, to RE2 and to Python."""
    return rf"\s*[+-]?[0-9]{{{len(str(FLOATS[kind]))},}}(?:[.]0*)?\s*"


def pattern_of(kind: str) -> str | None:
    """What a value of a type looks like, to RE2 and to Python; None where a cast takes all or nothing."""
    if INTEGER.fullmatch(kind):
        return "[+-]?[0-9]+"
    if found := DECIMAL.fullmatch(kind):
        return rf"[+-]?[0-9]*(?:[.][0-9]{{0,{found[2]}}}0*)?"
    if kind in DIGITS:
        clock = rf"[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.][0-9]{{0,{DIGITS[kind]}}}0*)?)?"
        clock += ZONE if "TZ" in kind or "ZONE" in kind else NOUGHT
        return (
            clock
            if kind.startswith("TIME") and not kind.startswith("TIMESTAMP")
            else f"{DAY}(?:[ T]{clock})?"
        )
    if kind in FLOATS:
        return rf"\s*{NUMBER}\s*|{ENDLESS}|\s*[+-]?(?i:nan)\s*"
    return {"DATE": DAY, "BOOLEAN": "(?i:true|false|t|f|1|0)"}.get(kind)


def holds(kind: str, text: str) -> bool:
    """Whether a type holds all of a value that is written so, as far as its pattern says."""
    pattern = pattern_of(kind)
    if pattern is None:
        return True
    return bool(re.fullmatch(pattern, text)) and not (_overflows(kind, text) or skips(kind, text))


def shown_kind(kind: str, text: str) -> str:
    """A type for a message that a value is none of it."""
    if not skips(kind, text):
        return kind
    return f"{kind}, which has not all whole numbers above {FLOATS[kind]:,} (DECIMAL and BIGINT have)"


def skips(kind: str, text: str) -> bool:
    """Whether a floating-point type lacks a whole number: its nearest is another, and is written otherwise.

    Writers of such a type give its shortest digits: 123456789012345680000 is the DOUBLE ...683968.
    """
    if kind not in FLOATS or not re.fullmatch(whole(kind), text):
        return False
    nearest = float(text) if kind == "DOUBLE" else np.float32(text)
    given = int(text.partition(".")[0])
    shortest = np.format_float_positional(nearest, trim="-")
    return bool(np.isfinite(nearest)) and given not in (int(nearest), int(shortest))


def _overflows(kind: str, text: str) -> bool:
    """Whether a number is beyond what a floating-point type has, and would be infinite."""
    if kind not in FLOATS or re.fullmatch(ENDLESS, text):
        return False
    number = abs(float(text))
    return number == float("inf") or (kind == "FLOAT" and number >= BEYOND)
