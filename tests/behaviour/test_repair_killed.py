"""kill -9 between the steps of a repair: our readers are not moved, and the next repair ends it."""

from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.publish.repair import repair_table
from nightscore.review.verify import verify_days
from tests.behaviour.processes import Fault, armed, spawn
from tests.behaviour.test_heads import NEW_DAY, OTHER_DAY, append, head_ids, opened
from tests.behaviour.world import DAY, Truth, ours
from tests.faults.marks import mostly_slow

LEASE = "in a bucket a killed one's lock counts for five minutes: so long the next one is not yet"
WHO = {"by": "Ada", "because": "a slip"}
COUNT = "SELECT day::VARCHAR AS day, count(*) AS n FROM mini_scores GROUP BY day ORDER BY day"
PUT_BACK = {
    "before the columns": Fault("nightscore.store.tables.delta_repair.commit_columns"),
    "after the columns": Fault("nightscore.store.tables.delta_repair.commit_columns", after=True),
    "after the days": Fault("nightscore.store.tables.delta_repair.commit_days", after=True),
}
ACCEPT = {
    "before the first receipt": Fault("nightscore.pipeline.publish.repair.commit_receipt"),
    "after the first receipt": Fault("nightscore.pipeline.publish.repair.commit_receipt", after=True),
    "after the second receipt": Fault("nightscore.pipeline.publish.repair.commit_receipt", 2, after=True),
    "within a receipt": Fault("deltalake.DeltaTable.create_write_transaction"),
    "after a receipt's commit": Fault("deltalake.DeltaTable.create_write_transaction", after=True),
}


def repairs(answers: Connection, root: Path, fault: Fault, accept: bool) -> None:
    """A repair, in a process of its own."""
    armed(fault)
    done = repair_table(open_workspace(root), "mini_scores", **WHO, accept=accept)
    answers.send({"status": done[0].how})


def killed(root: Path, fault: Fault, *, accept: bool = False) -> bool:
    return spawn(repairs, root, fault, accept).wait().killed


def differs(root: Path) -> set[str]:
    """The days of which verify says that something differs."""
    return {one.day for one in verify_days(open_workspace(root)) if one.differences}


@pytest.mark.disk_only(reason=LEASE)
@pytest.mark.parametrize("step", mostly_slow(PUT_BACK, ["after the columns"]))
@pytest.mark.sample(1)
def test_what_is_put_back_is_ended_by_the_next(published: Path, step: str) -> None:
    """Columns and days are two commits: in between verify names what is left."""
    before = head_ids(published)
    opened(published).delete("id < 1000 AND day = '2020-01-02'")
    append(published, NEW_DAY, z=[1])
    assert killed(published, PUT_BACK[step])
    assert ours(published, "mini_scores").is_(Truth(2_000), "mini_scores")
    left = {"before the columns": {"", DAY, NEW_DAY}, "after the columns": {DAY, NEW_DAY}}
    assert differs(published) == left.get(step, set())
    repair_table(open_workspace(published), "mini_scores", **WHO)
    assert head_ids(published) == before and head_ids(published, NEW_DAY) == []
    assert [field.name for field in opened(published).schema().fields] == [
        "id",
        "a",
        "score",
        "run_id",
        "day",
    ]
    assert differs(published) == set()
    assert ours(published, "mini_scores").is_(Truth(2_000), "mini_scores")


@pytest.mark.disk_only(reason=LEASE)
@pytest.mark.parametrize("step", mostly_slow(ACCEPT, ["after the first receipt"]))
@pytest.mark.sample(1)
def test_what_is_accepted_is_whole_days_and_ended_by_the_next(published: Path, step: str) -> None:
    """Each day is as the other left it, or as it was published; at last all are as pandas has them."""
    run(load("mini", published), OTHER_DAY)
    for day in (DAY, OTHER_DAY):
        DeltaTable(str(published / "data/tables/mini_scores")).delete(f"id < 1000 AND day = '{day}'")
    assert killed(published, ACCEPT[step], accept=True)
    counts = {row["n"] for row in query(COUNT, published).to_pylist()}
    assert counts <= {1_000, 2_000}
    if differs(published):
        repair_table(open_workspace(published), "mini_scores", **WHO, accept=True)
    assert differs(published) == set()
    assert query(COUNT, published)["n"].to_pylist() == [1_000, 1_000]
    assert head_ids(published) == head_ids(published, OTHER_DAY) == list(range(1_000, 2_000))
    assert run(load("mini", published), DAY).status == "unchanged"


def test_one_day_is_accepted_and_the_other_of_the_same_commit_still_differs(published: Path) -> None:
    """A DELETE of two days is one commit: who takes one day as it is has not taken the other."""
    run(load("mini", published), OTHER_DAY)
    opened(published).delete("id < 1000")
    repair_table(open_workspace(published), "mini_scores", DAY, **WHO, accept=True)
    assert differs(published) == {OTHER_DAY}
    assert query(COUNT, published)["n"].to_pylist() == [1_000, 2_000]
    repair_table(open_workspace(published), "mini_scores", OTHER_DAY, **WHO)
    assert differs(published) == set()
    assert (len(head_ids(published)), len(head_ids(published, OTHER_DAY))) == (1_000, 2_000)
