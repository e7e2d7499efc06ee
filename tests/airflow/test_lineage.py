"""Lineage as OpenLineage has it: held to what pyarrow and deltalake read of the same files and tables."""

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

pytest.importorskip("airflow.providers.openlineage")

from openlineage.client.serde import Serde

from nightscore.airflow.events.lineage_facets import facets_of_plan, facets_of_receipt
from nightscore.common import Broken, as_day
from nightscore.job import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.store.storage import homes
from tests.support.s3 import BUCKET, Server, become_client, into_bucket
from tests.support.workspace import DAYS, JOB, make_workspace

ROOT = Path(__file__).parents[2]
CHECKED = (
    JOB.replace("features: rows", "features: features.sql")
    + "  - {name: never so, severity: warn, sql: SELECT false}\n"
)
RUN = """\
import sys
from airflow.utils import db
db.initdb()
from tests.airflow.test_nights import known
for day in ("2020-01-01", "2021-01-01"):
    known(sys.argv[1], "mini").test(run_conf={"day": day}, logical_date=None)
"""


@contextlib.contextmanager
def receiver() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A server that keeps what is posted to it: its port, and the events."""
    events: list[dict[str, Any]] = []

    class Keep(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], events
        server.shutdown()


def plain(lineage: Any) -> dict[str, Any]:
    """As it goes over the wire."""
    return dict(json.loads(Serde.to_json(lineage)))


def by_name(datasets: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Datasets by the last part of their names."""
    return {one["name"].rpartition("/")[2]: one for one in datasets}


def hold_to_files(root: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    """What is told of the mini job's first day is what pyarrow and deltalake read."""
    file = root / f"data/lake/rows/day={DAYS[0]}/part-0.parquet"
    rows = inputs["rows"]
    assert (rows["namespace"], rows["name"]) == ("file", str(root / "data/lake/rows"))
    statistics = rows["inputFacets"]["inputStatistics"]
    assert statistics["rowCount"] == pq.read_metadata(file).num_rows
    assert (statistics["size"], statistics["fileCount"]) == (file.stat().st_size, 1)
    assert [f["name"] for f in rows["facets"]["schema"]["fields"]] == [*pq.read_schema(file).names, "day"]
    model = inputs["linear.onnx"]
    assert (
        model["facets"]["version"]["datasetVersion"]
        == hashlib.sha256(Path(model["name"]).read_bytes()).hexdigest()
    )
    for name in ("mini_scores", "mini_top"):
        table, told = DeltaTable(root / "data/tables" / name), outputs[name]
        files = [Path(uri.removeprefix("file://")) for uri in table.file_uris()]
        assert told["name"] == str(root / "data/tables" / name)
        statistics = told["outputFacets"]["outputStatistics"]
        assert statistics["rowCount"] == sum(pq.read_metadata(file).num_rows for file in files)
        assert statistics["size"] == sum(file.stat().st_size for file in files)
        assert told["facets"]["version"]["datasetVersion"] == str(table.version())
        stored = [field.name for field in table.schema().fields if field.name != "day"]
        assert [field["name"] for field in told["facets"]["schema"]["fields"]] == stored


def edges(dataset: dict[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
    """Column -> (last part of a dataset's name, column, how)."""
    return {
        column: {
            (one["name"].rpartition("/")[2], one["field"], one["transformations"][0]["subtype"])
            for one in told["inputFields"]
        }
        for column, told in dataset["facets"]["columnLineage"]["fields"].items()
    }


MODEL = {("rows", "a", "TRANSFORMATION"), ("rows", "b", "TRANSFORMATION")}  # its matrix is of a and b
SCORES = {"id": {("rows", "id", "IDENTITY")}, "a": {("rows", "a", "IDENTITY")}, "score": MODEL}
TOP = {
    "id": {("rows", "id", "IDENTITY")}, "score": MODEL,
    "rank": {("rows", "a", "CONDITIONAL"), ("rows", "b", "CONDITIONAL"), ("rows", "id", "CONDITIONAL")},
}  # fmt: skip


def test_a_published_day_tells_all_of_it(tmp_path: Path) -> None:
    """Datasets, rows, schema, versions; columns through SQL, model and decision; audits at what they read."""
    root = make_workspace(tmp_path, 100, CHECKED)
    job = load("mini", root)
    told = plain(facets_of_receipt(job, run(job, DAYS[0])))
    outputs = by_name(told["outputs"])
    hold_to_files(root, by_name(told["inputs"]), outputs)
    assert edges(outputs["mini_scores"]) == SCORES and edges(outputs["mini_top"]) == TOP
    audits = [
        {
            a["name"]: (a["success"], a["severity"])
            for a in one["facets"]["dataQualityAssertions"]["assertions"]
        }
        for one in (outputs["mini_scores"], outputs["mini_top"])
    ]
    asked = {"as many as asked for": (True, "error")}
    assert audits == [asked | {"never so": (False, "warn")}, asked]
    facet = told["run_facets"]["nightscore"]
    assert (facet["day"], facet["status"], facet["rows"]["published"]) == (DAYS[0], "published", 50)


def test_a_day_that_is_held_tells_which_audit_holds_it(tmp_path: Path) -> None:
    """Nothing was published, so there is no dataset out."""
    root = make_workspace(tmp_path, 100, CHECKED.replace("severity: warn", "severity: fail"))
    job = load("mini", root)
    plan = plan_day(job, as_day(DAYS[0]))
    with pytest.raises(Broken, match="never so"):
        publish_day(job, plan, [score_piece(job, plan, piece) for piece in plan.pieces])
    told = plain(facets_of_plan(job, plan))
    facet = told["run_facets"]["nightscore"]
    assert told["outputs"] == [] and facet["status"] == "held"
    assert [a["name"] for a in facet["audits"] if not a["passed"]] == ["never so"]
    assert by_name(told["inputs"])["rows"]["inputFacets"]["inputStatistics"]["rowCount"] == 100


def test_a_bucket_is_named_as_others_name_it(
    s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its scheme and name, and the key; an input of the workspace's own disk by its path."""
    address, root = f"s3://{BUCKET}/{tmp_path.name}", make_workspace(tmp_path, 100)
    become_client(monkeypatch, s3_server.port, tmp_path / "mirror")
    into_bucket(root, address, tmp_path / "writer")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    job = load("mini", root)
    told = plain(facets_of_receipt(job, run(job, DAYS[0])))
    places = {(one["namespace"], one["name"]) for one in (*told["inputs"], *told["outputs"])}
    keys = ("lake/rows", "models/linear.onnx", "tables/mini_scores", "tables/mini_top")
    assert places == {(f"s3://{BUCKET}", f"{tmp_path.name}/{key}") for key in keys}
    homes._bucket.cache_clear()


@pytest.mark.slow
def test_a_real_airflow_sends_it_to_a_real_receiver(tmp_path: Path) -> None:
    """By the provider, over HTTP; of a day that fails there is what was to be read, no dataset out."""
    root = make_workspace(tmp_path / "workspace", 100, CHECKED)
    with receiver() as (port, events):
        transport = {"type": "http", "url": f"http://127.0.0.1:{port}", "endpoint": "api/v1/lineage"}
        variables = {
            "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True", "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests", "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        }  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(root)], cwd=ROOT, env=kept | variables, capture_output=True,
            text=True, check=False, timeout=280,
        )  # fmt: skip
    ended = {
        (event["job"]["name"], event["eventType"]): event for event in events if event["eventType"] != "START"
    }
    published = ended["mini.publish", "COMPLETE"]
    outputs = by_name(published["outputs"])
    hold_to_files(root, by_name(published["inputs"]), outputs)
    assert edges(outputs["mini_scores"]) == SCORES and edges(outputs["mini_top"]) == TOP, done.stderr
    assert len(outputs["mini_scores"]["facets"]["dataQualityAssertions"]["assertions"]) == 2
    assert published["run"]["facets"]["nightscore"]["status"] == "published"
    failed = ended["mini.plan", "FAIL"]
    assert failed["outputs"] == [] and set(by_name(failed["inputs"])) == {"rows"}
