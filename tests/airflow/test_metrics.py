"""A night's numbers arrive where Airflow sends its own: at a real UDP receiver, by Airflow's own client."""

import contextlib
import datetime as dt
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("airflow")
pytest.importorskip("statsd")

from nightscore.airflow.events import metrics
from nightscore.common import as_day
from nightscore.job import load
from nightscore.pipeline.executors import run
from tests.airflow.test_assets import chain
from tests.airflow.test_nights import night
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

WARNS = JOB + (
    "  - {name: never so, severity: warn, sql: SELECT false}\n"
    "schedule: {daily: '02:00', timezone: America/Chicago}\n"
)


@contextlib.contextmanager
def receiver(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[socket.socket]:
    """A UDP server to which this process's Airflow sends metrics, as a task's process sets that up."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        port = str(server.getsockname()[1])
        for name, value in {"STATSD_ON": "True", "STATSD_PORT": port, **settings}.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
        yield server
        monkeypatch.undo()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)


def received(server: socket.socket) -> dict[str, tuple[float, str]]:
    """Metric -> its value and kind, of all that has arrived of ours."""
    found = {}
    with contextlib.suppress(TimeoutError):
        while True:
            for line in server.recv(65_536).decode().splitlines():
                name, _, rest = line.partition(":")
                value, _, kind = rest.partition("|")
                found[name] = float(value), kind
    return {name: told for name, told in found.items() if name.startswith("airflow.nightscore.")}


def test_a_night_s_numbers_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the receipt on disk; with tags where Airflow's settings ask for them."""
    root = make_workspace(tmp_path, 100, WARNS)
    with receiver(monkeypatch, STATSD_INFLUXDB_ENABLED="True") as server:
        night(root, "counted", day=DAYS[0])
        told = received(server)
    [file] = (root / "data/runs/mini" / DAYS[0]).glob("*/receipt.json")
    receipt = json.loads(file.read_text())
    gauges = {"rows": 100, "rejects": 0, "rows_per_second": receipt["rows_per_second"], "audits_warned": 1}
    for name, value in gauges.items():
        assert told[f"airflow.nightscore.{name},job=mini"] == (value, "g")
        assert told[f"airflow.nightscore.{name}.mini"] == (value, "g")
    assert "read back" in receipt["seconds"], "which is no name of a metric"
    for stage, seconds in ((name.replace(" ", "_"), took) for name, took in receipt["seconds"].items()):
        assert told[f"airflow.nightscore.stage_seconds.mini.{stage}"] == (pytest.approx(seconds * 1000), "ms")
        assert f"airflow.nightscore.stage_seconds,job=mini,stage={stage}" in told
    assert told["airflow.nightscore.seconds.mini"][0] == pytest.approx(
        sum(receipt["seconds"].values()) * 1000
    )
    assert not [name for name in told if "lateness" in name], "nobody waits for a day that is run by hand"


def test_lateness_is_since_the_day_was_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scheduled run: since two o'clock in Chicago of the next day; a backfill is not late."""
    root = make_workspace(tmp_path, 100, WARNS)
    job = load("mini", root)
    receipt = run(job, DAYS[0])
    assert receipt.published_at
    due = dt.datetime(2020, 1, 2, 2, tzinfo=ZoneInfo("America/Chicago"))
    late = (receipt.published_at - due).total_seconds()
    for run_type, expected in (("scheduled", late), ("backfill", None), ("manual", None)):
        with receiver(monkeypatch) as server:
            metrics.send_metrics(job, receipt, run_type)
            told = received(server)
        assert told["airflow.nightscore.rows.mini"] == (100, "g")
        assert told.get("airflow.nightscore.lateness_seconds.mini", (None,))[0] == (
            expected and pytest.approx(expected)
        )


def test_a_job_after_others_is_late_since_the_last_of_them(tmp_path: Path) -> None:
    """Its day was complete when they had published it."""
    root = chain(tmp_path)
    with (root / "jobs/later/job.yaml").open("a") as text:
        text.write("schedule: {after: [mini_scores]}\n")
    first, second = (run(load(name, root), DAYS[0]) for name in ("mini", "later"))
    assert first.published_at and second.published_at
    assert metrics.lateness(load("later", root), second) == second.published_at - first.published_at
    alone = second.model_copy(update={"day": as_day(DAYS[1]).isoformat()})
    assert metrics.lateness(load("later", root), alone) is None, "mini has not published that day"


def test_nobody_who_counts_fails_a_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no address, a client that can't be imported: the day is published."""
    with receiver(monkeypatch, STATSD_HOST="no-such-host.invalid"):
        done = night(make_workspace(tmp_path, 100), "uncounted", day=DAYS[0])
    assert done.state == "success"
    assert "AIRFLOW__METRICS__STATSD_ON" not in os.environ
