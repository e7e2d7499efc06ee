"""A day as a file in a root: read by pandas and pyarrow it is what is published; its manifest comes last."""

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, load, run
from nightscore.cli.main import call
from nightscore.job import load_all
from nightscore.lifecycle import apply_retention
from nightscore.store import list_deliveries
from nightscore.store.storage import homes
from nightscore.store.storage.objects import open_objects
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, ROWS, Build

if TYPE_CHECKING:
    from tests.support.s3 import Server

OUT = """\
deliver:
  - {{name: mail, files: {{root: crm, path: "out/{{day}}/list{}", format: {}, manifest: true}}}}
"""


def made(
    build: Build, suffix: str = ".csv.gz", form: str = "csv", write: str = "true", **more: object
) -> Path:
    """A workspace with the root `crm`."""
    root = build(OUT.format(suffix, form), **more)
    (root / "workspace.yaml").write_text(f"roots: {{crm: {{at: crm, write: {write}}}}}\n")
    return root


def read(file: Path) -> pd.DataFrame:
    """By somebody else's reader."""
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pandas()
    if ".json" in file.name:
        return pd.read_json(file, lines=True)
    return pd.read_csv(file)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".csv.gz", "csv"), (".csv", "csv"), (".parquet", "parquet"), (".json", "json"), (".json.gz", "json")],
)
def test_the_file_is_what_is_published_and_its_manifest_says_so(build: Build, suffix: str, form: str) -> None:
    """Rows by NumPy, sha256 and bytes by Python."""
    root = made(build, suffix, form)
    receipt = run(load("mini", root), DAY)
    file = root / f"crm/out/{DAY}/list{suffix}"
    found, truth = read(file).sort_values("id"), Truth(ROWS).table("mini_top").to_pandas()
    assert found["id"].tolist() == truth["id"].tolist()
    assert found["score"].astype("float32").tolist() == truth["score"].tolist()
    assert {str(day)[:10] for day in found["day"]} == {DAY}
    manifest = json.loads((file.parent / f"{file.name}.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (manifest["rows"], manifest["bytes"]) == (10, file.stat().st_size)
    assert (manifest["run_id"], manifest["file"]) == (receipt.run_id, file.name)
    assert [c["name"] for c in manifest["columns"]] == ["id", "score", "rank", "day"]


def test_the_same_day_is_the_same_bytes_and_another_run_takes_its_place(build: Build) -> None:
    """Gzip names no time; a restated day is delivered again, with its manifest."""
    root = made(build)
    run(load("mini", root), DAY)
    file = root / f"crm/out/{DAY}/list.csv.gz"
    before = file.read_bytes()
    assert call(["redeliver", "mini", "--day", DAY, "--workspace", str(root)]) == 0
    assert file.read_bytes() == before
    Truth(ROWS, (2.0, 0.5)).write_model(root)
    run(load("mini", root), DAY)
    manifest = json.loads(Path(f"{file}.manifest.json").read_text())
    assert file.read_bytes() != before
    assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sorted(path.name for path in file.parent.iterdir()) == ["list.csv.gz", "list.csv.gz.manifest.json"]


def test_null_and_empty_text_are_not_the_same(build: Build) -> None:
    """In CSV a null is nothing and an empty text two quotes; what needs quotes has them."""
    root = made(build, ".csv")
    (root / "jobs/mini/top.sql").write_text(
        "SELECT id, CASE id WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'a \"b\", c' ELSE '=1' END AS note, "
        "[id, NULL] AS some FROM scores WHERE id < getvariable('n') - 6"
    )
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("SELECT count(*) = least", "SELECT count(*) + 6 = least"))
    run(load("mini", root), DAY)
    lines = (root / f"crm/out/{DAY}/list.csv").read_text().splitlines()
    assert lines == [
        '"id","note","some","day"', f'0,,"[0, null]",{DAY}', f'1,"","[1, null]",{DAY}',
        f'2,"a ""b"", c","[2, null]",{DAY}', f'3,"=1","[3, null]",{DAY}',
    ]  # fmt: skip


def test_a_root_that_may_not_be_written_is_refused_by_name(build: Build) -> None:
    """By `check` before anything runs, and by the run."""
    root = made(build, write="false")
    assert call(["check", "mini", "--workspace", str(root)]) == Broken.exit_code
    with pytest.raises(Broken, match=r"root crm may not be written \(workspace.yaml:1\)"):
        run(load("mini", root), DAY)
    assert not (root / "crm").exists()


def test_a_withdrawn_file_gives_way_to_the_one_before_or_goes(build: Build) -> None:
    """With its manifest."""
    root = made(build)
    run(load("mini", root), DAY)
    file = root / f"crm/out/{DAY}/list.csv.gz"
    first = gzip.decompress(file.read_bytes())
    Truth(ROWS, (2.0, 0.5)).write_model(root)
    run(load("mini", root), DAY)
    go = ["withdraw", "mini", "--day", DAY, "--to", "mail", "--by", "Ada", "--because", "wrong prices"]
    assert call([*go, "--workspace", str(root)]) == 0
    assert gzip.decompress(file.read_bytes()) == first
    assert call([*go, "--workspace", str(root)]) == 0
    assert list(file.parent.iterdir()) == []


def test_a_day_that_comes_late_is_skipped_and_sent_when_a_person_asks(build: Build) -> None:
    """`late: skip`; the record says why."""
    root = made(build)
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("{name: mail,", "{name: mail, late: skip,"))
    run(load("mini", root), DAY)
    [record] = list_deliveries(load("mini", root).workspace)
    assert record.status == "skipped" and record.because.startswith("late: ")
    assert not (root / "crm").exists()
    run(load("mini", root), DAY)
    assert len(list_deliveries(load("mini", root).workspace)) == 1
    assert call(["redeliver", "mini", "--day", DAY, "--to", "mail", "--workspace", str(root)]) == 0
    assert (root / f"crm/out/{DAY}/list.csv.gz").exists()


@pytest.fixture
def bucket(s3_server: "Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a prefix of its own."""
    from tests.support.s3 import BUCKET, become_client

    become_client(monkeypatch, s3_server.port, tmp_path / "scratch")
    yield f"s3://{BUCKET}/{tmp_path.name}"
    homes._bucket.cache_clear()


@pytest.mark.slow
def test_data_and_files_may_lie_in_buckets(
    build: Build, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records too: another machine finds the day delivered; a new run takes its place there."""
    from tests.support.s3 import into_bucket

    root = made(build)
    (root / "workspace.yaml").write_text(f"roots: {{crm: {{at: '{bucket}/crm', write: true}}}}\n")
    into_bucket(root, f"{bucket}/data", tmp_path / "moved")
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", f"{bucket}/data")
    store = open_objects(f"{bucket}/crm", tmp_path / "a reader")._store
    runs = []
    for force in (False, True):
        runs.append(run(load("mini", root), DAY, force=force).run_id)
        data = bytes(obstore.get(store, f"out/{DAY}/list.csv.gz").bytes())
        manifest = json.loads(bytes(obstore.get(store, f"out/{DAY}/list.csv.gz.manifest.json").bytes()))
        assert (manifest["sha256"], manifest["run_id"]) == (hashlib.sha256(data).hexdigest(), runs[-1])
        found = pd.read_csv(io.BytesIO(gzip.decompress(data)))
        assert sorted(found["id"]) == sorted(Truth(ROWS).table("mini_top")["id"].to_pylist())
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "another"))
    homes._bucket.cache_clear()
    assert run(load("mini", root), DAY).status == "unchanged"
    assert [one.run_id for one in list_deliveries(load("mini", root).workspace)] == runs


def test_a_day_that_was_removed_is_not_sent_and_that_is_said(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """By retention; what was delivered stays where it is."""
    root = made(build)
    run(load("mini", root), DAY)
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text() + "retain: 90 days\n")
    apply_retention(load("mini", root).workspace, load_all(root)[0])
    assert call(["redeliver", "mini", "--day", DAY, "--workspace", str(root)]) == 1
    assert (
        f"{DAY} of table mini_top is not there to be sent: removed by retention on" in capsys.readouterr().err
    )
    assert (root / f"crm/out/{DAY}/list.csv.gz").exists()
