"""kill -9 at each step of a delivery of files: who waits for the manifest reads a whole file, old or new.

On disk, and in a bucket; the reader is hashlib and pandas. The next run has delivered it, once.
"""

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pandas as pd
import pytest

from nightscore import load, run
from nightscore.store import list_deliveries
from nightscore.store.storage import homes
from nightscore.store.storage.objects import open_objects
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, ROWS, Build
from tests.faults.marks import mostly_slow

if TYPE_CHECKING:
    from tests.support.s3 import Server

DELIVER = """\
deliver:
  - {name: mail, files: {root: crm, path: "{day}/list.csv", format: csv, manifest: true}}
"""
FILE = f"{DAY}/list.csv"
NEW = (2.0, 0.5)
STEPS = {
    "before the file is written": Fault("nightscore.delivery.files.write_file"),
    "after the file is written": Fault("nightscore.delivery.files.write_file", after=True),
    "before the manifest goes": Fault("nightscore.store.records.outgoing.remove"),
    "after the manifest is gone": Fault("nightscore.store.records.outgoing.remove", after=True),
    "before the file takes its place": Fault("nightscore.store.records.outgoing.put_file"),
    "after the file has its place": Fault("nightscore.store.records.outgoing.put_file", after=True),
    "before the manifest is written": Fault("nightscore.store.records.outgoing.put_text"),
    "after the manifest is written": Fault("nightscore.store.records.outgoing.put_text", after=True),
    "before the record": Fault("nightscore.store.records.deliveries.DeliveryRecord.model_dump_json"),
    "after the record": Fault("nightscore.store.records.deliveries.record_delivery", after=True),
    "while the file is copied": Fault("os.sendfile", after=True),
}
QUICK = ["after the file has its place", "before the record"]
Read = Callable[[str], bytes | None]


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.slow)])
def out(
    request: pytest.FixtureRequest, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Read]]:
    """A workspace that has delivered a day, and will publish another; what reads a file of the root."""
    root = build(DELIVER)
    at = str(root / "crm")
    if request.param == "bucket":
        server: Server = request.getfixturevalue("s3_server")
        from tests.support.s3 import BUCKET, become_client

        become_client(monkeypatch, server.port, tmp_path / "scratch")
        at = f"s3://{BUCKET}/{tmp_path.name}/crm"
    (root / "workspace.yaml").write_text(f"roots: {{crm: {{at: '{at}', write: true}}}}\n")
    run(load("mini", root), DAY)
    Truth(ROWS, NEW).write_model(root)
    yield root, _from_bucket(at, tmp_path) if request.param == "bucket" else _from_disk(Path(at))
    homes._bucket.cache_clear()


def _from_disk(folder: Path) -> Read:
    def read(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None

    return read


def _from_bucket(at: str, folder: Path) -> Read:
    store = open_objects(at, folder / "a reader")._store

    def read(name: str) -> bytes | None:
        try:
            return bytes(obstore.get(store, name).bytes())
        except FileNotFoundError:
            return None

    return read


def best(weights: tuple[float, float]) -> list[int]:
    """The ids of the day's decision, by NumPy."""
    return [int(one) for one in Truth(ROWS, weights).table("mini_top")["id"].to_pylist()]


def whole(read: Read) -> list[int] | None:
    """The ids that a reader has who waits for the manifest; None while there is none.

    Who has read a manifest and then the file of the next run finds another sha256, and reads both again.
    """
    text = read(f"{FILE}.manifest.json")
    if text is None:
        return None
    manifest, content = json.loads(text), read(FILE)
    assert content is not None, "a manifest of no file"
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        assert read(f"{FILE}.manifest.json") != text, "a manifest of another file, and it stays"
        return None
    frame = pd.read_csv(io.BytesIO(content))
    assert len(frame) == manifest["rows"]
    return sorted(frame["id"].tolist())


@pytest.mark.parametrize("step", mostly_slow(STEPS, QUICK))
def test_a_reader_who_waits_for_the_manifest_reads_a_whole_day(out: tuple[Path, Read], step: str) -> None:
    """The old one, the new one, or none yet; the next run has it there, and one record of each run."""
    root, read = out
    assert whole(read) == best((1.0, 2.0))
    end = night(root, DAY, STEPS[step])
    in_bucket = not (root / "crm").exists()
    assert end.killed or (step == "while the file is copied" and in_bucket), end  # there it is one request
    assert whole(read) in (best((1.0, 2.0)), best(NEW), None)
    assert run(load("mini", root), DAY).status == "unchanged"
    assert whole(read) == best(NEW) != best((1.0, 2.0))
    left = [path.name for path in (root / "crm").rglob("*") if path.is_file()]
    assert in_bucket or sorted(left) == ["list.csv", "list.csv.manifest.json"]
    records = list_deliveries(load("mini", root).workspace)
    assert [one.status for one in records] == ["delivered"] * 2
    assert len({one.run_id for one in records}) == 2


@pytest.mark.slow
def test_a_reader_beside_never_reads_half_a_file(out: tuple[Path, Read]) -> None:
    """He polls while five runs deliver: each day that he has is one of the two, whole."""
    root, read = out
    ends, seen, wrong = threading.Event(), [], []

    def poll() -> None:
        try:
            while not ends.is_set():
                seen.append(whole(read))
        except Exception as error:  # in a thread it would be lost
            wrong.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for weights in (NEW, (1.0, 2.0)) * 2 + (NEW,):
            Truth(ROWS, weights).write_model(root)
            run(load("mini", root), DAY)
    finally:
        ends.set()
        reader.join()
    assert not wrong, wrong
    days = [one for one in seen if one is not None]
    assert len(days) > 20 and all(one in (best((1.0, 2.0)), best(NEW)) for one in days)
    assert whole(read) == best(NEW)
