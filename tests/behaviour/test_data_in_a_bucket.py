"""`data/` in a bucket of a real S3 server: the nights that are published on disk, from any machine."""

import datetime as dt
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common import Broken, NightscoreError, NotYet, open_workspace
from nightscore.common.units import as_day
from nightscore.pipeline.executors import InOrder
from nightscore.pipeline.publish.closing import Closed
from nightscore.pipeline.publish.hold import Held, discard_day, read_held_days
from nightscore.review import open_logbook
from nightscore.review.late_data import find_late_days
from nightscore.store import collect_garbage
from nightscore.store.published.catalog import read_catalog
from nightscore.store.storage import homes, place_of
from nightscore.store.storage.objects import Objects, open_objects
from tests.support.azurite import client_environment as azure_environment
from tests.support.s3 import BUCKET, become_client
from tests.support.s3_proxy import Proxy
from tests.support.workspace import DAYS, JOB, make_workspace, rows_of

pytestmark = pytest.mark.disk_only(reason="its data is in a bucket already")

DAY = DAYS[0]
ROWS = 400
AN_A = 12345.671  # of one row


@pytest.fixture
def bucket(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """The bucket's prefix of a test, with a workspace's lake and model."""
    become_client(monkeypatch, proxy.port, tmp_path / "scratch")
    address = f"s3://{BUCKET}/{tmp_path.name}"
    source = make_workspace(tmp_path / "source", ROWS)
    store = open_objects(address, tmp_path / "writer")
    for file in (path for path in (source / "data").rglob("*") if path.is_file()):
        store.replace(file.relative_to(source / "data").as_posix(), file.read_bytes())
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    yield store
    homes._bucket.cache_clear()


@pytest.fixture
def workspace(bucket: Objects, tmp_path: Path) -> Path:
    """A job over the bucket; there is no folder data/."""
    return a_machine(tmp_path, "one")


def a_machine(tmp_path: Path, name: str) -> Path:
    """The workspace's jobs on a machine that has nothing else yet."""
    root = tmp_path / name
    shutil.copytree(tmp_path / "source/jobs", root / "jobs")
    return root


def scores(root: Path) -> list[dict[str, Any]]:
    """What is published."""
    found: list[dict[str, Any]] = query("SELECT id, a, score FROM mini_scores ORDER BY ALL", root).to_pylist()
    return found


def test_a_night_is_the_night_on_disk(
    workspace: Path, bucket: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in files of the same bytes but for the run's name; other readers see them, too."""
    receipt = run(load("mini", workspace), DAY)
    assert receipt.status == "published"
    there = scores(workspace)
    assert not (workspace / "data").exists(), "written beside the bucket"
    address = f"{bucket.address}/tables/mini_scores"
    by_delta = DeltaTable(address).to_pyarrow_table().select(["id", "a", "score"]).sort_by("id").to_pylist()
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA")
    on_disk = make_workspace(tmp_path / "disk", ROWS)
    run(load("mini", on_disk), DAY)
    assert there == scores(on_disk) == by_delta


@pytest.mark.slow
def test_the_verbs_of_an_operator_work(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run, receipts, verify, why, query, gc."""
    at = ["--workspace", str(workspace)]
    for command in (
        ["run", "mini", "--day", DAY], ["receipts", "mini"], ["verify"],
            ["why", "mini", "--day", DAY, "--key", "id=3"],
        ["query", "SELECT count(*) FROM mini_scores"], ["gc", "--older-than", "0"], ["verify"], ["doctor"],
    ):  # fmt: skip
        assert call([*command, *at]) == 0, (command, capsys.readouterr())
    assert run(load("mini", workspace), DAY).status == "unchanged"


def test_another_machine_sees_it_and_goes_on(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing of the first one's: not its scratch, not its process."""
    run(load("mini", workspace), DAY)
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "scratch two"))
    homes._bucket.cache_clear()
    other = a_machine(tmp_path, "two")
    assert run(load("mini", other), DAY).status == "unchanged"
    assert run(load("mini", other), DAYS[1]).status == "published"
    assert [entry.day for entry in read_catalog(open_workspace(workspace)).history] == list(DAYS[:2])
    assert scores(other) == scores(workspace)


def test_a_model_that_is_gone_from_the_bucket_scores_no_more(workspace: Path, bucket: Objects) -> None:
    """Though a machine has fetched it for an earlier night."""
    run(load("mini", workspace), DAY)
    bucket.remove("models/linear.onnx")
    with pytest.raises(Broken, match=r"linear\.onnx"):
        run(load("mini", workspace), DAYS[1])


def requests_of_a_night(workspace: Path, proxy: Proxy, day: str) -> dict[str, int]:
    """How many requests of each kind a night makes."""
    proxy.set_rules()
    run(load("mini", workspace), day)
    return dict(proxy.counts)


def test_the_requests_of_a_night_are_few(workspace: Path, proxy: Proxy) -> None:
    """Counted, and held to: each is some 30 ms."""
    requests_of_a_night(workspace, proxy, DAYS[0])
    second = requests_of_a_night(workspace, proxy, DAYS[1])
    assert sum(second.values()) <= REQUESTS, second


def test_a_second_look_at_the_days_reads_what_has_changed(
    workspace: Path, bucket: Objects, proxy: Proxy
) -> None:
    """As the front page looks, each half a minute: an attempt a day of each job, and what nights took."""
    space, moment = open_workspace(workspace), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    jobs, days = [f"job_{i}" for i in range(5)], [f"2020-01-{day:02}" for day in range(1, 22)]

    def tell(job: str, day: str, attempt: str, state: str, message: str) -> None:
        one = {"job": job, "day": day, "attempt": attempt, "state": state, "message": message}
        text = json.dumps({**one, "started": moment.isoformat(), "updated": moment.isoformat()})
        bucket.replace(f"attempts/{job}/{day}/{attempt}.json", text.encode())

    def look() -> tuple[dict[tuple[str, str], tuple[str, str]], list[int], list[str]]:
        proxy.set_rules()
        book = open_logbook(space, jobs=[], since=days[1])
        told = {key: (one.state, one.message) for key, one in book.attempts.items()}
        paces = [len(book.paces(job)) for job in jobs]
        reads = [one.split("/attempts/")[1] for one in proxy.log if one.startswith("GET") and ".json" in one]
        assert len(proxy.log) - len(reads) < 25, "listings, and what the catalogue asks for"
        return told, paces, sorted(reads)

    truth = {(job, day): ("published", f"{job} {day}") for job in jobs for day in days[1:]}
    for job in jobs:
        for day in days:
            tell(job, day, "1", "failed", "an earlier try")
            tell(job, day, "2", "published", f"{job} {day}")
        pace = [{"day": DAY, "run_id": "a", "rows": 1, "seconds": {"score": 1.0}}]
        bucket.replace(f"attempts/{job}/paces.json", json.dumps(pace).encode())
    told, paces, reads = look()
    assert (told, paces, len(reads)) == (truth, [1] * 5, 5 * 20 + 5), "of each day the last, and no other"
    assert look() == (truth, [1] * 5, [])

    tell("job_0", days[3], "2", "failed", "now")
    tell("job_1", days[4], "3", "running", "again")
    tell("job_2", days[0], "3", "failed", "too early")
    bucket.remove(f"attempts/job_3/{days[5]}/2.json")
    bucket.remove(f"attempts/job_4/{days[6]}/1.json")
    truth |= {("job_0", days[3]): ("failed", "now"), ("job_1", days[4]): ("running", "again")}
    truth |= {("job_3", days[5]): ("failed", "an earlier try")}
    changed = [f"job_0/{days[3]}/2.json", f"job_1/{days[4]}/3.json", f"job_3/{days[5]}/1.json"]
    assert look() == (truth, [1] * 5, changed)
    assert look() == (truth, [1] * 5, [])


def test_what_is_held_is_found_without_a_look_at_every_run(
    workspace: Path, bucket: Objects, proxy: Proxy
) -> None:
    """A front page asks for it each half a minute; only the first look after an upgrade lists all runs."""
    (workspace / "jobs/mini/job.yaml").write_text(
        JOB + "  - {name: none, sql: SELECT count(*) < 0 FROM scores}\n"
    )
    space = open_workspace(workspace)

    def look() -> tuple[list[str], bool, int]:
        proxy.set_rules()
        days = [one.receipt.day for one in read_held_days(space)]
        return (
            days,
            any(re.search("prefix=[^&]*/runs/?(&|$)", unquote(one)) for one in proxy.log),
            len(proxy.log),
        )

    for day in DAYS[:2]:
        with pytest.raises(Held):
            run(load("mini", workspace), day)
    bucket.remove("held")
    assert look()[:2] == (list(DAYS[:2]), True)
    assert look() == (list(DAYS[:2]), False, 2 + 2 * 3)
    discard_day(space, "mini", as_day(DAYS[0]), by="Ada", because="a test")
    assert look() == ([DAYS[1]], False, 2 + 3)


# What was measured (217: 17 of them for removals, renames and others' commits, 6 to tell of it), and some.
REQUESTS = 220
FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"reset": True}, "lost": {"lost": True}, "500": {"status": 500}, "500 after": {"after": 500},
    "503": {"status": 503}, "409": {"status": 409, "method": "PUT"}, "cut": {"cut": True, "method": "GET"},
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("skip", [3, 30, 80])
@pytest.mark.sample(3)
def test_a_request_that_fails_leaves_the_old_or_the_new(
    workspace: Path, proxy: Proxy, name: str, skip: int
) -> None:
    """The k-th one: the night is published, or the next one publishes it, once."""
    proxy.set_rules({**FAULTS[name], "skip": skip, "times": 1})
    try:
        run(load("mini", workspace), DAY)
    except NightscoreError as error:
        assert isinstance(error, NotYet), error
    proxy.set_rules()
    run(load("mini", workspace), DAY)
    hold_to_one_night(workspace)


def hold_to_one_night(workspace: Path) -> None:
    """By our readers and by a plain one: one receipt, and all rows, once."""
    assert call(["verify", "--workspace", str(workspace)]) == 0
    [entry] = read_catalog(open_workspace(workspace)).history
    assert [row["id"] for row in scores(workspace)] == list(range(ROWS))
    address = entry.file.storage.table_address("data/tables/mini_scores")
    assert DeltaTable(address).to_pyarrow_table().num_rows == ROWS


KILLED = """
import sys
from nightscore import load, run
from nightscore.store.storage import objects
import obstore, os
left = int(sys.argv[2])
def dying(name):
    real = getattr(obstore, name)
    def call(*args, **options):
        global left
        left -= 1
        if left == 0 and sys.argv[3] == "before":
            os._exit(9)
        found = real(*args, **options)
        if left == 0:
            os._exit(9)
        return found
    return call
for name in ("put", "copy", "delete"):
    setattr(objects.obstore, name, dying(name))
run(load("mini", sys.argv[1]), sys.argv[4])
"""


DEATHS = [(number, moment) for number in (1, 4, 7, 10, 13, 16, 19) for moment in ("before", "after")]
QUICK = {(7, "before"), (16, "after")}
CASES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in DEATHS]


@pytest.mark.parametrize(("number", "moment"), CASES)
@pytest.mark.sample(1)
def test_a_machine_that_dies_at_its_kth_write_is_taken_over_by_another(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, moment: str
) -> None:
    """Before or after the write: another machine publishes the day, once."""
    import subprocess
    import sys

    command = [sys.executable, "-c", KILLED, str(workspace), str(number), moment, DAY]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ended.returncode in (0, 9), ended.stderr
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "scratch two"))
    homes._bucket.cache_clear()
    other = a_machine(tmp_path, "two")
    run(load("mini", other), DAY)
    hold_to_one_night(other)


@pytest.mark.slow
def test_what_nobody_needs_is_collected_and_nothing_else(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of the storage; the night stays as it was."""
    run(load("mini", workspace), DAY)
    run(load("mini", workspace), DAY, force=True)
    space = open_workspace(workspace)
    before = scores(workspace)
    removed = collect_garbage(space, grace_hours=0)
    assert any("scores" in one.path for one in removed)
    assert collect_garbage(space, grace_hours=0) == []
    assert scores(workspace) == before
    assert call(["verify", "--workspace", str(workspace)]) == 0


@pytest.mark.parametrize(("method", "header"), [("PUT", "If-None-Match"), ("GET", "If-Match")])
def test_a_storage_that_ignores_conditions_is_refused(
    workspace: Path, proxy: Proxy, method: str, header: str
) -> None:
    """Two runs could both decide what becomes of a day there, or a file be two states of it mixed."""
    proxy.set_rules({"fit": False, "method": method, "times": 1_000_000})
    with pytest.raises(NightscoreError, match=f"this storage ignores {header}"):
        run(load("mini", workspace), DAY)
    proxy.set_rules()
    assert not any(homes.storage_of(open_workspace(workspace)).walk("data/tables"))


@pytest.mark.slow
def test_a_workspace_on_disk_is_brought_to_the_bucket(
    tmp_path: Path, bucket: Objects, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its published days are there, without a run; a second copy copies nothing, and none overwrites."""
    address = f"{bucket.address}-copied"
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA")
    root = make_workspace(tmp_path / "disk", ROWS)
    run(load("mini", root), DAY)
    before = scores(root)
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    copy = ["storage", "copy", str(root / "data"), "--workspace", str(root)]
    assert call([*copy, "--dry-run"]) == 0
    assert "would be copied" in capsys.readouterr().out
    assert call(["verify", "--workspace", str(root)]) == 1, "nothing is there yet"
    assert call(copy) == 0
    shutil.move(root / "data", tmp_path / "away")
    assert scores(root) == before
    assert call(["verify", "--workspace", str(root)]) == 0
    capsys.readouterr()
    again = ["storage", "copy", str(tmp_path / "away"), "--workspace", str(root)]
    assert call(again) == 0
    assert "0 files copied" in capsys.readouterr().out
    (tmp_path / "away/models/linear.onnx").write_bytes(b"another")
    assert call(again) == 1
    assert "is there already, and is another file" in capsys.readouterr().err


def other_byte(workspace: Path, key: str) -> None:
    """Another value in a page of an object, behind the same size and footer."""
    place = place_of(open_workspace(workspace), key)
    before = place.local().read_bytes()
    old, new = (np.array([value], np.float32).tobytes() for value in (AN_A, 0.125))
    assert before.count(old) == 1
    place.storage.replace(key, before.replace(old, new))


@pytest.mark.parametrize("closing", ["", "close: true\n"], ids=["open", "closed"])
def test_a_day_that_is_copied_to_the_bucket_is_unchanged(
    tmp_path: Path, bucket: Objects, monkeypatch: pytest.MonkeyPatch, closing: str
) -> None:
    """A file that was copied is the same cause; one of which a byte is another since is not."""
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA")
    root = make_workspace(tmp_path / "disk", ROWS, job=JOB + closing)
    table = rows_of(DAY, ROWS).set_column(1, "a", pa.array([AN_A, *range(1, ROWS)], pa.float32()))
    key = f"data/lake/rows/day={DAY}/part-0.parquet"
    pq.write_table(table, root / key, compression="none", use_dictionary=False, write_statistics=False)
    first = run(load("mini", root), DAY)
    address = f"{bucket.address}-copied"
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    assert call(["storage", "copy", str(root / "data"), "--workspace", str(root)]) == 0
    shutil.move(root / "data", tmp_path / "away")
    again = run(load("mini", root), DAY)
    assert (again.status, again.run_id) == ("unchanged", first.run_id)
    assert list(find_late_days(load("mini", root), as_day(DAY))) == []
    other_byte(root, key)
    if closing:
        with pytest.raises(Closed, match=r"inputs changed: .*part-0\.parquet"):
            run(load("mini", root), DAY)
    else:
        assert run(load("mini", root), DAY).status == "published"


def test_a_night_in_azure_is_the_night_on_disk(
    azurite_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied there, run, verified, collected; by deltalake's own reader of Azure, too."""
    on_disk = make_workspace(tmp_path / "disk", ROWS)
    for name, value in azure_environment(azurite_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "scratch"))
    address = f"az://{BUCKET}/{tmp_path.name}"
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
    root = tmp_path / "one"
    shutil.copytree(on_disk / "jobs", root / "jobs")
    at = ["--workspace", str(root)]
    assert call(["storage", "copy", str(on_disk / "data"), *at]) == 0
    assert run(load("mini", root), DAY).status == "published"
    assert run(load("mini", root), DAY).status == "unchanged"
    for command in (["verify"], ["gc", "--older-than", "0"], ["verify"], ["doctor"]):
        assert call([*command, *at]) == 0, command
    there = scores(root)
    by_delta = DeltaTable(f"{address}/tables/mini_scores").to_pyarrow_table().select(["id", "a", "score"])
    monkeypatch.delenv("NIGHTSCORE_ROOT_DATA")
    run(load("mini", on_disk), DAY)
    assert there == scores(on_disk) == by_delta.sort_by("id").to_pylist()


@pytest.mark.slow
def test_parts_of_features_are_taken_up_by_another_machine(
    workspace: Path, bucket: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four parts are made here, then this machine is gone: another makes the rest, and publishes."""
    job = JOB.replace("features: rows\n", "features: {sql: features.sql, split_by: id, parts: 4}\n")
    for root in (workspace, other := a_machine(tmp_path, "two")):
        (root / "jobs/mini/job.yaml").write_text(job)

    class Gone(InOrder):
        def map_parts(self, *given: Any) -> Any:
            super().map_parts(given[0], given[1], given[2][:2], given[3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(load("mini", workspace), DAY, executor=Gone())
    made = {seen.key: seen for seen in bucket.walk("runs") if "features-" in seen.key}
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "another"))
    homes._bucket.cache_clear()
    receipt = run(load("mini", other), DAY)
    after = {seen.key: seen for seen in bucket.walk("runs") if "features-" in seen.key}
    assert len(made) == 4 and made.items() <= after.items(), "two snapshots and their sha256"
    assert receipt.rows.published == ROWS // 2 and receipt.parts and receipt.parts.parts == 4
    rows = rows_of(DAY, ROWS).filter(pa.array(np.arange(ROWS) % 2 == 0))
    expected = rows.column("a").to_numpy() + 2 * rows.column("b").to_numpy()
    found = query("SELECT score FROM mini_scores ORDER BY id", other).column("score").to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
