"""The three verbs by hand, in processes of their own: the same files as the plain loop's, byte for byte."""

import datetime as dt
import random
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.common.workspace import open_workspace
from nightscore.store.documents.plan import plan_from_json
from nightscore.store.published.catalog import read_catalog
from nightscore.store.tables.staging import StagedFile
from tests.behaviour.conftest import MANY, Build
from tests.behaviour.processes import PATIENCE, spawn
from tests.behaviour.world import DAY, TABLES, Truth, ours, receipts
from tests.support.workspace import JOB, write_day

SQL_JOB = JOB.replace("features: rows", "features: features.sql")
PROCESSES = 3


def plan_it(answers: Connection, root: Path) -> None:
    from nightscore.pipeline.steps import plan_day

    answers.send(plan_day(load("mini", root), dt.date.fromisoformat(DAY)).to_json())


def score_some(answers: Connection, root: Path, plan_text: str, indices: list[int]) -> None:
    from nightscore.pipeline.steps import score_piece

    job, plan = load("mini", root), plan_from_json(plan_text)
    answers.send([(i, vars(score_piece(job, plan, plan.pieces[i]))) for i in indices])


def publish_it(answers: Connection, root: Path, plan_text: str, files: list[dict[str, Any]]) -> None:
    from nightscore.pipeline.steps import publish_day

    job, plan = load("mini", root), plan_from_json(plan_text)
    answers.send(publish_day(job, plan, [StagedFile(**f) for f in files]).to_json())


def ask(act: Any, *values: Any) -> Any:
    """What an act in a process of its own answers."""
    return told(spawn(act, *values))


def told(night: Any) -> Any:
    assert night.answers.poll(PATIENCE)
    return night.answers.recv()


def by_hand(root: Path, seed: int) -> str:
    """Plan in one process, pieces in three in a shuffled order (each piece twice), publish in another."""
    text = ask(plan_it, root)
    plan = plan_from_json(text)
    assert plan.to_json() == text, "a plan comes through JSON unharmed"
    indices = [*range(len(plan.pieces))] * 2
    random.Random(seed).shuffle(indices)  # noqa: S311 - a shuffle that can be repeated
    shares = [indices[i::PROCESSES] for i in range(PROCESSES)]
    nights = [spawn(score_some, root, text, share) for share in shares]
    found = dict(pair for night in nights for pair in told(night))
    return str(ask(publish_it, root, text, [found[i] for i in range(len(plan.pieces))]))


def live(root: Path, table: str) -> list[bytes]:
    """Each live file without its run's name, as bytes."""
    found = []
    for file in read_catalog(open_workspace(root)).files(table):
        sink = pa.BufferOutputStream()
        pq.write_table(pq.read_table(file.path.local(), partitioning=None).drop(["run_id"]), sink)
        found.append(sink.getvalue().to_pybytes())
    return found


@pytest.mark.parametrize("features", ["streamed", "sql"])
@pytest.mark.sample(1)
def test_verbs_in_processes_of_their_own_publish_the_same_bytes_as_the_loop(
    fresh: Build, tmp_path: Path, features: str
) -> None:
    """Files, order of files and rows are equal in both tables; only the run's name differs."""
    job = JOB if features == "streamed" else SQL_JOB
    root = fresh(rows=1, job=job, days=(DAY,))
    write_day(root, DAY, MANY * (1 if features == "streamed" else 2), files=3)
    by_hand(root, seed=1)
    hand = {name: live(root, name) for name in TABLES}
    assert len(hand["mini_scores"]) >= 3
    again = run(load("mini", root), DAY)
    assert again.status == "unchanged"
    assert run(load("mini", root), DAY, force=True).status == "published"
    assert {name: live(root, name) for name in TABLES} == hand


def test_publishing_twice_publishes_once(large: Path) -> None:
    """The same publish_day again, in another process: the same run, one receipt row."""
    Truth(MANY, (4.0, 1.0)).write_model(large)
    text = ask(plan_it, large)
    indices = [*range(len(plan_from_json(text).pieces))]
    files = [f for _, f in sorted(ask(score_some, large, text, indices), key=lambda pair: pair[0])]
    ends = [ask(publish_it, large, text, files) for _ in range(2)]
    assert len({__import__("json").loads(end)["run_id"] for end in ends}) == 1
    assert len(receipts(large)) == 2
    assert all(ours(large, name).is_(Truth(MANY, (4.0, 1.0)), name) for name in TABLES)


def test_a_plan_of_an_unchanged_day_needs_no_pieces(published: Path) -> None:
    """Plan, no pieces, publish: `unchanged`, in whatever process."""
    text = ask(plan_it, published)
    assert plan_from_json(text).status == "unchanged"
    assert '"unchanged"' in ask(publish_it, published, text, [])
