"""Inputs that change while a night reads them: it ends `NotYet`, publishes nothing, and the next one does."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import Broken, NotYet, load, query, run
from tests.behaviour.conftest import MANY, ROWS, Build
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts, staged, tree
from tests.support.workspace import JOB, rows_of

SQL_JOB = JOB.replace("features: rows", "features: features.sql")


def part(root: Path) -> Path:
    return root / f"data/lake/rows/day={DAY}/part-0.parquet"


def halved(rows: int) -> pa.Table:
    table = rows_of(DAY, rows)
    return table.set_column(1, "a", pa.compute.multiply(table.column("a"), pa.scalar(0.5, pa.float32())))


def in_place(root: Path) -> None:
    rows = pq.read_metadata(part(root)).num_rows
    sink = pa.BufferOutputStream()
    pq.write_table(halved(rows), sink, row_group_size=1_000)
    with part(root).open("r+b") as file:
        file.write(sink.getvalue())
        file.truncate()


def rename_over(root: Path) -> None:
    rows = pq.read_metadata(part(root)).num_rows
    other = root / "other"
    pq.write_table(halved(rows), other, row_group_size=1_000)
    other.replace(part(root))


def remove(root: Path) -> None:
    shutil.move(part(root), root / "away")


def truncate(root: Path) -> None:
    os.truncate(part(root), 100)


def append(root: Path) -> None:
    rows = pq.read_metadata(part(root)).num_rows
    table = rows_of(DAY, 3).set_column(0, "id", pa.array([rows, rows + 1, rows + 2]))
    pq.write_table(table, part(root).with_name("part-1.parquet"))


CHANGES = [in_place, rename_over, remove, truncate, append]


@pytest.mark.parametrize("features", ["streamed", "sql"])
@pytest.mark.parametrize("stage", ["score", "audit"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
@pytest.mark.sample(6)
def test_an_input_that_changes_during_the_run_is_never_published(
    fresh: Build, change: Callable[[Path], None], stage: str, features: str
) -> None:
    """Rewritten, replaced, gone, cut short or joined by another file: `NotYet`, and no table is made."""
    root = fresh(rows=500, job=JOB if features == "streamed" else SQL_JOB, days=(DAY,))
    job = load("mini", root)

    def hook(at: str, *_: int) -> None:
        if at == stage and not (root / "done").exists():
            (root / "done").touch()
            change(root)

    with pytest.raises((NotYet, Broken)) as error:
        run(job, DAY, report=hook)
    assert isinstance(error.value, NotYet) or change in (remove, truncate), error.value
    assert tree(root / "data/tables") == {}


@pytest.mark.parametrize("change", [in_place, rename_over, append], ids=lambda c: c.__name__)
@pytest.mark.sample(1)
def test_the_next_night_publishes_what_changed(published: Path, change: Callable[[Path], None]) -> None:
    """Yesterday's table stays while the run fails; the run after it reads the new rows."""
    Truth(ROWS, (4.0, 1.0)).write_model(published)
    job = load("mini", published)
    with pytest.raises(NotYet):
        run(job, DAY, report=lambda stage, *_: change(published) if stage == "audit" else None)
    assert all(ours(published, name).is_(Truth(ROWS), name) for name in TABLES)
    assert run(job, DAY).status == "published"
    source = pq.read_table(part(published).parent, partitioning=None).sort_by("id")
    assert (
        ours(published, "mini_scores")
        .rows.select(["id", "a"])
        .equals(source.select(["id", "a"]).combine_chunks())
    )
    assert len(receipts(published)) == 2


def test_a_removed_partition_that_comes_back_is_published(published: Path) -> None:
    """Moved away during the run and back again with its old time: the next run publishes."""
    Truth(ROWS, (4.0, 1.0)).write_model(published)
    job = load("mini", published)
    with pytest.raises((NotYet, Broken)):
        run(job, DAY, report=lambda stage, *_: remove(published) if stage == "audit" else None)
    shutil.move(published / "away", part(published))
    assert run(job, DAY).status == "published"


def test_an_input_restored_with_its_old_time_does_not_block_the_day_for_ever(published: Path) -> None:
    """Killed, then the input is restored from a copy (same bytes and time, another inode): the day publishes.

    A stopped run is taken up only if it read the very same files.
    """
    new = Truth(ROWS, (4.0, 1.0))
    new.write_model(published)
    assert night(published, DAY, Fault("score")).killed
    path = part(published)
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    assert night(published, DAY).status == "published"
    assert all(ours(published, name).is_(new, name) for name in TABLES)


def test_another_day_that_changes_is_not_this_days_business(published: Path) -> None:
    """A partition that the job may not read may change as it likes."""
    Truth(ROWS, (4.0, 1.0)).write_model(published)
    later = published / "data/lake/rows/day=2020-01-03/part-0.parquet"
    job = load("mini", published)
    report = lambda stage, *_: pq.write_table(halved(10), later) if stage == "audit" else None  # noqa: E731
    assert run(job, DAY, report=report).status == "published"


def test_a_model_swapped_during_the_run_changes_nothing(large: Path) -> None:
    """The bytes that were hashed are those that score, though the file is another one by now."""
    first, second = Truth(MANY, (4.0, 1.0)), Truth(MANY, (8.0, 1.0))
    first.write_model(large)
    job = load("mini", large)
    receipt = run(job, DAY, report=lambda stage, *_: second.write_model(large) if stage == "plan" else None)
    assert all(ours(large, name).is_(first, name) for name in TABLES)
    assert receipt.model is not None
    assert run(job, DAY).status == "published"
    assert all(ours(large, name).is_(second, name) for name in TABLES)


def test_a_model_that_changed_before_a_killed_run_is_taken_up_by_hand_is_refused(published: Path) -> None:
    """A plan names the model by hash: a process that finds other bytes ends `NotYet`."""
    import datetime as dt

    from nightscore.pipeline.steps import plan_day, score_piece

    Truth(ROWS, (16.0, 1.0)).write_model(published)
    job = load("mini", published)
    plan = plan_day(job, dt.date.fromisoformat(DAY))
    Truth(ROWS, (32.0, 1.0)).write_model(published)
    from nightscore.pipeline.score import open_model

    open_model._scorer.cache_clear()
    with pytest.raises(NotYet, match="has changed"):
        score_piece(job, plan, plan.pieces[0])


def test_a_job_that_changed_since_its_plan_is_refused(published: Path) -> None:
    """Pieces of one job.yaml are never published under another."""
    import datetime as dt

    from nightscore.pipeline.request import RunRequest
    from nightscore.pipeline.steps import plan_day, publish_day, score_piece

    job = load("mini", published)
    plan = plan_day(job, dt.date.fromisoformat(DAY), RunRequest(force=True))
    pieces = [score_piece(job, plan, piece) for piece in plan.pieces]
    file = published / "jobs/mini/top.sql"
    file.write_text(file.read_text().replace("score DESC", "score ASC"))
    changed = load("mini", published)
    with pytest.raises(NotYet, match="changed since the plan"):
        score_piece(changed, plan, plan.pieces[0])
    with pytest.raises(NotYet, match="changed since the plan"):
        publish_day(changed, plan, pieces)
    assert len(receipts(published)) == 1
    assert len(staged(published)) == 2
    assert query("SELECT count(*) AS n FROM mini_scores", published).to_pylist() == [{"n": ROWS}]
