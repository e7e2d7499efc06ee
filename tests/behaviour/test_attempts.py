"""What became of each try to run a day, and which days are not there."""

import datetime as dt
import json
import os
import shutil
from pathlib import Path

import pytest

from nightscore import load, run
from nightscore.cli.main import call
from nightscore.common import Broken, open_workspace
from nightscore.pipeline.publish.hold import release_day
from nightscore.scorers import read_hardware
from nightscore.store.records.attempts import KEPT_DAYS, Attempt, list_attempts
from tests.behaviour.conftest import Build
from tests.behaviour.processes import Fault, start
from tests.behaviour.world import DAY
from tests.support.workspace import JOB, make_workspace, write_day

TODAY = dt.datetime.now(dt.UTC).date()
WEEK = [(TODAY - dt.timedelta(days=n)).isoformat() for n in range(5, 0, -1)]  # the last is yesterday
DAILY = 'schedule: {daily: "00:00", timezone: UTC}\n'
AFTER = """\
job: second
about: Comes after mini
owner: tests
schedule: {after: [mini_top]}
inputs:
  top: {table: mini_top}
features: top
key: [id]
model: {path: data/models/one.onnx, outputs: {points: y}}
"""


def last(root: Path) -> Attempt:
    """The newest attempt of the workspace."""
    return max(list_attempts(open_workspace(root)), key=lambda one: one.started)


def told(
    root: Path, *arguments: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, object]]]:
    """What a command says as JSON, and its exit code."""
    capsys.readouterr()
    code = call(["--workspace", str(root), *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def chain(root: Path, days: list[str]) -> Path:
    """A daily job of some days, and one that comes after it."""
    from tests.support.workspace import linear_model

    make_workspace(root, 50, JOB + DAILY, tuple(days))
    (root / "jobs/second").mkdir()
    (root / "jobs/second/job.yaml").write_text(AFTER)
    linear_model(root / "data/models/one.onnx", (1.0,), ("score",))
    return root


def test_each_end_of_a_run_is_told(fresh: Build) -> None:
    """With the very message that the caller got; a preview is told of by nobody."""
    root = fresh(rows=40, job=JOB, days=(DAY,))
    job = load("mini", root)
    run(job, DAY, limit=5)
    assert list_attempts(open_workspace(root)) == []
    receipt = run(job, DAY)
    assert (last(root).state, last(root).run_id, last(root).day) == ("published", receipt.run_id, DAY)
    run(job, DAY)
    assert last(root).state == "unchanged"
    ends = {"fail": "failed", "wait": "waiting", "skip": "skipped"}
    for policy, state in ends.items():
        (root / "jobs/mini/job.yaml").write_text(f"{JOB}policy: {{missing: {policy}}}\n")
        try:
            message = run(load("mini", root), "2020-02-02").reason
        except Exception as error:
            message = str(error)
        assert (last(root).state, last(root).message) == (state, message)
    (root / "jobs/mini/job.yaml").write_text(
        JOB + "  - {name: many, sql: SELECT count(*) > 50 FROM scores}\n"
    )
    with pytest.raises(Broken, match="many") as held:
        run(load("mini", root), DAY)
    assert (last(root).state, last(root).message) == ("held", str(held.value))
    release_day(open_workspace(root), "mini", dt.date.fromisoformat(DAY), by="Ada", because="few is right")
    assert [one.state for one in list_attempts(open_workspace(root), "mini", DAY, DAY)] == [
        "published", "unchanged", "held",
    ]  # fmt: skip


@pytest.mark.disk_only(reason="what is tried is the process, not the storage")
def test_a_killed_run_is_told_to_be_gone(fresh: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """At work it is running; killed, it is stopped at once, on its own machine; and then published."""
    root = fresh(rows=40, job=JOB, days=(DAY,))
    frozen = start(root, DAY, Fault("score", signal=19))
    assert frozen.frozen()
    code, [at_work] = told(root, "runs", capsys=capsys)
    assert (code, at_work["state"], at_work["day"]) == (0, "running", DAY)
    os.kill(frozen.process.pid or 0, 9)
    assert frozen.wait().killed
    assert [one["state"] for one in told(root, "runs", "--failed", capsys=capsys)[1]] == ["stopped"]
    run(load("mini", root), DAY)
    assert [one["state"] for one in told(root, "runs", capsys=capsys)[1]] == ["stopped", "published"]


@pytest.mark.disk_only(reason="a file where the folder should be")
def test_a_run_of_which_nothing_can_be_told_is_published(fresh: Build) -> None:
    """Nothing is decided by what is told: a night does not fail because it could not be."""
    root = fresh(rows=40, job=JOB, days=(DAY,))
    (root / "data/attempts").write_text("no folder")
    assert run(load("mini", root), DAY).status == "published"


@pytest.mark.disk_only(reason="file times are set")
def test_old_attempts_go_and_a_renamed_job_keeps_its_own(fresh: Build) -> None:
    """`gc` removes what was told so long ago; the others are told under the name of now."""
    root = fresh(rows=40, job=JOB, days=(DAY,))
    for _ in range(2):
        run(load("mini", root), DAY)
    first, second = sorted((root / "data/attempts/mini" / DAY).iterdir())
    long_ago = dt.datetime.now(dt.UTC).timestamp() - (KEPT_DAYS + 1) * 86_400
    os.utime(first, (long_ago, long_ago))
    assert call(["--workspace", str(root), "gc"]) == 0
    assert [*(root / "data/attempts/mini" / DAY).iterdir()] == [second]
    who = ["--by", "Ada", "--because", "a better name"]
    assert call(["--workspace", str(root), "rename-job", "mini", "maxi", *who]) == 0
    assert [one.job for one in list_attempts(open_workspace(root), "maxi")] == ["maxi"]


@pytest.mark.slow  # a process for each of ten days
@pytest.mark.disk_only(reason="days of the clock; receipts are the same in a bucket")
def test_a_night_runs_what_is_missing_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Upstream first; a job that comes after it gets the days that the command line has published, too."""
    root = chain(tmp_path, WEEK)
    job = load("mini", root)
    run(job, WEEK[0])
    run(load("second", root), WEEK[0])
    run(job, WEEK[2])
    code, gone = told(root, "missing", capsys=capsys)
    missing = [("mini", WEEK[i]) for i in (1, 3, 4)] + [("second", WEEK[2])]
    assert code == 1 and [(one["job"], one["day"]) for one in gone] == missing
    assert {one["state"] for one in gone} == {"missing"}

    (root / f"data/lake/rows/day={WEEK[3]}").rename(root / "data/lake/aside")
    code, done = told(root, "night", capsys=capsys)
    ended = {(one["job"], one["day"]): one["exit_code"] for one in done}
    lost = {("mini", WEEK[3]): 1, ("second", WEEK[3]): 75}
    days = {(name, WEEK[i]): 0 for i in (1, 4) for name in ("mini", "second")} | {("second", WEEK[2]): 0}
    assert code == 1 and ended == days | lost
    order = [(one["job"], one["day"]) for one in done]
    assert all(
        order.index(("mini", day)) < order.index(("second", day)) for _, day in days if ("mini", day) in order
    )
    [why] = told(root, "missing", capsys=capsys)[1]
    assert (why["job"], why["day"], why["state"]) == ("mini", WEEK[3], "failed")
    assert f"no partition of {WEEK[3]}" in str(why["message"])

    (root / "data/lake/aside").rename(root / f"data/lake/rows/day={WEEK[3]}")
    assert told(root, "night", capsys=capsys)[0] == 0
    assert told(root, "missing", capsys=capsys) == (0, [])
    assert told(root, "night", capsys=capsys) == (0, [])


@pytest.mark.disk_only(reason="days of the clock; receipts are the same in a bucket")
def test_a_held_day_waits_for_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is missing, and says why; a night does not run it again, nor what comes after it."""
    root = chain(tmp_path, WEEK[-2:])
    run(load("mini", root), WEEK[-2])
    write_day(root, WEEK[-1], 20)
    (root / "jobs/mini/job.yaml").write_text(
        JOB + "  - {name: many, sql: SELECT count(*) > 30 FROM scores}\n" + DAILY
    )
    assert told(root, "night", capsys=capsys)[0] == 1
    [why] = [one for one in told(root, "missing", capsys=capsys)[1] if one["job"] == "mini"]
    assert (why["day"], why["state"]) == (WEEK[-1], "held") and "many" in str(why["message"])
    assert told(root, "night", "--day", WEEK[-1], capsys=capsys) == (0, [])


@pytest.mark.disk_only(reason="options, and no day is run")
@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["runs", "minni"], "has no job 'minni'", 1),
        (["runs", "--last", "0"], '"0" for --last. Must be >= 1', 2),
        (["missing", "minni"], "has no job 'minni'", 1),
        (["missing", "--days", "-3"], '"-3" for --days. Must be >= 1', 2),
        (["night", "--day", "tomorrow"], "'tomorrow' is no day", 2),
        (["night", "--wait", "-1"], '"-1" for --wait. Must be >= 0', 2),
    ],
)
def test_a_slip_of_the_pen_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, code: int
) -> None:
    """A job that never was, a number that can't be meant: never an empty list that looks like good news."""
    root = make_workspace(tmp_path, 10, days=())
    assert call(["--workspace", str(root), *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.slow  # three nights of two processes
@pytest.mark.disk_only(reason="processes of this machine; a bucket has the same night")
def test_a_night_runs_small_jobs_at_once_and_large_ones_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what their last nights took, and one by one before the first; by the moments that runs told."""
    root = make_workspace(tmp_path, 50, JOB + DAILY, tuple(WEEK[-3:]))
    shutil.copytree(root / "jobs/mini", root / "jobs/other")
    other = (JOB + DAILY).replace("job: mini", "job: other").replace("mini_top", "other_top")
    (root / "jobs/other/job.yaml").write_text(other)

    def at_once(day: str) -> bool:
        assert told(root, "night", "--day", day, capsys=capsys)[0] == 0
        spans = sorted((a.started, a.updated) for a in list_attempts(open_workspace(root)) if a.day == day)
        assert len(spans) == 2
        return spans[1][0] < spans[0][1]

    def took(size: float) -> None:
        for name in ("mini", "other"):
            file = root / f"data/attempts/{name}/paces.json"
            paces = json.loads(file.read_text())
            assert all(one["peak_memory"] > 50_000_000 for one in paces)
            file.write_text(json.dumps([one | {"peak_memory": int(size)} for one in paces]))

    machine = read_hardware()
    assert not at_once(WEEK[-3]), "nothing is known of them"
    took(100e6)
    assert at_once(WEEK[-2]) == (machine.cores > 1)
    took(0.4 * machine.memory)
    assert not at_once(WEEK[-1])
