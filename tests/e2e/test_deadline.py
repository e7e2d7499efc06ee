"""A deadline that passes while a run waits: Airflow's own alert has those told who asked for it."""

import datetime as dt
import json

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.servers import until
from tests.e2e.world import ROWS, add_mini
from tests.support.receivers import hook_server
from tests.support.workspace import write_day

pytestmark = pytest.mark.filterwarnings("ignore")
SECRET = "hidden-word-18"  # noqa: S105 - of the test's own
NIGHT = """\
schedule: {{daily: "{start}", timezone: UTC}}
deadline: "{due}"
policy: {{missing: wait}}
notify: [{{webhook: pager, when: [overdue, failed, published]}}]
"""


def test_what_is_not_there_in_time_is_told_by_airflow(airflow: Airflow) -> None:
    """A run waits for its partition past the deadline: told once, by Airflow's connection; then published."""
    now = dt.datetime.now(dt.UTC)
    start, due = now - dt.timedelta(minutes=30), now + dt.timedelta(minutes=1)
    day = str(start.date() - dt.timedelta(days=1))
    with hook_server() as hook:
        host, _, port = hook.address.removeprefix("http://").partition(":")
        airflow.command(
            "connections", "add", "pager", "--conn-type", "http", "--conn-host", host, "--conn-port", port,
            "--conn-schema", "http", "--conn-password", SECRET, "--conn-extra", json.dumps({"path": "page"}),
        )  # fmt: skip
        said = NIGHT.format(start=f"{start:%H:%M}", due=f"{due:%H:%M}")
        write_day(airflow.root / "earlier", "2020-01-01", ROWS)
        (airflow.root / "earlier/data/lake/rows").rename(airflow.root / "data/lake/punctual")
        add_mini(airflow.root, "punctual", said, "punctual")
        until(lambda: airflow.ask("GET", "/dags/punctual").is_success, 240, "the DAG is known", pause=2)
        run = airflow.trigger("punctual", partition_key=day)
        airflow.unpause("punctual")
        until(lambda: hook.got, 300, "somebody is told", pause=1)
        path, headers, body = hook.got[0]
        assert (path, headers["Authorization"]) == ("/page", f"Bearer {SECRET}")
        assert (body["event"], body["day"], body["deadline"][:16]) == (
            "overdue",
            day,
            f"{due:%Y-%m-%dT%H:%M}",
        )
        assert body["message"].startswith(("waiting", "missing", "running")) and body["page"].endswith(
            "/nightscore/jobs/punctual"
        )
        write_day(airflow.root / "later", day, ROWS)
        landed = airflow.root / f"later/data/lake/rows/day={day}"
        landed.rename(airflow.root / f"data/lake/punctual/day={day}")
        assert airflow.ended("punctual", run) == "success"
        until(lambda: len(hook.got) > 1, 30, "it is told that it is published")
        assert [one["event"] for one in hook.bodies] == ["overdue", "published"]
        assert SECRET not in airflow.log("punctual", run, "publish")
