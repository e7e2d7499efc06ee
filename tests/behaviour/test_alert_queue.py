"""The queue of alerts of docs/rules.md, the page's own job and SQL, over six nights: held to plain Python.

A team works off some of each night's queue before the next one. Whatever it leaves comes first; each alert is
raised once; a card is left in peace. Nights are killed and taken up, and run again, on the way.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import query
from tests.behaviour.processes import Fault, night

PAGE = Path(__file__).parents[2] / "docs/rules.md"
FIRST = date(2026, 3, 27)  # the clocks change on the third night
DAYS = [FIRST + timedelta(days=number) for number in range(6)]
CAPACITY, QUIET = 5, 3
Candidate = dict[str, Any]


@dataclass
class Truth:
    """What each night has to give, by a plain loop over the candidates."""

    alerts: dict[date, list[int]] = field(default_factory=dict)
    queues: dict[date, list[int]] = field(default_factory=dict)
    funnels: dict[date, dict[int, str]] = field(default_factory=dict)
    known: dict[int, Candidate] = field(default_factory=dict)
    worked: set[int] = field(default_factory=set)

    def night(self, day: date, candidates: list[Candidate]) -> None:
        """One night more."""
        before = self.queues.get(day - timedelta(days=1), [])
        carried = [one for one in before if one not in self.worked]
        silent = {self.known[one]["card"] for one in carried}
        for ago in range(1, QUIET + 1):
            silent |= {self.known[one]["card"] for one in self.alerts.get(day - timedelta(days=ago), [])}
        self.known |= {one["alert_id"]: {**one, "day": day} for one in candidates}
        new: list[int] = []
        reasons: dict[int, str] = {}
        seen: set[int] = set()
        for one in sorted(candidates, key=lambda one: (-one["risk"], one["alert_id"])):
            if one["card"] in silent:
                reasons[one["alert_id"]] = "card is left in peace"
            elif one["card"] in seen:
                reasons[one["alert_id"]] = "another of its card"
            elif len(new) + len(carried) >= CAPACITY:
                reasons[one["alert_id"]] = "below the line"
            else:
                new.append(one["alert_id"])
            seen.add(one["card"])
        self.alerts[day], self.funnels[day], self.queues[day] = new, reasons, carried + new


def candidates_of(number: int) -> list[Candidate]:
    """Some of a night: few cards, so that they come again, and risks that tie."""
    chance = random.Random(number)  # noqa: S311
    risks = [0.2, 0.5, 0.5, 0.9, 0.95]
    return [
        {"alert_id": number * 100 + i, "card": chance.randrange(14), "risk": chance.choice(risks)}
        for i in range(12)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with the page's job, six days of candidates, and nothing worked off."""
    section = PAGE.read_text().partition("\n## A queue of alerts\n")[2].partition("\n## ")[0]
    [job] = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    texts = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    folder = tmp_path / "w/jobs/alerts"
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(job)
    for name, text in zip(("candidates", "alerts", "funnel", "queue"), texts, strict=True):
        (folder / f"{name}.sql").write_text(text)
    for number, day in enumerate(DAYS):
        write(tmp_path / f"w/data/lake/candidates/day={day}/part.parquet", candidates_of(number))
    work_off(tmp_path / "w", FIRST, [])
    return tmp_path / "w"


def write(path: Path, rows: list[Candidate]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("alert_id", pa.int64()), ("card", pa.int64()), ("risk", pa.float64())])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def work_off(root: Path, day: date, alerts: list[int]) -> None:
    """A file of what the team has dealt with, for the night of a day."""
    path = root / f"data/lake/worked/day={day}/part.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"alert_id": pa.array(alerts, pa.int64())}), path)


def published(root: Path, day: date) -> tuple[set[int], list[int], dict[int, str]]:
    """A day's new alerts, its queue in order, and why others are none."""
    rows = [
        query(f"SELECT * FROM {table} WHERE day = $1", root, values=[str(day)]).to_pylist()
        for table in ("alerts", "alert_queue", "alert_funnel")
    ]
    queue = sorted(rows[1], key=lambda row: row["place"])
    assert [row["place"] for row in queue] == list(range(1, len(queue) + 1))
    reasons = {row["alert_id"]: row["reason"] for row in rows[2]}
    return {row["alert_id"] for row in rows[0]}, [row["alert_id"] for row in queue], reasons


def same(root: Path, truth: Truth, day: date) -> None:
    assert published(root, day) == (set(truth.alerts[day]), truth.queues[day], truth.funnels[day]), day


@pytest.mark.sample(1)
def test_each_alert_is_raised_once_and_stays_until_it_is_worked_off(root: Path) -> None:
    truth = Truth()
    faults = {1: "audit", 2: "commit alerts", 4: "commit alert_queue"}
    done_by_night = (2, 0, 4, 1, 5)  # how many the team gets to, from the top; on the second night none
    for number, day in enumerate(DAYS):
        truth.night(day, candidates_of(number))
        if number in faults:
            assert night(root, str(day), Fault(faults[number]), job="alerts").killed
        end = night(root, str(day), job="alerts")
        assert end.status in ("published", "unchanged"), end
        same(root, truth, day)
        if number == 0:  # until it is told what was worked off, a night waits
            assert night(root, str(DAYS[1]), job="alerts").error == "NotYet"
        if number < len(done_by_night):
            done = truth.queues[day][: done_by_night[number]]
            work_off(root, day + timedelta(days=1), done)
            truth.worked |= set(done)
    raised = Counter(alert for alerts in truth.alerts.values() for alert in alerts)
    assert set(raised.values()) == {1} and len(raised) > 10
    last, left = truth.queues[DAYS[-1]], set(raised) - truth.worked
    assert set(last) == left  # none is lost: it was dealt with, or it lies there
    for alert in raised:
        card, day = truth.known[alert]["card"], truth.known[alert]["day"]
        again = [one for one in raised if truth.known[one]["card"] == card and one != alert]
        assert all(abs((truth.known[one]["day"] - day).days) > QUIET for one in again)
    reasons = Counter(why for funnel in truth.funnels.values() for why in funnel.values())
    assert len(reasons) == 3 and min(reasons.values()) > 1
    # a night of the middle, after all that came later: the same queue
    assert night(root, str(DAYS[2]), job="alerts").status == "unchanged"
    assert night(root, str(DAYS[2]), job="alerts", force=True).status == "published"
    for day in DAYS:
        same(root, truth, day)
