"""P1, P9: data/ in a bucket of a real server; the k-th request of a night, a release, a replay or gc fails.

The requests of each are counted first (some hundreds), then the k-th of them fails in one of the ways below,
for a seeded sample of k and ways; FAULTS_ALL=1 takes all, FAULTS_SEED=… repeats a sample. After each, our
readers and a plain reader see the old day or the new one; what is done again completes it; nothing is there
twice.
"""

import itertools
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from nightscore import load, query, run
from nightscore.common import Broken, NightscoreError, open_workspace
from nightscore.pipeline.publish.commit import roll_forward
from nightscore.pipeline.publish.hold import Held, discard_day, read_held_days, release_day
from nightscore.pipeline.replay import replay_rejects
from nightscore.review.verify import verify_days
from nightscore.store import collect_garbage
from nightscore.store.published.catalog import read_catalog
from nightscore.store.storage import homes, objects, requests
from nightscore.store.storage.objects import Objects, open_objects
from tests.support.s3 import BUCKET, become_client
from tests.support.s3_proxy import Proxy
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace, rows_of

pytestmark = pytest.mark.disk_only(reason="its data is in a bucket already")

SEED = int(os.environ.get("FAULTS_SEED", "303627"))
ALL = bool(os.environ.get("FAULTS_ALL"))
DAY, ROWS = DAYS[0], 400
WHO = {"by": "Ada", "because": "half of the stores were closed"}
HOLDING = JOB + "  - {name: many, sql: SELECT count(*) > 1500 FROM scores}\n"
REJECTING = JOB + "domain: {a: {max: 0.9}}\npolicy: {bad_row: reject, max_rejected: 20%}\n"
# Of deltalake's requests those of its log are left out where they would be tried for minutes.
OURS = "^(?!.*_delta_log)"
FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"reset": True}, "lost": {"lost": True}, "500": {"status": 500}, "500 after": {"after": 500},
    "503": {"status": 503}, "429": {"status": 429}, "409": {"status": 409, "method": "PUT"},
    "cut": {"cut": True, "method": "GET"}, "slow": {"delay": 4.0, "path": OURS},
    "lost for good": {"lost": True, "times": 40, "path": OURS},
    "reset for good": {"reset": True, "times": 40, "path": OURS},
}  # fmt: skip
Rows = list[tuple[int, float]] | None  # of a day, by id: id and score; None where it is not published


@dataclass
class World:
    """A prefix of the bucket with a workspace, and the machine that works on it."""

    root: Path
    address: str
    proxy: Proxy
    store: Objects

    def put(self, key: str, file: Path) -> None:
        """An object as somebody else puts it."""
        self.store.replace(key, file.read_bytes())


def scores_of(table: pa.Table, weights: tuple[float, float] = (1.0, 2.0)) -> Rows:
    """What is to be published of some rows, by NumPy."""
    a, b = (table[name].to_numpy() for name in ("a", "b"))
    score = a * np.float32(weights[0]) + b * np.float32(weights[1])
    return list(zip(table["id"].to_pylist(), score.tolist(), strict=True))


def fixed_rows() -> pa.Table:
    """The day's rows once the producer has mended them."""
    rows = rows_of(DAY, ROWS)
    a = rows["a"].to_numpy()
    return rows.set_column(1, "a", pa.array(np.where(a > np.float32(0.9), np.float32(0.5), a)))


def night(world: World) -> object:
    """The night, which also completes what was begun."""
    return run(load("mini", world.root), DAY)


def forced(world: World) -> object:
    """The same by another model, whatever is there."""
    return run(load("mini", world.root), DAY, force=True)


def release(world: World) -> object:
    """Release the day if it is held, or complete what was begun."""
    space = open_workspace(world.root)
    if list(read_held_days(space)):
        return release_day(space, "mini", date.fromisoformat(DAY), **WHO)
    return roll_forward(load("mini", world.root), date.fromisoformat(DAY))


def discard(world: World) -> object:
    """Discard the day if it is held."""
    space = open_workspace(world.root)
    if list(read_held_days(space)):
        return discard_day(space, "mini", date.fromisoformat(DAY), **WHO)
    return None


def replay(world: World) -> object:
    """Replay the rejects while there are some."""
    roll_forward(load("mini", world.root), date.fromisoformat(DAY))
    if len(published(world) or ()) == ROWS:
        return None
    return replay_rejects(load("mini", world.root), DAY)


def collect(world: World) -> object:
    """Remove what nobody needs."""
    return collect_garbage(open_workspace(world.root), grace_hours=0)


def nothing(_: World) -> None:
    """The lake and the model alone."""


def by_another_model(world: World) -> None:
    """A night, and another model since."""
    night(world)
    linear_model(world.root.parent / "model.onnx", (4.0, 1.0))
    world.put("models/linear.onnx", world.root.parent / "model.onnx")


def held(world: World) -> None:
    """A day that an audit holds."""
    with pytest.raises(Held):
        night(world)


def rejected(world: World) -> None:
    """A day of which rows were rejected, and mended since."""
    night(world)
    pq.write_table(fixed_rows(), world.root.parent / "fixed.parquet")
    world.put(f"lake/rows/day={DAY}/part-0.parquet", world.root.parent / "fixed.parquet")


def twice(world: World) -> None:
    """Two nights of one day, and a run that was stopped."""
    night(world)
    forced(world)


FIRST = scores_of(rows_of(DAY, ROWS))
GOOD = scores_of(rows_of(DAY, ROWS).filter(pc.less_equal(rows_of(DAY, ROWS)["a"], 0.9)))


@dataclass(frozen=True)
class Work:
    """What is done, on what, and what readers see before and after; how many receipts there are then."""

    prepare: Callable[[World], None]
    act: Callable[[World], object]
    again: Callable[[World], object]
    old: Rows
    new: Rows
    receipts: int
    job: str = JOB


WORK = {
    "first night": Work(nothing, night, night, None, FIRST, 1),
    "forced night": Work(
        by_another_model, forced, night, FIRST, scores_of(rows_of(DAY, ROWS), (4.0, 1.0)), 2
    ),
    "release": Work(held, release, release, None, FIRST, 1, HOLDING),
    "discard": Work(held, discard, discard, None, None, 0, HOLDING),
    "replay": Work(rejected, replay, replay, GOOD, scores_of(fixed_rows()), 2, REJECTING),
    "gc": Work(twice, collect, collect, FIRST, FIRST, 2),
}


@dataclass
class Worlds:
    """Makes a world of a kind once, and copies of it."""

    folder: Path
    proxy: Proxy
    monkeypatch: pytest.MonkeyPatch
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def make(self, work: Work) -> World:
        """A world as the work finds it."""
        self.folder.mkdir(exist_ok=True)
        root = self.folder / "ws"
        source = make_workspace(self.folder / "source", ROWS, work.job, days=(DAY,))
        shutil.copytree(source / "jobs", root / "jobs")
        world = self._at("made", root)
        for file in (path for path in (source / "data").rglob("*") if path.is_file()):
            world.put(file.relative_to(source / "data").as_posix(), file)
        work.prepare(world)
        return world

    def copy(self, world: World) -> World:
        """A copy of a world, for a machine that has nothing of it."""
        new = self._at(f"copy-{next(self._numbers)}", world.root)

        def copied(seen: Any) -> None:
            new.store.replace(seen.key, world.store.read(seen.key))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(copied, world.store.walk("")))
        return new

    def _at(self, name: str, root: Path) -> World:
        address = f"s3://{BUCKET}/{self.folder.parent.name}-{name}"
        self.monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
        homes._bucket.cache_clear()
        return World(root, address, self.proxy, open_objects(address, self.folder / f"writer-{name}"))


@pytest.fixture
def worlds(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worlds]:
    """Worlds before the proxy, whose clients lose patience soon."""
    become_client(monkeypatch, proxy.port, tmp_path / "scratch")
    monkeypatch.setattr(requests, "TRIES", 3)
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 1, "retry_timeout": timedelta(seconds=20)})
    monkeypatch.setattr(objects, "CLIENT", {"timeout": timedelta(seconds=3)})
    yield Worlds(tmp_path / "w", proxy, monkeypatch)
    homes._bucket.cache_clear()


def published(world: World) -> Rows:
    """What our readers see."""
    if not read_catalog(open_workspace(world.root)).history:
        return None
    sql = f"SELECT id, score FROM mini_scores WHERE day = '{DAY}' ORDER BY ALL"
    return [tuple(row.values()) for row in query(sql, world.root).to_pylist()]


def by_delta(world: World) -> Rows:
    """What a reader sees that knows nothing of receipts."""
    try:
        table = DeltaTable(f"{world.address}/tables/mini_scores").to_pyarrow_table()
    except TableNotFoundError:
        return None
    found = sorted(zip(table["id"].to_pylist(), table["score"].to_pylist(), strict=True))
    return found or None


def hold_to_whole(world: World, work: Work) -> None:
    """Both readers see the old day or the new one, each whole."""
    for seen in (published(world), by_delta(world)):
        assert seen in (work.old, work.new)


def hold_to_new(world: World, work: Work) -> None:
    """What is done is done once, and the receipts hold."""
    assert published(world) == by_delta(world) == work.new
    space = open_workspace(world.root)
    history = read_catalog(space).history
    assert len(history) == len({entry.run_id for entry in history}) == work.receipts
    assert not history or not any(one.differences for one in verify_days(space))
    assert not list(read_held_days(space))


def fail_at(world: World, work: Work, name: str, k: int) -> None:
    """One case: the k-th request that a fault applies to fails."""
    world.proxy.set_rules({"times": 1, **FAULTS[name], "skip": k})
    try:
        work.act(world)
    except NightscoreError as error:
        assert not isinstance(error, Broken), f"{name} at {k}: a fault that passes is told as broken: {error}"
    world.proxy.set_rules()
    hold_to_whole(world, work)
    homes._bucket.cache_clear()
    work.again(world)
    hold_to_new(world, work)


def applies(name: str, request: str) -> bool:
    """Whether a fault can come to a request."""
    method, target = request.split(" ", 1)
    rule = FAULTS[name]
    return bool(re.fullmatch(rule.get("method", ".*"), method) and re.search(rule.get("path", ""), target))


def kind_of(request: str) -> str:
    """A request without what differs from run to run."""
    return re.sub(r"[0-9a-f]{6,}|\d+", "#", request.partition("?")[0]) + (
        "?" if "list-type" in request else ""
    )


def cases(log: list[str], count: int, salt: str) -> list[tuple[str, int]]:
    """Faults and the k at which they come: all, or a seeded sample, each kind of request as likely."""
    print(f"FAULTS_SEED={SEED}, {len(log)} requests")  # noqa: T201 - pytest shows it where the test fails
    of_kind: dict[str, list[tuple[str, int]]] = {}
    for name in FAULTS:
        for k, request in enumerate(one for one in log if applies(name, one)):
            of_kind.setdefault(kind_of(request), []).append((name, k))
    if ALL:
        return [case for some in of_kind.values() for case in some]
    rng = random.Random(f"{SEED} {salt}")  # noqa: S311
    kinds = rng.sample(sorted(of_kind), min(count, len(of_kind)))
    return [rng.choice(of_kind[kind]) for kind in kinds]


def every_request(worlds: Worlds, name: str, count: int) -> None:
    """Count, then fail; a copy of the same world each time."""
    work = WORK[name]
    made = worlds.make(work)
    whole = worlds.copy(made)
    whole.proxy.set_rules()
    work.act(whole)
    log = whole.proxy.log
    hold_to_new(whole, work)
    for fault, k in cases(log, count, name):
        print(f"{name}: {fault} at {k}")  # noqa: T201
        fail_at(worlds.copy(made), work, fault, k)


@pytest.mark.parametrize("name", ["first night", "release"])
@pytest.mark.sample(1)
def test_a_request_that_fails_leaves_old_or_new(worlds: Worlds, name: str) -> None:
    """P1, P9: two requests of each kind of work."""
    every_request(worlds, name, count=2)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", WORK)
def test_the_kth_request_that_fails_leaves_old_or_new(worlds: Worlds, name: str) -> None:
    """P1, P9: a dozen requests of each kind of work, or every one in every way with FAULTS_ALL=1."""
    every_request(worlds, name, count=12)
