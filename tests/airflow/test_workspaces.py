"""Several workspaces in one Airflow: each has DAGs, assets, days and a page of its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from deltalake import DeltaTable

import nightscore.airflow.dags
from nightscore import run
from nightscore.airflow.dag import build_dag
from nightscore.airflow.events.deadline import tell_overdue
from nightscore.airflow.priority import TonightFirst
from nightscore.airflow.workspaces import list_workspaces, load_of_dag
from nightscore.common import Broken
from nightscore.job import load
from nightscore.pipeline import Held
from tests.airflow.web.server import Client, api_server, browsers
from tests.support.workspace import DAYS, JOB, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

PACKAGED = Path(nightscore.airflow.dags.__path__[0])
BOTH = "NIGHTSCORE_WORKSPACES"
DUE = 'schedule: {daily: "02:00", timezone: UTC}\n'
SET = "airflow: {pool: night, priority: 7, access: {Risk: [can_read, can_edit]}}\n"
HOLDS = f"""audit:
  - name: never on the second day
    sql: SELECT CAST(getvariable('day') AS VARCHAR) <> '{DAYS[1]}'
"""
ROWS = {"retail": 30, "risk": 50}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two workspaces with one job each, of one name."""
    made = {name: tmp_path_factory.mktemp(name) for name in ROWS}
    for name, root in made.items():
        make_workspace(root, ROWS[name], JOB + DUE)
        (root / "workspace.yaml").write_text(f"name: {name}\n{SET if name == 'risk' else ''}")
    job = made["risk"] / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("audit:\n", HOLDS) + "airflow: {queue: gpu, priority: 9}\n")
    return made


@pytest.fixture(autouse=True)
def both(roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The Airflow of both."""
    monkeypatch.delenv("NIGHTSCORE_WORKSPACE", raising=False)
    monkeypatch.setenv(BOTH, ":".join(map(str, roots.values())))


def bag(folder: Path = PACKAGED) -> Any:
    """What Airflow makes of a folder of DAG files."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(folder), bundle_path=folder, bundle_name="testing")


@pytest.fixture(scope="module")
def nights(roots: dict[str, Path], metadata: None) -> dict[str, Any]:
    """A night of each, by the DAGs that Airflow found."""
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BOTH, ":".join(map(str, roots.values())))
        with create_session() as session:
            session.merge(DagBundleModel(name="testing"))
        found = bag()
        sync_bag_to_db(found, "testing", None)
        conf = {"run_conf": {"day": DAYS[0]}, "logical_date": None}
        return {name: found.dags[f"{name}.mini"].test(**conf) for name in roots}


def test_each_has_dags_and_assets_of_its_own(roots: dict[str, Path]) -> None:
    """By its name; a file that lies in one of them makes that one's alone."""
    dags = bag().dags
    assert set(dags) == {"retail.mini", "risk.mini"}
    assets = {name: dag.task_dict["publish"].outlets for name, dag in dags.items()}
    assert [(one.name, one.uri) for one in assets["risk.mini"]] == [
        ("risk.mini_scores", "nightscore://risk/tables/mini_scores"),
        ("risk.mini_top", "nightscore://risk/tables/mini_top"),
    ]
    names = [
        {one.uri for one in [*dag.task_dict["publish"].inlets, *assets[name]]} for name, dag in dags.items()
    ]
    assert names[0].isdisjoint(names[1])
    shutil.copytree(PACKAGED, roots["risk"] / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        assert set(bag(roots["risk"] / "dags").dags) == {"risk.mini"}
    finally:
        shutil.rmtree(roots["risk"] / "dags")


def test_pool_queue_priority_and_access_are_the_jobs_then_the_workspaces(roots: dict[str, Path]) -> None:
    """And tonight comes before the past, whatever a job's priority is."""
    dag = build_dag(load("mini", roots["risk"]))
    assert dag.access_control == {"Risk": {"DAGs": {"can_read", "can_edit"}}}
    for task in dag.tasks:
        assert (task.pool, task.queue, task.priority_weight) == ("night", "gpu", 9)
    other = build_dag(load("mini", roots["retail"]))
    assert other.access_control is None
    for task in other.tasks:
        assert (task.pool, task.queue, task.priority_weight) == ("default_pool", "default", 1)

    def weight(run_id: str, of: Any) -> int:
        instance = type("Instance", (), {"run_id": run_id, "task": of.task_dict["plan"]})
        return TonightFirst().get_weight(instance)

    order = [weight("backfill__x", other), weight("backfill__x", dag), weight("manual__x", other),
             weight("scheduled__x", dag)]  # fmt: skip
    assert order == sorted(set(order))


def test_a_night_of_one_is_none_of_the_other(roots: dict[str, Path], nights: dict[str, Any]) -> None:
    """Each has published its own rows, and told of itself where it belongs."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    for name, root in roots.items():
        assert str(nights[name].state) == "success"
        assert DeltaTable(root / "data/tables/mini_scores").to_pyarrow_table().num_rows == ROWS[name]
        assert len([*(root / "data/attempts/mini").glob("*/*")]) == 1
        with create_session() as session:
            asked = select(AssetEvent).where(AssetEvent.source_dag_id == f"{name}.mini")
            rows = {event.asset.name: event.extra["rows"] for event in session.scalars(asked)}
        assert rows == {f"{name}.mini_scores": ROWS[name], f"{name}.mini_top": 10}
        assert load_of_dag(f"{name}.mini").workspace.root == root
    late = {"dag_id": "risk.mini", "partition_key": DAYS[0]}
    assert tell_overdue(late) == f"mini {DAYS[0]}: published"


def test_two_jobs_of_one_name_are_an_import_error_that_names_both(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first keeps its DAG: which of two ran, nobody would know. Those of other names are DAGs of both."""
    first, second = (make_workspace(tmp_path / name, 5) for name in ("one", "two"))
    other = shutil.copytree(second / "jobs/mini", second / "jobs/other")
    text = (
        (other / "job.yaml").read_text().replace("job: mini", "job: other").replace("mini_top", "other_top")
    )
    (other / "job.yaml").write_text(text)
    monkeypatch.setenv(BOTH, f"{first}:{second}")
    found = bag()
    assert set(found.dags) == {"mini", "other"}
    assert found.dags["mini"].user_defined_macros["workspace"] == str(first)
    [error] = found.import_errors.values()
    (first / "jobs/odd.name").mkdir()
    (first / "jobs/odd.name/job.yaml").write_text("about: [\n")
    assert set(bag().dags) == {"mini", "other", "odd_name"}, "a dot is between a workspace and its job"
    shutil.rmtree(first / "jobs/odd.name")
    assert f"{first}/jobs/mini/job.yaml and {second}/jobs/mini/job.yaml would both be the DAG mini" in error
    assert "both have no name; of several in one Airflow each has one of its own: workspace.yaml" in error
    (second / "workspace.yaml").write_text("name: two\n")
    found = bag()
    assert set(found.dags) == {"mini", "two.mini", "two.other"} and not found.import_errors


def test_a_workspace_with_a_mistake_breaks_no_other(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its DAGs keep their ids, and say what is wrong; one that is gone is said, and takes no DAG with it."""
    broken = make_workspace(tmp_path / "broken", 5)
    (broken / "workspace.yaml").write_text("name: late\nairflow: {pool: 3}\n")
    monkeypatch.setenv(BOTH, f"{roots['retail']}:{broken}")
    found = bag()
    assert {name: "broken" in dag.tags for name, dag in found.dags.items()} == {
        "retail.mini": False, "late.mini": True,
    }  # fmt: skip
    assert "workspace.yaml:2: airflow.pool: 3 is not allowed" in "".join(found.import_errors.values())
    (broken / "workspace.yaml").write_text("name: late\nroot: 3\n")
    assert [one.name for one in list_workspaces()] == ["retail", "late"]
    monkeypatch.setenv(BOTH, f"{roots['retail']}:{tmp_path}/gone")
    found = bag()
    assert set(found.dags) == {"retail.mini"}
    assert "gone is no workspace: there is no such folder" in "".join(found.import_errors.values())
    monkeypatch.setenv(BOTH, f"{tmp_path}/gone")
    with pytest.raises(Broken, match="gone is no workspace"):
        list_workspaces()


def test_without_a_variable_they_are_those_of_the_bundles(
    roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Airflow's configuration names them; of one that lies elsewhere nothing is known here."""
    monkeypatch.delenv(BOTH)
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": name, "classpath": local, "kwargs": {"path": f"{root}/dags"}}
               for name, root in roots.items()]  # fmt: skip
    git = {"name": "git", "classpath": "x.GitDagBundle", "kwargs": {"tracking_ref": "main"}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([*bundles, git]))
    assert [one.root for one in list_workspaces()] == [*roots.values()]
    assert load_of_dag("risk.mini").workspace.root == roots["risk"]
    with pytest.raises(
        Broken, match=r"DAG nobody\.mini is of no workspace of this Airflow; it has retail, risk"
    ):
        load_of_dag("nobody.mini")


def test_messages_link_to_the_page_of_the_workspace(roots: dict[str, Path]) -> None:
    """Whoever follows one comes to the day, without the chooser."""
    from nightscore.pipeline.notify import News, compose

    news = News("published", "done")
    _, text, document = compose(load("mini", roots["risk"]), DAYS[0], news, "https://air/nightscore/")
    assert (
        document["page"] == f"https://air/nightscore/w/risk/jobs/mini/{DAYS[0]}" and document["page"] in text
    )


@pytest.fixture(scope="module")
def client(
    roots: dict[str, Path], nights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A browser of some user; tess is of the team that has the bundle of risk's DAG, ana of none."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team
    from airflow.utils.session import create_session

    with create_session() as session:
        kept = DagBundleModel(name="of risk")
        kept.teams.append(Team(name="riskers"))
        session.add(kept)
        session.flush()
        session.get(DagModel, "risk.mini").bundle_name = "of risk"
    passwords = tmp_path_factory.mktemp("passwords") / "passwords.json"
    users = {"root": "admin", "ana": "viewer", "tess": "viewer:riskers"}
    with api_server(roots["retail"], users, passwords, multi_team=True) as app:
        yield browsers(app)


def test_the_page_has_a_chooser_and_each_workspace_its_pages(client: Client, nights: dict[str, Any]) -> None:
    """Addresses name it, also those that Airflow's links make of a DAG's id; who sees one has no chooser."""
    boss = client("root")
    start = boss.get("/nightscore/")
    assert start.url.path == "/nightscore/w/retail/" and 'id="workspaces"' in start.text
    assert '<a href="/nightscore/w/risk/">risk</a>' in start.text
    assert '<a href="/nightscore/w/retail/" aria-current="page">retail</a>' in start.text
    assert 'href="/nightscore/w/retail/jobs/mini"' in start.text and "has no pool" not in start.text
    risk = boss.get("/nightscore/w/risk/").text
    assert "Airflow has no pool night" in risk
    job = boss.get("/nightscore/jobs/risk.mini")
    assert job.url.path == "/nightscore/w/risk/jobs/mini" and 'href="/dags/risk.mini"' in job.text
    shown = {"dag_id": "risk.mini", "run_id": nights["risk"].run_id}
    for _ in range(20):
        report = boss.get("/nightscore/report", params=shown)
        if report.status_code != 202:
            break
    assert report.status_code == 200 and report.url.path == "/nightscore/w/risk/report"
    assert "50" in report.text and DAYS[0] in report.text
    for name, rows in ROWS.items():
        assert f"{rows} rows" in boss.get(f"/nightscore/w/{name}/tables/mini_scores").text
        form = {"sql": "SELECT count(*) AS n FROM mini_scores", "as": "csv"}
        answer = boss.post(
            f"/nightscore/w/{name}/query", data=form, headers={"sec-fetch-site": "same-origin"}
        )
        assert answer.text == f'"n"\n{rows}\n'


def test_who_may_read_one_sees_nothing_of_the_other(client: Client, nights: dict[str, Any]) -> None:
    """Not that it is there, either: its addresses are as those of one that never was."""
    ana, tess = client("ana"), client("tess")
    assert ana.get("/nightscore/").url.path == "/nightscore/"
    assert 'id="workspaces"' not in ana.get("/nightscore/").text
    assert 'id="workspaces"' in tess.get("/nightscore/").text
    for address in ("", "jobs/mini", "tables/mini_scores", f"jobs/mini/{DAYS[0]}/report", "query", "tables"):
        assert tess.get(f"/nightscore/w/risk/{address}").status_code in (200, 202)
        refused, absent = (ana.get(f"/nightscore/w/{name}/{address}") for name in ("risk", "absent"))
        assert (refused.status_code, absent.status_code) == (404, 404)
        assert refused.text.replace("risk", "absent") == absent.text
    assert client(None).get("/nightscore/w/risk/").status_code == 401
    shown = {"dag_id": "risk.mini", "run_id": nights["risk"].run_id}
    assert ana.get("/nightscore/report", params=shown).status_code == 403
    assert ana.get("/nightscore/w/retail/report", params=shown).status_code == 403


def test_forms_of_a_workspace_are_about_its_jobs(client: Client, roots: dict[str, Path]) -> None:
    """A form's day is filled in by the DAG's id, and a run of it by hand has that day as its partition."""
    boss = client("root")
    details = boss.get("/api/v2/dags/risk.mini/details").json()
    assert details["params"]["day"]["value"] == DAYS[-1] or details["params"]["day"]["value"] > DAYS[-1]
    made = boss.post("/api/v2/dags/risk.mini/dagRuns", json={"logical_date": None, "conf": {"day": DAYS[1]}})
    assert made.status_code == 200 and made.json()["partition_key"] == DAYS[1], made.text
    with pytest.raises(Held):
        run(load("mini", roots["risk"]), DAYS[1])
    asked = {"dag_id": "risk.mini", "run_id": made.json()["dag_run_id"]}
    page = boss.get("/nightscore/report", params=asked).text
    for address in (
        f"/nightscore/w/risk/jobs/mini/{DAYS[1]}/held",
        f"/nightscore/w/risk/jobs/mini/{DAYS[1]}/held-report",
    ):
        assert f'"{address}"' in page and boss.get(address).status_code in (200, 202)
    assert 'action="/nightscore/w/risk/decide?dag_id=risk.mini"' in page
