"""The form's day: filled in by the API server when somebody opens the form, and not by the DAG."""

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from nightscore.airflow import prefill, run_day
from nightscore.airflow.dag import build_dag
from nightscore.airflow.day import latest_day_of
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from tests.support.workspace import JOB, make_workspace, write_day

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Airflow's own API server in this process, with our middleware as the plug-in adds it; an admin asks."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    purge_cached_app()
    app = create_app(apps="core")
    manager = app.state.auth_manager
    token = manager.generate_jwt(SimpleAuthManagerUser(username="ana", role="admin"))
    asking = TestClient(app, headers={"Authorization": f"Bearer {token}"}, base_url="http://testserver")
    with asking:
        yield asking
    purge_cached_app()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that the API server takes for its own, with a daily job known to Airflow."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    root = make_workspace(tmp_path, 10, JOB + 'schedule: {daily: "02:00", timezone: America/Chicago}\n')
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(root))
    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))
    sessions = "jobs/sessions/job.yaml"
    (root / "jobs/sessions").mkdir()
    for file in (root / "jobs/mini").iterdir():
        (root / "jobs/sessions" / file.name).write_text(
            re.sub(r"\bmini(?=\b|_)", "sessions", file.read_text())
        )
    text = (root / sessions).read_text()
    (root / sessions).write_text(text[: text.index("schedule:")] + "schedule: {exchange: XNYS}\n")
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(build_dag(load("mini", root)))
    bag.bag_dag(build_dag(load("sessions", root)))
    sync_bag_to_db(bag, "testing", None)
    return root


@pytest.mark.slow
def test_a_form_opens_with_the_latest_complete_day(client: Any, root: Path) -> None:
    """By the job's schedule, at this moment; all else is as Airflow says it, compressed or not."""
    url = "/api/v2/dags/mini/details"
    for coding in ("gzip", "identity"):
        found = client.get(url, headers={"Accept-Encoding": coding})
        assert found.status_code == 200, found.text
        day = found.json()["params"]["day"]
        assert day["value"] == prefill.latest("mini")
        assert dt.date.today() - dt.date.fromisoformat(day["value"]) <= dt.timedelta(days=2)
        assert day["schema"]["format"] == "date" and found.json()["params"]["n"]["value"] == 10
        if coding == "identity":
            assert int(found.headers["content-length"]) == len(found.content)


def test_the_day_is_the_latest_that_has_data_and_is_not_published(root: Path) -> None:
    """Without data, with some, with a day published, with nothing left, with a lake that is gone."""
    job = load("mini", root)
    complete = dt.date.fromisoformat(prefill.latest("mini") or "")
    assert complete == latest_day_of(job)  # the workspace's own day is years ago
    near, far, gone = (complete - dt.timedelta(days=n) for n in (3, 5, 40))
    for day in (gone, far, near, complete + dt.timedelta(days=1)):
        write_day(root, str(day), 10)
    assert prefill.latest("mini") == str(near)
    run(job, near)
    assert prefill.latest("mini") == str(far)
    run(job, far)
    assert prefill.latest("mini") == str(complete)
    shutil.rmtree(root / "data/lake")
    assert prefill.latest("mini") == str(complete)


def test_the_dag_itself_has_no_day(root: Path) -> None:
    """Else each day would make a new version of it, and a run without a day would not fail."""
    assert build_dag(load("mini", root)).params["day"] is None


@pytest.mark.slow
def test_everything_else_passes_through(client: Any, root: Path) -> None:
    """Another DAG, a DAG that isn't there, a workspace that is gone, nobody logged in."""
    plain = client.get("/api/v2/dags/mini").json()
    assert plain["dag_id"] == "mini" and "params" not in plain
    assert client.get("/api/v2/dags/other/details").status_code == 404
    assert client.get("/api/v2/dags/mini/details", headers={"Authorization": ""}).status_code == 401
    (root / "jobs/mini/job.yaml").unlink()
    found = client.get("/api/v2/dags/mini/details")
    assert found.status_code == 200 and found.json()["params"]["day"]["value"] is None


@pytest.mark.slow
def test_a_run_by_hand_says_which_day_it_is_about(client: Any, root: Path) -> None:
    """By its partition key and its id; a preview, and a day that the schedule has not, by its note."""

    def start(dag: str, **body: Any) -> tuple[Any, Any, str]:
        found = client.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None, **body})
        assert found.status_code == 200, found.text
        run = found.json()
        return run["partition_key"], run["note"], run["dag_run_id"].rpartition("__")[0]

    day = {"day": "2026-11-18"}
    assert start("mini", conf=day) == ("2026-11-18", None, "manual__2026-11-18")
    assert start("mini", conf=day, note="late data") == ("2026-11-18", "late data", "manual__2026-11-18")
    assert start("mini", conf={**day, "limit": 5}) == (None, "2026-11-18", "manual__2026-11-18")
    assert start("mini", conf=day, partition_key="2026-11-17")[0] == "2026-11-17"
    assert start("mini", conf=day, dag_run_id="ours__1")[2] == "ours"
    assert start("mini", conf={"n": 5})[:2] == (None, None)
    assert start("sessions", conf=day)[0] == "2026-11-18"
    assert start("sessions", conf={"day": "2026-11-26"})[:2] == (None, "2026-11-26")  # Thanksgiving
    url = "/api/v2/dags/mini/dagRuns"
    asked = {"logical_date": None, "conf": day}
    assert client.post(url, json=asked, headers={"Authorization": ""}).status_code == 401
    assert client.post("/api/v2/dags/other/dagRuns", json=asked).status_code == 404
    assert client.post(url, json={"logical_date": None, "conf": {"day": "2026-02-30"}}).status_code == 400
    assert client.post(url, content=b"{", headers={"Content-Type": "application/json"}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"\xff", b"{}", b'{"conf": null}', b'{"conf": {"day": 1}}', b'{"conf": {"day": "soon"}}',
        b'{"conf": {"day": "20261118"}}', b'{"conf": {"day": "2026-11-18"}, "partition_key": "2026-11-17"}',
    ],
)  # fmt: skip
def test_a_run_of_another_shape_is_left_as_it_is(root: Path, body: bytes) -> None:
    """Airflow says what is wrong with it; so is one of a DAG that is none of ours."""
    assert run_day.with_day("mini", body) == body
    ours = b'{"conf": {"day": "2026-11-18"}}'
    assert run_day.with_day("theirs", ours) == ours != run_day.with_day("mini", ours)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b"{}", b'{"params": {}}', b'{"params": {"day": 1}, "tags": []}']
)
def test_an_answer_of_another_shape_is_left_as_it_is(body: bytes) -> None:
    """A later Airflow may answer otherwise; then the form opens without a day, and nothing breaks."""
    answer = [
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]},
        {"type": "http.response.body", "body": body, "more_body": False},
    ]
    assert prefill._filled("mini", [dict(part) for part in answer]) == answer


def test_only_our_dags_are_filled_in() -> None:
    """A DAG of somebody else's may have a parameter `day`, too."""
    details = {"params": {"day": {"value": None}}, "tags": [{"name": "theirs"}]}
    answer = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": json.dumps(details).encode()},
    ]
    assert prefill._filled("mini", answer) == answer
