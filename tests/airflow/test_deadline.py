"""A job's deadline and timeout as Airflow sees them: stored, evaluated for a run, and told when missed."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from nightscore.airflow.dag import build_dag
from nightscore.airflow.events.deadline import tell_overdue, timed_out
from nightscore.common import open_workspace
from nightscore.job import load
from nightscore.store import Attempt, read_attempt, write_attempt
from tests.airflow.test_dags import add, bag, stored, sync
from tests.support.receivers import Hook, hook_server

pytestmark = pytest.mark.filterwarnings("ignore")
SIX = (
    'deadline: {at: "06:00", timezone: America/Chicago}\nnotify: [{webhook: hook, when: [overdue, failed]}]\n'
)
TODAY = dt.datetime.now(dt.UTC).date()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook_server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", server.address)
        yield server


def deadlines(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, **asked: Any) -> list[dt.datetime]:
    """The deadlines that Airflow notes down for a run which it creates, by its own rows."""
    from airflow.models.deadline import Deadline
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    sync(bag(root, monkeypatch))
    dag = SerializedDagModel.get_dag(name)
    now = dt.datetime.now(dt.UTC)
    run = dag.create_dagrun(  # type: ignore[union-attr]
        run_id=f"manual__{now.isoformat()}", run_after=now, run_type=DagRunType.MANUAL, state="queued",
        triggered_by=DagRunTriggeredByType.TEST, **asked,
    )  # fmt: skip
    with create_session() as session:
        found = session.scalars(select(Deadline.deadline_time).where(Deadline.dagrun_id == run.id)).all()
    return [moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment for moment in found]


def test_a_run_has_the_deadline_of_its_day(
    metadata: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By key or form; of a day long past none, so that a backfill wakes nobody; after others theirs."""
    from zoneinfo import ZoneInfo

    add(tmp_path, "nightly", extra=SIX)
    add(tmp_path, "second", "{after: [nightly_top]}", SIX)
    zone = ZoneInfo("America/Chicago")
    six = dt.datetime.combine(TODAY + dt.timedelta(days=1), dt.time(6), zone).astimezone(dt.UTC)
    for name in ("nightly", "second"):
        assert deadlines(tmp_path, monkeypatch, name, partition_key=str(TODAY)) == [six]
        assert deadlines(tmp_path, monkeypatch, name, conf={"day": str(TODAY)}) == [six]
        assert deadlines(tmp_path, monkeypatch, name, partition_key="2020-01-01") == []
        assert deadlines(tmp_path, monkeypatch, name) == []


def test_a_dag_has_one_version_until_its_deadline_changes(
    metadata: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed again it is the same; without a deadline there is no alert, and no end by time."""
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    def versions() -> int:
        with create_session() as session:
            asked = select(func.count()).where(DagVersion.dag_id == "steady")
            return int(session.scalar(asked) or 0)

    file = add(tmp_path, "steady", extra=SIX + "timeout: 2h\n")
    for _ in range(3):
        sync(bag(tmp_path, monkeypatch))
    assert versions() == 1
    dag = stored(build_dag(load("steady", tmp_path)))
    assert dag.dagrun_timeout == dt.timedelta(hours=2)
    file.write_text(file.read_text().replace(SIX, "").replace("timeout: 2h\n", ""))
    plain = build_dag(load("steady", tmp_path))
    assert (plain.deadline, plain.dagrun_timeout, plain.on_failure_callback) == (None, None, None)


def test_what_is_missed_is_told_once(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow calls it: with the run as its API shows it; before the deadline nobody is told."""
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    add(tmp_path, "nightly", extra=SIX)
    days = [(TODAY - dt.timedelta(days=n)).isoformat() for n in (3, 0)]
    for day in (*days, days[0]):
        tell_overdue({"dag_id": "nightly", "run_id": "r", "partition_key": day, "conf": {}})
    assert [(body["event"], body["day"]) for body in hook.bodies] == [("overdue", days[0])]
    assert "nightscore run nightly" in hook.bodies[0]["what_to_do"]


def test_a_run_that_took_too_long_says_so(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it told of itself ends with the timeout, and who asked is told; what had ended stays as it is."""
    from types import SimpleNamespace

    from nightscore.airflow.events.attempts import attempt_name

    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    add(tmp_path, "nightly", extra=SIX + "timeout: 2h\n")
    workspace, begun, day = open_workspace(tmp_path), dt.datetime.now(dt.UTC), TODAY.isoformat()
    name = attempt_name("r", begun)
    run = SimpleNamespace(dag_id="nightly", run_id="r", partition_key=day, conf={}, start_date=begun)
    ends = {"running": "failed", "held": "held", "published": "published"}
    for state, expected in ends.items():
        attempt = Attempt(job="nightly", day=day, attempt=name, started=begun, updated=begun, dag_run="r")
        write_attempt(workspace, attempt.model_copy(update={"state": state}))
        timed_out({"dag_run": run, "reason": "task_failure"})
        timed_out({"dag_run": run, "reason": "timed_out"})
        found = read_attempt(workspace, "nightly", day, name)
        assert found and found.state == expected
    assert [body["message"].split(";")[0] for body in hook.bodies] == ["timeout: the run took longer than 2h"]
