"""A night's bytes depend on its rows alone; a job that says `sql: approximate` has it in its receipts."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.common import Broken
from nightscore.job import load
from nightscore.pipeline import run
from nightscore.store import Receipt
from tests.support.workspace import JOB, make_workspace

DAY = "2020-01-02"
SQL_JOB = JOB.replace("features: rows", "features: features.sql").replace("keep: [a]", "keep: [a, total]")
SUMS = """
SELECT k AS id, sum(x) AS total, CAST(avg(x) AS FLOAT) AS a, CAST(any_value(y) AS FLOAT) AS b
FROM rows
GROUP BY k
"""
TIES = "SELECT id, row_number() OVER (ORDER BY round(score)) AS rank, score FROM scores QUALIFY rank <= 10"


def lay(root: Path, order: np.ndarray, group: int, files: int) -> None:
    """Lay the same 40,000 rows in 4,000 groups down in some order, row groups and files."""
    rng = np.random.default_rng(5)
    rows = pa.table({
        "k": rng.integers(0, 4_000, 40_000),
        "x": rng.random(40_000) * 10.0 ** rng.integers(-3, 6, 40_000),
        "y": rng.random(40_000),
    })  # fmt: skip
    folder = root / f"data/lake/rows/day={DAY}"
    for old in folder.iterdir():
        old.unlink()
    for i, part in enumerate(np.array_split(order, files)):
        pq.write_table(rows.take(part), folder / f"{i}.parquet", row_group_size=group)


def snapshot(root: Path, receipt: Receipt) -> str:
    path = root / "data/runs/mini" / DAY / receipt.run_id / "features.parquet"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make_workspace(tmp_path, 10, SQL_JOB, (DAY,))
    (made / "jobs/mini/features.sql").write_text(SUMS)
    return made


def test_other_files_with_the_same_rows_give_the_same_bytes(root: Path) -> None:
    """Feature snapshot and decision table, for another order of rows, row groups, files and threads."""
    found = set()
    shuffled = np.random.default_rng(6).permutation(40_000)
    for order, group, files, threads in ((np.arange(40_000), 40_000, 1, 1), (shuffled, 900, 3, 3)):
        lay(root, order, group, files)
        text = f"{SQL_JOB}scoring: {{sql_threads: {threads}, chunk_rows: 1000}}\n"
        (root / "jobs/mini/job.yaml").write_text(text)
        receipt = run(load("mini", root), DAY, force=True)
        assert (receipt.sql, receipt.rows.published) == ("", 4_000)
        top = receipt.tables["mini_top"].columns
        found.add((snapshot(root, receipt), str(top), str(receipt.tables["mini_scores"].columns)))
    assert len(found) == 1


def test_approximate_is_said_in_the_receipt_and_is_another_job(root: Path) -> None:
    """It takes SQL that exact refuses; a job that doesn't say it has the hash that it had."""
    lay(root, np.arange(40_000), 40_000, 1)
    path, sql = root / "jobs/mini/job.yaml", root / "jobs/mini/features.sql"
    plain = load("mini", root).hash
    path.write_text(SQL_JOB + "sql: exact\n")
    assert load("mini", root).hash == plain
    sql.write_text(SUMS.replace("any_value(y)", "first(y)"))
    with pytest.raises(
        Broken, match=r"^jobs/mini/features.sql: first\(x\) depends on the order of rows: write"
    ):
        run(load("mini", root), DAY)
    path.write_text(SQL_JOB + "sql: approximate\n")
    receipt = run(load("mini", root), DAY)
    assert (receipt.status, receipt.sql) == ("published", "approximate")


def test_a_tie_in_a_decision_publishes_nothing(root: Path) -> None:
    """Which of two rows is ranked first would be chance: the file, the function and the way on are named."""
    lay(root, np.arange(40_000), 40_000, 1)
    (root / "jobs/mini/top.sql").write_text(TIES)
    says = (
        r"^jobs/mini/top.sql: two rows are alike in the ORDER BY of row_number, so that .* sql: approximate"
    )
    with pytest.raises(Broken, match=says):
        run(load("mini", root), DAY)
    assert not list((root / "data/tables").glob("mini_top/day=*"))
    (root / "jobs/mini/top.sql").write_text(TIES.replace("round(score)", "round(score), id"))
    assert run(load("mini", root), DAY).status == "published"
