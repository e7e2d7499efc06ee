"""A score task whose process is killed while it scores."""

import json
import os
import signal
from pathlib import Path

from tests.e2e.airflow import Airflow, process_of
from tests.e2e.servers import until
from tests.e2e.world import HEAVY_DAYS, HEAVY_ROWS, loop, published, receipts

DAY = HEAVY_DAYS[0]


def test_a_killed_score_task_is_retried_and_the_day_is_published_once(
    airflow: Airflow, tmp_path: Path
) -> None:
    """Kill -9 of the task's own process, after its first pieces and before its last.

    The retry keeps the pieces that were there, the day has one receipt and one run, and its files are,
    byte for byte but for the run's name, those of the plain loop.
    """
    airflow.unpause("heavy")
    run = airflow.trigger("heavy", day=DAY)
    folder = airflow.root / "data/runs/heavy" / DAY
    kept = until(lambda: sorted(folder.glob("*/scores/*.parquet")), 120, "a piece is staged", pause=0.02)
    [score] = airflow.tasks("heavy", run, "score")
    process = process_of(score)
    assert process and score["state"] == "running"
    os.kill(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/scores/*.parquet")}
    [plan] = [json.loads(path.read_text()) for path in folder.glob("*/plan.json")]
    assert set(kept) <= set(before) and len(before) < len(plan["pieces"])

    assert airflow.ended("heavy", run) == "success"
    [score] = airflow.tasks("heavy", run, "score")
    assert (score["state"], score["try_number"]) == ("success", 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert receipts(airflow.root, "heavy") == {DAY: 1} and len(list(folder.iterdir())) == 1
    assert airflow.receipt("heavy", run)["rows"]["published"] == HEAVY_ROWS
    loop(airflow.root, tmp_path / "loop", "heavy", DAY)
    found = published(airflow.root, "heavy", DAY)
    assert found == published(tmp_path / "loop", "heavy", DAY) and len(found) == len(plan["pieces"]) + 1
