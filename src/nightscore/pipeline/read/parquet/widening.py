"""Which type holds every value of another: two types of one column are read as the wider one, or refused."""

import re
from collections.abc import Iterable

NOTHING = '"NULL"'  # DuckDB's type of a column that holds nulls alone
SIGNED = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63, "HUGEINT": 127}  # bits beside the sign
UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32, "UBIGINT": 64}
WHOLE = {"FLOAT": 24, "DOUBLE": 53}  # bits of integers that each have a number of their own
DIGITS = 38  # of a decimal, at most
DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def widens(own: str, kind: str, asked: bool = False) -> bool:
    """Whether each value of the DuckDB type `own` is one of `kind`: the same number, text or moment.

    What is another kind of thing (a DATE as a TIMESTAMP, an integer as a floating-point number) counts only
    where it is `asked` for.
    """
    if own in (kind, NOTHING):
        return True
    if own.endswith("[]") and kind.endswith("[]"):
        return widens(own[:-2], kind[:-2], asked)
    one, other = _digits(own), _digits(kind)
    if one and other:
        return one[1] == other[1] and one[0] <= other[0] <= DIGITS
    if (own, kind) == ("FLOAT", "DOUBLE") or _holds_integers(own, kind):
        return True
    bits = SIGNED.get(own, UNSIGNED.get(own, 99))
    more = one is not None and one[0] > DIGITS and kind == "DOUBLE"  # as DuckDB reads it in any case
    return asked and (more or (own, kind) == ("DATE", "TIMESTAMP") or bits <= WHOLE.get(kind, 0))


def widest(kinds: Iterable[str]) -> str | None:
    """The one among some types that holds the values of all others; None where there is none."""
    every = sorted(set(kinds))
    found = [kind for kind in every if all(widens(own, kind) for own in every)]
    return found[0] if found else None


def _digits(kind: str) -> tuple[int, int] | None:
    """The digits of a decimal, all of them and those behind the point."""
    found = DECIMAL.fullmatch(kind)
    return (int(found[1]), int(found[2])) if found else None


def _holds_integers(own: str, kind: str) -> bool:
    if own in UNSIGNED:
        return UNSIGNED[own] <= max(UNSIGNED.get(kind, 0), SIGNED.get(kind, 0))
    return SIGNED.get(own, 999) <= SIGNED.get(kind, 0)
