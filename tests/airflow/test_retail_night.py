"""The real retail job by `dag.test()`: its published tables are those of `nightscore run`."""

from pathlib import Path

import pytest

pytest.importorskip("airflow")

from nightscore.cli.main import call
from tests.airflow.test_nights import known, receipt
from tests.workspace.retail.world import DAY, JOB, make_slice

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]


def published(root: Path) -> dict[str, bytes]:
    """The bytes of every file of the job's tables, by table and file."""
    paths = (root / "data/tables").glob(f"{JOB}*/day={DAY}/*.parquet")
    return {f"{path.parts[-3]} {path.name}": path.read_bytes() for path in paths}


@pytest.mark.slow
def test_the_retail_job_publishes_what_the_command_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte the same files in all three tables, for runs of the same name, and the job's audits."""
    monkeypatch.setattr(
        "nightscore.store.places.run_folder.new_run_id", lambda *_: "20200101T000000-00000000-000000"
    )
    by_airflow, by_hand = (make_slice(tmp_path / name) for name in ("airflow", "command"))
    done = known(by_airflow, "retail_night", JOB).test(run_conf={"day": DAY}, logical_date=None)
    assert call(["--workspace", str(by_hand), "run", JOB, "--day", DAY]) == 0
    found = receipt(done)
    assert (done.state, found["status"], found["day"]) == ("success", "published", DAY)
    assert {audit["passed"] for audit in found["audits"]} == {True}
    assert published(by_airflow) == published(by_hand) and len(published(by_hand)) == 3
