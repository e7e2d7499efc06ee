"""A table that is dropped from `decide`: its day ends with the next run of it, for every reader.

The truth is pandas over deltalake, which knows nothing of receipts.
"""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import Restate, load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.workspace import open_workspace
from nightscore.review.verify import verify_days
from tests.behaviour.conftest import Build
from tests.behaviour.processes import Fault, night
from tests.behaviour.world import DAY, Truth, ours
from tests.support.workspace import JOB

OTHER_DAY = "2020-01-03"
WITHOUT = JOB[: JOB.index("decide:")] + JOB[JOB.index("params:") : JOB.index("audit:")]
ROWS = 200


def drop(root: Path, more: str = "") -> None:
    (root / "jobs/mini/job.yaml").write_text(WITHOUT + more)


def at_head(root: Path, table: str = "mini_top") -> dict[str, int]:
    """Day -> rows, by pandas."""
    frame = DeltaTable(str(root / "data/tables" / table)).to_pandas()
    return {str(day): int(rows) for day, rows in frame.groupby("day").size().items()}


def by_us(root: Path, table: str = "mini_top") -> dict[str, int]:
    rows = query(f"SELECT day::VARCHAR AS d, count(*) AS n FROM {table} GROUP BY day", root).to_pylist()
    return {row["d"]: row["n"] for row in rows}


def holds(root: Path) -> bool:
    return all(not one.differences for one in verify_days(open_workspace(root)))


def test_the_day_ends_and_days_of_before_stay(fresh: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Until they are run again; then nobody has any, and lists, reports and verify go on."""
    root = fresh(rows=ROWS)
    for day in (DAY, OTHER_DAY):
        run(load("mini", root), day)
    drop(root)
    receipt = run(load("mini", root), DAY)
    assert receipt.tables["mini_top"].files == 0 and receipt.rows.published == ROWS
    assert at_head(root) == by_us(root) == {OTHER_DAY: 10}
    assert holds(root) and run(load("mini", root), DAY).status == "unchanged"
    assert query("SELECT count(*) AS n FROM mini_top", root, as_of=1)["n"][0].as_py() == 10
    run(load("mini", root), OTHER_DAY)
    assert at_head(root) == {} and holds(root)
    with pytest.raises(Broken, match="table mini_top: it has no day any more"):
        query("SELECT count(*) FROM mini_top", root)
    at = ["--workspace", str(root)]
    for command in (
        ["tables"],
        ["verify"],
        ["jobs"],
        ["receipts", "mini", "--day", DAY],
        ["why", "mini", "--day", DAY, "--key", "id=1"],
    ):
        assert call([*at, *command]) == 0, (command, capsys.readouterr())
    assert ours(root, "mini_scores").is_(Truth(ROWS), "mini_scores")
    assert run(load("mini", root), DAY, force=True).tables.keys() == {"mini_scores"}  # it has ended


def test_it_comes_back_with_the_table(fresh: Build) -> None:
    """Named in decide again, the day has it again."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    drop(root)
    run(load("mini", root), DAY)
    (root / "jobs/mini/job.yaml").write_text(JOB)
    run(load("mini", root), DAY)
    assert at_head(root) == by_us(root) == {DAY: 10} and holds(root)


def test_a_restatement_says_that_the_rows_went(fresh: Build) -> None:
    """Of a closed day, with the rows that were removed."""
    root = fresh(rows=ROWS, job=JOB + "close: true\n")
    run(load("mini", root), DAY)
    drop(root, "close: true\n")
    receipt = run(load("mini", root), DAY, restate=Restate("not needed", "Ada"))
    assert receipt.restatement and receipt.restatement.tables["mini_top"].removed == 10
    assert at_head(root) == {}
    assert query("SELECT count(*) AS n FROM mini_top", root, as_reported=True)["n"][0].as_py() == 10


@pytest.mark.disk_only(reason="the lock of a killed process counts for a lease in a bucket")
@pytest.mark.parametrize("stage", ["publication", "commit mini_scores", "commit mini_top", "commit receipts"])
@pytest.mark.sample(2)
def test_a_run_that_is_killed_while_a_day_ends_is_completed(fresh: Build, stage: str) -> None:
    """At each step: the next run finds it ended, once."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    drop(root)
    assert night(root, DAY, Fault(stage)).killed
    assert run(load("mini", root), DAY).status == "unchanged"
    assert at_head(root) == {} and holds(root)
    assert ours(root, "mini_scores").is_(Truth(ROWS), "mini_scores")
