"""The DAG files: one DAG a job, light to parse, and what is broken breaks nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow")

from sqlalchemy import select

from nightscore.airflow.dag import build_dag
from nightscore.job.loader import load

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("duckdb", "pyarrow", "numpy", "onnxruntime", "pandas", "deltalake", "exchange_calendars")
JOB = """\
job: {name}
about: Rows scored by a linear model
owner: tests
schedule: {schedule}
inputs:
  rows: {{path: data/lake/rows, partition: day}}
features: features.sql
key: [id]
model: {{path: data/models/linear.onnx, outputs: {{score: y}}}}
decide: {{{name}_top: top.sql}}
params:
  n: {{type: integer, default: 10, minimum: 1, maximum: 100}}
"""
DAILY = '{daily: "02:00", timezone: America/Chicago}'


def add(root: Path, name: str, schedule: str = DAILY, extra: str = "") -> Path:
    """A job folder; its job.yaml."""
    folder = root / "jobs" / "made" / name
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(JOB.format(name=name, schedule=schedule) + extra)
    (folder / "features.sql").write_text("SELECT id FROM rows\n")
    (folder / "top.sql").write_text("SELECT id, score FROM scores\n")
    return folder / "job.yaml"


def bag(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Airflow makes of this repository's dags/ for a workspace."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(root))
    return DagBag(str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="testing")


def sync(found: Any) -> None:
    """What the DAG processor writes to the database."""
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))
    sync_bag_to_db(found, "testing", None)


def stored(dag: Any) -> Any:
    """The DAG as the scheduler sees it."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def test_every_job_of_this_repository_is_a_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an import error, and each comes back from its serialized form as it was."""
    found = bag(ROOT, monkeypatch)
    assert found.import_errors == {} and "retail_recommendations" in found.dags
    for dag in found.dags.values():
        again = stored(dag)
        assert set(again.task_dict) == {"plan", "score", "publish"}
        assert again.timetable.summary == dag.timetable.summary
        assert all(task.owner == dag.tasks[0].owner for task in again.tasks)


def test_a_dag_has_the_jobs_tables_as_assets_and_tonight_first(tmp_path: Path) -> None:
    """Publishing announces every table; retries back off; a backfill's tasks come after a night's."""
    add(tmp_path, "one")
    dag = stored(build_dag(load("one", tmp_path)))
    publish = dag.get_task("publish")
    assert [(a.name, a.uri) for a in publish.outlets] == [
        ("one_scores", "nightscore://tables/one_scores"),
        ("one_top", "nightscore://tables/one_top"),
    ]
    assert publish.upstream_task_ids == {"plan", "score"} and dag.max_active_runs == 4
    for task in dag.tasks:
        assert task.retries == 8 and task.retry_exponential_backoff == 2.0
        weigh = task.weight_rule.get_weight
        assert weigh(Run("backfill__2026-01-01__x")) < weigh(Run("scheduled__2026-01-01__x"))


def test_a_job_that_reads_its_own_days_runs_one_at_a_time(tmp_path: Path) -> None:
    """Its day D needs D-1; what was missed is for the timetable of the job's own `catchup` to say."""
    file = add(tmp_path, "own", '{daily: "02:00", catchup: 14 days}')
    own = "inputs:\n  before: {table: own_top, lookback: 5, columns: {id: BIGINT}}\n"
    file.write_text(file.read_text().replace("inputs:\n", own))
    dag = stored(build_dag(load("own", tmp_path)))
    assert (dag.max_active_runs, dag.catchup, dag.timetable.catchup) == (1, False, "14 days")


class Run:
    """As much of a task instance as a weight needs."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id


def test_schedules_are_partitioned_by_day(tmp_path: Path) -> None:
    """Daily, an exchange with the workspace's closures, after other tables, and by hand."""
    (tmp_path / "calendars.yaml").parent.mkdir(exist_ok=True)
    (tmp_path / "calendars.yaml").write_text("XNYS: {closed: [2026-11-17]}\n")
    add(tmp_path, "daily")
    add(tmp_path, "exchange", "{exchange: XNYS, after_close: 90m}")
    add(tmp_path, "after", "{after: [daily_top, exchange_scores]}")
    add(tmp_path, "both", "{exchange: [XNYS, XLON], after_close: 30m}")
    add(tmp_path, "hand", "none")
    names = ("daily", "exchange", "both", "after", "hand")
    found = {name: stored(build_dag(load(name, tmp_path))).timetable for name in names}
    assert found["daily"].summary == "daily 02:00 America/Chicago"
    assert found["exchange"].serialize()["overrides"] == {"XNYS": {"closed": ["2026-11-17"], "early": {}}}
    names = {asset.name for _, asset in found["after"].asset_condition.iter_assets()}
    assert found["after"].summary == "after daily_top and exchange_scores"
    assert names == {"daily_top", "exchange_scores"}
    assert found["both"].serialize()["exchange"] == ["XNYS", "XLON"]
    assert found["hand"].summary == "by hand" and found["hand"].partitioned


def test_a_worker_reads_only_the_dag_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the DAG in Airflow's parsing context."""
    for name in ("one", "two", "three"):
        add(tmp_path, name)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "two")
    assert set(bag(tmp_path, monkeypatch).dags) == {"two"}


BROKEN = {
    "unknown key": ("colour: red\n", "jobs/made/bad/job.yaml:13: colour: unknown key"),
    "no YAML": ("- x: [\n", "jobs/made/bad/job.yaml:13"),
    "a key that stands twice": ("owner: two\n", "jobs/made/bad/job.yaml:13: the key 'owner' stands twice"),
    "form": (
        "  limit: {type: integer, default: 1}\n",
        "jobs/made/bad/job.yaml:13: params.limit: 'limit' is an option",
    ),
}


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.sample(1)
def test_a_broken_job_breaks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The others stay fresh in the database; the import error names file and line, and so does a stub."""
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    extra, message = BROKEN[kind]
    add(tmp_path, "good")
    broken = add(tmp_path, "bad", extra=extra)
    for _ in range(2):  # an import error makes DAGs stale that are in the database already
        found = bag(tmp_path, monkeypatch)
        sync(found)
    assert set(found.import_errors) == {"broken_jobs.py"}
    assert set(found.dags) == {"good", "bad"}
    assert message in found.dags["bad"].doc_md and message in found.dags["bad"].description
    assert {"broken"} < found.dags["bad"].tags
    with create_session() as session:
        good = session.get_one(DagModel, "good")
        assert not good.is_stale and not good.has_import_errors
        assert [message in e.stacktrace for e in session.scalars(select(ParseImportError))] == [True]
    broken.write_text(JOB.format(name="bad", schedule="none"))
    found = bag(tmp_path, monkeypatch)
    sync(found)
    assert found.import_errors == {} and "plan" in found.dags["bad"].task_ids
    with create_session() as session:
        assert list(session.scalars(select(ParseImportError))) == []


@pytest.mark.usefixtures("metadata")
def test_the_stub_of_a_broken_job_fails_with_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever triggers it is told why it can't run."""
    from airflow.sdk.exceptions import AirflowFailException

    add(tmp_path, "bad", extra="colour: red\n")
    task = bag(tmp_path, monkeypatch).dags["bad"].get_task("broken")
    with pytest.raises(AirflowFailException, match=r"jobs/made/bad/job.yaml:13: colour: unknown key"):
        task.execute({})


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize("change", ["SQL", "parameter", "schedule", "tasks"])
def test_a_change_of_behaviour_is_a_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What Airflow hashes changes with all that changes what a run does, and with nothing else."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization

    def version(root: Path) -> str:
        data = DagSerialization.to_dict(build_dag(load("one", root)))
        return str(SerializedDagModel.hash(data))

    file = add(tmp_path / "a", "one")
    before = version(tmp_path / "a")
    add(tmp_path / "b", "one")
    assert version(tmp_path / "b") == before  # where the workspace lies is no behaviour
    if change == "SQL":
        (file.parent / "features.sql").write_text("SELECT id FROM rows WHERE id > 0\n")
    elif change == "tasks":
        file.write_text(file.read_text() + "scoring: {tasks: 8}\n")
    else:
        old, new = {"parameter": ("default: 10", "default: 11"), "schedule": ("02:00", "03:00")}[change]
        file.write_text(file.read_text().replace(old, new))
    assert version(tmp_path / "a") != before


BARE = """
from airflow.sdk import DAG, Asset, BaseOperator, Param

class Task(BaseOperator):
    template_fields = ("share",)

    def __init__(self, *, share=None, **kwargs):
        super().__init__(**kwargs)
        self.share = share

for i in range(50):
    fields = {name: Param(None, type=["null", "string"]) for name in ("day", "known_at", "force")}
    with DAG(f"bare{i}", schedule="0 2 * * *", params=fields) as dag:
        plan = Task(task_id="plan")
        score = Task.partial(task_id="score").expand(share=plan.output)
        publish = Task(task_id="publish", share=score.output, outlets=[Asset(f"scores{i}"), Asset(f"top{i}")])
        plan >> score >> publish
    globals()[dag.dag_id] = dag
"""

PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk, airflow.sdk.execution_time.task_runner, airflow.serialization.serialized_objects

def seconds(file):
    start = time.process_time()
    bag = DagBag(file)
    return time.process_time() - start, len(bag.dags)

folder, bare = sys.argv[1:]
before = set(sys.modules)
found = {"ours": [seconds(folder + "/nightly.py")], "broken": seconds(folder + "/broken_jobs.py")}
new, found["bare"] = sorted(set(sys.modules) - before), [seconds(bare)]
for _ in range(6):
    found["ours"].append(seconds(folder + "/nightly.py"))
    found["bare"].append(seconds(bare))
print(json.dumps(found | {"new": new}))
"""


@pytest.mark.slow
def test_fifty_jobs_are_parsed_in_the_time_of_200_bare_ones_without_anything_heavy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of CPU, beside bare DAGs of the same tasks, in turns (tried: 2.3 to 2.7 times).

    Theirs read no job.yaml and no SQL, have no hash, and no calendar of an exchange.
    """
    kinds = (DAILY, "{exchange: XNYS, after_close: 90m}", "none", "{after: [job0_top]}")
    for i in range(50):
        add(tmp_path, f"job{i}", kinds[i % 4])
    (tmp_path / "bare.py").write_text(BARE)
    monkeypatch.setenv("NIGHTSCORE_WORKSPACE", str(tmp_path))
    command = [sys.executable, "-c", PARSE, str(ROOT / "dags"), str(tmp_path / "bare.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert {dags for _, dags in found["ours"] + found["bare"]} == {50} and found["broken"][1] == 0
    assert not {name.partition(".")[0] for name in found["new"]} & set(HEAVY)
    ours, bare = (min(took for took, _ in found[which][1:]) for which in ("ours", "bare"))
    assert ours < 4 * bare, (ours, bare)
