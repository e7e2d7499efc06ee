"""A backfill while the nightly run triggers, and while somebody asks for one of its days by REST."""

from tests.e2e.airflow import Airflow
from tests.e2e.servers import until
from tests.e2e.world import DAYS, ROWS, receipts

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
