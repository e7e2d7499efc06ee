"""Days of a lookback that are expected and not there are said, or stop the run."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nightscore import load, report, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken, NotYet
from nightscore.pipeline.binding import check_schedule
from nightscore.pipeline.steps import draft_plan, features
from nightscore.store import DaysSeen
from tests.support.workspace import JOB, make_workspace, write_day

DAY = "2026-01-09"  # a Friday
WEEK = ("2026-01-05", "2026-01-06", "2026-01-08", "2026-01-09")
ROWS = "{path: data/lake/rows, partition: day}"
SQL = JOB.replace("features: rows", "features: features.sql")
OF_THE_DAY = "SELECT id, a, b FROM rows WHERE day = getvariable('day')"


def workspace(
    root: Path, lookback: int = 5, entry: str = "", more: str = "", days: tuple[str, ...] = WEEK
) -> Path:
    place = ROWS.replace("}", f", lookback: {lookback}{entry}}}")
    made = make_workspace(root, 4, SQL.replace(ROWS, place) + more, days)
    (root / "jobs/mini/features.sql").write_text(OF_THE_DAY)
    return made


def said(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert call(["--workspace", str(root), *arguments]) == 0
    return capsys.readouterr().out


def test_a_hole_in_a_lookback_is_said_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the plan, by `plan`, `run` and `receipts`, in the receipt, and by a run that is unchanged."""
    root = workspace(tmp_path)
    line = "rows: 4 of 5, missing 2026-01-07"
    assert line in said(root, capsys, "plan", "mini", "--day", DAY)
    assert line in said(root, capsys, "run", "mini", "--day", DAY)
    assert line in said(root, capsys, "run", "mini", "--day", DAY)
    assert json.loads(said(root, capsys, "receipts", "mini", "--json"))[0]["days_seen"] == {
        "rows": {"seen": 4, "expected": 5, "missing": ["2026-01-07"], "unknown": ""}
    }
    assert "2026-01-07" in said(root, capsys, "backfill", "mini", "--from", DAY, "--to", DAY)


def test_a_lookback_without_a_hole_and_one_of_a_day(tmp_path: Path) -> None:
    """Says that all are there; an input of the day alone says nothing."""
    root = workspace(tmp_path / "a", 2)
    assert draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen == {"rows": DaysSeen(2, 2)}
    root = workspace(tmp_path / "b", 1)
    assert draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen == {}


@pytest.mark.parametrize(("missing", "kind"), [("fail", Broken), ("skip", Broken), ("wait", NotYet)])
@pytest.mark.sample(1)
def test_gaps_fail_stops_the_run_by_name(tmp_path: Path, missing: str, kind: type[Exception]) -> None:
    """Once the day has come, the run goes on; training is held to it, too."""
    root = workspace(tmp_path, more=f"policy: {{gaps: fail, missing: {missing}}}\n")
    with pytest.raises(
        kind, match="days seen of input rows: 4 of 5, missing 2026-01-07; the policy for gaps"
    ):
        run(load("mini", root), DAY)
    with pytest.raises(kind, match="missing 2026-01-07"):
        features(load("mini", root), DAY)
    assert not (root / "data/tables").exists()
    write_day(root, "2026-01-07", 4)
    assert run(load("mini", root), DAY).status == "published"


def test_holes_of_the_start_and_runs_of_days_are_spans(tmp_path: Path) -> None:
    """Held to pandas' days."""
    root = workspace(tmp_path, 40)
    seen = draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen["rows"]
    every = pd.date_range(end=DAY, periods=40).strftime("%Y-%m-%d")
    spans = [span.split("/") for span in seen.missing]
    listed = [d for s in spans for d in pd.date_range(s[0], s[-1]).strftime("%Y-%m-%d")]
    assert listed == [d for d in every if d not in WEEK]
    assert (seen.seen, seen.expected) == (4, 40)


def test_the_days_of_an_exchange_are_its_sessions(tmp_path: Path) -> None:
    """By the job's schedule, by that of the job whose table it waits for, or by the input's own calendar.

    XNYS rests on 1 January and at weekends; `daily` expects them; `none` expects nothing.
    """
    pytest.importorskip("exchange_calendars")
    days = ("2025-12-31", "2026-01-02", *WEEK)
    exchange = "schedule: {exchange: XNYS}\n"
    for name, entry, more in (
        ("schedule", "", exchange),
        ("own", ", calendar: XNYS", ""),
        ("list", ", calendar: [XNYS]", ""),
    ):
        root = workspace(tmp_path / name, 10, entry, more, days)
        seen = draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen["rows"]
        assert seen == DaysSeen(6, 7, ("2026-01-07",))
    cron = 'schedule: {cron: "0 2 * * 1"}\n'  # a weekly job reads a lake of every day
    for name, entry, more in (("daily", ", calendar: daily", exchange), ("cron", "", cron)):
        root = workspace(tmp_path / name, 10, entry, more, days)
        assert draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen["rows"].expected == 10
    root = workspace(tmp_path / "none", 10, ", calendar: none", exchange + "policy: {gaps: fail}\n", days)
    assert draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen == {}


ASK = """
import datetime as dt, json, sys
from nightscore import load
from nightscore.pipeline.steps import draft_plan
day = dt.date.fromisoformat(sys.argv[2])
seen = draft_plan(load("mini", sys.argv[1]), day).days_seen["rows"]
print(json.dumps([seen.seen, seen.expected, "exchange_calendars" in sys.modules]))
"""


def asked(root: Path, day: str) -> list[int | bool]:
    """Days seen and expected in a process of its own, and whether it imported what computes sessions."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(root), day], capture_output=True, text=True, check=True
    )
    found: list[int | bool] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_sessions_are_computed_once_a_year_and_not_each_night(tmp_path: Path) -> None:
    """The next night of that year reads them; one that the workspace closes, or a damaged file, asks anew."""
    pytest.importorskip("exchange_calendars")
    root = workspace(tmp_path, 5, ", calendar: XNYS")
    assert asked(root, DAY) == [4, 5, True]
    assert asked(root, DAY) == [4, 5, False]
    [kept] = (root / "data/choices").glob("XNYS-*.days")
    assert json.loads(kept.read_text())[:3] == ["2026-01-02", "2026-01-05", "2026-01-06"]
    (root / "calendars.yaml").write_text("XNYS: {closed: [2026-01-07]}\n")
    assert asked(root, DAY) == [4, 4, True]
    kept.write_text("[")
    (root / "calendars.yaml").unlink()
    assert asked(root, DAY) == [4, 5, True]


def test_a_job_after_another_has_its_days(tmp_path: Path) -> None:
    """A job that waits for a table expects the days on which that is published."""
    pytest.importorskip("exchange_calendars")
    days = ("2025-12-31", "2026-01-02", *WEEK)
    root = workspace(tmp_path, 10, more="schedule: {after: [first_scores]}\n", days=days)
    folder = root / "jobs/first"
    folder.mkdir()
    (folder / "job.yaml").write_text(
        JOB.replace("job: mini", "job: first").replace("mini_top", "first_top")
        + "schedule: {exchange: XNYS}\n"
    )
    (folder / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    assert draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen["rows"] == DaysSeen(
        6, 7, ("2026-01-07",)
    )


def test_a_jobs_own_table_has_no_hole_before_its_first_night(tmp_path: Path) -> None:
    """Then the nights between count."""
    own = ROWS + "\n  before: {table: mini_scores, lookback: 30, columns: {id: BIGINT}}"
    root = make_workspace(tmp_path, 4, SQL.replace(ROWS, own) + "policy: {gaps: fail}\n", WEEK)
    for day in ("2026-01-05", "2026-01-06"):
        assert run(load("mini", root), day).days_seen["before"].missing == ()
    with pytest.raises(Broken, match="days seen of input before: 2 of 4, missing 2026-01-07 to 2026-01-08"):
        run(load("mini", root), DAY)
    assert run(load("mini", root), "2026-01-05").status == "unchanged"


def test_what_is_expected_is_no_cause_of_a_day(tmp_path: Path) -> None:
    """`gaps` and `calendar` change no row: a published day is unchanged with them."""
    root = workspace(tmp_path, 2, more="policy: {gaps: fail}\n")
    assert run(load("mini", root), DAY).status == "published"
    for policy, entry in (("", ""), ("policy: {gaps: warn}\n", ", calendar: daily")):
        place = ROWS.replace("}", f", lookback: 2{entry}}}")
        (root / "jobs/mini/job.yaml").write_text(SQL.replace(ROWS, place) + policy)
        assert run(load("mini", root), DAY).status == "unchanged"


@pytest.mark.parametrize("value", ["XNY", "[]", "[daily]", "5", "weekly"])
def test_a_calendar_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    """With what is allowed."""
    root = workspace(tmp_path, 5, f", calendar: {value}")
    with pytest.raises(Broken, match="allowed: daily, none, the code of an exchange"):
        load("mini", root)


def test_an_exchange_that_nobody_knows_is_said(tmp_path: Path) -> None:
    """`check` refuses it; a night does not stop for it, unless gaps do."""
    pytest.importorskip("exchange_calendars")
    root = workspace(tmp_path / "a", 5, ", calendar: XXXX")
    with pytest.raises(Broken, match=r"job.yaml:5: inputs.rows.calendar: .*no exchange 'XXXX'"):
        check_schedule(load("mini", root))
    assert (
        "no exchange 'XXXX'" in draft_plan(load("mini", root), dt.date(2026, 1, 9)).days_seen["rows"].unknown
    )
    root = workspace(tmp_path / "b", 5, ", calendar: XXXX", "policy: {gaps: fail, missing: wait}\n")
    with pytest.raises(Broken, match="no exchange 'XXXX'"):
        draft_plan(load("mini", root), dt.date(2026, 1, 9))


def test_what_is_ignored_is_named_in_plan_and_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows without a day stop every day of a job until somebody says that they are left out."""
    root = workspace(tmp_path, 1)
    nothing = "day=__HIVE_DEFAULT_PARTITION__"
    (root / "data/lake/rows" / nothing).mkdir()
    with pytest.raises(Broken, match=r"is no day.*no_day: ignore in the input leaves them out"):
        run(load("mini", root), DAY)
    text = (root / "jobs/mini/job.yaml").read_text().replace("lookback: 1", f"ignore: [{nothing}]")
    (root / "jobs/mini/job.yaml").write_text(text)
    line = f"rows: {nothing}"
    assert line in said(root, capsys, "plan", "mini", "--day", DAY)
    assert line in said(root, capsys, "run", "mini", "--day", DAY)
    assert run(load("mini", root), DAY).ignored == {"rows": (nothing,)}


def test_an_empty_lake_skips_no_day(tmp_path: Path) -> None:
    """A disk that is not mounted looks so."""
    root = workspace(tmp_path, 1, more="policy: {missing: skip}\n")
    assert run(load("mini", root), "2026-01-07").status == "skipped"
    (root / "data/lake/rows").rename(root / "data/lake/gone")
    (root / "data/lake/rows").mkdir()
    with pytest.raises(Broken, match="data/lake/rows has no partition of any day: is it mounted"):
        run(load("mini", root), "2026-01-07")


@pytest.mark.slow
def test_a_report_says_the_days_seen_and_what_is_ignored(tmp_path: Path) -> None:
    """Where it shows the inputs."""
    pytest.importorskip("jinja2")
    root = workspace(tmp_path, 5, ", ignore: [archive]")
    (root / "data/lake/rows/archive").mkdir()
    run(load("mini", root), DAY)
    text = report("mini", DAY, root)
    assert "4 of 5, missing 2026-01-07" in text
    assert "archive" in text
