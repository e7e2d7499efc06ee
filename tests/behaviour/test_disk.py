"""File systems that are full, have no hard links, or hold what a killed night has left."""

import errno
import os
import resource
import shutil
import signal
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nightscore import NotYet, load, run
from tests.behaviour.conftest import MANY, ROWS
from tests.behaviour.processes import Fault, night, spawn
from tests.behaviour.world import DAY, READERS, TABLES, Truth, no_half_files, ours, receipts

pytestmark = pytest.mark.disk_only(reason="its disk is that of data/")

NEW = Truth(ROWS, (4.0, 1.0))


def without_links(answers: Connection, root: Path, fatal: int) -> None:
    """A night where links are refused as between two disks; in the middle of a copy it is killed."""
    copies = count(1)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def half(source: Path, target: Path) -> Path:
        data = Path(source).read_bytes()
        Path(target).write_bytes(data[: len(data) // 2])
        if next(copies) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(target).open("ab") as file:
            file.write(data[len(data) // 2 :])
        return target

    os.link, shutil.copyfile = refuse, half  # type: ignore[assignment]
    answers.send({"status": run(load("mini", root), DAY).status})


@pytest.mark.slow
def test_without_hard_links_a_night_killed_in_a_copy_leaves_no_half_file(published: Path) -> None:
    """Killed in the middle of its k-th copy, for each k: what bears the name of a file is whole."""
    NEW.write_model(published)
    for k in count(1):
        end = spawn(without_links, published, k).wait()
        no_half_files(published)
        seen = [ours(published, name) for name in TABLES]
        assert len({s.runs for s in seen}) == 1
        if not end.killed:
            break
    assert end.status in ("published", "unchanged"), end
    assert k > 3
    for name in TABLES:
        for reader in READERS:
            assert reader(published, name).is_(NEW, name)
    assert len(receipts(published)) == 2


def with_little_disk(answers: Connection, root: Path, most: int) -> None:
    """A night that may write no file larger than so many bytes: what a full disk says, at another errno."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        answers.send({"status": run(load("mini", root), DAY).status})
    except (NotYet, OSError) as error:
        answers.send({"error": type(error).__name__, "message": str(error)})


@pytest.mark.parametrize("most", [100, 2_000, 8_000])
@pytest.mark.sample(1)
def test_a_full_disk_leaves_the_day_as_it_was(published: Path, most: int) -> None:
    """No file can be finished: no table changes, nothing temporary stays; with room it is published."""
    NEW.write_model(published)
    end = spawn(with_little_disk, published, most).wait()
    assert end.error, end
    for name in TABLES:
        for reader in READERS:
            assert reader(published, name).is_(Truth(ROWS), name)
    assert not [p for p in (published / "data").rglob("*") if p.name.endswith(".tmp")]
    assert night(published, DAY).status in ("published", "unchanged")
    assert all(ours(published, name).is_(NEW, name) for name in TABLES)
    assert len(receipts(published)) == 2


def test_files_that_nobody_committed_are_seen_by_no_reader(published: Path) -> None:
    """A whole Parquet file under a table's root is not data until a commit names it."""
    for name in TABLES:
        folder = published / f"data/tables/{name}/day={DAY}"
        [live] = folder.glob("*.parquet")
        shutil.copy(live, folder / "20990101T000000-aaaaaaaa-bbbbbb-0.parquet")
    for name in TABLES:
        for reader in READERS:
            assert reader(published, name).is_(Truth(ROWS), name)
    assert run(load("mini", published), DAY).status == "unchanged"


def test_what_a_killed_night_left_half_is_never_taken_for_finished(large: Path) -> None:
    """Temporary files beside finished pieces are passed over; the day is complete all the same."""
    truth = Truth(MANY, (4.0, 1.0))
    truth.write_model(large)
    assert night(large, DAY, Fault("nightscore.pipeline.steps.with_timings", after=True)).killed
    [scores] = {p.parent for p in (large / "data/runs").glob("*/*/*/scores/*.parquet")
                if "receipt.json" not in {q.name for q in p.parent.parent.iterdir()}}  # fmt: skip
    (scores / ".half.parquet.0.tmp").write_bytes(b"PAR1 half")
    assert night(large, DAY).status == "published"
    assert all(ours(large, name).is_(truth, name) for name in TABLES)


@pytest.mark.parametrize("damage", ["{", "[]", '{"pieces": [], "inputs": {}, "of a later version": 1}'])
@pytest.mark.sample(1)
def test_a_plan_that_cannot_be_read_is_made_anew(published: Path, damage: str) -> None:
    """Cut short by a disk, or written by another version of ours: the night is planned again."""
    NEW.write_model(published)
    assert night(published, DAY, Fault("score")).killed
    plans = (published / "data/runs").glob("*/*/*/plan.json")
    [plan] = [p for p in plans if not (p.parent / "receipt.json").exists()]
    plan.write_text(damage)
    assert run(load("mini", published), DAY).status == "published"
    assert all(ours(published, name).is_(NEW, name) for name in TABLES)
