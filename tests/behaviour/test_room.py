"""A disk that is too small, or fills up: it is said before a row is scored, or then, and nothing is lost."""

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nightscore import NotYet, load, run
from nightscore.common.workspace import open_workspace
from nightscore.store.published.gc import collect_garbage
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.mistakes import SqlMistakes
from nightscore.store.storage.disk import PREFIX, SpillFolder, find_abandoned_spills, spill_limit
from tests.behaviour.processes import spawn
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts
from tests.support.workspace import JOB, make_workspace, write_day

pytestmark = pytest.mark.disk_only(reason="spills and their disk are this machine's, wherever data/ lies")

ROWS = 150_000
MB = 1_000_000
SORT = "SELECT i, md5(i::VARCHAR) AS h FROM range(3_000_000) t(i)"
Disk = Callable[[Path, int], Path]


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Mounts a file system of so many bytes over a folder; skipped where this user may not."""
    with contextlib.ExitStack() as mounts:

        def mount(folder: Path, size: int) -> Path:
            folder.mkdir(parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip() or done.returncode}")
            mounts.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mount


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    size = shutil.disk_usage(folder).free - leave
    with (folder / "filler").open("wb") as file:
        while size > 0:
            size -= file.write(b"\0" * min(size, MB))
    return folder / "filler"


def used(folder: Path) -> int:
    return sum(p.stat().st_blocks * 512 for p in {p.stat().st_ino: p for p in folder.rglob("*")}.values())


@pytest.mark.parametrize("place", ["runs", "tables"])
@pytest.mark.sample(1)
def test_too_small_a_disk_is_said_before_a_row_is_scored(tmp_path: Path, disk: Disk, place: str) -> None:
    """Of staged files or, on a disk of their own, of tables: what is needed, what is free, and where."""
    root = make_workspace(tmp_path / "w", ROWS, days=(DAY,))
    full = disk(root / f"data/{place}", 30 * MB)
    filler = fill(full, 300_000)
    stages: list[str] = []
    with pytest.raises(NotYet) as caught:
        run(load("mini", root), DAY, report=lambda stage, *_: stages.append(stage))
    assert stages == ["plan"]
    message = str(caught.value)
    says = rf"job mini, day {DAY}: needs about ([0-9.]+) MB of disk in {full} \(mini_scores .*\) "
    found = re.match(says + r"and has ([0-9]+) kB free; nothing was scored", message)
    assert found, message
    assert 1 < float(found[1]) < 3
    assert int(found[2]) <= 300
    filler.unlink()
    assert run(load("mini", root), DAY).status == "published"
    assert ours(root, "mini_scores").is_(Truth(ROWS), "mini_scores")


@pytest.mark.slow
def test_too_small_a_disk_for_the_features_is_said_before_they_are_made(tmp_path: Path, disk: Disk) -> None:
    """By the snapshot of the day before; and one whose scores don't fit then is not left on the disk."""
    job = JOB.replace("features: rows", "features: features.sql")
    root = make_workspace(tmp_path / "w", ROWS, job, days=(DAY, "2020-01-03"))
    runs = disk(root / "data/runs", 30 * MB)
    tables = disk(root / "data/tables", 30 * MB)
    run(load("mini", root), DAY)
    filler = fill(runs, 100_000)
    with pytest.raises(NotYet, match=r"needs about .* of disk in .*/runs \(the feature snapshot .* kB\)"):
        run(load("mini", root), "2020-01-03")
    filler.unlink()
    filler = fill(tables, 100_000)
    with pytest.raises(NotYet, match=r"needs about .* of disk in .*/tables \(mini_scores .* kB, mini_top"):
        run(load("mini", root), "2020-01-03")
    assert not list((runs / "mini/2020-01-03").rglob("features.parquet"))
    filler.unlink()
    assert run(load("mini", root), "2020-01-03").status == "published"


@pytest.mark.slow
def test_a_run_that_fits_is_not_refused(tmp_path: Path, disk: Disk) -> None:
    """With a tenth more than it takes, whether the day before was as large, had one row, or is not there."""
    roomy = make_workspace(tmp_path / "roomy", ROWS, days=(DAY,))
    before = used(roomy / "data")
    run(load("mini", roomy), DAY)
    taken = used(roomy / "data") - before
    for known in (None, 1, ROWS):
        root = make_workspace(tmp_path / f"w{known}", ROWS, days=("2020-01-03",))
        write_day(root, DAY, known or 1)
        (root / "data").rename(root / "lake")
        shutil.copytree(root / "lake", disk(root / "data", 60 * MB), dirs_exist_ok=True)
        if known:
            run(load("mini", root), DAY)
        fill(root / "data", int(taken * 1.1))
        assert run(load("mini", root), "2020-01-03").status == "published"


def test_a_disk_that_fills_up_while_rows_are_scored(tmp_path: Path, disk: Disk) -> None:
    """NotYet with folder and bytes; nothing half is left or published; with room the day is completed."""
    root = make_workspace(tmp_path / "w", ROWS, days=(DAY,))
    runs = disk(root / "data/runs", 30 * MB)
    fillers: list[Path] = []

    def report(stage: str, done: int, total: int) -> None:
        if stage == "score" and not fillers:
            fillers.append(fill(runs, 40_000))

    with pytest.raises(NotYet, match=r"the disk is full: .*/scores has .* free, too little for .*\.parquet"):
        run(load("mini", root), DAY, report=report)
    assert fillers
    assert not [p for p in (root / "data").rglob("*") if p.name.endswith(".tmp")]
    assert not (root / "data/tables").exists()
    fillers[0].unlink()
    assert run(load("mini", root), DAY).status == "published"
    assert all(ours(root, name).is_(Truth(ROWS), name) for name in TABLES)
    assert len(receipts(root)) == 1


def test_a_spill_leaves_a_reserve(tmp_path: Path, disk: Disk) -> None:
    """A sort that would fill the disk stops before: it says what it may use, where, and what helps."""
    small = disk(tmp_path / "small", 60 * MB)
    assert spill_limit(small) == pytest.approx(57 * MB, rel=0.01)
    says = (
        r"top\.sql: needs more than 40 MB of memory and 57(\.\d)? MB of temporary disk, the most that it may "
        r"use in .*/small \(.* free .*reserve.*memory: in job\.yaml"
    )
    with Engine([], EngineResources(1, 40 * MB, small)) as engine:
        with pytest.raises(NotYet, match=says), SqlMistakes("top.sql"):
            sum(batch.num_rows for batch in engine.stream(SORT, order="h"))
        assert shutil.disk_usage(small).free >= 2.5 * MB
    assert list(small.iterdir()) == []


def test_a_spill_on_a_disk_that_others_fill(tmp_path: Path, disk: Disk) -> None:
    """What was free when the engine opened is gone when it spills: the same error, later; nothing stays."""
    small = disk(tmp_path / "small", 100 * MB)
    with Engine([], EngineResources(1, 40 * MB, small)) as engine:
        filler = fill(small, 10 * MB)
        with (
            pytest.raises(NotYet, match=r"top\.sql: needs more than 40 MB of memory"),
            SqlMistakes("top.sql"),
        ):
            sum(batch.num_rows for batch in engine.stream(SORT, order="h"))
    filler.unlink()
    assert list(small.iterdir()) == []


def spill(answers: Connection, folder: Path) -> None:
    """Sort with little memory, for ever."""
    with Engine([], EngineResources(1, 40 * MB, folder)) as engine:
        for _ in engine.stream("SELECT md5(i::VARCHAR) AS h FROM range(1_000_000_000) t(i)", order="h"):
            pass


@pytest.fixture
def killed_spill(published: Path) -> Path:
    """A workspace whose run was killed while it spilled: its folder holds what it had spilled."""
    folder = published / f"data/runs/mini/{DAY}/20200101T000000-aaaaaaaa-bbbbbb"
    night = spawn(spill, folder)
    while not any(p.stat().st_size > MB for p in folder.glob(f"{PREFIX}*/*")):
        assert night.process.is_alive()
        time.sleep(0.01)
    assert list(left(published)) == [next(folder.glob(f"{PREFIX}*"))]
    assert [one for one in collect_garbage(open_workspace(published)) if PREFIX in one.path] == [], (
        "it is at work"
    )
    night.process.kill()
    night.process.join()
    return published


def left(root: Path) -> Iterator[Path]:
    return (root / "data/runs").rglob(f"{PREFIX}*")


def test_the_next_run_removes_what_a_killed_one_has_spilled(killed_spill: Path) -> None:
    """Even one that finds the day unchanged; what another process spills into meanwhile stays."""
    other = SpillFolder(killed_spill / f"data/runs/mini/{DAY}/20200101T000000-cccccccc-dddddd")
    assert run(load("mini", killed_spill), DAY).status == "unchanged"
    assert list(left(killed_spill)) == [other.path]
    other.close()
    assert list(left(killed_spill)) == []


def test_gc_removes_what_a_killed_run_has_spilled(killed_spill: Path) -> None:
    """At once, without the hours of grace that its staged files have, and says how many bytes it was."""
    [one] = [one for one in collect_garbage(open_workspace(killed_spill)) if PREFIX in one.path]
    assert one.bytes > MB
    assert one.reason == "temporary files of a process that is gone"
    assert list(left(killed_spill)) == []


def test_a_spill_folder_is_never_taken_from_its_owner(tmp_path: Path) -> None:
    """While others look for what nobody owns, as fast as they can, folders are made, used and not taken."""
    done = threading.Event()
    taken: list[Path] = []

    def look() -> None:
        while not done.is_set():
            taken.extend(find_abandoned_spills([tmp_path]))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(500):
            folder = SpillFolder(tmp_path)
            (folder.path / "spilled").write_text("x")
            folder.close()
    finally:
        done.set()
        looking.join()
    assert taken == []
    assert list(tmp_path.iterdir()) == []
