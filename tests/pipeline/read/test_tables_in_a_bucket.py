"""Delta and Iceberg tables of other engines in a bucket; their own libraries write and answer."""

import datetime as dt
import io
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from nightscore import query
from nightscore.common.errors import Broken, NotYet
from nightscore.job.loader import load
from nightscore.pipeline.executors import run
from nightscore.pipeline.steps import draft_plan, features
from nightscore.store.storage.objects import Objects, open_objects
from tests.pipeline.read.test_delta_input import rows, vector
from tests.support.s3 import BUCKET, KEY, SECRET, Server, become_client
from tests.support.workspace import JOB, make_workspace

DAYS = [dt.date(2020, 1, day) for day in (1, 2, 3)]
DAY = DAYS[1]


@pytest.fixture
def lake(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A bucket's prefix, which is the root `lake`."""
    become_client(monkeypatch, s3_server.port, tmp_path / "scratch")
    address = f"s3://{BUCKET}/{tmp_path.name}"
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", address)
    return open_objects(address, tmp_path / "writer")


def workspace(root: Path, entry: str) -> Path:
    """The job `mini` over a table of the root."""
    text = JOB.replace("{path: data/lake/rows, partition: day}", f"{{root: lake, {entry}}}")
    return make_workspace(root, job=text.replace("keep: [a]", "keep: [a, region]"), days=())


def seen(root: Path, day: dt.date = DAY) -> pa.Table:
    return features(load("mini", root), day).select(["id", "a", "region"]).sort_by("id").combine_chunks()


def truth(address: str, day: dt.date = DAY, version: int | None = None) -> pa.Table:
    """By deltalake's own reader, straight from the bucket."""
    found = pa.table(DeltaTable(address, version=version).scan())
    texts = [c.cast(pa.string()) if c.type == pa.string_view() else c for c in found.columns]
    found = pa.table(texts, found.column_names)
    return (
        found.filter(pc.equal(found["day"], day)).select(["id", "a", "region"]).sort_by("id").combine_chunks()
    )


def sales(lake: Objects) -> str:
    """A Delta table that another engine wrote."""
    address = f"{lake.address}/shop/sales"
    write_deltalake(address, rows(), partition_by=["day", "region"])
    return address


def test_a_delta_table_in_a_bucket_is_read_as_its_log_says(lake: Objects, tmp_path: Path) -> None:
    """Deleted rows stay deleted; a later version is seen, a pinned one kept; no credential is anywhere."""
    address, root = sales(lake), workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    assert seen(root).equals(truth(address))
    DeltaTable(address).delete("id % 2 = 0")
    assert seen(root).equals(truth(address)) and 0 < len(truth(address)) < len(truth(address, version=0))
    receipt = run(load("mini", root), DAY)
    assert receipt.status == "published" and receipt.snapshots == {"rows": "version 1"}
    assert query("SELECT count(*) AS n FROM mini_scores", root).to_pylist() == [{"n": len(truth(address))}]
    assert run(load("mini", root), DAY).status == "unchanged"
    pinned = workspace(tmp_path / "pinned", "delta: shop/sales, partition: day, version: 0")
    assert seen(pinned).equals(truth(address, version=0))
    written = [path for top in (root, tmp_path / "scratch") for path in top.rglob("*") if path.is_file()]
    assert not any(
        word in path.read_bytes() for path in written for word in (KEY.encode() + b":", SECRET.encode())
    )


def test_only_the_files_of_the_days_are_fetched(lake: Objects, tmp_path: Path) -> None:
    """A table of years is not brought here."""
    sales(lake)
    root = workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    seen(root)
    files = [path for path in (tmp_path / "scratch").rglob("day=*/**/*.parquet") if ".tag" not in path.name]
    assert files and all(f"day={DAY}" in path.as_posix() for path in files)


def test_a_table_that_was_made_anew_is_not_mixed_with_the_former(lake: Objects, tmp_path: Path) -> None:
    """Commits of the former table, of higher versions, lie in the scratch folder still."""
    address, root = sales(lake), workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    for _ in range(3):
        write_deltalake(address, rows(), mode="append")
    assert len(seen(root)) == 4 * len(truth(address, version=0))
    lake.remove("shop/sales")
    write_deltalake(address, rows(600), partition_by=["day", "region"])
    assert seen(root).equals(truth(address)) and len(seen(root)) == 200


def test_a_checkpoint_of_the_log_is_read(lake: Objects, tmp_path: Path) -> None:
    """Commits before it may be gone."""
    address, root = sales(lake), workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    write_deltalake(address, rows(), mode="append")
    DeltaTable(address).create_checkpoint()
    lake.remove(f"shop/sales/_delta_log/{0:020}.json")
    assert seen(root).equals(truth(address))


def test_a_file_that_is_not_the_committed_one_stops_the_run(lake: Objects, tmp_path: Path) -> None:
    """By its size, where it was put again; or gone."""
    address, root = sales(lake), workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    name = next(
        path
        for path in pa.table(DeltaTable(address).get_add_actions())["path"].to_pylist()
        if str(DAY) in path
    )
    sink = io.BytesIO()
    pq.write_table(rows(9).select(["id", "a", "b"]), sink)
    key = f"shop/sales/{unquote(name)}"
    assert lake.look(key)
    lake.replace(key, sink.getvalue())
    with pytest.raises(Broken, match="bytes, and the table says"):
        draft_plan(load("mini", root), DAY)
    lake.remove(key)
    with pytest.raises(NotYet, match="is gone, as a VACUUM takes"):
        draft_plan(load("mini", root), DAY)


def test_a_deletion_vector_is_refused_in_a_bucket_too(lake: Objects, tmp_path: Path) -> None:
    """Named by its file; other days are read."""
    local = tmp_path / "local"
    write_deltalake(str(local), rows(), partition_by=["day"])
    log = local / "_delta_log"
    lines = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    add = next(line["add"] for line in lines if "add" in line and str(DAY) in line["add"]["path"])
    features = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features}
    protocol |= {"writerFeatures": features}
    actions: list[dict[str, Any]] = [
        {"protocol": protocol},
        {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**add, **vector(1, 2, 3)}},
    ]
    (log / f"{1:020}.json").write_text("\n".join(map(json.dumps, actions)))
    for path in (path for path in local.rglob("*") if path.is_file()):
        lake.replace(f"shop/sales/{path.relative_to(local).as_posix()}", path.read_bytes())
    text = JOB.replace(
        "{path: data/lake/rows, partition: day}", "{root: lake, delta: shop/sales, partition: day}"
    )
    root = make_workspace(tmp_path / "ws", job=text, days=())
    with pytest.raises(Broken, match="deleted by a deletion vector"):
        draft_plan(load("mini", root), DAY)
    assert draft_plan(load("mini", root), DAYS[0]).status == "score"


def test_no_log_is_no_table(lake: Objects, tmp_path: Path) -> None:
    """Said with the address."""
    root = workspace(tmp_path / "ws", "delta: shop/sales, partition: day")
    with pytest.raises(Broken, match=r"s3://.*/shop/sales is no Delta Lake table"):
        draft_plan(load("mini", root), DAY)


def test_an_iceberg_table_in_a_bucket_is_read_as_its_snapshot_says(
    lake: Objects, s3_server: Server, tmp_path: Path
) -> None:
    """Written there by pyiceberg, and rows deleted; nothing else than the bucket is read."""
    pytest.importorskip("pyiceberg", reason="nightscore[iceberg] is not installed")
    from pyiceberg.catalog.sql import SqlCatalog

    options = {
        "s3.endpoint": f"http://127.0.0.1:{s3_server.port}", "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET, "s3.region": "us-east-1",
    }  # fmt: skip
    made = SqlCatalog("t", uri=f"sqlite:///{tmp_path}/c.db", warehouse=lake.address, **options)
    made.create_namespace("shop")
    table = made.create_table("shop.sales", rows().schema)
    with table.update_spec() as spec:
        spec.add_identity("day")
    table.append(rows())
    table.delete("id >= 500")
    table = made.load_table("shop.sales")
    found = table.scan().to_arrow()
    right = found.filter(pc.equal(found["day"], DAY)).select(["id", "a", "region"]).sort_by("id")
    place = table.metadata_location.removeprefix(f"{lake.address}/")
    root = workspace(tmp_path / "ws", f"iceberg: {place}, partition: day")
    right = right.set_column(2, "region", right["region"].cast(pa.string())).combine_chunks()
    assert seen(root).to_pylist() == right.to_pylist() and 0 < len(right) < 334
    assert run(load("mini", root), DAY).status == "published"
    shutil.rmtree(tmp_path / "scratch")
    outside = json.loads(lake.read(place)) | {"properties": {"py-io-impl": "os.path"}}
    outside["snapshots"][-1]["manifest-list"] = "s3://elsewhere/manifests.avro"
    lake.replace("shop/outside.metadata.json", json.dumps(outside).encode())
    other = workspace(tmp_path / "other", "iceberg: shop/outside.metadata.json, partition: day")
    with pytest.raises(Broken, match=r"s3://elsewhere/manifests\.avro does not lie in"):
        draft_plan(load("mini", other), DAY)
