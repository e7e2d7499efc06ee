"""A new kind of audit, and one of schedule, are a class and a line in each of two rooms, and one in a face.

Each is added to a copy of the package; then a real day is run with it, in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nightscore
from tests.support.workspace import JOB, make_workspace

PACKAGE = Path(nightscore.__file__).parent

EVEN_AUDIT = '''
class EvenAudit(BuiltInAudit):
    """An even number of rows, and of another column's values."""

    example: ClassVar[str] = "{even: column}"

    even: Annotated[Column, Field(description="a column of the scores with an even number of values")]

    def __str__(self) -> str:
        return self.name or f"{self.even} has an even number of values"

    def check_names(self, known: Known) -> None:
        """Raise Misplaced where the column is none of the scores."""
        _known(("even",), self.even, known.columns, "no column of the scores")


'''
EVEN_QUESTION = '''
class EvenQuestion(Question[EvenAudit]):
    """An even number of values."""

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless the column holds numbers."""
        self.refuse_type(engine, ("even",), self.audit.even)

    def answer(self, engine: Engine) -> Answer:
        """How many there are."""
        [(values,)] = engine.rows(f"SELECT count(DISTINCT {quote_identifier(self.audit.even)}) FROM scores")
        return Answer(values % 2 == 0, f"{values} values")


'''
MONTHLY = '''
class Monthly(StrictModel, ScheduleKind):
    """On the first day of each month, at midnight UTC; the run scores the day before."""

    example: ClassVar[str] = "{monthly: last}"

    monthly: Annotated[Literal["last"], Field(description="the last day of a month")]

    def __str__(self) -> str:
        return "monthly"

    def calendar(self, closures: Mapping[str, CalendarOverride] | None = None) -> Calendar:
        """The last day of each month."""
        return LastDays(MIDNIGHT, ZoneInfo("UTC"))


class LastDays(EveryDay):
    """The last day of each month."""

    def days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Those of the civil calendar's days whose next day is a first."""
        return [day for day in super().days(first, last) if (day + dt.timedelta(days=1)).day == 1]


'''
MONTHLY_TIMETABLE = '''
class MonthlyTimetable(DayTimetable):
    """One run for the last day of each month."""

    summary = description = "monthly"

    def __init__(self) -> None:
        self.calendar = Monthly(monthly="last").calendar()

    def serialize(self) -> dict[str, Any]:
        """Nothing: there are no arguments."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable."""
        return cls()


'''


DRIFT_FACE = "from .parts.audits import DriftAudit as DriftAudit\n"
AUDIT_FACE = DRIFT_FACE + DRIFT_FACE.replace("Drift", "Even")
EXCHANGE_FACE = "from .days.schedule import Exchange as Exchange\n"
SCHEDULE_FACE = EXCHANGE_FACE + EXCHANGE_FACE.replace("Exchange", "Monthly")


def edit(root: Path, file: str, *pairs: tuple[str, str]) -> None:
    """Replace texts of a file of the copy, each of which stands there once."""
    path = root / "nightscore" / file
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "src" / "nightscore", ignore=ignored)
    return tmp_path / "src"


def python(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What an interpreter with the copy in front says."""
    env = {**os.environ, "PYTHONPATH": str(package), "AIRFLOW_HOME": str(package.parent / "airflow")}
    return subprocess.run(
        [sys.executable, *command], env=env, cwd=package, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_new_kind_of_audit_is_two_classes(tmp_path: Path, package: Path) -> None:
    """It is read, checked, asked of a real day, kept in the receipt; its mistakes have their lines."""
    edit(
        package,
        "job/parts/audits.py",
        ("KINDS: Mapping[", EVEN_AUDIT + "KINDS: Mapping["),
        ('    "coverage": CoverageAudit,\n', '    "coverage": CoverageAudit,\n    "even": EvenAudit,\n'),
    )
    edit(
        package,
        "job/__init__.pyi",
        (DRIFT_FACE, AUDIT_FACE),
    )
    edit(
        package,
        "pipeline/audits/kinds.py",
        ("    DriftAudit,\n    Job,", "    DriftAudit,\n    EvenAudit,\n    Job,"),
        ("QUESTIONS: Mapping[", EVEN_QUESTION + "QUESTIONS: Mapping["),
        (
            "    CoverageAudit: CoverageQuestion,\n",
            "    CoverageAudit: CoverageQuestion,\n    EvenAudit: EvenQuestion,\n",
        ),
    )
    job = JOB + "  - {even: score, severity: warn}\n"
    root = make_workspace(tmp_path / "w", rows=1_001, job=job)
    day = ("-m", "nightscore", "run", "mini", "--day", "2020-01-02", "--json", "--workspace", str(root))
    done = python(package, *day)
    assert done.returncode == 0, done.stderr
    audit = json.loads(done.stdout)["audits"][1]
    values = values_of(root)
    assert audit == {
        "name": "score has an even number of values", "passed": values % 2 == 0, "severity": "warn",
        "detail": f"{values} values",
    }  # fmt: skip
    for wrong, told in (
        ("{even: scor}", "audit.1.even: 'scor' is no column of the scores; allowed: a, score"),
        ("{eve: score}", "{even: column}"),
    ):
        (root / "jobs/mini/job.yaml").write_text(JOB + f"  - {wrong}\n")
        done = python(package, *day)
        line = len(JOB.splitlines()) + 1
        assert done.returncode == 1 and f"jobs/mini/job.yaml:{line}: " in done.stdout + done.stderr
        assert told in done.stdout + done.stderr
    schema = python(package, "-m", "nightscore.job.json_schema").stdout
    assert "EvenAudit" in json.loads(schema)["$defs"]


def values_of(root: Path) -> int:
    """The different scores of the published day, by pyarrow alone."""
    import pyarrow.parquet as pq

    files = sorted((root / "data/tables/mini_scores/day=2020-01-02").glob("*.parquet"))
    return len(
        {value for file in files for value in pq.read_table(file, partitioning=None)["score"].to_pylist()}
    )


@pytest.mark.slow
def test_a_new_kind_of_schedule_is_two_classes(tmp_path: Path, package: Path) -> None:
    """Its days are the calendar's on the command line, and Airflow's timetable has them."""
    pytest.importorskip("airflow")
    edit(
        package,
        "job/days/schedule.py",
        ("ClassVar, Self\n", "ClassVar, Literal, Self\n"),
        ("KINDS: Mapping[", MONTHLY + "KINDS: Mapping["),
        ('    "none": ByHand,\n', '    "none": ByHand,\n    "monthly": Monthly,\n'),
    )
    edit(
        package,
        "job/__init__.pyi",
        (EXCHANGE_FACE, SCHEDULE_FACE),
    )
    edit(
        package,
        "airflow/timetables/timetable.py",
        ("    Job,\n    ScheduleKind,\n", "    Job,\n    Monthly,\n    ScheduleKind,\n"),
        ("MAKERS: Mapping[", MONTHLY_TIMETABLE + "MAKERS: Mapping["),
        ("    ByHand: _by_hand,\n", "    ByHand: _by_hand,\n    Monthly: lambda *_: MonthlyTimetable(),\n"),
        ("    TradingDayTimetable,\n]\n", "    TradingDayTimetable,\n    MonthlyTimetable,\n]\n"),
    )
    root = make_workspace(
        tmp_path / "w", rows=10, job=JOB + "schedule: {monthly: last}\n", days=("2020-02-29",)
    )
    done = python(package, "-c", LOOK, str(root))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "latest": "2020-02-29",
        "next": "2020-03-31",
        "timetable": "MonthlyTimetable",
        "published": "published",
    }


LOOK = """
import datetime as dt, json, sys, warnings
warnings.simplefilter("ignore")
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from nightscore import load, run
from nightscore.airflow.timetables import day as day_timetable
from nightscore.airflow.dag import build_dag
from nightscore.airflow.plugin import NightscorePlugin
from nightscore.job.days.calendars import next_day
from nightscore.job.testing import check_calendar

now = dt.datetime(2020, 3, 1, tzinfo=dt.UTC)
day_timetable._now = lambda: now
job = load("mini", sys.argv[1])
calendar = job.spec.schedule.calendar()
latest = job.spec.schedule.latest_complete_day(now)
check_calendar(calendar, [now, now + dt.timedelta(days=1)])
timetable = build_dag(job).timetable
assert type(timetable) in NightscorePlugin.timetables
coming = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=TimeRestriction(None, None, False))
assert coming.partition_key == str(latest) and coming.run_after == calendar.complete(latest)
after = next_day(calendar, latest + dt.timedelta(days=1))
found = {"latest": str(latest), "next": str(after), "timetable": type(timetable).__name__}
print(json.dumps({**found, "published": run(job, latest).status}))
"""
