"""P1, P2, P3, P5, P7, P9 together: whatever happens in whatever order, no day is ever wrong quietly.

FAULTS_SEED=… repeats a failure, FAULTS_SHRINK=1 looks for the shortest way to it (minutes), and
FAULTS_STEPS=5000 goes on for longer than CI has time for.
"""

import contextlib
import io
import os
import signal
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nightscore import Broken, NotYet, Restate, backfill, load, run
from nightscore.cli.main import call
from nightscore.common.errors import NightscoreError
from nightscore.common.units import as_day
from nightscore.common.workspace import open_workspace
from nightscore.pipeline.publish.hold import Held, discard_day, release_day
from nightscore.pipeline.publish.repair import repair_table
from nightscore.review.verify import verify_days
from nightscore.store.documents.receipt import Receipt
from nightscore.store.published.gc import collect_garbage
from tests.behaviour.processes import End, Fault, Night, spawn, start
from tests.behaviour.world import no_half_files
from tests.faults.chaos import TABLES, Days
from tests.support.workspace import DAYS

pytestmark = pytest.mark.disk_only(reason="its model is one of files on a disk, and of their locks")

SEED = int(os.environ.get("FAULTS_SEED", "303627"))  # `make faults` takes another each time
SHRINK = bool(os.environ.get("FAULTS_SHRINK"))
STEPS = int(os.environ.get("FAULTS_STEPS", "0"))
STAGES = ("plan", "score", "prove", "decide", "audit", "link", "publication", "commit mini_scores",
          "commit mini_top", "commit receipts", "receipt")  # fmt: skip
CALLS = {"os.link": 12, "os.fsync": 25, "pyarrow.parquet.ParquetWriter.write_table": 4,
         "deltalake.DeltaTable.create_write_transaction": 3, "pathlib.Path.unlink": 8}  # fmt: skip
ENDS: Counter[str] = Counter()  # what became of the steps; printed at the end
FROZEN = 2  # processes at most that wait to be thawed

WHO = {"by": "Ada", "because": "the chaos test"}
VERBS = (
    "tables",
    "receipts",
    "verify",
    "jobs",
    "held",
    "late mini --since 2020-01-01",
    "deliveries",
    "check",
)

days = st.sampled_from(DAYS)
places = st.one_of(
    st.sampled_from(STAGES).map(Fault),
    st.sampled_from(sorted(CALLS)).flatmap(
        lambda call: st.builds(Fault, st.just(call), st.integers(1, CALLS[call]), st.booleans())
    ),
)


class Chaos(RuleBasedStateMachine):
    """The steps; `Days` knows what they mean for readers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="chaos-")
        self.world = Days(Path(self.folder.name))
        self.root = self.world.root
        self.asleep: list[tuple[str, Night]] = []

    def teardown(self) -> None:
        """After all, a plain run of each day: everything is right, and nothing that counts was lost."""
        try:
            while self.asleep:
                self.thaw()
            for day in DAYS:
                if self.world.days[day].damaged:
                    self.world.write(day, ((99, 5),))
                assert self.run_day(day, force=False) in ("published", "unchanged")
                assert self.world.days[day].shown == self.world.days[day].now
            collect_garbage(open_workspace(self.root), grace_hours=0.0)
            self.readers_see_old_or_new()
            assert list(self.world.history()) == []
            assert [one.differences for one in verify_days(open_workspace(self.root))] == [[], [], []]
        finally:
            for _, night in self.asleep:
                night.process.kill()
            self.folder.cleanup()

    # --- what changes under the nights ---

    @rule(day=days, parts=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=3))
    def rewrite_the_input(self, day: str, parts: list[tuple[int, int]]) -> None:
        self.world.write(day, tuple(parts))

    @rule(day=days, part=st.tuples(st.integers(0, 9), st.integers(1, 40)))
    def add_a_file(self, day: str, part: tuple[int, int]) -> None:
        if not self.world.days[day].damaged:
            self.world.write(day, (*self.world.days[day].now.parts, part))

    @rule(day=days, length=st.integers(0, 200))
    def cut_a_file_short(self, day: str, length: int) -> None:
        self.world.damage(day, length)

    @rule(day=days)
    def remove_the_partition(self, day: str) -> None:
        self.world.remove(day)

    @rule(power=st.integers(-2, 2), n=st.integers(1, 30))
    def change_model_and_parameter(self, power: int, n: int) -> None:
        self.world.set_causes((1.0, 2.0**power), n)

    # --- nights ---

    @rule(day=days, force=st.booleans())
    def run_it(self, day: str, force: bool) -> None:
        self.run_day(day, force)

    @rule(day=days, fault=places, force=st.booleans())
    def kill_it(self, day: str, fault: Fault, force: bool) -> None:
        """Kill -9 at a step or at a call, wherever that is in this run."""
        self.ends(day, self.begin(day, fault, force).wait())

    @rule(day=days, milliseconds=st.integers(1, 400))
    def kill_it_at_a_moment(self, day: str, milliseconds: int) -> None:
        night = self.begin(day, None, force=True)
        time.sleep(milliseconds / 1000)
        night.process.kill()
        self.ends(day, night.wait())

    @precondition(lambda self: len(self.asleep) < FROZEN)
    @rule(day=days, stage=st.sampled_from(STAGES), force=st.booleans())
    def freeze_it(self, day: str, stage: str, force: bool) -> None:
        causes = self.world.begins(day)
        night = self.begin(day, Fault(stage, signal=signal.SIGSTOP, planned=True), force)
        if night.frozen():
            self.world.days[day].frozen.append(causes)
            self.asleep.append((day, night))
        else:
            self.ends(day, night.wait())

    @precondition(lambda self: not self.asleep)
    @rule(day=days, stage=st.sampled_from(STAGES), n=st.integers(1, 30))
    def overtake_it(self, day: str, stage: str, n: int) -> None:
        """Freeze a run, let another of other causes go by, and thaw the first."""
        self.freeze_it(day, stage, True)
        self.world.set_causes(n=n)
        self.run_day(day, True)
        while self.asleep:
            self.thaw()

    @precondition(lambda self: self.asleep)
    @rule()
    def thaw(self) -> None:
        """The frozen run goes on: it publishes what it may still publish, or knows that it came too late."""
        _, night = self.asleep.pop(0)
        night.thaw()
        end = night.wait()
        ENDS[f"thawed: {end.status or end.error}"] += 1
        assert end.error in ("", "NotYet", "Broken"), end

    @rule(first=st.integers(0, 2), last=st.integers(0, 2))
    def backfill_days(self, first: int, last: int) -> None:
        span = DAYS[min(first, last) : max(first, last) + 1]
        for day in span:
            self.world.begins(day)
        n = self.world.days[span[0]].now.n
        for day, end in backfill(load("mini", self.root), span[0], span[-1], params={"n": n}):
            if isinstance(end, Receipt):
                self.world.ended(day.isoformat(), end.status)
            else:
                self.failed(day.isoformat(), end)

    @rule(day=days, rows=st.integers(1, 25))
    def preview_it(self, day: str, rows: int) -> None:
        try:
            assert run(load("mini", self.root), day, limit=rows).status == "preview"
        except Broken as error:
            self.failed(day, error)

    @precondition(lambda self: self.those("shown"))
    @rule(which=st.integers(0, 2))
    def restate_it(self, which: int) -> None:
        shown = self.those("shown")
        self.run_day(shown[which % len(shown)], force=False, restate=Restate(**WHO))

    # --- what a person decides ---

    @rule(day=days)
    def hold_it(self, day: str) -> None:
        causes = self.world.begins(day)
        try:
            found = run(load("mini", self.root), day, force=True, params={"n": causes.n, "hold": True})
        except Held:
            self.world.days[day].held = causes
            ENDS["held"] += 1
        except Broken as error:
            self.failed(day, error)
        else:
            raise AssertionError(f"{day} is {found.status} though an audit has not passed")

    @precondition(lambda self: self.those("held"))
    @rule(which=st.integers(0, 2))
    def release_it(self, which: int) -> None:
        """It is published as it was staged, or not at all."""
        day = self.those("held")[which % len(self.those("held"))]
        try:
            release_day(open_workspace(self.root), "mini", as_day(day), **WHO)
        except (Broken, NotYet):
            ENDS["release refused"] += 1
            return
        self.world.released(day)
        ENDS["released"] += 1

    @precondition(lambda self: self.those("held"))
    @rule(which=st.integers(0, 2), milliseconds=st.integers(1, 150))
    def kill_a_release(self, which: int, milliseconds: int) -> None:
        day = self.those("held")[which % len(self.those("held"))]
        held = self.world.days[day].held
        night = spawn(_release, self.root, day)
        time.sleep(milliseconds / 1000)
        night.process.kill()
        end = night.wait()
        ENDS[
            "release killed" if end.killed and held else "released" if end.status else "release refused"
        ] += 1
        if end.status:
            self.world.released(day)
        elif end.killed and held:
            self.world.days[day].killed.add(held)

    @rule(day=days)
    def discard_it(self, day: str) -> None:
        with contextlib.suppress(Broken, NotYet):
            discard_day(open_workspace(self.root), "mini", as_day(day), **WHO)
            self.world.days[day].held = None
            ENDS["discarded"] += 1

    @precondition(lambda self: not any(state.possible for state in self.world.days.values()))
    @rule(name=st.sampled_from(TABLES))
    def repair_what_another_engine_deleted(self, name: str) -> None:
        if not any(state.shown for state in self.world.days.values()):
            return
        lost = self.world.delete_by_another_engine(name)
        space = open_workspace(self.root)
        found = {one.day for one in verify_days(space) if one.differences}
        assert found >= set(lost), f"{lost} have lost rows, and verify names {found}"
        mended = repair_table(space, name, **WHO)
        assert {one.day for one in mended if one.day} == set(lost), (mended, lost)
        ENDS["repaired days"] += len(lost)

    @rule(verb=st.sampled_from(VERBS))
    def look(self, verb: str) -> None:
        """Whoever looks changes nothing, and is never told to report a mistake of ours."""
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            code = call(["--workspace", str(self.root), *verb.split()])
        ENDS[f"{verb}: {code}"] += 1
        assert code in (0, 1, 75) and "report it" not in said.getvalue(), (verb, code, said.getvalue())

    @rule(hours=st.sampled_from([0.0, 24.0]))
    def clear_up(self, hours: float) -> None:
        collect_garbage(open_workspace(self.root), grace_hours=hours)
        assert list(self.world.history()) == []

    # --- what must hold ---

    @invariant()
    def readers_see_old_or_new(self) -> None:
        self.world.check()
        no_half_files(self.root)

    def those(self, what: str) -> list[str]:
        """The days of which something is `shown` or `held`."""
        return [day for day in DAYS if getattr(self.world.days[day], what)]

    def run_day(self, day: str, force: bool, restate: Restate | None = None) -> str:
        causes = self.world.begins(day)
        try:
            found = run(load("mini", self.root), day, force=force, restate=restate, params={"n": causes.n})
        except Broken as error:
            self.failed(day, error)
            return "broken"
        self.world.ended(day, found.status)
        ENDS[f"restatement {found.status}" if restate else found.status] += 1
        return found.status

    def begin(self, day: str, fault: Fault | None, force: bool) -> Night:
        causes = self.world.begins(day)
        return start(self.root, day, fault, force=force, params={"n": causes.n})

    def ends(self, day: str, end: End) -> None:
        state = self.world.days[day]
        ENDS["killed" if end.killed else end.status or end.error] += 1
        if end.killed:
            if not state.damaged:
                state.killed.add(state.now)
        elif end.status:
            self.world.ended(day, end.status)
        else:
            assert end.error == "Broken" and state.damaged, end

    def failed(self, day: str, error: Exception) -> None:
        """Only a day whose input can't be read fails, and its message says which."""
        assert self.world.days[day].damaged, error
        assert day in str(error), error


def _release(answers: Connection, root: Path, day: str) -> None:
    try:
        answers.send({"status": release_day(open_workspace(root), "mini", as_day(day), **WHO).status})
    except NightscoreError as error:
        answers.send({"error": type(error).__name__, "message": str(error)})


def explore(examples: int, steps: int) -> None:
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate, *((Phase.shrink,) if SHRINK else ())),  # a step takes too long to shrink
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(Chaos), settings=options)
    print(dict(sorted(ENDS.items())))  # noqa: T201


@pytest.mark.slow
def test_chaos() -> None:
    """P1-P9: 20 steps of runs, kills, freezes, changes, backfills, gc; each day old or new to all readers."""
    explore(examples=2, steps=10)


@pytest.mark.rest
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_chaos_for_longer() -> None:
    """P1-P9: the same for 200 steps, or for $FAULTS_STEPS."""
    explore(examples=-(-(STEPS or 200) // 25), steps=25)
