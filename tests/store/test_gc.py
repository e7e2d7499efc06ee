"""What may be removed, and what never."""

import datetime as dt
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nightscore import load, query, run
from nightscore.job.loader import Job
from nightscore.pipeline.publish.hold import read_held_days
from nightscore.review.explain import explain_row
from nightscore.store.published.gc import Removed, collect_garbage
from tests.support.workspace import make_workspace

DAY = "2020-01-02"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return load("mini", make_workspace(tmp_path / "ws"))


def age(job: Job, hours: float) -> None:
    """Make every file of runs and tables look older."""
    then = time.time() - hours * 3600
    for root in (job.workspace.runs, job.workspace.tables):
        for path in root.rglob("*"):
            os.utime(path, (then, then))


def rows(job: Job, version: int | None = None) -> list[dict[str, object]]:
    sql = "SELECT count(*) AS n, sum(score) AS s, min(run_id) AS run FROM mini_scores"
    found: list[dict[str, object]] = query(sql, job.workspace, version).to_pylist()
    return found


def stop_at(stage: str):  # type: ignore[no-untyped-def]
    """A report that ends the run at a stage, as a failure of the machine would."""

    def report(now: str, done: int, total: int) -> None:
        if now == stage:
            raise KeyboardInterrupt

    return report


def test_every_published_version_is_kept(job: Job) -> None:
    """After gc each version of the tables reads as before, the overwritten one too."""
    run(job, DAY)
    run(job, DAY, force=True)
    before = [rows(job, 1), rows(job, 2)]
    age(job, 1000)
    assert collect_garbage(job.workspace)
    assert [rows(job, 1), rows(job, 2)] == before
    assert before[0] != before[1]


def test_a_stopped_run_is_kept_for_a_day_then_removed(job: Job) -> None:
    """A run that was stopped keeps its pieces, so that it is taken up; after a day they go."""
    with pytest.raises(KeyboardInterrupt):
        run(job, DAY, report=stop_at("audit"))
    assert collect_garbage(job.workspace) == []
    age(job, 25)
    assert [one.reason for one in collect_garbage(job.workspace)] == ["stopped and not taken up"]
    assert run(job, DAY).status == "published"


def test_a_run_that_is_being_published_is_never_touched(job: Job) -> None:
    """Between the commits of two tables nothing of a run may go, however old; the next run completes it."""
    run(job, DAY)
    with pytest.raises(KeyboardInterrupt):
        run(job, DAY, force=True, report=stop_at("commit mini_scores"))
    age(job, 1000)
    collect_garbage(job.workspace)
    assert run(job, DAY).status == "unchanged"
    assert len(query("SELECT * FROM receipts", job.workspace)) == 2


def test_a_receipt_that_is_written_and_not_committed_yet_is_never_touched(job: Job) -> None:
    """Its file lies in the table of receipts a moment before the commit that names it."""
    for stage in ("commit mini_top", "commit receipts"):
        with pytest.raises(KeyboardInterrupt):
            run(job, DAY, force=True, report=stop_at(stage))
        [folder] = [
            path.parent
            for path in job.workspace.runs.rglob("outcome.json")
            if not (path.parent / "receipt.json").exists()
        ]
        file = job.workspace.tables / f"receipts/day={DAY}/{folder.name}-0123abcd.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"a row")
        age(job, 1000)
        collect_garbage(job.workspace)
        assert file.exists()
        assert run(job, DAY).status in ("published", "unchanged")
        age(job, 1000)
        collect_garbage(job.workspace)
        assert not file.exists(), "nobody has committed it, and nobody will"


def test_a_run_at_work_is_never_touched(job: Job) -> None:
    """What a working process has staged stays, even if it looks old."""
    removed: list[object] = []

    def collect(stage: str, done: int, total: int) -> None:
        if stage == "audit":
            age(job, 1000)
            removed.extend(collect_garbage(job.workspace, grace_hours=0))

    assert run(job, DAY, report=collect).status == "published"
    assert removed == []
    assert rows(job)[0]["n"] == 5000


def test_orphans_in_a_table_are_removed(job: Job) -> None:
    """Files under a table's root that no receipt and no run knows go when they are old enough."""
    run(job, DAY)
    orphan = job.workspace.tables / f"mini_scores/day={DAY}/20200101T000000-00000000-000000-0.parquet"
    orphan.write_bytes(b"left behind")
    assert not [one for one in collect_garbage(job.workspace) if one.path.endswith(orphan.name)]
    age(job, 25)
    assert [one for one in collect_garbage(job.workspace) if one.path.endswith(orphan.name)]
    assert not orphan.exists()
    assert rows(job)[0]["n"] == 5000


def test_why_still_knows_the_features_of_the_run_in_force(tmp_path: Path) -> None:
    """The feature snapshot of the run in force survives gc, those of older runs do not."""
    root = make_workspace(tmp_path / "ws")
    spec = root / "jobs/mini/job.yaml"
    spec.write_text(spec.read_text().replace("features: rows", "features: features.sql"))
    job = load("mini", root)
    first, second = run(job, DAY), run(job, DAY, force=True)
    age(job, 1000)
    collect_garbage(job.workspace)
    folder = job.workspace.runs / "mini" / DAY
    assert not (folder / first.run_id / "features.parquet").exists()
    assert (folder / second.run_id / "features.parquet").exists()
    explained = explain_row(job, dt.date(2020, 1, 2), {"id": "4"})
    assert explained.features is not None
    assert set(explained.features) == {"id", "a", "b"}


def test_dry_run_removes_nothing(job: Job) -> None:
    """`dry_run` lists what would go and leaves it."""
    run(job, DAY)
    listed = collect_garbage(job.workspace, dry_run=True)
    assert listed
    assert all((job.workspace.root / one.path).exists() for one in listed)


@pytest.mark.slow
def test_several_at_once_remove_the_same_and_none_fails(job: Job) -> None:
    """An operator's beside the nightly one: what another has removed by then is gone, and that is all."""
    with pytest.raises(KeyboardInterrupt):
        run(job, DAY, report=stop_at("audit"))
    [folder] = (job.workspace.runs / "mini" / DAY).glob("*")
    for number in range(2_000):
        (folder / "scores" / f"{number}.parquet").touch()
    age(job, 48)
    together = threading.Barrier(4)

    def collect() -> list[Removed]:
        together.wait()
        return collect_garbage(job.workspace)

    with ThreadPoolExecutor(4) as pool:
        done = [future.result() for future in [pool.submit(collect) for _ in range(4)]]
    assert any(done) and not list(folder.glob("scores"))
    assert run(job, DAY).status == "published"


@pytest.mark.slow
def test_gc_goes_on_beside_folders_that_come_and_go(job: Job) -> None:
    """Queries and runs make their spill folders where gc looks, and remove them while it does."""
    run(job, DAY)
    collect_garbage(job.workspace)
    done = threading.Event()

    def spill(number: int) -> None:
        while not done.is_set():
            folder = job.workspace.runs / f".duckdb-{number}" / "a" / "b"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder.parents[1])

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(spill, number) for number in range(4)]
        try:
            for _ in range(60):
                assert collect_garbage(job.workspace) == []
                assert list(read_held_days(job.workspace)) == []
        finally:
            done.set()
        assert [future.result() for future in working] == [None] * 4


def test_gc_of_nothing(job: Job) -> None:
    """In a workspace where nothing ran there is nothing to do."""
    assert collect_garbage(job.workspace) == []
