"""The override file: what it changes, and what is said of a mistake in it."""

import datetime as dt
import sys
from pathlib import Path

import pytest

pytest.importorskip("exchange_calendars")

from nightscore.common.errors import Broken
from nightscore.job.days.calendars import Sessions, check_early
from nightscore.job.days.closures import (
    CalendarOverride,
    parse_overrides,
    read_overrides,
    read_workspace_overrides,
)
from nightscore.job.days.exchanges import exchange_problem


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


FILE = """\
XNYS:
  closed: [2026-11-24, 2026-11-28]
  early: {2026-11-25: "11:30"}
XLON:
  closed:
    - 2026-11-24
"""


def test_an_override_closes_days_and_moves_closes(tmp_path: Path) -> None:
    """A closure takes the session away; an early close is a time of the exchange's own zone."""
    (tmp_path / "calendars.yaml").write_text(FILE)
    sessions = Sessions(("XNYS",), dt.timedelta(minutes=90), read_workspace_overrides(tmp_path))
    days = sessions.days(day("2026-11-23"), day("2026-11-30"))
    assert days == [day(f"2026-11-{d}") for d in (23, 25, 27, 30)]
    assert sessions.complete(day("2026-11-25")) == at("2026-11-25T13:00-05:00")
    assert sessions.complete(day("2026-11-23")) == at("2026-11-23T17:30-05:00")
    assert read_workspace_overrides(tmp_path / "nowhere") == {}


def test_overrides_survive_json() -> None:
    """What goes into a serialized DAG comes out of it."""
    found = {
        "XNYS": CalendarOverride(frozenset({day("2025-01-09")}), {day("2026-11-25"): dt.time(11, 30)}),
        "XLON": CalendarOverride(),
    }
    assert parse_overrides({name: override.plain() for name, override in found.items()}) == found


MISTAKES = {
    "no mapping": ("[XNYS]", r"o.yaml:1: \['XNYS'\] is no mapping from exchanges"),
    "another exchange": ("XNYX: {}", r"o.yaml:1: XNYX: .* no exchange 'XNYX'; did you mean XNYS\?"),
    "none that is near": ("QQQQ: {}", r"o.yaml:1: QQQQ: .* no exchange 'QQQQ'; allowed: an ISO 10383 code"),
    "nothing inside": ("XNYS:", r"o.yaml:1: XNYS: None is no mapping; allowed: closed: "),
    "an unknown key": ("XNYS:\n  shut: []", r"o.yaml:2: XNYS: shut: 'shut' is unknown; allowed: closed: "),
    "no list": ("XNYS:\n  closed: 2025-01-09", r"o.yaml:2: XNYS: closed: .* is no list"),
    "no day": (
        "XNYS:\n  closed:\n    - 2025-01-09\n    - 9.1.2025",
        r"o.yaml:4: XNYS: closed: '9.1.2025' is no day",
    ),
    "digits": (
        "XNYS:\n  closed: [20250109]",
        r"o.yaml:2: XNYS: closed: '20250109' is no day; write YYYY-MM-DD",
    ),
    "a moment": (
        "XNYS:\n  closed: [2025-01-09 12:00:00]",
        r"o.yaml:2: XNYS: closed: '2025-01-09 .*' is no day",
    ),
    "no day before a time": (
        "XNYS: {early: {soon: '13:00'}}",
        r"o.yaml:1: XNYS: early: soon: 'soon' is no day",
    ),
    "no mapping of times": ("XNYS:\n  early: ['13:00']", r"o.yaml:2: XNYS: early: .* is no mapping"),
    "no quotes": (
        "XNYS:\n  early:\n    2026-11-25: 13:00",
        r'o.yaml:3: .*: 780 is no time; write "HH:MM", in quotes',
    ),
    "no time": ("XNYS: {early: {2026-11-25: '25:00'}}", r"o.yaml:1: .*: '25:00' is no time"),
    "both": (
        "XNYS: {closed: [2026-11-25], early: {2026-11-25: '13:00'}}",
        r"2026-11-25 is closed, too; say one",
    ),
    "twice": ("XNYS: {}\nXNYS: {}", r"o.yaml:2: the key 'XNYS' stands twice"),
    "empty": ("", r"o.yaml: the file is empty"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_an_override_file_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    """And the offending value, and what is allowed."""
    (tmp_path / "o.yaml").write_text(text)
    with pytest.raises(Broken, match=message):
        read_overrides(tmp_path / "o.yaml", "o.yaml")


def test_a_missing_override_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    """It is not as though there were no overrides."""
    with pytest.raises(Broken, match=r"o.yaml: can't be read: No such file"):
        read_overrides(tmp_path / "o.yaml", "o.yaml")


def test_early_closes_can_be_held_to_the_calendar() -> None:
    """One on a day without trading, and one after the usual close, are mistakes."""
    fine = parse_overrides({"XNYS": {"early": {"2026-11-25": "11:30", "2026-11-27": "13:00"}}})
    check_early(fine, "o.yaml")
    none = parse_overrides({"XNYS": {"early": {"2026-11-26": "13:00"}}})
    with pytest.raises(Broken, match=r"o.yaml: XNYS: early: 2026-11-26 is no session of XNYS"):
        check_early(none, "o.yaml")
    late = parse_overrides({"XNYS": {"early": {"2026-11-27": "13:30"}}})
    with pytest.raises(Broken, match=r"early: 13:30 on 2026-11-27 is after the close at 13:00"):
        check_early(late, "o.yaml")
    assert Sessions(("XNYS",), overrides=none).days(day("2026-11-26"), day("2026-11-26")) == []


def test_without_the_package_every_code_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler's other processes may lack it; who computes sessions is told what to install."""
    monkeypatch.setattr("nightscore.job.days.exchanges.known_exchanges", frozenset)
    assert exchange_problem("QQQQ") is None
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(Broken, match=r"exchange_calendars is not installed"):
        Sessions(("QQQQ",)).days(day("2026-11-01"), day("2026-11-30"))
