"""A closed day in Airflow: a scheduled run of it changes nothing, a run by hand restates it with a reason."""

from pathlib import Path

import pytest

pytest.importorskip("airflow")

from nightscore import query
from tests.airflow.test_nights import night, receipt
from tests.support.workspace import DAYS, JOB, make_workspace, write_day

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("metadata")]


@pytest.mark.slow
def test_a_closed_day_is_restated_from_the_form(tmp_path: Path) -> None:
    """Unchanged, then failed and nothing written, then restated by whoever started the run."""
    root = make_workspace(tmp_path, 100, JOB + "close: true\n", days=(DAYS[0],))
    first = receipt(night(root, "closes", day=DAYS[0]))
    assert receipt(night(root, "again", day=DAYS[0]))["status"] == "unchanged"
    write_day(root, DAYS[0], 120)
    assert night(root, "changed", day=DAYS[0], force=True).state == "failed"
    count = "SELECT count(*) AS n FROM mini_scores"
    assert query(count, root)["n"][0].as_py() == 100
    note = receipt(night(root, "restates", day=DAYS[0], restate=True, because="late rows"))["restatement"]
    assert (note["number"], note["because"], note["replaces"]) == (1, "late rows", first["run_id"])
    assert note["by"] == "dag_test"  # as whom Airflow's own `dag.test()` starts a run
    assert note["tables"]["mini_scores"]["added"] == 20
    assert query(count, root)["n"][0].as_py() == 120
    assert query(count, root, as_reported=True)["n"][0].as_py() == 100
