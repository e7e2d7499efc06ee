"""P1, P9: several machines on one bucket: gc beside a run, clocks apart, deaths, one day by two at once."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from nightscore import load, query, run
from nightscore.common import Broken, NotYet, as_day, open_workspace
from nightscore.pipeline.executors import LOCAL_THREADS
from nightscore.pipeline.publish.hold import Held
from nightscore.pipeline.steps import plan_day, publish_day
from nightscore.review.verify import verify_days
from nightscore.store import RunFolder, collect_garbage, owners, run_folder
from nightscore.store.published.catalog import read_catalog
from nightscore.store.storage import homes, marks
from nightscore.store.storage.objects import Objects, open_objects
from tests.faults.machines import start, together
from tests.faults.test_clock import LIBRARIES
from tests.support.networks import Network, networks
from tests.support.s3 import BUCKET, Server, become_client, start_server
from tests.support.workspace import JOB, make_workspace, write_day

pytestmark = pytest.mark.disk_only(reason="its data is in a bucket already")

DAY, ROWS = "2020-01-01", 200
HOLDING = JOB + "  - {name: many, sql: SELECT count(*) > 1500 FROM scores}\n"


@dataclass
class Site:
    """A bucket's prefix with a lake and a model, and this process as one of its machines."""

    folder: Path
    root: Path
    store: Objects

    def put(self, source: Path) -> None:
        """Bring a folder's files there."""
        for file in (path for path in source.rglob("*") if path.is_file()):
            self.store.replace(file.relative_to(source).as_posix(), file.read_bytes())

    def machine(self, name: str, act: str, **options: Any) -> Any:
        """Another machine."""
        return start(self.root / "jobs", self.folder / name, act, options.pop("day", DAY), **options)

    def hold_to_nights(self, days: list[str], runs: int | None = None) -> None:
        """Each day is there once by our readers and by a plain one, and the receipts hold."""
        homes._bucket.cache_clear()
        space = open_workspace(self.root)
        history = read_catalog(space).history
        assert sorted({entry.day for entry in history}) == days
        assert len({entry.run_id for entry in history}) == len(history) == (runs or len(days))
        found = [(one.day, one.differences) for one in verify_days(space) if one.differences] if days else []
        assert not found, found
        sql = "SELECT day::VARCHAR, count(*), count(DISTINCT run_id) FROM mini_scores GROUP BY 1 ORDER BY 1"
        found = query(sql, self.root).to_pylist() if days else []
        assert [tuple(row.values()) for row in found] == [(day, ROWS, 1) for day in days]
        if days:
            table = DeltaTable(f"{self.store.address}/tables/mini_scores").to_pyarrow_table()
            assert table.num_rows == ROWS * len(days)


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a site on a server."""

    def made(server: Server, job: str = JOB, days: tuple[str, ...] = (DAY,)) -> Site:
        become_client(monkeypatch, server.port, tmp_path / "scratch")
        address = f"s3://{BUCKET}/{tmp_path.name}"
        monkeypatch.setenv("NIGHTSCORE_ROOT_DATA", address)
        source = make_workspace(tmp_path / "source", ROWS, job, days=days)
        site = Site(tmp_path, tmp_path / "ws", open_objects(address, tmp_path / "writer/mirror"))
        (source / "jobs").rename(tmp_path / "jobs")
        site.root.mkdir()
        (tmp_path / "jobs").rename(site.root / "jobs")
        site.put(source / "data")
        return site

    yield made
    homes._bucket.cache_clear()


def race(site: Site, day: str, rng: random.Random) -> str:
    """Gc beside a run that is published after it slept: what became of it."""
    job, space = load("mini", site.root), open_workspace(site.root)
    plan = plan_day(job, as_day(day))
    staged = LOCAL_THREADS.map(job, plan, plan.pieces)

    def publish() -> str:
        time.sleep(rng.random() * 1.0)
        try:
            return publish_day(job, plan, staged).status
        except (NotYet, Broken, FileNotFoundError):
            return "refused"

    def collect() -> None:
        time.sleep(rng.random() * 1.0)
        collect_garbage(space, grace_hours=-0.01)  # what was written in this second is old, too

    with ThreadPoolExecutor(2) as pool:
        ended, collected = pool.submit(publish), pool.submit(collect)
        collected.result()
        status = ended.result()
    outcome = run_folder.folder_of_plan(space, plan).outcome
    assert outcome
    assert (status, outcome.kind) in {("published", "publish"), ("refused", "collected")}
    return status


def races(site: Site, days: list[str], seed: int) -> None:
    """One a day, with a new bucket's prefix for every dozen, so that each stays quick."""
    rng = random.Random(seed)  # noqa: S311
    ends = {day: race(site, day, rng) for day in days}
    print(ends)  # noqa: T201
    published = [day for day, end in ends.items() if end == "published"]
    collect_garbage(open_workspace(site.root), grace_hours=-0.01)
    site.hold_to_nights(published)
    for day in days:
        if ends[day] == "refused":
            assert run(load("mini", site.root), day).status == "published"
    site.hold_to_nights(days)


def days_of(count: int) -> tuple[str, ...]:
    """Days of one month."""
    return tuple(f"2020-01-{n + 1:02}" for n in range(count))


@pytest.mark.slow
def test_gc_and_a_run_that_wakes_are_never_both_right(
    make: Make, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: the run's sign of life is old: it is published, or collected and refused; two races."""
    monkeypatch.setattr(marks, "ALIVE", -60.0)
    races(make(s3_server, days=days_of(2)), list(days_of(2)), 1)


@pytest.mark.slow
@pytest.mark.rest
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(4))
def test_gc_and_a_run_that_wakes_sixty_times(
    make: Make, s3_server: Server, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """P1: the same, fifteen races each time."""
    monkeypatch.setattr(marks, "ALIVE", -60.0)
    races(make(s3_server, days=days_of(15)), list(days_of(15)), seed)


def test_gc_leaves_a_run_at_work(make: Make, s3_server: Server) -> None:
    """By its sign of life, without any grace; once that is gone the run is collected."""
    site = make(s3_server)
    job, space = load("mini", site.root), open_workspace(site.root)
    plan = plan_day(job, as_day(DAY))
    folder: RunFolder = run_folder.folder_of_plan(space, plan)
    with folder.in_use():
        assert collect_garbage(space, grace_hours=-0.01) == []
    staged = LOCAL_THREADS.map(job, plan, plan.pieces)
    assert [one.reason for one in collect_garbage(space, grace_hours=-0.01)] == ["stopped and not taken up"]
    with pytest.raises(NotYet, match="gc` has removed it"):
        publish_day(job, plan, staged)


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "grace", "collected"), [(3, 1, False), (-3, 1, False), (-3, -0.01, True)])
def test_gc_goes_by_the_clock_of_the_storage(
    make: Make, s3_server: Server, shift: int, grace: float, collected: bool
) -> None:
    """Whatever the machine's own says."""
    site = make(s3_server)
    job = load("mini", site.root)
    plan = plan_day(job, as_day(DAY))
    LOCAL_THREADS.map(job, plan, plan.pieces)
    [said] = together(site.machine("two", "gc", CLOCK_SHIFT=str(shift * 3600), GRACE=str(grace)))
    assert bool(said["said"]) is collected, said
    assert (run(job, DAY).run_id == plan.run_id) is not collected
    site.hold_to_nights([DAY])


@pytest.mark.slow
def test_clocks_apart_do_not_keep_a_later_night_from_replacing_an_earlier_one(
    make: Make, s3_server: Server
) -> None:
    """The first night's machine is three hours ahead."""
    site = make(s3_server)
    assert together(site.machine("ahead", "run", CLOCK_SHIFT="10800")) == [{"said": "published"}]
    assert together(site.machine("right", "run")) == [{"said": "unchanged"}]
    write_day(site.folder / "new/data", DAY, ROWS, files=2)
    site.put(site.folder / "new/data/data")
    [said] = together(site.machine("right", "force"))
    assert said == {"said": "published"} or said["error"] == "NotYet", said
    history = read_catalog(open_workspace(site.root)).history
    site.hold_to_nights([DAY], len(history))


@pytest.mark.slow
def is_sound(end: dict[str, Any]) -> bool:
    """Whether a machine says that the day is there, or that it may be later."""
    return end.get("said") in ("published", "unchanged") or end.get("error") == "NotYet"


def in_network(network: Network, hours: float) -> dict[str, Any]:
    """A machine of a network, whose clock is some hours off."""
    shift = str(hours * 3600)
    return {"inside": network.inside, "AWS_ENDPOINT_URL": network.endpoint, "CLOCK_SHIFT": shift}


@pytest.mark.slow
def test_two_networks_with_clocks_nine_hours_apart(make: Make, s3_server: Server) -> None:
    """At once, and then one that loses its network in mid-night, while the other publishes the day."""
    days = ["2020-01-01", "2020-01-02", "2020-01-03"]
    with networks(2, s3_server.port) as (east, west):
        site = make(s3_server, days=tuple(days))
        machines = [
            site.machine("east", "run", **in_network(east, 5)),
            site.machine("west", "run", **in_network(west, -4)),
        ]
        ended = together(*machines)
        assert {"said": "published"} in ended, ended
        assert all(e.get("said") in ("published", "unchanged") or e["error"] == "NotYet" for e in ended), (
            ended
        )
        site.hold_to_nights(days[:1])
        for day, pause in zip(days[1:], (0.4, 1.2), strict=True):
            cut_off = site.machine("west", "run", day=day, **in_network(west, -4))
            cut_off.go()
            time.sleep(pause)
            west.cut()
            [other] = together(site.machine("east", "run", day=day, **in_network(east, 5)))
            west.join()
            end = cut_off.end()
            assert is_sound(other) and is_sound(end), (other, end)
            [last] = together(site.machine("east", "run", day=day, **in_network(east, 5)))
            assert last.get("said") in ("published", "unchanged"), last
            site.hold_to_nights(days[: days.index(day) + 1])


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="NOT TESTED: no libfaketime; apt-get install faketime")
@pytest.mark.parametrize("offset", ["+3h", "-3h"])
def test_a_machine_whose_whole_clock_is_hours_off_is_told_so(
    make: Make, s3_server: Server, offset: str
) -> None:
    """S3 takes no request that is signed hours off: nothing is published, and the clock is named."""
    with networks(2, s3_server.port) as (east, west):
        site = make(s3_server)
        fake = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": offset}
        wrong = site.machine("east", "run", **{**in_network(east, 0), **fake})
        right = site.machine("west", "run", **in_network(west, 0))
        ended, published = together(wrong, right)
        assert ended.get("error") == "Broken" and "clock" in ended["message"], ended
        assert published == {"said": "published"}
        site.hold_to_nights([DAY])


@pytest.mark.parametrize("number", range(3))
@pytest.mark.sample(1)
@pytest.mark.slow
def test_two_machines_run_one_day_at_once(make: Make, s3_server: Server, number: int) -> None:
    """P1: one publishes it; the other says that it was second, or finds it done, or replaces it."""
    site = make(s3_server)
    ends = together(site.machine("one", "run"), site.machine("two", "run", after=0.2 * number))
    assert "published" in [end.get("said") for end in ends], ends
    assert all(end.get("said") in ("published", "unchanged") or end["error"] == "NotYet" for end in ends), (
        ends
    )
    site.hold_to_nights([DAY], len(read_catalog(open_workspace(site.root)).history))
    assert run(load("mini", site.root), DAY).status == "unchanged"


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_two_machines_release_and_discard_a_held_day_at_once(
    make: Make, s3_server: Server, number: int
) -> None:
    """P1: one of them has decided, and the other says so."""
    site = make(s3_server, HOLDING)
    with pytest.raises(Held):
        run(load("mini", site.root), DAY)
    released, discarded = together(
        site.machine("one", "release"), site.machine("two", "discard", after=0.15 * number)
    )
    assert ("said" in released) != ("said" in discarded), (released, discarded)
    site.hold_to_nights([DAY] if "said" in released else [])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_table_is_handed_over_while_another_machine_publishes_it(
    make: Make, s3_server: Server, number: int
) -> None:
    """P1: before or after, never in between: the owner's receipt says whose the table was."""
    days = days_of(2)
    site = make(s3_server, days=days)
    run(load("mini", site.root), days[0])
    (site.folder / "other").mkdir()
    night, handed = together(
        site.machine("one", "run", day=days[1]), site.machine("two", "hand over", after=0.3 * number)
    )
    owner = owners.read_owner(open_workspace(site.root), "mini_scores")
    assert owner and owner.to == ("other" if "said" in handed else "mini"), (night, handed)
    site.hold_to_nights([day for day in days if day == days[0] or "said" in night])


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.3, 0.7, 1.2, 1.8])
def test_a_server_that_dies_in_the_middle_of_a_night(make: Make, tmp_path: Path, pause: float) -> None:
    """P9: it comes back after a while: the night is published, or not yet and then published."""
    (tmp_path / "server").mkdir()
    server = start_server(tmp_path / "server")
    try:
        site = make(server)
        machine = site.machine("one", "run")
        machine.go()
        time.sleep(pause)
        server.kill()
        time.sleep(1.0)
        server.start_again()
        said = machine.end()
        assert said.get("said") == "published" or said["error"] == "NotYet", said
        assert run(load("mini", site.root), DAY).status in ("published", "unchanged")
        site.hold_to_nights([DAY])
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.4, 0.8, 1.3, 2.0])
def test_a_machine_that_dies_at_any_moment(make: Make, s3_server: Server, pause: float) -> None:
    """P9: kill -9; another one publishes the day, once."""
    site = make(s3_server)
    machine = site.machine("one", "run")
    machine.go()
    time.sleep(pause)
    machine.process.kill()
    machine.end()
    assert together(site.machine("two", "run"))[0]["said"] in ("published", "unchanged")
    site.hold_to_nights([DAY])
