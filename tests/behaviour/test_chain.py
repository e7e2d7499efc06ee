"""A job that reads another's table, or its own of the nights before."""

from pathlib import Path

import pytest

from nightscore import Broken, backfill, load, query, run
from nightscore.cli.main import call
from nightscore.common import NotYet
from tests.behaviour.conftest import Build
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import Truth, receipts
from tests.support.workspace import DAYS, JOB

FIRST, SECOND, THIRD = DAYS
CHAINED = """\
job: chained
about: Scores again what the first job chose
owner: tests
inputs:
  top: {table: mini_top, lookback: 2}
features: features.sql
key: [id, of]
model: {path: data/models/linear.onnx, columns: [score, rank], columns_override: true, outputs: {score: y}}
"""
CHAINED_SQL = "SELECT id, day AS of, score, rank::FLOAT AS rank FROM top"
OWN = (
    JOB.replace("job: mini", "job: own")
    .replace("mini_top: top.sql", "own_top: top.sql")
    .replace("features: rows", "features: features.sql")
    .replace("keep: [a]", "keep: [seen]")
    .replace("FROM mini_top", "FROM own_top")
    .replace("key:", "key:", 1)
    .replace(
        "data/lake/rows, partition: day}",
        "data/lake/rows, partition: day}\n"
        "  before: {table: own_scores, lookback: 10, columns: {id: BIGINT, seen: BIGINT, score: FLOAT}}",
    )
)
OWN_SQL = """\
SELECT r.id, r.a, r.b, coalesce(b.nights, 0) AS seen
FROM rows r LEFT JOIN (SELECT id, count(*) AS nights FROM before GROUP BY id) b USING (id)
WHERE r.day = getvariable('day')
"""


def add(root: Path, name: str, job: str, sql: str) -> None:
    folder = root / "jobs" / name
    folder.mkdir()
    (folder / "job.yaml").write_text(job)
    (folder / "features.sql").write_text(sql)
    (folder / "top.sql").write_text((root / "jobs/mini/top.sql").read_text())


@pytest.fixture
def chain(fresh: Build) -> Path:
    root = fresh(rows=300)
    add(root, "chained", CHAINED, CHAINED_SQL)
    return root


def chosen(root: Path) -> list[tuple[str, int]]:
    sql = "SELECT of::VARCHAR AS d, count(*) AS n FROM chained_scores GROUP BY of ORDER BY of"
    return [(row["d"], row["n"]) for row in query(sql, root).to_pylist()]


def test_a_job_scores_what_another_published(chain: Path) -> None:
    """Ten rows of each of the two days of its lookback, and none of a later day."""
    for day in DAYS:
        run(load("mini", chain), day)
    assert run(load("chained", chain), SECOND).rows.published == 20
    assert chosen(chain) == [(FIRST, 10), (SECOND, 10)]
    ids = query("SELECT id FROM chained_scores WHERE of = $1 ORDER BY id", chain, values=[SECOND])
    assert ids.column("id").equals(Truth(300, day=SECOND).table("mini_top").column("id"))


def test_a_job_whose_source_is_not_published_yet_is_broken_or_waits(chain: Path) -> None:
    """The day's own partition is missing until the first job has published it; the policy says what then."""
    run(load("mini", chain), FIRST)
    with pytest.raises(Broken, match="top"):
        run(load("chained", chain), SECOND)
    run(load("mini", chain), SECOND)
    assert run(load("chained", chain), SECOND).status == "published"


@pytest.mark.slow
def test_a_source_that_is_published_again_is_a_cause(chain: Path) -> None:
    """The first job runs again with another parameter: the second is not unchanged any more."""
    first, second = load("mini", chain), load("chained", chain)
    for day in (FIRST, SECOND):
        run(first, day)
    run(second, SECOND)
    assert run(second, SECOND).status == "unchanged"
    run(first, SECOND, params={"n": 4})
    assert run(second, SECOND).status == "published"
    assert chosen(chain) == [(FIRST, 10), (SECOND, 4)]
    run(first, THIRD)
    assert run(second, SECOND).status == "unchanged", "a later day is no business of this one"


@pytest.mark.slow
def test_a_job_reads_what_receipts_name_and_not_what_is_half_published(chain: Path) -> None:
    """The first job is killed between its commits: the second sees the night before it."""
    for day in (FIRST, SECOND):
        run(load("mini", chain), day)
    assert night(chain, SECOND, Fault("commit mini_top"), params={"n": 4}).killed
    run(load("chained", chain), SECOND)
    assert chosen(chain) == [(FIRST, 10), (SECOND, 10)]
    assert night(chain, SECOND, params={"n": 4}).status in ("published", "unchanged")
    assert run(load("chained", chain), SECOND).status == "published"
    assert chosen(chain) == [(FIRST, 10), (SECOND, 4)]


@pytest.mark.slow
def test_a_source_published_again_during_the_run_does_not_disturb_it(chain: Path) -> None:
    """The run stays with the files that the receipts named when it began; the next sees the new ones."""
    first, second = load("mini", chain), load("chained", chain)
    for day in (FIRST, SECOND):
        run(first, day)

    def hook(stage: str, *_: int) -> None:
        if stage == "audit":
            run(first, SECOND, params={"n": 4})

    assert run(second, SECOND, report=hook).status == "published"
    assert chosen(chain) == [(FIRST, 10), (SECOND, 10)]
    assert run(second, SECOND).status == "published"
    assert chosen(chain) == [(FIRST, 10), (SECOND, 4)]


@pytest.mark.slow
def test_a_backfill_of_a_job_that_reads_its_own_table_begins_with_the_oldest_day(fresh: Build) -> None:
    """Each day finds those before it; of any other job the newest day is there first."""
    root = fresh(rows=50)
    add(root, "own", OWN, OWN_SQL)
    assert [day.isoformat() for day, _ in backfill(load("own", root), FIRST, THIRD)] == list(DAYS)
    seen = query("SELECT DISTINCT day::VARCHAR AS d, seen AS s FROM own_scores ORDER BY d", root)
    assert seen.to_pylist() == [{"d": day, "s": i} for i, day in enumerate(DAYS)]


@pytest.mark.disk_only(reason="what is asked is the plan; buckets read as disks do")
def test_days_that_follow_from_days_are_never_out_of_order_without_a_word(
    fresh: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `gaps: fail` and `missing: wait` a day waits for the one before; else its receipt names the gap.

    Behind the first published day there is no gap to see: `late` names what has not seen the days before it.
    """
    root = fresh(rows=50)
    daily = "schedule: {daily: '02:00'}\n"
    add(root, "own", f"{OWN}{daily}policy: {{gaps: fail, missing: wait}}\n", OWN_SQL)
    run(load("own", root), FIRST)
    with pytest.raises(NotYet, match=f"1 of 2, missing {SECOND}"):
        run(load("own", root), THIRD)
    (root / "jobs/own/job.yaml").write_text(f"{OWN}{daily}")
    early = run(load("own", root), THIRD)
    assert f"missing {SECOND}" in str(early.days_seen["before"])
    for day in (SECOND, THIRD):
        run(load("own", root), day)
    asked = "SELECT DISTINCT day::VARCHAR AS d, seen AS s FROM own_scores ORDER BY d"
    assert query(asked, root).to_pylist() == [{"d": day, "s": i} for i, day in enumerate(DAYS)]

    capsys.readouterr()
    add(root, "back", OWN.replace("job: own", "job: back").replace("own_", "back_") + daily, OWN_SQL)
    for day in (THIRD, FIRST):
        run(load("back", root), day)
    assert call(["--workspace", str(root), "late", "back", "--since", FIRST, "--list-only"]) == 0
    told = capsys.readouterr().out
    assert f"back {THIRD}" in told and f"back {FIRST}" not in told and f"back_scores/day={FIRST}" in told


@pytest.mark.slow
def test_a_job_reads_its_own_table_of_the_nights_before(fresh: Build) -> None:
    """The first night finds it empty, with the columns that the job names; a rerun does not see itself."""
    root = fresh(rows=50)
    add(root, "own", OWN, OWN_SQL)
    job = load("own", root)
    for i, day in enumerate(DAYS):
        assert run(job, day).status == "published"
        assert run(job, day).status == "unchanged", "its own day is no input of it"
        seen = query("SELECT DISTINCT seen AS s FROM own_scores WHERE day = $1", root, values=[day])
        assert seen.to_pylist() == [{"s": i}]
    assert run(job, SECOND, force=True).status == "published"
    assert run(job, THIRD).status == "published", "a night before it is another run now"
    assert len(receipts(root)) == 5
