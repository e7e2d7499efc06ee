"""Several runs at once: of one day exactly one publishes at a time, of different days and jobs all do."""

import dataclasses
import datetime as dt
import signal
from pathlib import Path

import pytest

from nightscore import NotYet, load, query, run
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import plan_day, publish_day
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.processes import Fault, night, start
from tests.behaviour.world import DAY, TABLES, Truth, ours, plain_delta, receipts, tree
from tests.faults.marks import mostly_slow
from tests.support.workspace import DAYS, JOB

COMMIT = "deltalake.DeltaTable.create_write_transaction"
OLD, NEW = Truth(ROWS), Truth(ROWS, weights=(4.0, 1.0))
FROZEN = [
    *(Fault(stage, signal=signal.SIGSTOP) for stage in ("plan", "audit")),
    *(
        Fault(stage, signal=signal.SIGSTOP)
        for stage in ("publication", "commit mini_scores", "commit mini_top")
    ),
    *(Fault(COMMIT, k, signal=signal.SIGSTOP) for k in (1, 2, 3)),
    Fault("os.link", 1, signal=signal.SIGSTOP),
]


def test_two_runs_of_one_day_for_the_same_causes_make_one_publication(published: Path) -> None:
    """Each ends with the one new run published, or finds it unchanged, or was superseded."""
    NEW.write_model(published)
    ends = [n.wait() for n in [start(published, DAY), start(published, DAY)]]
    assert all(e.status in ("published", "unchanged") or e.error == "NotYet" for e in ends), ends
    assert any(e.status == "published" for e in ends)
    [_, *new] = receipts(published)
    assert {e.run_id for e in ends if e.run_id} == {run_id for _, _, run_id in new}
    assert len(new) == 1
    assert all(ours(published, name).is_(NEW, name) for name in TABLES)


@pytest.mark.parametrize("force", [False, True])
def test_two_runs_of_one_day_for_other_causes_never_mix(published: Path, force: bool) -> None:
    """Two processes, two parameters: the day is of one of them, and who did not publish says so."""
    truths = [Truth(ROWS, n=3), Truth(ROWS, n=4)]
    nights = [start(published, DAY, params={"n": t.n}, force=force) for t in truths]
    ends = [n.wait() for n in nights]
    assert all(e.status == "published" or (e.error == "NotYet" and "another run" in e.message) for e in ends)
    last = receipts(published)[-1][2]
    winner = truths[[e.run_id for e in ends].index(last)]
    assert all(ours(published, name).is_(winner, name) for name in TABLES)
    assert {ours(published, name).runs for name in TABLES} == {frozenset({last})}
    assert len(receipts(published)) == 1 + sum(e.status == "published" for e in ends)


def test_the_first_runs_of_a_day_at_once_create_each_table_once(fresh: Build) -> None:
    """Nothing is there yet, and four processes begin: each table is made once and holds one run."""
    root = fresh(days=(DAY,))
    ends = [n.wait() for n in [start(root, DAY, params={"n": 3 + i}) for i in range(4)]]
    assert any(e.status == "published" for e in ends), ends
    assert all(e.status == "published" or e.error == "NotYet" for e in ends), ends
    assert {ours(root, name).runs for name in TABLES} == {frozenset({receipts(root)[-1][2]})}
    assert len(receipts(root)) == sum(e.status == "published" for e in ends)


def test_different_days_at_once_all_publish(fresh: Build) -> None:
    """Three days of one job write the same tables and do not stand in each other's way."""
    root = fresh()
    ends = [n.wait() for n in [start(root, day) for day in DAYS]]
    assert [e.status for e in ends] == ["published"] * 3, ends
    for day in DAYS:
        assert all(ours(root, name, day).is_(Truth(ROWS, day=day), name) for name in TABLES)
    assert sorted(d for _, d, _ in receipts(root)) == list(DAYS)


def test_different_jobs_at_once_all_publish(fresh: Build) -> None:
    """Two jobs share only the table of receipts, and each gets its row."""
    root = fresh(days=(DAY,))
    other = root / "jobs/other"
    other.mkdir()
    (other / "job.yaml").write_text(JOB.replace("job: mini", "job: other").replace("mini_top", "other_top"))
    (other / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    ends = [n.wait() for n in [start(root, DAY), start(root, DAY, job="other")]]
    assert [e.status for e in ends] == ["published"] * 2, ends
    counts = query(
        "SELECT (SELECT count(*) FROM mini_scores) AS a, (SELECT count(*) FROM other_top) AS b", root
    )
    assert counts.to_pylist() == [{"a": ROWS, "b": 10}]
    assert sorted(job for job, _, _ in receipts(root)) == ["mini", "other"]


@pytest.mark.parametrize(
    "fault",
    mostly_slow(FROZEN, [*(one for one in FROZEN if one.at in ("audit", "commit mini_top", "os.link"))]),
    ids=str,
)
@pytest.mark.sample(1)
def test_a_frozen_run_cannot_publish_over_a_later_one(published: Path, fault: Fault) -> None:
    """SIGSTOP at a step, another run publishes other causes, SIGCONT: the day stays the later run's.

    The frozen one, which may have been completed by the later, ends `NotYet` or knows of its own
    publication; it changes nothing any more, in no table.
    """
    NEW.write_model(published)
    frozen = start(published, DAY, fault)
    assert frozen.frozen()
    later = Truth(ROWS, weights=(8.0, 1.0), n=7)
    later.write_model(published)
    end = night(published, DAY, params={"n": 7})
    assert end.status == "published"
    tables = [ours(published, name) for name in TABLES]
    frozen.thaw()
    late = frozen.wait()
    assert late.error == "NotYet" or late.run_id in {r for _, _, r in receipts(published)}, late
    assert late.run_id != end.run_id
    for name, before in zip(TABLES, tables, strict=True):
        assert before.is_(later, name)
        assert ours(published, name) == plain_delta(published, name) == before
    found = receipts(published)
    assert found[-1][2] == end.run_id
    assert len(found) == len(set(found))


def test_two_runs_with_the_same_number_do_not_take_each_other_for_themselves(published: Path) -> None:
    """Begun in the same millisecond, they have one number: the second is superseded, not `done`."""
    job, day = load("mini", published), dt.date.fromisoformat(DAY)
    plans = [plan_day(job, day, RunRequest(params={"n": n})) for n in (3, 4)]
    twin = dataclasses.replace(plans[1], run_number=plans[0].run_number)
    assert publish_day(job, plans[0], LOCAL_THREADS.map(job, plans[0], plans[0].pieces)).status == "published"
    with pytest.raises(NotYet, match="another run"):
        publish_day(job, twin, LOCAL_THREADS.map(job, twin, twin.pieces))
    assert ours(published, "mini_top").is_(Truth(ROWS, n=3), "mini_top")
    assert run(job, DAY, params={"n": 4}).status == "published"


def test_a_superseded_run_is_left_alone_afterwards(published: Path) -> None:
    """What was not published is neither taken up nor rolled forward later; no reader ever sees its files."""
    NEW.write_model(published)
    frozen = start(published, DAY, Fault("link", signal=signal.SIGSTOP))
    assert frozen.frozen()
    OLD.write_model(published)
    assert night(published, DAY, force=True).status == "published"
    frozen.thaw()
    assert frozen.wait().error == "NotYet"
    before = tree(published / "data")
    assert night(published, DAY).status == "unchanged"
    assert tree(published / "data") == before
    assert all(ours(published, name).is_(OLD, name) for name in TABLES)


def test_many_pieces_scored_by_two_processes_at_once_are_one_run(large: Path) -> None:
    """Two processes take up the same stopped run: the pieces of either serve, and one receipt is added."""
    new = Truth(MANY, weights=(4.0, 1.0))
    new.write_model(large)
    assert night(large, DAY, Fault("plan", after=True)).killed
    assert night(large, DAY, Fault("nightscore.pipeline.steps.with_timings", after=True)).killed
    ends = [n.wait() for n in [start(large, DAY), start(large, DAY)]]
    assert any(e.status == "published" for e in ends), ends
    assert len(receipts(large)) == 2
    assert all(ours(large, name).is_(new, name) for name in TABLES)
