"""Runs, kills, changes and readers in any order: plain Python knows what each table must hold.

A failure prints the steps, and the seed: NIGHTS_SEED=… repeats it.
"""

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nightscore import Broken, load, query, run
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, TABLES, Truth, no_half_files, ours, receipts
from tests.support.workspace import make_workspace, write_day

pytestmark = pytest.mark.disk_only(reason="its examples make workspaces of their own, and stop in mid-night")

SEED = int(os.environ.get("NIGHTS_SEED", random.SystemRandom().randrange(10**6)))
STAGED = ("plan", "score", "prove", "decide", "audit", "link")
COMMITS = ("commit mini_scores", "commit mini_top", "commit receipts", "receipt")
STAGES = st.sampled_from([*STAGED, "publication", *COMMITS])
Causes = tuple[Truth, int]


class Stopped(Exception):
    """The run was stopped from its own progress report."""


class Nights(RuleBasedStateMachine):
    """`now` are the causes, `shown` what readers must see, `pending` what is to be rolled forward."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="nights-")
        self.root = make_workspace(Path(self.folder.name) / "w", 20, days=(DAY,))
        self.now: Causes = (Truth(20), 0)
        self.shown: Causes | None = None
        self.pending: Causes | None = None
        self.published = self.receipts = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(rows=st.integers(1, 60))
    def rewrite_the_input(self, rows: int) -> None:
        truth, generation = self.now
        write_day(self.root, DAY, rows)
        self.now = (Truth(rows, truth.weights, truth.n), generation + 1)

    @rule(power=st.integers(-2, 2))
    def change_the_model(self, power: int) -> None:
        truth, generation = self.now
        self.now = (Truth(truth.rows, (1.0, 2.0**power), truth.n), generation)
        self.now[0].write_model(self.root)

    @rule(n=st.integers(1, 30))
    def change_the_parameter(self, n: int) -> None:
        truth, generation = self.now
        self.now = (Truth(truth.rows, truth.weights, n), generation)

    @rule(force=st.booleans())
    def run_it(self, force: bool) -> None:
        found = run(load("mini", self.root), DAY, force=force, params={"n": self.now[0].n})
        assert found.status == self.expected(None, force)

    @rule(stage=STAGES, force=st.booleans())
    def stop_it(self, stage: str, force: bool) -> None:
        def hook(at: str, *_: int) -> None:
            if at == stage:
                raise Stopped

        wanted = self.expected(stage, force)
        try:
            options: dict[str, Any] = {"force": force, "params": {"n": self.now[0].n}}
            assert run(load("mini", self.root), DAY, report=hook, **options).status == wanted
        except Stopped:
            assert wanted == "stopped"

    @rule(stage=STAGES, force=st.booleans())
    def kill_it(self, stage: str, force: bool) -> None:
        wanted = self.expected(stage, force)
        end = night(self.root, DAY, Fault(stage), force=force, params={"n": self.now[0].n})
        assert ("stopped" if end.killed else end.status) == wanted

    @rule(rows=st.integers(1, 25))
    def preview_it(self, rows: int) -> None:
        self.roll_forward(None)
        found = run(load("mini", self.root), DAY, limit=rows, params={"n": self.now[0].n})
        assert (found.status, found.rows.scored) == ("preview", min(rows, self.now[0].rows))

    def expected(self, stage: str | None, force: bool) -> str:
        """What a run that is stopped at a stage does: what was pending first, then its own work."""
        if self.roll_forward(stage) or stage == "plan":
            return "stopped"
        if self.shown == self.now and not force:
            return "unchanged"
        if stage in STAGED:
            return "stopped"
        self.pending = self.now
        self.published += 1
        if stage == "publication":
            return "stopped"
        return "stopped" if self.roll_forward(stage) else "published"

    def roll_forward(self, stage: str | None) -> bool:
        """Commit what is pending; whether the run was stopped while it did."""
        if self.pending is None:
            return False
        if stage not in COMMITS[:2]:
            self.shown, self.receipts = self.pending, self.published
        if stage not in COMMITS[:3]:
            self.pending = None
        return stage in COMMITS

    @invariant()
    def readers_see_one_whole_night(self) -> None:
        if self.shown is None:
            with pytest.raises(Broken, match="none published yet"):
                query("SELECT * FROM mini_scores", self.root)
            return
        seen = {name: ours(self.root, name) for name in TABLES}
        assert all(seen[name].is_(self.shown[0], name) for name in TABLES)
        assert seen["mini_scores"].runs == seen["mini_top"].runs

    @invariant()
    def each_publication_has_one_receipt(self) -> None:
        found = receipts(self.root) if self.shown else []
        assert len(found) == len(set(found)) == self.receipts
        no_half_files(self.root)


def explore(examples: int, steps: int) -> None:
    print(f"NIGHTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(Nights), settings=options)


@pytest.mark.slow
def test_whatever_happens_in_whatever_order_the_tables_hold_what_they_must() -> None:
    """Runs, forced runs, kills, stops, previews, new inputs, models and parameters, ten steps at a time."""
    explore(examples=3, steps=10)


@pytest.mark.rest
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whatever_happens_in_whatever_order_for_longer() -> None:
    """The same, many times: $NIGHTS_EXAMPLES of 25 steps each (a minute for every eight)."""
    explore(examples=int(os.environ.get("NIGHTS_EXAMPLES", "16")), steps=25)
