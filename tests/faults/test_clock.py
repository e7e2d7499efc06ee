"""Row 22: a clock that jumps, by libfaketime in real processes (Debian: apt-get install faketime)."""

import datetime as dt
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.behaviour.conftest import ROWS
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, READERS, TABLES, Truth, ours, plain_delta, receipts, tree
from tests.faults.marks import mostly_slow

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOME = Path(__file__).parents[2]
STAGES = ("plan", "score", "prove", "decide", "audit", "link", "publication", "commit mini_scores",
          "commit mini_top", "commit receipts")  # fmt: skip
NEW = Truth(ROWS, (4.0, 1.0))

pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="NOT TESTED: no libfaketime; apt-get install faketime"),
    pytest.mark.disk_only(
        reason="a clock that is not the storage's is refused by S3, which test_machines.py holds"
    ),
]


def under(clock: Path, act: str, *values: object) -> list[str]:
    """`act(*values)` of this module in a process whose clock is as the file `clock` says; what it printed."""
    env = os.environ | {
        "LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
    }  # fmt: skip
    code = f"from tests.faults import test_clock as t; t.{act}(*{[str(v) for v in values]!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the clock is off."""
    return set_to(tmp_path / "clock", "+0")


def set_to(clock: Path, offset: str) -> Path:
    """Atomically: libfaketime reads the file at every call."""
    clock.with_suffix(".new").write_text(offset)
    clock.with_suffix(".new").replace(clock)
    return clock


def year_by_year(root: str, clock: str, *offsets: str) -> None:
    """A forced night under each clock, each with another parameter."""
    from nightscore import load, run

    for n, offset in enumerate(offsets, start=1):
        set_to(Path(clock), offset)
        found = run(load("mini", Path(root)), DAY, force=True, params={"n": n})
        assert found.started_at is not None
        print(json.dumps([found.status, found.run_number, found.started_at.year]))  # noqa: T201


@pytest.mark.slow
def test_a_clock_set_back_or_forward_between_nights_decides_nothing(published: Path, clock: Path) -> None:
    """P11: twenty years back, fifteen ahead, and back again: the last run is in force, numbers rise."""
    offsets = ("-20y", "+15y", "-20y")
    ends = [json.loads(line) for line in under(clock, "year_by_year", published, clock, *offsets)]
    assert [status for status, _, _ in ends] == ["published"] * 3
    numbers = [number for _, number, _ in ends]
    assert numbers == sorted(set(numbers))
    years = [year - dt.datetime.now().year for _, _, year in ends]
    assert all(abs(found - set_) <= 1 for found, set_ in zip(years, (-20, 15, -20), strict=True))
    assert all(reader(published, "mini_top").is_(Truth(ROWS, n=3), "mini_top") for reader in READERS)
    assert len(receipts(published)) == 4
    assert night(published, DAY, params={"n": 3}).status == "unchanged"


def jumping(root: str, clock: str, *stages: str) -> None:
    """A forced night for each stage at which the clock jumps a year, back and forth by turns."""
    from nightscore import load, run

    for i, stage in enumerate(stages):
        set_to(Path(clock), "+0")

        def hook(at: str, *_: int, stage: str = stage, offset: str = "-1y" if i % 2 else "+1y") -> None:
            if at == stage:
                set_to(Path(clock), offset)

        found = run(load("mini", Path(root)), DAY, force=True, params={"n": i + 1}, report=hook)
        print(json.dumps([found.status, found.run_number, found.rows_per_second >= 0]))  # noqa: T201


@pytest.mark.slow
def test_a_clock_that_jumps_at_any_stage_decides_nothing(published: Path, clock: Path) -> None:
    """P11: a year back or forth, at every stage: each run is published, once, and no speed is below zero."""
    ends = [json.loads(line) for line in under(clock, "jumping", published, clock, *STAGES)]
    assert [(status, fine) for status, _, fine in ends] == [("published", True)] * len(STAGES)
    numbers = [number for _, number, _ in ends]
    assert numbers == sorted(set(numbers))
    last = Truth(ROWS, n=len(STAGES))
    assert all(reader(published, name).is_(last, name) for name in TABLES for reader in READERS)


def clear_up(root: str) -> None:
    """`gc` with the usual day of grace."""
    from nightscore.common.workspace import open_workspace
    from nightscore.store.published.gc import collect_garbage

    for one in collect_garbage(open_workspace(Path(root))):
        print(one.reason)  # noqa: T201


KILLED = mostly_slow(["score", "publication", "commit mini_scores"], ["publication"])


@pytest.mark.parametrize("stage", KILLED)
def test_clearing_up_by_a_clock_that_is_ahead_takes_nothing_that_a_reader_needs(
    published: Path, clock: Path, stage: str
) -> None:
    """P9, P11: a day of grace is over at once; a stopped run may go, one that is being published may not."""
    NEW.write_model(published)
    assert night(published, DAY, Fault(stage)).killed
    before = tree(published / "data/tables")
    reasons = under(set_to(clock, "+1y"), "clear_up", published)
    assert set(reasons) <= {
        "stopped and not taken up", "published, lies in its table",
        "temporary files of a process that is gone", "told of a run 90 days ago",
    }  # fmt: skip
    if stage != "score":
        assert "stopped and not taken up" not in reasons
        assert tree(published / "data/tables") == before
    assert night(published, DAY).status in ("published", "unchanged")
    for name in TABLES:
        assert ours(published, name) == plain_delta(published, name)
        assert ours(published, name).is_(NEW, name)


def waiting_in_the_future(root: str, began: str) -> None:
    """A run whose clock is a year ahead waits between scoring and publishing until it is told to go on."""
    from nightscore import load, run
    from nightscore.common.errors import NotYet

    def hook(at: str, *_: int) -> None:
        if at == "link":  # the first to open a pipe waits for the other end
            Path(began).read_text()
            Path(began).read_text()

    try:
        found = run(load("mini", Path(root)), DAY, force=True, params={"n": 3}, report=hook)
        print(found.status)  # noqa: T201
    except NotYet as error:
        print("NotYet", error)  # noqa: T201


@pytest.mark.slow
def test_a_run_with_a_clock_ahead_can_not_publish_over_one_that_was_first(
    published: Path, clock: Path, tmp_path: Path
) -> None:
    """P7, P11: which run is older is not asked of the clock, but of what the day held when it began."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    set_to(clock, "+1y")
    act = partial(under, clock, "waiting_in_the_future", published, pipe)
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(act)
        pipe.write_text("it has come so far")
        assert night(published, DAY, params={"n": 5}).status == "published"
        pipe.write_text("go on")
        assert said.result()[0].startswith("NotYet"), said
    assert all(reader(published, name).is_(Truth(ROWS, n=5), name) for name in TABLES for reader in READERS)
