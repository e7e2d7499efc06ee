"""Executors: whoever scores the pieces, the same files; and what a run is asked for."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nightscore import load, run
from nightscore.airflow.shares import Shares
from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.job.loader import Job
from nightscore.pipeline.executors import Executor, InOrder, Threads
from nightscore.pipeline.on_ray.there import score_there
from nightscore.pipeline.request import RunRequest
from nightscore.pipeline.steps import plan_day
from nightscore.pipeline.testing import check_executor
from nightscore.store.documents.plan import Plan
from tests.behaviour.world import ours
from tests.support.workspace import make_workspace

DAY, ROWS = "2020-01-02", 99_000  # three pieces
EXECUTORS: dict[str, Callable[[], Executor]] = {
    "one after the other": InOrder,
    "threads": Threads,
    "Airflow's tasks, two": lambda: Shares(2),
    "Airflow's tasks, more than pieces": lambda: Shares(7),
}
EVERY = pytest.mark.parametrize("make", EXECUTORS.values(), ids=EXECUTORS.keys())


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Job, Plan]:
    """A day in three pieces, of which nothing is staged."""
    job = load("mini", make_workspace(tmp_path, ROWS, days=(DAY,)))
    return job, plan_day(job, as_day(DAY))


@EVERY
def test_every_executor_keeps_the_contract(make: Callable[[], Executor], planned: tuple[Job, Plan]) -> None:
    """The shipped suite, on a day of three pieces."""
    check_executor(make, *planned)


class Forgetful:
    """Gives the files of all pieces but the last."""

    def map(self, job: Job, plan: Plan, pieces, report=lambda *_: None):  # type: ignore[no-untyped-def]
        return InOrder().map(job, plan, pieces, report)[: max(len(pieces) - 1, 0)]


class Backwards:
    """Gives them in another order."""

    def map(self, job: Job, plan: Plan, pieces, report=lambda *_: None):  # type: ignore[no-untyped-def]
        return InOrder().map(job, plan, pieces, report)[::-1]


class Mute:
    """Tells nobody how far it is."""

    def map(self, job: Job, plan: Plan, pieces, _report=None):  # type: ignore[no-untyped-def]
        return InOrder().map(job, plan, pieces)


@pytest.mark.parametrize("broken", [Forgetful, Backwards, Mute])
def test_the_suite_finds_who_does_not_keep_it(broken: type, planned: tuple[Job, Plan]) -> None:
    """A file too few, another order, no progress: each is found."""
    with pytest.raises(AssertionError):
        check_executor(broken, *planned)


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day as the plain loop publishes it."""
    root = make_workspace(tmp_path_factory.mktemp("in-order") / "w", ROWS, days=(DAY,))
    assert run(load("mini", root), DAY, executor=InOrder()).status == "published"
    return root


@EVERY
@pytest.mark.sample(2)
def test_a_day_is_the_same_whoever_scores_it(
    make: Callable[[], Executor], in_order: Path, tmp_path: Path
) -> None:
    """`run` with an executor publishes what the plain loop does."""
    other = make_workspace(tmp_path / "other", ROWS, days=(DAY,))
    receipt = run(load("mini", other), DAY, executor=make())
    assert receipt.rows.published == ROWS
    assert ours(other, "mini_scores", DAY).rows.equals(ours(in_order, "mini_scores", DAY).rows)


def test_a_node_sees_the_roots_of_the_command_alone(
    planned: tuple[Job, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a node's own environment says of roots, where the command says nothing, is not heeded."""
    job, plan = planned
    monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", str(tmp_path / "another"))
    staged = score_there(job.name, str(job.workspace.root), {}, plan.to_json(), 0)
    assert staged.rows == plan.pieces[0].rows and not (tmp_path / "another").exists()
    assert "NIGHTSCORE_ROOT_DATA" not in os.environ


def test_a_request_holds_its_values_to_what_is_allowed() -> None:
    """A preview of nothing is refused where it is asked for; an unknown name is a TypeError."""
    assert RunRequest(limit=3).but(force=True) == RunRequest(limit=3, force=True)
    with pytest.raises(Broken, match="limit 0 is not allowed: a preview has at least one row"):
        RunRequest(limit=0)
    with pytest.raises(TypeError, match="can't be asked for 'forse'; allowed: params, force, limit"):
        RunRequest().but(forse=True)


def test_options_are_fields_of_the_request_for_short(tmp_path: Path) -> None:
    """`run(job, day, limit=5)` is `run(job, day, RunRequest(limit=5))`."""
    job = load("mini", make_workspace(tmp_path, 100, days=(DAY,)))
    short, long = run(job, DAY, limit=5), run(job, DAY, RunRequest(limit=5))
    assert (short.status, short.rows.scored) == (long.status, long.rows.scored) == ("preview", 5)


SLIPS: dict[str, tuple[dict[str, object], str]] = {
    "a job's name": ({"job": "mini"}, "job is 'mini'; allowed: what load"),
    "a dict": ({"request": {"force": True}}, "request is .*; allowed: a RunRequest, or its fields by name"),
    "a class": ({"executor": InOrder}, "executor is .*InOrder'>; allowed: an Executor, such as InOrder"),
}


@pytest.mark.parametrize(("slip", "says"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_in_a_call_is_said(tmp_path: Path, slip: dict[str, object], says: str) -> None:
    """Before anything is read: what was given, and what is allowed."""
    right: dict[str, Any] = {"job": load("mini", make_workspace(tmp_path, 10, days=(DAY,))), "day": DAY}
    with pytest.raises(TypeError, match=says):
        run(**{**right, **slip})
    with pytest.raises(TypeError, match="restate is 'late data'; allowed: Restate"):
        RunRequest(restate="late data")  # type: ignore[arg-type]


class Liar:
    """Scores every piece, and tells other rows and bytes of it than there are."""

    def map(self, job: Job, plan: Plan, pieces, report=lambda *_: None):  # type: ignore[no-untyped-def]
        return [dataclasses.replace(f, rows=1, bytes=1) for f in InOrder().map(job, plan, pieces, report)]


class Lazy:
    """Scores nothing."""

    def map(self, _job: Job, _plan: Plan, _pieces, _report=None):  # type: ignore[no-untyped-def]
        return []


def test_what_an_executor_tells_is_not_believed(tmp_path: Path) -> None:
    """The receipt says what lies there, and verifies; of nothing staged nothing is published."""
    job = load("mini", make_workspace(tmp_path, 100, days=(DAY,)))
    with pytest.raises(Broken, match="none of 1 pieces was staged; nothing is published"):
        run(job, DAY, executor=Lazy())
    receipt = run(job, DAY, executor=Liar())
    [file] = (job.workspace.tables / "mini_scores").glob(f"day={DAY}/*.parquet")
    table = receipt.tables["mini_scores"]
    assert (table.rows, table.bytes) == (pq.read_metadata(file).num_rows, file.stat().st_size)
