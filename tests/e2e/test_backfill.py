"""A backfill while the nightly run triggers, and while somebody asks for one of its days by REST."""

from nightscore import backfill, load, query, run
from tests.e2e.airflow import ENDED, Airflow
from tests.e2e.servers import until
from tests.e2e.world import DAYS, OWN_JOBS, ROWS, copy_unpublished, published, receipts

DAG = "daily"


def test_a_backfill_and_the_nightly_run_both_end_well(airflow: Airflow) -> None:
    """Ten days by `airflow backfill create`; at once the schedule's own run, and a run of one of the ten.

    All succeed, each day has one receipt with all of its rows, and the two runs of the shared day give the
    same one: whichever came later found the day published, or took up the other's work.
    """
    airflow.unpause(DAG)  # the schedule makes a run of the last day that is complete
    airflow.command(
        "backfill", "create", "--dag-id", DAG, "--from-date", str(DAYS[0]), "--to-date", str(DAYS[-1])
    )
    twice = str(DAYS[4])
    asked = airflow.trigger(DAG, partition_key=twice)

    def ended() -> bool:
        found = airflow.runs(DAG)
        return len(found) == 12 and all(one["state"] in ("success", "failed") for one in found)

    until(ended, 400, "ten days, the night and the one that was asked for have ended", pause=2)
    runs = airflow.runs(DAG)
    assert {one["state"] for one in runs} == {"success"}
    by_type = {kind: [r for r in runs if r["run_type"] == kind] for kind in ("backfill", "scheduled")}
    assert sorted(one["partition_key"] for one in by_type["backfill"]) == [str(day) for day in DAYS]
    [night] = by_type["scheduled"]
    assert receipts(airflow.root, DAG) == dict.fromkeys((*map(str, DAYS), night["partition_key"]), 1)
    [other] = [one for one in by_type["backfill"] if one["partition_key"] == twice]
    assert len({airflow.receipt(DAG, run)["run_id"] for run in (asked, other["dag_run_id"])}) == 1
    counts = {
        (one["partition_key"], airflow.receipt(DAG, one["dag_run_id"])["rows"]["published"]) for one in runs
    }
    assert counts == {(one["partition_key"], ROWS) for one in runs}


def test_days_that_follow_from_days_are_published_in_their_order_by_any_backfill(airflow: Airflow) -> None:
    """Of a job that reads its own past, with `gaps: fail` and `missing: wait`: three at once, and backwards.

    Whatever is begun first, each day has seen all days before it, is published after them, and is byte for
    byte that of `nightscore backfill`. One day is there before, so that there is a gap to see.
    """
    root, days = airflow.root, [str(day) for day in DAYS[:4]]
    expected = dict(zip(OWN_JOBS, (days, days[:3]), strict=True))
    loop = copy_unpublished(root, root.with_name("in_order"))
    for (job, wanted), backwards in zip(expected.items(), ((), ("--run-backwards",)), strict=True):
        run(load(job, root), days[0])
        assert len([*backfill(load(job, loop), days[0], wanted[-1])]) == len(wanted)
        airflow.unpause(job)
        span = ("--dag-id", job, "--from-date", days[1], "--to-date", wanted[-1])
        airflow.command("backfill", "create", *span, "--max-active-runs", "3", *backwards)
    until(lambda: all(has_ended(airflow, *one) for one in expected.items()), 400, "both have ended", pause=1)
    for job, wanted in expected.items():
        assert {one["state"] for one in airflow.runs(job)} == {"success"}
        asked = f"SELECT day::VARCHAR AS d FROM receipts WHERE job = '{job}' ORDER BY published_at"
        assert [row["d"] for row in query(asked, root).to_pylist()] == wanted
        seen = query(f"SELECT DISTINCT day::VARCHAR AS d, seen AS n FROM {job}_scores ORDER BY d", root)
        assert seen.to_pylist() == [{"d": day, "n": i} for i, day in enumerate(wanted)]
        for day in wanted:
            assert published(root, job, day) == published(loop, job, day)


def has_ended(airflow: Airflow, job: str, days: list[str]) -> bool:
    """Whether all days of a backfill have ended that begins after the first of some days."""
    found = airflow.runs(job)
    return len(found) == len(days) - 1 and all(one["state"] in ENDED for one in found)
