"""Inputs in a bucket of a real S3 server: read as on disk, and never two states of an object mixed."""

import io
import json
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common import Broken, NotYet
from nightscore.pipeline.read import steady
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.store import plan_from_json
from nightscore.store.storage import homes
from nightscore.store.storage.fetches import Fetches
from nightscore.store.storage.objects import Objects, open_objects
from tests.support.s3 import BUCKET, KEY, SECRET, become_client
from tests.support.s3_proxy import Proxy
from tests.support.workspace import DAYS, JOB, make_workspace, rows_of

pytestmark = pytest.mark.disk_only(reason="its lake is in a bucket already")

FROM_LAKE = JOB.replace(
    "{path: data/lake/rows, partition: day}", "{root: lake, path: shop/rows, partition: day}"
)
DAY = DAYS[0]


@pytest.fixture
def lake(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """A bucket with the rows of three days, 500 each, in two files a day."""
    become_client(monkeypatch, proxy.port, tmp_path / "scratch")
    monkeypatch.setenv("NIGHTSCORE_ROOT_LAKE", f"s3://{BUCKET}/{tmp_path.name}")
    bucket = open_objects(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "writer")
    for day in DAYS:
        put_day(bucket, day)
    yield bucket
    homes._bucket.cache_clear()


def put_day(bucket: Objects, day: str, rows: int = 500) -> None:
    """A day's rows as somebody else's writer puts them."""
    table = rows_of(day, rows)
    for number in range(2):
        sink = io.BytesIO()
        pq.write_table(table[number * rows // 2 : (number + 1) * rows // 2], sink)
        bucket.replace(f"shop/rows/day={day}/part-{number}.parquet", sink.getvalue())


@pytest.fixture
def workspace(lake: Objects, tmp_path: Path) -> Path:
    """A job over the bucket; nothing of the lake lies in the workspace."""
    root = make_workspace(tmp_path / "ws", 500, FROM_LAKE)
    shutil.rmtree(root / "data/lake")
    return root


def scores(root: Path) -> list[dict[str, Any]]:
    """What is published."""
    found: list[dict[str, Any]] = query("SELECT id, a, score FROM mini_scores ORDER BY ALL", root).to_pylist()
    return found


@pytest.mark.slow
def test_a_night_over_a_bucket_is_the_night_over_the_same_files_on_disk(
    workspace: Path, tmp_path: Path
) -> None:
    """Row by row; and plan and receipt name the root, and no credential."""
    receipt = run(load("mini", workspace), DAY)
    assert receipt.status == "published"
    assert [f.path for f in receipt.inputs] == [f"lake:shop/rows/day={DAY}/part-{n}.parquet" for n in (0, 1)]
    on_disk = make_workspace(tmp_path / "disk", 500)
    run(load("mini", on_disk), DAY)
    assert scores(workspace) == scores(on_disk)
    written = [path for path in workspace.rglob("*") if path.suffix in (".json", ".html")]
    assert written and not any("of-tests-only" in path.read_text() for path in written)


def test_files_are_fetched_once_and_again_when_they_are_others(
    workspace: Path, lake: Objects, proxy: Proxy
) -> None:
    """A second run of the same files asks for listings alone; new bytes are a new cause."""
    job = load("mini", workspace)
    proxy.set_rules()
    run(job, DAY)
    first = proxy.counts
    assert first["GET"] == 2, "two files, each by one request"
    proxy.set_rules()
    assert run(job, DAY).status == "unchanged"
    assert proxy.counts["GET"] == 0
    before = scores(workspace)
    put_day(lake, DAY, 400)
    assert run(job, DAY).status == "published"
    assert len(scores(workspace)) == 400 != len(before)


@pytest.mark.slow
def test_days_that_are_not_read_are_not_opened(workspace: Path, lake: Objects, proxy: Proxy) -> None:
    """A lake of years costs a listing of its days, and one of the day that is read."""
    for number in range(1_100):
        lake.replace(
            f"shop/rows/day={2000 + number // 336}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}/x.parquet",
            b"",
        )
    proxy.set_rules()
    run(load("mini", workspace), DAY)
    assert (proxy.counts["GET"], proxy.counts["LIST"] <= 25) == (2, True), proxy.counts


@pytest.mark.slow
def test_a_lookback_costs_no_listing_a_day(workspace: Path, lake: Objects, proxy: Proxy) -> None:
    """Days that lie beside each other are listed together; what is asked anew on purpose is not one each."""
    day = date.fromisoformat(DAY)
    lake.each(
        lambda number: put_day(lake, (day - timedelta(days=number)).isoformat(), rows=2), list(range(1, 200))
    )
    file = workspace / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace("partition: day}", "partition: day, lookback: 200}"))
    proxy.set_rules()
    receipt = run(load("mini", workspace), DAY)
    assert str(receipt.days_seen["rows"]).startswith("200 of 200")
    assert (proxy.counts["GET"], proxy.counts["LIST"] <= 45) == (400, True), proxy.counts


def change_while_read(lake: Objects, kind: str) -> None:
    """What happens in the bucket while a night reads."""
    if kind == "replaced":
        put_day(lake, DAY, 300)
    elif kind == "removed":
        lake.remove(f"shop/rows/day={DAY}/part-1.parquet")
    else:
        lake.replace(f"shop/rows/day={DAY}/part-2.parquet", lake.read(f"shop/rows/day={DAY}/part-1.parquet"))


@pytest.mark.parametrize("kind", ["replaced", "removed", "came"])
def test_what_changes_while_it_is_read_is_not_published(
    workspace: Path, lake: Objects, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Neither the old day nor the new one: the night says so, and the next one reads what is there then."""
    job, real = load("mini", workspace), steady._refuse_changed
    done: list[str] = []

    def changing(*args: Any) -> None:
        if not done:
            done.append(kind)
            change_while_read(lake, kind)
        real(*args)

    monkeypatch.setattr(steady, "_refuse_changed", changing)
    with pytest.raises(
        NotYet, match=r"lake:shop/rows/day=2020-01-01/part-\d.parquet: (changed|removed|came)"
    ):
        run(job, DAY)
    assert not (workspace / "data/tables").exists()
    rows = {"replaced": 300, "removed": 250, "came": 750}[kind]
    if kind != "came":  # the same keys twice are refused by another rule
        assert run(job, DAY).rows.published == rows


@pytest.mark.parametrize("kind", ["replaced", "removed", "came"])
def test_what_changes_between_plan_and_publication_is_not_published(
    workspace: Path, lake: Objects, kind: str
) -> None:
    """A plan looks once, a piece reads the objects that it names, and whoever publishes looks anew."""
    job = load("mini", workspace)
    plan = plan_day(job, date.fromisoformat(DAY))
    change_while_read(lake, kind)
    staged = [score_piece(job, plan, piece) for piece in plan.pieces]  # what was fetched for the plan
    assert sum(piece.rows for piece in staged) == 500
    with pytest.raises(
        NotYet, match=r"lake:shop/rows/day=2020-01-01/part-\d.parquet: (changed|removed|came)"
    ):
        publish_day(job, plan, staged)


def test_a_piece_of_another_machine_fetches_its_own_files_alone(
    workspace: Path, lake: Objects, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not all that the plan names, and it lists no folder; what has become another object is refused."""
    (workspace / "jobs/mini/job.yaml").write_text(FROM_LAKE + "scoring: {piece_rows: 1000}\n")
    put_day(lake, DAY, 2000)
    job = load("mini", workspace)
    plan = plan_day(job, date.fromisoformat(DAY))
    assert [[part.path[-14:] for part in piece.ranges] for piece in plan.pieces] == [
        ["part-0.parquet"], ["part-1.parquet"],
    ]  # fmt: skip
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "another machine"))
    homes._bucket.cache_clear()
    job = load("mini", workspace)
    proxy.set_rules()
    assert score_piece(job, plan, plan.pieces[0]).rows == 1000
    assert (proxy.counts["GET"], proxy.counts["LIST"]) == (1, 0), proxy.counts
    lake.replace(f"shop/rows/day={DAY}/part-1.parquet", lake.read(f"shop/rows/day={DAY}/part-0.parquet"))
    with pytest.raises(NotYet, match=r"part-1.parquet: (changed|removed) while it was being read"):
        score_piece(job, plan, plan.pieces[1])


def test_an_object_that_is_replaced_between_listing_and_fetch_is_not_mixed(
    workspace: Path, lake: Objects, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are asked for by If-Match."""
    real = Fetches.file

    def late(self: Fetches, found: Any, path: Path) -> None:
        if found.key.endswith("part-1.parquet"):
            put_day(lake, DAY, 300)
        real(self, found, path)

    monkeypatch.setattr(Fetches, "file", late)
    with pytest.raises(NotYet, match=r"part-[01]\.parquet: changed or removed while it was being read"):
        run(load("mini", workspace), DAY)
    assert not (workspace / "data/tables").exists()


FAULTS: dict[str, dict[str, Any]] = {
    "a reset": {"reset": True}, "a lost answer": {"lost": True},
    "500": {"status": 500}, "503": {"status": 503},
    "429": {"status": 429}, "half a body": {"cut": True, "method": "GET", "path": "parquet"},
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("skip", [0, 2, 5])
@pytest.mark.sample(3)
def test_a_request_that_fails_is_made_again(workspace: Path, proxy: Proxy, name: str, skip: int) -> None:
    """Once: the night is as it would have been."""
    proxy.set_rules({**FAULTS[name], "skip": skip, "times": 1})
    assert run(load("mini", workspace), DAY).rows.published == 500


def test_a_bucket_without_its_server_is_not_yet(
    workspace: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is published."""
    from nightscore.store.storage import requests

    monkeypatch.setattr(requests, "TRIES", 2)
    proxy.set_rules({"status": 503, "times": 1_000_000})
    with pytest.raises(NotYet, match=r"s3://.*: the storage answers 503 Service Unavailable, not what"):
        run(load("mini", workspace), DAY)
    assert not (workspace / "data/tables").exists()


def test_a_path_that_is_not_in_the_bucket_is_said(workspace: Path) -> None:
    """With the root, its address and who has set it."""
    file = workspace / "jobs/mini/job.yaml"
    file.write_text(file.read_text().replace("shop/rows", "shop/sales"))
    with pytest.raises(Broken, match=r"there is no lake:shop/sales in root lake, which is s3://.*_ROOT_LAKE"):
        run(load("mini", workspace), DAY)


def test_a_delta_table_in_a_bucket_is_no_folder_of_parquet(workspace: Path, lake: Objects) -> None:
    """Its deleted rows would come back."""
    lake.replace("shop/rows/_delta_log/00000000000000000000.json", b"{}")
    with pytest.raises(Broken, match="lake:shop/rows is a Delta Lake table"):
        run(load("mini", workspace), DAY)


def test_doctor_asks_the_bucket(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request takes; and what is wrong, without the secret."""
    assert call(["doctor", "--json", "--workspace", str(workspace)]) == 0
    roots = {root["name"]: root for root in json.loads(capsys.readouterr().out)["roots"]}
    assert roots["lake"]["readable"] and roots["lake"]["seconds"] > 0
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    homes._bucket.cache_clear()
    assert call(["doctor", "--workspace", str(workspace)]) == 1
    shown = capsys.readouterr().out
    assert "credentials" in shown and "another-secret" not in shown


def test_a_scratch_folder_that_is_none_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place: with the setting, by a run and by doctor."""
    (workspace / "file").write_text("")
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(workspace / "file"))
    homes._bucket.cache_clear()
    with pytest.raises(
        Broken, match=r"file/roots: can't be made for .*; set NIGHTSCORE_SCRATCH to a folder of"
    ):
        run(load("mini", workspace), DAY)
    assert call(["doctor", "--workspace", str(workspace)]) == 1


def test_a_scratch_folder_may_lie_in_the_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans name what is fetched by its root: another machine has it elsewhere."""
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(workspace / "scratch"))
    homes._bucket.cache_clear()
    receipt = run(load("mini", workspace), DAY)
    assert receipt.rows.published == 500
    assert [f.path for f in receipt.inputs] == [f"lake:shop/rows/day={DAY}/part-{n}.parquet" for n in (0, 1)]


@pytest.mark.parametrize("name", ["day=2020-01-03", "env=prod", "a[b]", "q?", "a%41"])
def test_a_scratch_folder_that_a_reader_would_take_for_a_partition_is_refused(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Below day=2020-01-03 the rows of each day would be of that day to SQL."""
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / name / "scratch"))
    homes._bucket.cache_clear()
    with pytest.raises(Broken, match=r"NIGHTSCORE_SCRATCH: the path .* must not contain"):
        run(load("mini", workspace), DAY)


def by_arrow(proxy: Proxy) -> S3FileSystem:
    """Arrow's own client, whose keys are those that it is told."""
    return S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=f"127.0.0.1:{proxy.port}", scheme="http"
    )


def test_marks_of_folders_are_no_files(workspace: Path, proxy: Proxy, tmp_path: Path) -> None:
    """As the console of S3 makes them: in a day, and as a day that has nothing yet."""
    marks = by_arrow(proxy)
    for folder in (f"day={DAY}/later", "day=2020-01-09"):
        marks.create_dir(f"{BUCKET}/{tmp_path.name}/shop/rows/{folder}")
    assert run(load("mini", workspace), DAY).rows.published == 500
    with pytest.raises(Broken, match="no partition of 2020-01-09 in rows"):
        run(load("mini", workspace), "2020-01-09")


def test_an_object_that_is_a_folder_too_is_refused(workspace: Path, lake: Objects) -> None:
    """No machine can have both: neither is left out."""
    first = f"shop/rows/day={DAY}/part-0.parquet"
    lake.replace(f"{first}/part-9.parquet", lake.read(first))
    with pytest.raises(Broken, match=r"part-0\.parquet is an object, and others lie below it as in"):
        run(load("mini", workspace), DAY)


def test_a_piece_is_scored_on_another_machine_than_the_one_that_planned(
    workspace: Path, lake: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has fetched nothing yet, and whose files have other numbers."""
    job = load("mini", workspace)
    plan = plan_day(job, date.fromisoformat(DAY))
    monkeypatch.setenv("NIGHTSCORE_SCRATCH", str(tmp_path / "scratch two"))
    homes._bucket.cache_clear()
    job = load("mini", workspace)
    assert plan_from_json(plan.to_json()) == plan
    pieces = [score_piece(job, plan, piece) for piece in plan.pieces]
    assert sum(piece.rows for piece in pieces) == 500
    assert publish_day(job, plan, pieces).status == "published"


@pytest.mark.parametrize("name", ["\x01a", "a\tb", "a\x7f"])
def test_a_key_that_no_request_can_name_is_broken_and_named(
    workspace: Path, lake: Objects, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    """It would be not yet for ever. Written by pyarrow's S3 client, which can."""
    s3 = by_arrow(proxy)
    key = f"{BUCKET}/{tmp_path.name}/shop/rows/day={DAY}/{name}.parquet"
    with s3.open_output_stream(key) as file:
        file.write(b"x")
    with pytest.raises(Broken, match=rf"its key .*/day={DAY}/.* can't be read: it has a control character"):
        run(load("mini", workspace), DAY)
