"""What a day lacks is told by table and job; a table that nobody publishes is refused."""

import re
from pathlib import Path

import pytest

from nightscore import Broken, NotYet, backfill, load, run
from nightscore.job.loader import Job
from nightscore.pipeline.steps import check_job
from nightscore.store import Receipt
from tests.support.workspace import DAYS, JOB, make_workspace, write_day

FIRST, SECOND, _ = DAYS
LIST = """\
job: campaign
about: Whom to write to
owner: tests
inputs:
  best: {table: mini_top, columns: {id: BIGINT, y: FLOAT}}
features: list.sql
key: [id]
model: none
"""


def campaign(root: Path, text: str = LIST) -> Job:
    (root / "jobs/campaign").mkdir(exist_ok=True)
    (root / "jobs/campaign/job.yaml").write_text(text)
    (root / "jobs/campaign/list.sql").write_text(
        "SELECT DISTINCT id FROM best WHERE day = getvariable('day')"
    )
    return load("campaign", root)


def test_a_table_without_the_day_leads_to_the_job_that_publishes_it(tmp_path: Path) -> None:
    """Run too early: the message has the command to run before, and the way on that it names is one."""
    make_workspace(tmp_path, rows=9, days=DAYS)
    job = campaign(tmp_path)
    fails = f"job campaign: no partition of {SECOND} in best; the policy for a missing day is fail "
    fails += "(or wait, or skip)"
    way = f"  best is table mini_top: `nightscore run mini --day {SECOND}` publishes it; "
    with pytest.raises(Broken, match=f"^{re.escape(fails)}\n{way}no day of it is published yet$"):
        run(job, SECOND)
    run(load("mini", tmp_path), FIRST)
    with pytest.raises(Broken, match=f"{way}published so far: {FIRST} to {FIRST}$"):
        run(job, SECOND)
    waits = campaign(tmp_path, LIST + "policy: {missing: wait}\n")
    with pytest.raises(NotYet, match=f"in best yet\n{way}"):
        run(waits, SECOND)
    run(load("mini", tmp_path), SECOND)
    assert run(job, SECOND).status == "published"


def test_a_misspelt_table_skips_no_night(tmp_path: Path) -> None:
    """It can't be told from a day that is late, but for its name: no job publishes that, and none has."""
    make_workspace(tmp_path, rows=9, days=DAYS)
    job = campaign(tmp_path, LIST.replace("mini_top", "mini_tpo") + "policy: {missing: skip}\n")
    said = (
        "^jobs/campaign/job.yaml:5: inputs.best.table: no job publishes 'mini_tpo'; did you mean mini_top\\?$"
    )
    for ask in (check_job, lambda job: run(job, FIRST)):
        with pytest.raises(Broken, match=said):
            ask(job)
    assert check_job(campaign(tmp_path)).startswith("ok: ")
    assert run(campaign(tmp_path, LIST + "policy: {missing: skip}\n"), FIRST).status == "skipped"


def test_a_table_whose_job_is_gone_is_read_by_its_receipts(tmp_path: Path) -> None:
    """And nothing is refused while a job can't be read: it may be the one that publishes the table."""
    make_workspace(tmp_path, rows=9, days=DAYS)
    run(load("mini", tmp_path), FIRST)
    other = tmp_path / "jobs/mini/job.yaml"
    text = other.read_text()
    other.unlink()
    assert run(campaign(tmp_path), FIRST).status == "published"
    other.write_text("job: [")
    early = campaign(tmp_path, LIST.replace("mini_top", "not_yet_there") + "policy: {missing: skip}\n")
    assert run(early, FIRST).status == "skipped"
    other.write_text(text)
    with pytest.raises(Broken, match="no job publishes 'not_yet_there'"):
        run(early, FIRST)


def test_check_looks_at_the_newest_day_that_the_tables_have(tmp_path: Path) -> None:
    """Not at today, which no published table has: a job that runs is one that passes its check."""
    make_workspace(tmp_path, rows=9, days=DAYS)
    run(load("mini", tmp_path), FIRST)
    job = campaign(tmp_path, LIST.replace(", columns: {id: BIGINT, y: FLOAT}", ", as_reported: true"))
    assert check_job(job) == "ok: 1 feature columns; publishes campaign_scores"
    assert run(job, FIRST).status == "published"


@pytest.mark.slow
def test_a_backfill_leaves_out_the_days_that_an_exchange_rests(tmp_path: Path) -> None:
    """Christmas 2022: the Monday after was a holiday of the New York Stock Exchange, too.

    What comes after such a job rests as it does. A day of the schedule that is not there is broken as ever,
    and a day off that has rows is run.
    """
    traded = ("2022-12-22", "2022-12-27")
    root = make_workspace(tmp_path, 9, JOB + "schedule: {exchange: XNYS, after_close: 90m}\n", traded)
    mini, after = load("mini", root), campaign(root, LIST + "schedule: {after: [mini_top]}\n")

    def found(job: Job) -> list[tuple[str, str]]:
        ran = backfill(job, "2022-12-22", "2022-12-27")
        return [(str(day)[5:], getattr(end, "status", type(end).__name__)) for day, end in ran]

    expected = [
        ("12-27", "published"), ("12-26", "skipped"), ("12-25", "skipped"), ("12-24", "skipped"),
        ("12-23", "Broken"), ("12-22", "published"),
    ]  # fmt: skip
    assert found(mini) == expected
    assert found(after) == expected
    write_day(root, "2022-12-24", 9)
    assert found(mini)[3] == ("12-24", "published")
    [(_, rest)] = backfill(mini, "2022-12-25", "2022-12-25")
    assert isinstance(rest, Receipt)
    assert rest.reason == "no day of the schedule (XNYS close + 90m), and no input has anything of it"


def test_a_backfill_by_cron_has_the_days_of_its_runs(tmp_path: Path) -> None:
    """Sundays, which Mondays score, of a lake of every day; and Sundays alone of the job that comes after."""
    days = [f"2022-12-{day}" for day in range(17, 27)]  # the 18th and the 25th are Sundays
    root = make_workspace(tmp_path, 9, JOB + 'schedule: {cron: "0 2 * * 1"}\n', days)
    for job in (load("mini", root), campaign(root, LIST + "schedule: {after: [mini_top]}\n")):
        ran = list(backfill(job, days[0], days[-1]))
        assert [str(day) for day, end in ran if getattr(end, "status", end) == "published"] == [
            "2022-12-25",
            "2022-12-18",
        ]
        assert {getattr(end, "status", end) for _, end in ran} == {"published", "skipped"}
    reason = [getattr(end, "reason", end) for _, end in backfill(load("mini", root), days[0], days[0])]
    assert reason == ["no day of the schedule (cron 0 2 * * 1 UTC, day -1)"]
