"""Whatever publishes a day delivers it: replays, backfills, restatements, two at once; and other targets."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from nightscore import Broken, load, run
from nightscore.cli.main import call
from nightscore.pipeline import check_job
from nightscore.pipeline.replay import replay_rejects
from nightscore.store import list_deliveries
from tests.behaviour.processes import Fault, start
from tests.behaviour.world import Truth
from tests.delivery.conftest import DAY, DELIVER, ROWS, Build, rows_at
from tests.faults.marks import mostly_slow
from tests.support.workspace import rows_of

BEFORE = "2020-01-01"
IDS = "SELECT id FROM top ORDER BY id"
REJECTING = "domain: {a: {max: 0.9}}\npolicy: {bad_row: reject, max_rejected: 20%}\n"
SCORES = DELIVER.replace("{name: shop,", "{name: shop, from: mini_scores,")
NEW = (2.0, 0.5)


def best(weights: tuple[float, float] = (1.0, 2.0), day: str = DAY) -> list[int]:
    """The ids of a day's decision, by NumPy."""
    return [int(one) for one in Truth(ROWS, weights, day=day).table("mini_top")["id"].to_pylist()]


def ids(address: str, day: str = DAY, table: str = "top") -> list[int]:
    """Those that a reader finds."""
    return [row[0] for row in rows_at(address, f"SELECT id FROM {table} WHERE day = '{day}' ORDER BY id")]


def statuses(root: Path) -> list[tuple[str, str]]:
    return [(one.day, one.status) for one in list_deliveries(load("mini", root).workspace)]


def test_a_replay_takes_the_place_of_the_day_with_rejects(build: Build, crm: str) -> None:
    """The rows that were set aside are there afterwards, with the others, under the replay's run."""
    root = build(SCORES + REJECTING)
    run(load("mini", root), DAY)
    a = rows_of(DAY, ROWS)["a"].to_numpy()
    assert ids(crm) == np.flatnonzero(a <= np.float32(0.9)).tolist() != list(range(ROWS))
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace("max: 0.9", "max: 1.0"))
    receipt = replay_rejects(load("mini", root), DAY)
    assert ids(crm) == list(range(ROWS))
    assert rows_at(crm, "SELECT run_id, rows FROM nightscore_receipts") == [(receipt.run_id, ROWS)]


def test_a_backfill_delivers_each_day_once(build: Build, crm: str) -> None:
    """By the command; the second one has nothing to do, and writes nothing there."""
    days = (BEFORE, DAY, "2020-01-03")
    root = build(days=days)
    go = ["backfill", "mini", "--from", days[0], "--to", days[-1], "--workspace", str(root)]
    noted = "SELECT day::text, run_id, xmin::text FROM nightscore_receipts ORDER BY day"
    assert call(go) == 0
    first = rows_at(crm, noted)
    assert [row[0] for row in first] == list(days) and call(go) == 0
    assert rows_at(crm, noted) == first and statuses(root) == [(day, "delivered") for day in days]
    assert {day: ids(crm, day) for day in days} == {day: best(day=day) for day in days}


def test_a_closed_day_is_delivered_again_when_it_is_restated(build: Build, crm: str) -> None:
    """And not before: a run that is refused changes nothing there."""
    root = build("close: true\n" + DELIVER)
    run(load("mini", root), DAY)
    Truth(ROWS, NEW).write_model(root)
    go = ["run", "mini", "--day", DAY, "--workspace", str(root)]
    assert call(go) == Broken.exit_code and ids(crm) == best()
    assert call([*go, "--restate", "--because", "a wrong model", "--by", "Ada"]) == 0
    assert ids(crm) == best(NEW) != best()


FILES = 'deliver:\n  - {name: shop, files: {root: crm, path: "{day}.csv", format: csv}}\n'


@pytest.mark.parametrize("kind", mostly_slow(["postgres", "files"], ["files"]))
def test_of_two_runs_at_once_the_one_in_force_stands(build: Build, crm: str, kind: str) -> None:
    """The first is frozen before it delivers what it has committed; the second delivers meanwhile."""
    root = build(DELIVER if kind == "postgres" else FILES)
    (root / "workspace.yaml").write_text("roots: {crm: {at: crm, write: true}}\n")
    first = start(root, DAY, Fault("deliver shop", signal=signal.SIGSTOP))
    assert first.frozen()
    Truth(ROWS, NEW).write_model(root)
    second = run(load("mini", root), DAY)
    first.thaw()
    assert first.wait().error == ""
    there = (
        ids(crm)
        if kind == "postgres"
        else [int(line.split(",")[0]) for line in (root / f"crm/{DAY}.csv").read_text().splitlines()[1:]]
    )
    assert sorted(there) == best(NEW) != best()
    [record] = list_deliveries(load("mini", root).workspace)
    assert record.run_id == second.run_id


def test_a_target_that_is_exchanged_gets_the_days_that_are_run_and_the_old_one_is_named(
    build: Build, crm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days that are not run again are said to be elsewhere; a backfill brings them, and scores nothing."""
    root = build(days=(BEFORE, DAY))
    for day in (BEFORE, DAY):
        run(load("mini", root), day)
    job, at = root / "jobs/mini/job.yaml", ["--workspace", str(root)]
    job.write_text(job.read_text().replace("table: top", "table: best"))
    assert run(load("mini", root), DAY).status == "unchanged"
    assert ids(crm, table="best") == ids(crm) == best() and ids(crm, BEFORE, "best") == []
    assert list_deliveries(load("mini", root).workspace)[-1].left == "crm: table top"
    capsys.readouterr()
    assert call(["deliveries", "mini", *at]) == 0
    told = capsys.readouterr().out
    assert "what was delivered to crm: table top stays there" in told
    assert f"mini {BEFORE}  shop: not delivered" in told and f"redeliver mini --day {BEFORE}" in told
    leave = ["withdraw", "mini", "--day", BEFORE, "--to", "shop", "--by", "Ada", "--because", "wrong"]
    assert call([*leave, *at]) == Broken.exit_code
    assert f"{BEFORE} stands at crm: table top, and job.yaml says crm: table best" in capsys.readouterr().err
    assert call(["backfill", "mini", "--from", BEFORE, "--to", DAY, *at]) == 0
    assert (
        ids(crm, BEFORE, "best") == best(day=BEFORE)
        and len(list((root / "data/runs/mini").rglob("plan.json"))) == 2
    )
    job.write_text(job.read_text().partition("deliver:")[0])
    capsys.readouterr()
    assert call(["verify", "mini", *at]) == 0
    assert capsys.readouterr().out.count("shop: left  10 rows") == 2


def test_a_day_that_is_not_delivered_is_said_wherever_the_day_is_shown(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server was down: receipts, verify, their JSON, deliveries; then where it is, and by which run."""
    root = build()
    at = ["--workspace", str(root)]
    monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", "postgresql://ada@127.0.0.1:9/crm")
    assert call(["run", "mini", "--day", DAY, *at]) == 75
    for status in ("not delivered", "delivered"):
        for command in ("receipts", "verify", "deliveries"):
            capsys.readouterr()
            assert call([command, "mini", "--day", DAY, *at]) == 0
            assert f"shop: {status}  " in capsys.readouterr().out, command
        for command in ("receipts", "verify"):
            assert call([command, "mini", "--day", DAY, "--json", *at]) == 0
            [one] = json.loads(capsys.readouterr().out)
            [told] = one["deliveries"]
            assert (told["delivery"], told["status"], told["target"]) == ("shop", status, "crm: table top")
        monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", crm)
        assert call(["run", "mini", "--day", DAY, *at]) == 0
        assert "shop: delivered  10 rows" in capsys.readouterr().out
    assert (told["rows"], told["run_id"]) == (10, one["run_id"]) and told["key_hash"]


def test_what_will_be_delivered_where_is_said_before(
    build: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By plan, jobs and check; a connection that is not set here, too."""
    monkeypatch.delenv("NIGHTSCORE_CONNECTION_CRM", raising=False)
    root = build()
    for command in (["plan", "mini", "--day", DAY], ["jobs"], ["check", "mini"]):
        assert call([*command, "--workspace", str(root)]) == 0
        assert "crm: table top" in capsys.readouterr().out, command


def test_two_deliveries_of_one_target_are_refused_with_the_line(build: Build, crm: str) -> None:
    """Of a job when it is read; of two jobs by check, which names the other."""
    again = "  - {name: twice, postgres: {connection: crm, table: top, key: [id]}}\n"
    root = build(DELIVER + again)
    with pytest.raises(Broken, match=r"job.yaml:\d+: .*two deliveries go to crm: table top"):
        load("mini", root)
    job = root / "jobs/mini/job.yaml"
    job.write_text(job.read_text().replace(again, ""))
    other = root / "jobs/other/job.yaml"
    other.parent.mkdir()
    other.write_text(job.read_text().replace("job: mini", "job: other").replace("mini_top", "other_top"))
    (other.parent / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())
    with pytest.raises(Broken, match=r"job.yaml:\d+: .*crm: table top is where job mini delivers, too"):
        check_job(load("other", root))


@pytest.mark.slow
def test_pieces_on_ray_are_delivered_by_the_process_that_publishes(
    build: Build, crm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes have no connection in their environment, and need none."""
    ray = pytest.importorskip("ray")
    from nightscore.pipeline.on_ray.executor import Ray
    from tests.support.ray_cluster import Cluster

    root = build("scoring: {piece_rows: 1000, device: cpu}\n" + DELIVER)
    there = os.environ.pop("NIGHTSCORE_CONNECTION_CRM")
    cluster = Cluster()
    try:
        cluster.add()
        monkeypatch.setenv("NIGHTSCORE_CONNECTION_CRM", there)
        receipt = run(load("mini", root), DAY, executor=Ray(cluster.address))
    finally:
        ray.shutdown()
        cluster.stop()
    assert ids(crm) == best()
    assert rows_at(crm, "SELECT run_id FROM nightscore_receipts") == [(receipt.run_id,)]
