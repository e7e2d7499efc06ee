"""How values look on every page: one table of cases, its truth written by hand."""

import datetime as dt
from decimal import Decimal

import pytest

from nightscore.common import cell_text, duration_text, format_change, format_value, is_number, natural_key

CELLS: list[tuple[object, str]] = [
    (None, "–"), (True, "true"), (False, "false"),
    (0, "0"), (20261127, "20261127"),  # may be somebody's number: no separators
    (Decimal("374.82"), "374.82"), (Decimal("-230.10"), "-230.10"),
    (Decimal("138766103.68"), "138,766,103.68"),
    (Decimal("1E+3"), "1,000"), (Decimal("NaN"), "NaN"),
    (0.0, "0"), (-0.0, "0"), (0.1, "0.1"), (0.12345678901234567, "0.123457"),
    (0.0003333333333, "0.000333333"),
    (0.99999, "0.99999"), (12.5, "12.5"), (999.75, "999.75"),
    (4875.0, "4,875"), (36000.0, "36,000"), (-53766241.19, "-53,766,241.19"),
    (1.8219999e-48, "1.822e-48"), (1.5e21, "1.500e21"),
    (float("nan"), "NaN"), (float("inf"), "infinity"), (float("-inf"), "-infinity"),
    (b"x", "0x78"), (b"", '""'), (memoryview(b"\x00\xff"), "0x00ff"),
    ([Decimal("374.82"), Decimal("-1230.10")], "[374.82, -1,230.10]"),
    ([], "[]"), ([None, "a"], "[–, a]"), (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, … 20 in all]"),
    ({"a": 1, "b": [0.5]}, "{a: 1, b: [0.5]}"), ([("k", Decimal("1.50"))], "{k: 1.50}"),
    (dt.date(2026, 11, 27), "2026-11-27"), (dt.time(9, 30), "09:30:00"),
    (dt.datetime(2026, 11, 27, 3, 4, 5, tzinfo=dt.UTC), "2026-11-27 03:04:05 UTC"),
    (dt.datetime(2026, 11, 27, 3, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "2026-11-27 08:00:00 UTC"),
    (dt.datetime(2026, 11, 27, 3, 4, 5, 250_000), "2026-11-27 03:04:05.250000"),
    (dt.timedelta(seconds=125), "2 min 05 s"), ("it's", "it's"),
]  # fmt: skip
FORMATTED: list[tuple[object, str, str]] = [
    ("1234567.891", "money USD", "1,234,567.89"), (Decimal("-0.001"), "money EUR", "0.00"),
    (1e6, "money USD", "1,000,000.00"), (7, "money JPY", "7.00"),
    (0.0123, "percent", "1.23 %"), ("0.5", "percent", "50.00 %"), ("-0.00001", "percent", "0.00 %"),
    (1234567, "integer", "1,234,567"), ("12.5", "number", "12.5"), (1 / 3, "number", "0.333333"),
    (90.4, "duration", "90.4 s"), (None, "money USD", "–"), ("desk", "percent", "desk"),
    ("NaN", "money USD", "NaN"), (Decimal("1234.5"), "", "1,234.5"), (1234, "", "1234"), ("2026", "", "2026"),
    ("1234.50", "decimal", "1,234.50"),
]  # fmt: skip
CHANGES: list[tuple[object, object, str, str]] = [
    ("1100.00", "1000.00", "money USD", "+100.00 (+10.0 %)"), ("-5", "-10", "integer", "+5 (+50.0 %)"),
    (90, 100, "integer", "-10 (-10.0 %)"), (Decimal(1), Decimal(0), "money USD", "+1.00"),
    (0.02, 0.03, "percent", "-1.00 points"), (0.9, 1.0, "number", "-0.1 (-10.0 %)"),
    (5, 5, "integer", "no change"), (5, None, "integer", ""), ("NaN", "1", "number", ""),
]  # fmt: skip
DURATIONS = [
    (0.0, "0.00 s"), (0.004, "< 0.01 s"), (0.234, "0.23 s"), (12.34, "12.3 s"), (119.4, "119.4 s"),
    (119.6, "2 min 00 s"), (125, "2 min 05 s"), (3599.7, "1 h 00 min"), (3725, "1 h 02 min"),
    (90_000, "25 h 00 min"),
]  # fmt: skip


def test_values_look_as_their_type_does() -> None:
    """No value is written as Python writes it: decimals, floats, bytes, lists, maps, days, moments."""
    assert [cell_text(value) for value, _ in CELLS] == [text for _, text in CELLS]
    assert cell_text("a" * 300, 10) == "a" * 10 + "…"
    assert [v for v in (1, 0.5, Decimal(1), True, "1", None) if is_number(v)] == [1, 0.5, Decimal(1)]


@pytest.mark.parametrize(("value", "form", "text"), FORMATTED)
def test_a_format_says_what_a_number_is(value: object, form: str, text: str) -> None:
    """Money has two places and separators, a share is of a hundred; the text of a number is the number."""
    assert format_value(value, form) == text


@pytest.mark.parametrize(("now", "before", "form", "text"), CHANGES)
def test_a_change_has_a_sign_and_a_share(now: object, before: object, form: str, text: str) -> None:
    """By how much, in the number's own format, and what share of the size before."""
    assert format_change(now, before, form) == text


def test_durations_are_seconds_then_minutes_then_hours() -> None:
    """No power of ten, and never 60 s of a minute."""
    assert [duration_text(seconds) for seconds, _ in DURATIONS] == [text for _, text in DURATIONS]


def test_texts_are_sorted_as_a_person_does() -> None:
    """Grades from A to G, and 9 before 10."""
    assert sorted(["p10", "p9", "G", "A", "B"], key=natural_key) == ["A", "B", "G", "p9", "p10"]
