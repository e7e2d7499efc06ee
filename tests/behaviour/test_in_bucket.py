"""The switch that puts a test's `data/` into a bucket: it is not without effect, and its sample is there."""

import ast
import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore import load, run
from nightscore.common.workspace import open_workspace
from tests.behaviour.conftest import SAMPLE, Build
from tests.behaviour.world import DAY, TABLES, Truth, ours, tree

HERE = Path(__file__).parent
ROWS = 50


@pytest.mark.disk_only(reason="no night is run")
def test_each_of_the_sample_is_a_test() -> None:
    """One that gets another name does not leave the default suite unseen."""
    for name in SAMPLE:
        file, _, function = name.partition("[")[0].partition("::")
        found = ast.parse((HERE / file).read_text()).body
        assert function in {one.name for one in found if isinstance(one, ast.FunctionDef)}, name


def test_the_night_lies_where_the_root_data_is(fresh: Build, storage: str) -> None:
    """By deltalake alone; and what a test sees in its folder is what lies there, both ways."""
    root = fresh(rows=ROWS)
    run(load("mini", root), DAY)
    roots = open_workspace(root).roots
    assert (storage == "bucket") == ("data" in roots)
    address = roots["data"].at if storage == "bucket" else str(root / "data")
    assert address.startswith("s3://") == (storage == "bucket")
    there = DeltaTable(f"{address}/tables/mini_scores")
    assert there.to_pyarrow_table().num_rows == ROWS
    log = next(iter(tree(root / "data/tables/mini_scores/_delta_log").values()))
    assert b"run_id" in log
    Truth(ROWS, (4.0, 1.0)).write_model(root)
    shutil.rmtree(root / f"data/lake/rows/day={DAY}")
    shutil.copytree(root / "data/lake/rows/day=2020-01-01", root / f"data/lake/rows/day={DAY}")
    run(load("mini", root), DAY)
    changed = Truth(ROWS, (4.0, 1.0), day="2020-01-01")
    assert all(ours(root, name).is_(changed, name) for name in TABLES), "a change by hand was not seen"
