"""kill -9 at every step: readers see the day as it was or as it is, and the next run completes it."""

from itertools import count
from pathlib import Path

import pytest

from nightscore import query
from nightscore.common.workspace import open_workspace
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import (
    DAY,
    READERS,
    TABLES,
    Truth,
    no_half_files,
    ours,
    plain_delta,
    plain_duckdb,
    receipts,
    staged,
)
from tests.faults.marks import mostly_slow
from tests.support.workspace import JOB

OLD = Truth(ROWS)
NEW = Truth(ROWS, weights=(4.0, 1.0))
COMMITS = ("commit mini_scores", "commit mini_top", "commit receipts", "receipt")
BEFORE_COMMITS = ("plan", "score", "prove", "decide", "audit", "link", "publication")
LINK, FSYNC = "os.link", "os.fsync"
WRITE, COMMIT = "pyarrow.parquet.ParquetWriter.write_table", "deltalake.DeltaTable.create_write_transaction"


def all_see(root: Path, truth: Truth) -> None:
    for name in TABLES:
        for reader in READERS:
            assert reader(root, name).is_(truth, name), f"{reader.__name__} of {name}"


def completes(root: Path, truth: Truth, runs: int) -> None:
    """The next night publishes, the one after has nothing to do, and each run has one receipt."""
    end = night(root, DAY)
    assert end.status in ("published", "unchanged"), end
    all_see(root, truth)
    again = night(root, DAY)
    assert (again.status, again.run_id) == ("unchanged", end.run_id)
    found = receipts(root)
    assert len(found) == len(set(found)) == runs, found
    no_half_files(root)


@pytest.mark.parametrize("stage", mostly_slow(BEFORE_COMMITS, ["score", "audit", "publication"]))
@pytest.mark.sample(1)
def test_a_night_killed_before_its_first_commit_changes_nothing_for_any_reader(
    published: Path, stage: str
) -> None:
    """Every reader sees the old day; the next run publishes the new one."""
    NEW.write_model(published)
    assert night(published, DAY, Fault(stage)).killed
    all_see(published, OLD)
    no_half_files(published)
    completes(published, NEW, runs=2)


@pytest.mark.parametrize("stage", COMMITS)
@pytest.mark.sample(2)
def test_a_night_killed_between_its_commits_is_old_or_new_as_a_whole(published: Path, stage: str) -> None:
    """Our readers see both tables old until the receipt names the new versions, then both new.

    A reader that knows nothing of receipts sees each table whole, old or new.
    """
    NEW.write_model(published)
    assert night(published, DAY, Fault(stage)).killed
    committed = COMMITS.index(stage) + 1
    for i, name in enumerate(TABLES):
        assert ours(published, name).is_(NEW if committed >= 3 else OLD, name)
        for reader in (plain_delta, plain_duckdb):
            assert reader(published, name).is_(NEW if i < committed else OLD, name)
    assert len({ours(published, name).runs for name in TABLES}) == 1
    completes(published, NEW, runs=2)


@pytest.mark.parametrize(
    "stage",
    mostly_slow(
        ("score", "link", "publication", *COMMITS), ["link", "commit mini_scores", "commit receipts"]
    ),
)
@pytest.mark.sample(1)
def test_the_first_night_of_all_killed_is_no_table_or_a_whole_one(fresh: Build, stage: str) -> None:
    """With nothing published before, our readers see no table until the receipt is there."""
    root = fresh(days=(DAY,))
    assert night(root, DAY, Fault(stage)).killed
    if stage in ("commit receipts", "receipt"):
        all_see(root, OLD)
    else:
        with pytest.raises(Exception, match="none published yet"):
            ours(root, "mini_scores")
    completes(root, OLD, runs=1)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        pytest.param(LINK, True, marks=pytest.mark.slow),
        (WRITE, True),
        (COMMIT, False),
        pytest.param(COMMIT, True, marks=pytest.mark.slow),
        pytest.param(LINK, False, marks=pytest.mark.slow),
        pytest.param(WRITE, False, marks=pytest.mark.slow),
        pytest.param(FSYNC, False, marks=pytest.mark.slow),
    ],
    ids=lambda value: {True: "after", False: "before"}.get(value, value),
)
@pytest.mark.sample(1)
def test_a_night_killed_at_its_kth_call_leaves_old_or_new(published: Path, call: str, after: bool) -> None:
    """For k = 1, 2, 3, … until a night goes through: readers see one whole night, the next completes."""
    old = OLD
    for k in count(1):
        new = Truth(ROWS, weights=(1.0, 4.0 * 2.0 ** (k % 8)), n=10)
        new.write_model(published)
        end = night(published, DAY, Fault(call, k, after))
        if not end.killed:
            assert end.status == "published"
            break
        seen = [ours(published, name) for name in TABLES]
        assert len({s.runs for s in seen}) == 1
        truth = next(t for t in (old, new) if seen[0].is_(t, "mini_scores"))
        assert seen[1].is_(truth, "mini_top")
        for name in TABLES:
            table = plain_delta(published, name)
            assert table.is_(old, name) or table.is_(new, name)
        no_half_files(published)
        assert night(published, DAY).status in ("published", "unchanged")
        assert all(ours(published, name).is_(new, name) for name in TABLES)
        old = new
    assert k >= 3, f"{call} was called {k - 1} times"
    found = receipts(published)
    assert len(found) == len(set(found)) == k + 1


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.sample(1)
def test_pieces_that_were_finished_are_not_scored_again(large: Path, pieces: int) -> None:
    """The next run takes up the killed one: its staged files are the very same, down to the inode."""
    before = staged(large)
    new = Truth(MANY, weights=(4.0, 1.0))
    new.write_model(large)
    assert night(large, DAY, Fault("nightscore.pipeline.steps.with_timings", pieces, after=True)).killed
    done = {p: s for p, s in staged(large).items() if p not in before}
    assert len(done) >= pieces
    assert night(large, DAY).status == "published"
    now = {p: s for p, s in staged(large).items() if p not in before}
    assert len(now) == 3
    assert done.items() <= now.items()
    assert all(ours(large, name).is_(new, name) for name in TABLES)


SQL_JOB = JOB.replace("features: rows", "features: features.sql")


@pytest.mark.parametrize(
    "fault", [Fault("plan"), Fault("features"), Fault("features", 2), Fault("score")], ids=str
)
@pytest.mark.sample(2)
def test_a_night_with_sql_features_killed_completes(fresh: Build, fault: Fault) -> None:
    """The feature snapshot of a planned run is kept, as are its pieces."""
    root = fresh(job=SQL_JOB, days=(DAY,))
    assert night(root, DAY, fault).killed
    snapshots = staged(root, "features.parquet")
    assert len(snapshots) == (fault in (Fault("features", 2), Fault("score")))
    assert night(root, DAY).status == "published"
    assert snapshots.items() <= staged(root, "features.parquet").items()
    assert fault.at != "score" or len(staged(root, "features.parquet")) == 1
    scores = ours(root, "mini_scores").rows
    wanted = Truth(ROWS).table("mini_scores")
    assert scores.equals(wanted.filter([i % 2 == 0 for i in range(ROWS)]).combine_chunks())


@pytest.mark.slow
def test_a_killed_night_whose_causes_changed_since_is_not_taken_up(published: Path) -> None:
    """Killed under one model and run again under another: the day holds the other's scores alone."""
    NEW.write_model(published)
    assert night(published, DAY, Fault("audit")).killed
    other = Truth(ROWS, weights=(8.0, 1.0))
    other.write_model(published)
    completes(published, other, runs=2)


@pytest.mark.slow
def test_a_night_killed_while_committing_is_rolled_forward_and_then_the_new_causes_run(
    published: Path,
) -> None:
    """What was being published is completed first, though its causes have changed; then it runs again."""
    NEW.write_model(published)
    assert night(published, DAY, Fault("commit mini_scores")).killed
    other = Truth(ROWS, weights=(8.0, 1.0))
    other.write_model(published)
    completes(published, other, runs=3)


@pytest.mark.parametrize(
    "stage",
    mostly_slow(
        ("score", "link", "publication", "commit mini_scores", "commit receipts"),
        ["publication", "commit mini_scores"],
    ),
)  # fmt: skip
@pytest.mark.sample(1)
@pytest.mark.slow
def test_clearing_up_after_a_killed_night_takes_nothing_that_is_needed(published: Path, stage: str) -> None:
    """`gc` without any grace, right after the kill: readers see what they saw, and the next run completes."""
    NEW.write_model(published)
    assert night(published, DAY, Fault(stage)).killed
    before = [(name, reader(published, name)) for name in TABLES for reader in READERS]
    collect_garbage(open_workspace(published), grace_hours=0.0)
    assert before == [(name, reader(published, name)) for name in TABLES for reader in READERS]
    completes(published, NEW, runs=2)
    collect_garbage(open_workspace(published), grace_hours=0.0)
    all_see(published, NEW)
    for version, truth in ((1, OLD), (2, NEW)):
        rows = query("SELECT * EXCLUDE (day, run_id) FROM mini_scores ORDER BY id", published, version)
        assert rows.combine_chunks().equals(truth.table("mini_scores"))


@pytest.mark.slow
def test_rolling_forward_may_be_killed_too(published: Path) -> None:
    """Killed at each commit, again and again: one publication, one receipt."""
    NEW.write_model(published)
    for stage in ("publication", "commit mini_scores", "commit mini_top", "commit receipts"):
        assert night(published, DAY, Fault(stage)).killed, stage
    completes(published, NEW, runs=2)


@pytest.mark.disk_only(reason="it looks for temporary names, which a bucket has not")
@pytest.mark.slow
def test_a_run_that_is_killed_over_and_over_leaves_only_temporary_names_that_no_reader_counts(
    published: Path,
) -> None:
    """What a kill in the middle of a file leaves never ends in .parquet below a table's root."""
    NEW.write_model(published)
    for k in (1, 2, 3):
        assert night(published, DAY, Fault(WRITE, k, after=True), force=True).killed
    left = [p for p in (published / "data").rglob("*") if ".tmp" in p.name]
    assert left, "the kills were in the middle of files"
    assert all(not p.name.endswith(".parquet") for p in left)
    no_half_files(published)
    completes(published, NEW, runs=2)
