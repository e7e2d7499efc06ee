"""Every kind of schedule, of input and of audit that job.yaml knows, whichever there are.

A kind that is new fails here until it is described, shown in docs/job.md, and has its cases below.
"""

import datetime as dt
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

pytest.importorskip("exchange_calendars")

from nightscore.common.errors import Broken
from nightscore.job.days import schedule
from nightscore.job.json_schema import job_schema
from nightscore.job.kinds import Kind
from nightscore.job.parts import audits
from nightscore.job.sources import inputs
from nightscore.job.testing import check_calendar
from tests.job.test_json_schema import as_json
from tests.job.test_spec import AUDITS, SCHEDULES, changed, read, with_audit, without

ROOT = Path(__file__).parents[2]
REGISTRIES: dict[str, Mapping[str, type[Kind]]] = {
    "schedule": schedule.KINDS,
    "inputs": inputs.KINDS,
    "audit": audits.KINDS,
}
KINDS = [(part, name, kind) for part, kinds in REGISTRIES.items() for name, kind in kinds.items()]
IDS = [f"{part} {name}" for part, name, _ in KINDS]


def with_schedule(*lines: str) -> str:
    """The text with a schedule of its own, whose first line is line 50."""
    return without("schedule") + "\nschedule:\n  " + "\n  ".join(lines) + "\n"


def with_input(*lines: str) -> str:
    """The text with one more input, whose first line is line 15."""
    block = "  extra:\n    " + "\n    ".join(lines) + "\n"
    return changed("features: features.sql", block + "features: features.sql")


# Of each kind a mistake of a value, by the line on which it stands and the way to it.
MISTAKES: dict[str, tuple[str, int, str]] = {
    "schedule daily": (with_schedule('daily: "02:00"', "timezone: Chicago"), 51, "schedule.timezone"),
    "schedule exchange": (with_schedule("exchange: XNYS", "after_close: 90"), 51, "schedule.after_close"),
    "schedule cron": (with_schedule('cron: "0 2 * * 1"', "timezone: UTC", "day: 1"), 52, "schedule.day"),
    "schedule after": (with_schedule("after:", "  - a", "  - B"), 52, "schedule.after.1"),
    "schedule none": (without("schedule") + "\nschedule: None\n", 49, "schedule"),
    "inputs path": (with_input("path: data/lake/extra", "lookback: 0"), 0, "inputs.extra.lookback"),
    "inputs table": (with_input("table: some_table", "lookback: 0"), 0, "inputs.extra.lookback"),
    "inputs delta": (with_input("delta: data/lake/extra", "lookback: 0"), 0, "inputs.extra.lookback"),
    "inputs iceberg": (with_input("iceberg: data/lake/extra", "lookback: 0"), 0, "inputs.extra.lookback"),
    "audit sql": (with_audit("name: is well", "sql: ''"), 51, "audit.0.sql"),
    "audit rows": (with_audit("rows:", "  between: [2, 1]"), 51, "audit.0.rows.between"),
    "audit drift": (with_audit("drift:", "  columns: [score]", "  psi: 0"), 52, "audit.0.drift.psi"),
    "audit scores": (
        with_audit("scores:", "  column: score", "  distinct: 0"),
        52,
        "audit.0.scores.distinct",
    ),
    "audit coverage": (
        with_audit("coverage:", "  of: nothing", "  key: [id]", "  at_least: 1"),
        51,
        "audit.0.coverage.of",
    ),
    "audit parity": (
        with_audit("parity:", "  full: features.sql", "  every: 0"),
        52,
        "audit.0.parity.every",
    ),
}


@pytest.mark.parametrize(("part", "name", "kind"), KINDS, ids=IDS)
def test_a_kind_is_described(part: str, name: str, kind: type[Kind]) -> None:
    """In code, to an editor field by field, to whoever wrote something of no kind, and in docs/job.md."""
    assert kind.__doc__ and kind.__doc__ != Kind.__doc__
    if issubclass(kind, BaseModel):
        assert [f for f, field in kind.model_fields.items() if not field.description] == []
        assert name in {field.alias or f for f, field in kind.model_fields.items()}
    assert name in kind.example
    section = (ROOT / "docs/job.md").read_text().split(f"\n**`{part}`**")[1].split("\n**`")[0]
    assert re.search(rf"[{{ `]{name}[:`,}}]", section), f"docs/job.md says nothing of {part} {name}"


@pytest.mark.parametrize(("part", "name", "kind"), KINDS, ids=IDS)
def test_a_kind_is_in_the_message_for_a_value_of_no_kind(
    tmp_path: Path, part: str, name: str, kind: type[Kind]
) -> None:
    """Which stands where the value does, and names every kind."""
    wrong = {
        "schedule": with_schedule("hourly: 5"),
        "inputs": with_input("folder: data"),
        "audit": with_audit("is: well"),
    }
    with pytest.raises(Broken) as caught:
        read(tmp_path, wrong[part])
    assert kind.example in str(caught.value) and re.match(r"\S+job.yaml:\d+: ", str(caught.value))


@pytest.mark.parametrize(("part", "name", "kind"), KINDS, ids=IDS)
def test_a_mistake_of_a_kind_is_told_on_its_line(
    tmp_path: Path, part: str, name: str, kind: type[Kind]
) -> None:
    """File, line and the way to the value; nothing of the other kinds that it could have been."""
    text, line, at = MISTAKES[f"{part} {name}"]
    wanted = line or next(i for i, one in enumerate(text.splitlines(), 1) if "lookback: 0" in one)
    with pytest.raises(Broken) as caught:
        read(tmp_path, text)
    [told] = str(caught.value).splitlines()
    assert told.startswith(f"jobs/full/job.yaml:{wanted}: {at}: "), told


def defined(schema: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The choices that the JSON Schema has for a part of a job.yaml."""
    found = schema["properties"][part]
    found = found.get("items", found.get("additionalProperties") or found)
    found = found if "oneOf" in found else next(iter(found.get("patternProperties", {"": found}).values()))
    return [
        schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in found["oneOf"]
    ]


@pytest.mark.parametrize("part", REGISTRIES)
def test_the_json_schema_has_the_kinds_in_their_order(part: str) -> None:
    """One choice for each, with the kind's own keys."""
    kinds = REGISTRIES[part]
    for (name, kind), choice in zip(kinds.items(), defined(job_schema(), part), strict=True):
        if issubclass(kind, BaseModel):
            keys = [field.alias or f for f, field in kind.model_fields.items()]
            assert list(choice["properties"]) == keys and choice["additionalProperties"] is False
        else:
            assert choice["const"] == name


@pytest.mark.parametrize("part", ["schedule", "audit"])
def test_each_kind_is_tried_as_text(tmp_path: Path, part: str) -> None:
    """The cases of test_spec have one of each kind at least, and the JSON Schema allows them."""
    texts = {
        "schedule": [without("schedule") + f"\n{line}\n" for line, _ in SCHEDULES.values()],
        "audit": [with_audit(audit) for audit, _ in AUDITS.values()],
    }
    seen, schema = set(), jsonschema.Draft202012Validator(job_schema())
    for i, text in enumerate(texts[part]):
        found = getattr(read(tmp_path / str(i), text).spec, part)
        seen.add(type(found[0] if part == "audit" else found))
        schema.validate(as_json(text, tmp_path))
    assert seen == set(REGISTRIES[part].values())


def test_a_schedule_is_written_as_it_was_read(tmp_path: Path) -> None:
    """As `nightscore jobs --json` does: plain JSON, which is the same schedule when it is read."""
    for i, (line, _) in enumerate(SCHEDULES.values()):
        spec = read(tmp_path / str(i), without("schedule") + f"\n{line}\n").spec
        plain = json.loads(json.dumps(spec.model_dump(mode="json")))["schedule"]
        again = read(tmp_path / f"{i}again", without("schedule") + f"\nschedule: {json.dumps(plain)}\n").spec
        assert again.schedule == spec.schedule and type(again.schedule) is type(spec.schedule)


# Schedules: the contract of their calendars

EVERY_SCHEDULE: dict[str, schedule.ScheduleKind] = {
    "daily": schedule.Daily(daily="02:00", timezone="America/Chicago"),
    "exchange": schedule.Exchange(exchange="XNYS", after_close="90m"),
    "cron": schedule.Cron(cron="0 2 * * 1", timezone="Europe/Berlin"),
    "after": schedule.After(after=["other_scores"]),
    "none": schedule.BY_HAND,
}
MORE = {
    "a gap in Berlin": schedule.Daily(daily="02:30", timezone="Europe/Berlin"),
    "midnight in São Paulo": schedule.Daily(daily="00:00", timezone="America/Sao_Paulo"),
    "a day left out in Apia": schedule.Daily(daily="23:59", timezone="Pacific/Apia"),
    "mondays in a gap": schedule.Cron(cron="30 2 * * sun", timezone="Europe/Berlin"),
    "month ends": schedule.Cron(cron="0 6 1 * *", timezone="America/New_York"),
    "workdays of the same day": schedule.Cron(cron="0 22 * * 1-5", timezone="America/New_York", day=0),
    "a month before": schedule.Cron(cron="15 4 1,15 * *", day=-31),
    "midnights in São Paulo": schedule.Cron(cron="@daily", timezone="America/Sao_Paulo"),
    "two exchanges": schedule.Exchange(exchange=["XTKS", "XLON"], after_close="5m"),
    "a day after the close": schedule.Exchange(exchange="XLON", after_close="1500m"),
}
MOMENTS = [
    dt.datetime.fromisoformat(text)
    for text in (
        "2011-12-30T12:00:00+00:00",  # which Apia did not have
        "2018-11-04T03:00:00+00:00",  # clocks change at midnight in São Paulo
        "2025-01-09T21:00:00+00:00",  # New York mourns
        "2026-03-29T01:30:00+00:00",  # clocks change in Europe
        "2026-11-01T07:30:00+00:00",  # and in America
        "2026-11-26T22:00:00+00:00",  # Thanksgiving
        "2026-11-27T19:29:59+00:00",  # a second before 90 minutes after an early close
        "2026-11-27T19:30:00+00:00",
        "2026-12-31T23:59:59+00:00",
    )
]


def test_every_kind_of_schedule_is_among_the_cases() -> None:
    """Under its name."""
    assert {name: type(found) for name, found in EVERY_SCHEDULE.items()} == dict(schedule.KINDS)


@pytest.mark.parametrize("found", [*EVERY_SCHEDULE.values(), *MORE.values()], ids=str)
@pytest.mark.sample(3)
def test_a_schedule_keeps_the_contract_of_calendars(found: schedule.ScheduleKind) -> None:
    """Where clocks change, on holidays and early closes, and to the second around a close."""
    check_calendar(found.calendar(), MOMENTS)


moments = st.datetimes(dt.datetime(2012, 1, 1), dt.datetime(2026, 12, 31), timezones=st.just(dt.UTC))


@pytest.mark.parametrize("found", EVERY_SCHEDULE.values(), ids=str)
@given(st.data())
def test_the_latest_complete_day_never_goes_back(found: schedule.ScheduleKind, data: st.DataObject) -> None:
    """Between any two moments; and it is no day of the future."""
    early, late = sorted(data.draw(st.tuples(moments, moments)))
    days = [found.latest_complete_day(now) for now in (early, late)]
    assert days[0] <= days[1] <= late.astimezone(found.calendar().zone).date()


class Wrong:
    """A calendar of civil days in UTC that is wrong in one way."""

    zone = schedule.BY_HAND.calendar().zone
    unit = "day"

    def __init__(self, wrong: str) -> None:
        self.wrong, self.right = wrong, schedule.BY_HAND.calendar()

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        found = self.right.days(first, last)
        return {"falling": found[::-1], "twice": [*found, *found[-1:]]}.get(self.wrong, found)

    def complete(self, day: dt.date) -> dt.datetime:
        right = self.right.complete(day)
        early = dt.datetime(2011, 1, 1, tzinfo=dt.UTC)
        return {"future": right - dt.timedelta(days=3), "all at once": early}.get(self.wrong, right)


@pytest.mark.parametrize("wrong", ["falling", "twice", "future", "all at once"])
def test_the_contract_finds_what_is_wrong(wrong: str) -> None:
    """A calendar that breaks it does not pass."""
    with pytest.raises(AssertionError):
        check_calendar(Wrong(wrong), MOMENTS[:2])
    check_calendar(Wrong(""), MOMENTS[:2])
