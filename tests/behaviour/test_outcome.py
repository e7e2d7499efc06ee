"""What becomes of a run is decided once: of those who would decide at once, one has it, and all are told.

Real processes, a barrier, kill -9; the truth is in NumPy (`world.Truth`), read by deltalake and by us.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nightscore import load, run
from nightscore.common.errors import Broken, NotYet
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.publish.hold import Held, discard_day, read_held_days, release_day
from nightscore.pipeline.steps import plan_day, publish_day, score_piece
from nightscore.store.published.gc import collect_garbage
from tests.behaviour import processes
from tests.behaviour.conftest import copied
from tests.behaviour.processes import Fault, Night, armed, night
from tests.behaviour.world import DAY, NO_GRACE, TABLES, Truth, copy, ours, plain_delta, receipts
from tests.faults.marks import mostly_slow
from tests.support.workspace import JOB, make_workspace

ROWS = 300
TRUTH = Truth(ROWS)
FEW = "of a bucket a few rounds: each takes ten seconds"
MANY = [pytest.mark.slow, pytest.mark.rest, pytest.mark.disk_only(reason=FEW)]  # of `make faults`
HOLDING = JOB + "  - {name: never, sql: SELECT false}\n"
STAGES = ("link", "publication", "commit mini_scores", "commit mini_top", "commit receipts", "receipt")
DECIDED = STAGES.index("publication")


@pytest.fixture(scope="module")
def held_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hold_day(tmp_path_factory.mktemp("outcome") / "held")


def hold_day(root: Path) -> Path:
    """A workspace in which DAY is held."""
    make_workspace(root, ROWS, HOLDING, days=(DAY,))
    with pytest.raises(Held):
        run(load("mini", root), DAY)
    return root


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Path:
    return copied(request, "held_template", hold_day)


def run_folder(root: Path) -> Path:
    [one] = [p.parent for p in (root / "data/runs/mini" / DAY).glob("*/plan.json")]
    return one


def decision(folder: Path) -> str:
    [kind] = json.loads((folder / "outcome.json").read_text())
    return str(kind)


def plain(root: Path) -> list[bool]:
    """Of each table, whether other engines see the day; and that it is what it has to be, if they do."""
    there = [(root / "data/tables" / name / "_delta_log").exists() for name in TABLES]
    for name, yes in zip(TABLES, there, strict=True):
        assert not yes or plain_delta(root, name).is_(TRUTH, name)
    return there


def whole(root: Path) -> None:
    """The day is published, whole, for every reader."""
    assert plain(root) == [True, True]
    assert all(ours(root, name).is_(TRUTH, name) for name in TABLES)


def release(root: Path, by: str, report: Any = None) -> str:
    more = {"report": report} if report else {}
    return release_day(open_workspace(root), "mini", as_day(DAY), by=by, because="fine", **more).status


def discard(root: Path, by: str) -> str:
    discard_day(open_workspace(root), "mini", as_day(DAY), by=by, because="wrong")
    return "discarded"


ACTS: dict[str, Callable[[Path], object]] = {
    "Ann releases": lambda root: release(root, "Ann"),
    "Bob discards": lambda root: discard(root, "Bob"),
    "Cid discards": lambda root: discard(root, "Cid"),
    "Dan releases": lambda root: release(root, "Dan"),
    "it is held again": lambda root: run(load("mini", root), DAY).status,
    "it is run by force": lambda root: run(load("mini", root), DAY, force=True).status,
    "gc": lambda root: collect_garbage(open_workspace(root), 0.0),
}
PEOPLE = {"Ann releases": "publish", "Dan releases": "publish", "Bob discards": "discarded",
          "Cid discards": "discarded"}  # fmt: skip


def acting(answers: Connection, root: Path, name: str, barrier: Any, pause: float) -> None:
    """One who acts in the same moment as the others."""
    if barrier is not None:
        barrier.wait(60)
        time.sleep(pause)
    try:
        answers.send({"status": str(ACTS[name](root))})
    except (Broken, NotYet) as error:
        answers.send({"error": type(error).__name__, "message": str(error)})
    except Exception as error:
        answers.send({"error": f"UNEXPECTED {type(error).__name__}", "message": str(error)})


TOGETHER = {
    "a release and a discard": ("Ann releases", "Bob discards"),
    "a release, a discard and gc": ("Ann releases", "Bob discards", "gc"),
    "two releases": ("Ann releases", "Dan releases"),
    "two discards": ("Bob discards", "Cid discards"),
    "a release, a discard and the same run again": ("Ann releases", "Bob discards", "it is held again"),
    "a release, a discard and a run by force": ("Ann releases", "Bob discards", "it is run by force"),
    "everybody": tuple(ACTS),
}
QUICK = ("a release and a discard", "everybody")


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=MANY)])
@pytest.mark.parametrize("together", mostly_slow(TOGETHER, QUICK))
@pytest.mark.sample(1)
def test_of_several_who_decide_at_once_one_has_it(
    held: Path, tmp_path: Path, together: str, rounds: int
) -> None:
    """Exactly one of the people gets a yes, the others are told who had it; the day is whole or not there."""
    for number in range(rounds):
        root = copy(held, tmp_path / str(number))
        folder, names = run_folder(root), TOGETHER[together]
        barrier = processes.make_barrier(len(names))
        pauses = [0.0 if i == number % len(names) else 0.02 * (number % 5) for i in range(len(names))]
        nights = {
            name: processes.spawn(acting, root, name, barrier, pause)
            for name, pause in zip(names, pauses, strict=True)
        }
        ends = {name: one.wait() for name, one in nights.items()}
        assert not [end for end in ends.values() if "UNEXPECTED" in end.error], ends
        yes = [name for name in names if name in PEOPLE and not ends[name].error]
        kind = decision(folder)
        assert len([name for name in yes if PEOPLE[name] == kind]) == 1, (kind, ends)
        if "it is run by force" not in names:  # which is held, too, and may be released or discarded after
            assert len(yes) == 1, ends
        [winner] = [name.split()[0] for name in yes if PEOPLE[name] == kind]
        for name in names:
            if name in PEOPLE and name not in yes:
                told = ends[name].message
                assert f"{winner} (" in told or "it is run by force" in names, (winner, ends)
        if kind == "publish":
            whole(root)
            assert {ours(root, name).runs for name in TABLES} == {frozenset({folder.name})}
            assert json.loads((folder / "receipt.json").read_text())["released"]["by"] == winner
        elif len(yes) == 1:
            assert plain(root) == [False, False] and not (folder / "receipt.json").exists()


def released(answers: Connection, root: Path, fault: Fault) -> None:
    """Ann releases the day; the fault is at one of the stages."""
    try:
        answers.send({"status": release(root, "Ann", armed(fault))})
    except (Broken, NotYet) as error:
        answers.send({"error": type(error).__name__, "message": str(error)})


def releasing(root: Path, stage: str, sent: int) -> Night:
    return processes.spawn(released, root, Fault(stage, signal=sent))


@pytest.mark.parametrize("stage", mostly_slow(STAGES, ["link", "commit mini_scores"]))
@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "is killed"])
@pytest.mark.sample(2)
def test_a_discard_while_a_release_stands_at_a_stage(held: Path, stage: str, killed: bool) -> None:
    """Before the outcome the discard has it, and nothing is ever published; after it, all of the day is."""
    folder, decided = run_folder(held), STAGES.index(stage) >= DECIDED
    one = releasing(held, stage, signal.SIGSTOP)
    assert one.frozen()
    if decided:
        with pytest.raises(Broken, match=r"is not held; held: nothing; run .* was: Ann .* released it: fine"):
            discard(held, "Bob")
    else:
        discard(held, "Bob")
    if killed:
        os.kill(one.process.pid or 0, signal.SIGKILL)
        assert one.wait().killed
    else:
        one.thaw()
        end = one.wait()
        assert (end.status == "published") == decided, end
        assert decided or ("Bob" in end.message and "discarded it: wrong" in end.message), end
    assert decision(folder) == ("publish" if decided else "discarded")
    collect_garbage(open_workspace(held), 0.0)
    if decided:
        assert run(load("mini", held), DAY).status == "unchanged"
        whole(held)
        assert len(receipts(held)) == 1
    else:
        assert plain(held) == [False, False]
        with pytest.raises(Held):
            run(load("mini", held), DAY)
        assert plain(held) == [False, False]


@pytest.mark.parametrize("stage", mostly_slow(STAGES[DECIDED:], ["commit mini_scores"]))
def test_a_day_that_the_race_of_a_version_before_left_half_is_completed(held: Path, stage: str) -> None:
    """publication.json beside discarded.json, one table committed: the next run publishes the other, too."""
    folder = run_folder(held)
    assert releasing(held, stage, signal.SIGKILL).wait().killed
    publication = json.loads((folder / "outcome.json").read_text())["publish"]
    del publication["hand_overs"]  # which that version did not know
    (folder / "outcome.json").unlink()
    (folder / "publication.json").write_text(json.dumps(publication))
    (folder / "discarded.json").write_text(json.dumps({"by": "Bob", "because": "wrong"}))
    collect_garbage(open_workspace(held), 0.0)
    assert run(load("mini", held), DAY).status == "unchanged"
    whole(held)
    assert list(read_held_days(open_workspace(held))) == []


def test_a_discarded_run_of_a_version_before_stays_discarded(held: Path) -> None:
    """discarded.json alone: it is not held, nobody takes it up, and gc removes what was staged."""
    folder = run_folder(held)
    (folder / "discarded.json").write_text(json.dumps({"by": "Bob", "because": "wrong"}))
    assert list(read_held_days(open_workspace(held))) == []
    with pytest.raises(Broken, match="is not held"):
        release(held, "Ann")
    assert [one.reason for one in collect_garbage(open_workspace(held), NO_GRACE)] == ["discarded"]
    assert not (folder / "scores").exists()
    with pytest.raises(Held):
        run(load("mini", held), DAY)
    assert len([p for p in folder.parent.iterdir() if (p / "plan.json").exists()]) == 1


@pytest.fixture
def open_root(tmp_path: Path) -> Path:
    return make_workspace(tmp_path / "w", ROWS, days=(DAY,))


@pytest.mark.disk_only(reason="it makes a record old by hand")
def test_a_collected_run_that_comes_to_life_is_not_yet(open_root: Path) -> None:
    """Somebody has its plan: no piece is scored by it, nothing is published, and the day can be run."""
    job = load("mini", open_root)
    plan = plan_day(job, as_day(DAY))
    staged = LOCAL_THREADS.map(job, plan, plan.pieces)
    folder = run_folder(open_root)
    removed = collect_garbage(open_workspace(open_root), grace_hours=0.0)
    assert [one.reason for one in removed] == ["stopped and not taken up"]
    assert decision(folder) == "collected"
    assert {p.name for p in folder.iterdir()} <= {"outcome.json", "lock"}
    for act in (lambda: score_piece(job, plan, plan.pieces[0]), lambda: publish_day(job, plan, staged)):
        with pytest.raises(NotYet, match="gc` has removed it"):
            act()
    assert collect_garbage(open_workspace(open_root), grace_hours=0.0) == []
    assert run(job, DAY).status == "published"
    whole(open_root)
    then = time.time() - 40 * 86_400
    os.utime(folder / "outcome.json", (then, then))
    assert folder.name in {Path(one.path).name for one in collect_garbage(open_workspace(open_root), 0.0)}
    assert not folder.exists()


def publishing(answers: Connection, root: Path, done: tuple[Any, Any], barrier: Any, pause: float) -> None:
    """A run of which somebody holds plan and staged files comes to its end."""
    plan, staged = done
    barrier.wait(60)
    time.sleep(pause)
    try:
        answers.send({"status": publish_day(load("mini", root), plan, staged).status})
    except (Broken, NotYet, OSError) as error:
        answers.send({"error": type(error).__name__, "message": str(error)})


def collecting(answers: Connection, root: Path, barrier: Any, pause: float) -> None:
    """Gc without any grace."""
    barrier.wait(60)
    time.sleep(pause)
    answers.send({"status": str(len(collect_garbage(open_workspace(root), 0.0)))})


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=MANY)])
@pytest.mark.slow
def test_gc_beside_a_run_that_publishes(open_root: Path, tmp_path: Path, rounds: int) -> None:
    """The run is kept and published whole, or collected and refused; never both, never a part."""
    ends = set()
    for number in range(rounds):
        root = copy(open_root, tmp_path / str(number))
        job = load("mini", root)
        plan = plan_day(job, as_day(DAY))
        staged = LOCAL_THREADS.map(job, plan, plan.pieces)
        folder, barrier = run_folder(root), processes.make_barrier(2)
        run_ = processes.spawn(publishing, root, (plan, staged), barrier, 0.004 * (number % 7))
        gc_ = processes.spawn(collecting, root, barrier, 0.004 * (number % 5))
        end = run_.wait()
        assert not gc_.wait().error
        kind = decision(folder)
        assert (kind == "publish") == (end.status == "published"), (kind, end)
        if kind == "publish":
            whole(root)
        else:
            assert plain(root) == [False, False]
            assert run(job, DAY).status == "published"
            whole(root)
        ends.add(kind)
    assert ends <= {"publish", "collected"}


def test_a_preview_leaves_no_fence(open_root: Path) -> None:
    """Nobody can publish by its plan: gc removes it whole."""
    assert run(load("mini", open_root), DAY, limit=10).status == "preview"
    folder = run_folder(open_root)
    assert collect_garbage(open_workspace(open_root))
    assert not folder.exists()


def test_a_night_that_is_killed_right_after_its_outcome_is_completed(open_root: Path) -> None:
    """From the outcome on the run is published by whoever comes next, and gc leaves it alone."""
    assert night(open_root, DAY, Fault("publication")).killed
    assert decision(run_folder(open_root)) == "publish"
    collect_garbage(open_workspace(open_root), 0.0)
    assert run(load("mini", open_root), DAY).status == "unchanged"
    whole(open_root)
