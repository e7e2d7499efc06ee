"""A day that is half written is waited for, whatever the policy for missing days says; the trigger agrees."""

import os
import time
from pathlib import Path

import pytest

from nightscore import Broken, NotYet, load, run
from nightscore.common import as_day
from nightscore.pipeline import plan_day, waited_for
from tests.support.workspace import JOB, make_workspace, write_day

DAY = "2020-01-03"


def job_with(root: Path, ready: str, missing: str = "skip", partition: str = "day") -> object:
    """The job with a rule; its lake has three days of 20 rows in two files."""
    spec = f"{{path: data/lake/rows, partition: '{partition}', ready: {ready}}}"
    text = JOB.replace("{path: data/lake/rows, partition: day}", spec) + f"policy: {{missing: {missing}}}\n"
    if not (root / "jobs").exists():
        make_workspace(root, 20, text)
        write_day(root, DAY, 20, files=2)
    (root / "jobs/mini/job.yaml").write_text(text)
    return load("mini", root)


def folder(root: Path, day: str = DAY) -> Path:
    """The folder of a day."""
    return root / f"data/lake/rows/day={day}"


def assert_waits(job, said: str) -> None:
    """The plan is not yet, for a reason that Airflow's wait names, too."""
    with pytest.raises(NotYet, match=said):
        plan_day(job, as_day(DAY))
    assert list(waited_for(job, as_day(DAY))) == ["rows"]


@pytest.mark.parametrize("missing", ["fail", "skip", "wait"])
@pytest.mark.sample(1)
def test_a_file_says_that_a_day_is_complete(missing: str, tmp_path: Path) -> None:
    """Of any name: it is no data."""
    root = tmp_path / "w"
    for mark in ("_SUCCESS", "done.flag"):
        job = job_with(root, f"{{file: {mark}}}", missing)
        assert_waits(job, rf"input rows is not ready: data/lake/rows/day={DAY} has no {mark} yet")
        (folder(root) / mark).touch()
        assert waited_for(job, as_day(DAY)) == {}
        assert plan_day(job, as_day(DAY)).status == "score"
    assert run(job, DAY).rows.published == 20


def test_so_many_files_or_folders_have_to_come(tmp_path: Path) -> None:
    """24 hours are 24 folders with data, or files where there are no folders."""
    root = tmp_path / "w"
    job = job_with(root, "{count: 3}")
    assert_waits(job, r"2 of 3 folders or files have come")
    job = job_with(root, "{count: 2}")
    assert plan_day(job, as_day(DAY)).status == "score"
    for hour, file in enumerate(sorted(folder(root).glob("*.parquet"))):
        (folder(root) / f"hour={hour}").mkdir()
        file.rename(folder(root) / f"hour={hour}" / file.name)
    (folder(root) / "hour=2").mkdir()
    assert_waits(job_with(root, "{count: 3}"), r"2 of 3")
    assert waited_for(job_with(root, "{count: 2}"), as_day(DAY)) == {}


def test_so_many_rows_have_to_come(tmp_path: Path) -> None:
    """By footers, of the day alone."""
    assert_waits(job_with(tmp_path / "w", "{rows: 21}"), r"20 of at least 21 rows have come")
    assert plan_day(job_with(tmp_path / "w", "{rows: 20}"), as_day(DAY)).status == "score"


def test_nothing_may_have_come_for_some_minutes(tmp_path: Path) -> None:
    """By the time of change of the newest file."""
    root = tmp_path / "w"
    job = job_with(root, "{age: 10m}")
    assert_waits(job, r"a file came less than 10m ago")
    for file in folder(root).iterdir():
        os.utime(file, (time.time() - 601, time.time() - 601))
    assert plan_day(job, as_day(DAY)).status == "score"
    folder(root).joinpath("part-9.parquet").write_bytes(folder(root).joinpath("part-0.parquet").read_bytes())
    assert_waits(job, r"less than 10m ago")


@pytest.mark.parametrize("missing", ["fail", "skip", "wait"])
def test_a_folder_without_a_file_is_a_day_that_has_begun(missing: str, tmp_path: Path) -> None:
    """It would be skipped for good, and its files come; an old one is missing, by the policy."""
    root, later = tmp_path / "w", "2020-01-09"
    job = job_with(root, "{age: 10m}", missing)
    folder(root, later).mkdir()
    with pytest.raises(NotYet, match=r"less than 10m ago"):
        plan_day(job, as_day(later))
    os.utime(folder(root, later), (time.time() - 601, time.time() - 601))
    if missing == "skip":
        assert plan_day(job, as_day(later)).status == "skipped"
    else:
        with pytest.raises(NotYet if missing == "wait" else Broken, match=f"no partition of {later}"):
            plan_day(job, as_day(later))


def test_several_rules_all_have_to_hold(tmp_path: Path) -> None:
    """As they are written."""
    job = job_with(tmp_path / "w", "{file: _SUCCESS, rows: 20}")
    assert_waits(job, r"has no _SUCCESS")
    (folder(tmp_path / "w") / "_SUCCESS").touch()
    assert plan_day(job, as_day(DAY)).status == "score"


def test_a_day_that_is_not_there_is_the_policys(tmp_path: Path) -> None:
    """Skipped, waited for, or broken: a rule is about what has begun to come."""
    root, later = tmp_path / "w", as_day("2020-01-09")
    assert plan_day(job_with(root, "{rows: 1}"), later).status == "skipped"
    job = job_with(root, "{rows: 1}", "wait")
    with pytest.raises(NotYet, match=r"no partition of 2020-01-09 in rows yet"):
        plan_day(job, later)
    assert list(waited_for(job, later)) == ["rows"]
    with pytest.raises(Broken, match=r"the policy for a missing day is fail"):
        plan_day(job_with(root, "{rows: 1}", "fail"), later)
    folder(root, "2020-01-09").mkdir()  # and with the folder, it has begun
    with pytest.raises(NotYet, match=r"0 of at least 1 rows"):
        plan_day(job_with(root, "{rows: 1}", "skip"), later)


def test_a_file_a_day_has_a_mark_a_day(tmp_path: Path) -> None:
    """Beside the files, its name with the day."""
    root = tmp_path / "w"
    job = job_with(root, "{file: 'x_{day:%Y%m%d}.done'}", partition="x_{day:%Y%m%d}.parquet")
    for day in ("2020-01-01", "2020-01-02", DAY):
        name = f"x_{day.replace('-', '')}.parquet"
        (folder(root, day) / "part-0.parquet").rename(root / "data/lake/rows" / name)
        for file in folder(root, day).iterdir():
            file.unlink()
        folder(root, day).rmdir()
    (root / "data/lake/rows/x_20200102.done").touch()
    assert_waits(job, r"data/lake/rows has no x_20200103\.done yet")
    (root / "data/lake/rows/x_20200103.done").touch()
    assert plan_day(job, as_day(DAY)).status == "score"


WRONG = {
    "{}": "says nothing", "{count: 0}": "greater than or equal to 1", "{age: 1h}": "ready.age",
    "{file: a/b}": "ready.file", "{rows: '3'}": "ready.rows",
}  # fmt: skip


@pytest.mark.parametrize(("ready", "said"), WRONG.items())
def test_a_rule_that_is_none_is_refused(ready: str, said: str, tmp_path: Path) -> None:
    """By its line."""
    with pytest.raises(Broken) as caught:
        job_with(tmp_path / "w", ready)
    assert "jobs/mini/job.yaml:5" in str(caught.value) and said in str(caught.value)


def test_a_rule_is_no_cause(tmp_path: Path) -> None:
    """A published day stays unchanged when a rule comes, or another."""
    root = tmp_path / "w"
    first = job_with(root, "{rows: 1}").hash
    assert job_with(root, "{count: 1}").hash == first
