"""The asset graph has what a job reads, and an event of a table what was published."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

pytest.importorskip("airflow")

from sqlalchemy import select

from nightscore.airflow.dag import build_dag
from nightscore.airflow.events.assets import assets_read, file_asset
from nightscore.common import Workspace
from nightscore.job import load
from tests.airflow.test_nights import known, night
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]

FIRST, SECOND = "mini.publish", "after_mini.publish"  # the tasks of `chain`
WARNS = JOB + "  - {name: never so, severity: warn, sql: SELECT false}\n"
LATER = """\
job: later
about: Reads another job's table
owner: tests
key: [id]
features: upstream
inputs:
  upstream: {table: mini_scores, columns: {id: BIGINT, a: FLOAT, score: FLOAT}}
model: {path: data/models/chained.onnx, outputs: {again: y}}
"""


def chain(root: Path) -> Path:
    """A workspace whose job `later` reads what `mini` publishes."""
    make_workspace(root, 100, WARNS)
    (root / "jobs/later").mkdir()
    (root / "jobs/later/job.yaml").write_text(LATER)
    linear_model(root / "data/models/chained.onnx", (1.0,), ("a",))
    return root


def events(dag_id: str) -> dict[str, dict[str, Any]]:
    """Table -> the extra of its only event of a DAG."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_dag_id == dag_id)).all()
        return {event.asset.name: dict(event.extra) for event in found}


def edges(asset: str) -> set[tuple[str, str]]:
    """The edges of the graph around an asset, as Airflow's page asks for it, by their labels."""
    from airflow.api_fastapi.core_api.services.ui.dependencies import get_data_dependencies
    from airflow.models.asset import AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        number = session.scalars(select(AssetModel.id).where(AssetModel.name == asset)).one()
        graph = get_data_dependencies(number, session)
    labels = {node["id"]: node["label"] for node in graph["nodes"]}
    found = {(labels[edge["source_id"]], labels[edge["target_id"]]) for edge in graph["edges"]}
    foreign = {end for edge in found for end in edge if end.endswith(".publish")} - {FIRST, SECOND}
    return {edge for edge in found if foreign.isdisjoint(edge)}  # other tests' DAGs read the same paths


def test_the_graph_joins_lake_models_and_jobs(tmp_path: Path) -> None:
    """From the lake through one job's table into the next: the edges of the two job.yaml, no others."""
    root = chain(tmp_path)
    known(root, "mini"), known(root, "after_mini", "later")
    made = {
        ("data/lake/rows", FIRST),
        (FIRST, "mini_scores"),
        ("mini_scores", SECOND),
        (SECOND, "later_scores"),
    }
    models = {("data/models/linear.onnx", FIRST), ("data/models/chained.onnx", SECOND)}
    assert edges("later_scores") == made | models, "all that it comes from"
    assert edges("data/lake/rows") == made | {(FIRST, "mini_top")}, "all that comes of it"


def test_market_risk_reads_volatility_history() -> None:
    """Of the jobs of this repository, what an operator looked for; a table is the publisher's asset."""
    root = Path(__file__).parents[2]
    read = {asset.name: asset.uri for asset in assets_read(load("market_risk", root))}
    [made] = [a for a in build_dag(load("volatility", root)).task_dict["publish"].outlets
              if a.name == "volatility_history"]  # fmt: skip
    assert read["volatility_history"] == made.uri
    assert {"data/lake/finance/prices", "data/lake/finance/trades"} <= read.keys()


def test_an_event_says_what_was_published(tmp_path: Path) -> None:
    """Rows, bytes and version are the table's by deltalake; the receipt lies where it says."""
    root = chain(tmp_path)
    night(root, "told", day=DAYS[0])
    extra = events("told")
    for name in ("mini_scores", "mini_top"):
        table = DeltaTable(root / "data/tables" / name)
        files = [Path(table.table_uri.removeprefix("file://")) / path for path in table.file_uris()]
        said = extra[name]
        assert said["rows"] == sum(pq.read_metadata(file).num_rows for file in files)
        assert said["bytes"] == sum(file.stat().st_size for file in files)
        assert (said["version"], said["job"], said["day"]) == (table.version(), "mini", DAYS[0])
        assert (said["status"], said["rejected"]) == ("published", 0)
        assert said["audits_warned"] == ["never so"] and said["seconds"] > 0
        document = json.loads((root / said["receipt"]).read_text())
        assert document["run_id"] == said["run_id"] in said["receipt"]


@pytest.mark.parametrize(
    ("path", "root", "name", "uri"),
    [
        ("data/lake/x/", None, "data/lake/x", "nightscore://workspace/data/lake/x"),
        ("trades", None, "./trades", "nightscore://workspace/trades"),
        ("eu/x", "dwh", "dwh:eu/x", "nightscore://roots/dwh/eu/x"),
        ("a b/ü?#.parquet", None, "a b/ü?#.parquet", "nightscore://workspace/a%20b/%C3%BC%3F%23.parquet"),
    ],
)
def test_one_file_is_one_asset(path: str, root: str | None, name: str, uri: str) -> None:
    """However it is written; what a URI can't hold is quoted, and Airflow keeps the URI as it is."""
    asset = file_asset(Workspace(Path("anywhere")), path, root)
    assert (asset.name, asset.uri) == (name, uri)
