"""A log without bounds: every version is what it was for deltalake, and nothing of the values is in it."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from nightscore.store.tables.log_scrub import scrub_log
from tests.support.places import place


def table_of(root: Path) -> DeltaTable:
    """Three versions with bounds of every column, and a checkpoint of them."""
    for number in range(3):
        rows = pd.DataFrame({"who": [f"secret{number}", "m"], "x": [number, 77_123], "day": "2020-01-01"})
        write_deltalake(root, rows, mode="append", partition_by=["day"])
    table = DeltaTable(root)
    table.create_checkpoint()
    table.delete("who = 'secret1'")
    return table


def log_of(root: Path) -> str:
    """All that the log says, checkpoints decoded."""
    files = sorted((root / "_delta_log").iterdir())
    return "".join(
        str(pq.read_table(f).to_pylist()) if f.suffix == ".parquet" else f.read_text() for f in files
    )


def test_bounds_go_and_versions_stay(tmp_path: Path) -> None:
    """Of a column of all files, and of all columns of a file that is gone; a condition that was quoted."""
    root = tmp_path / "t"
    newest = table_of(root).version()
    gone = DeltaTable(root, version=0).get_add_actions(flatten=True)
    first = str(gone.column("path")[0])
    before = {v: DeltaTable(root, version=v).to_pandas() for v in range(newest + 1)}
    assert "secret1" in log_of(root) and "77123" in log_of(root)
    scrub_log(place(root), {first}, {"who"}, {newest})
    assert "secret" not in log_of(root) and "77123" in log_of(root), (
        "x is no key, and of other files it stays"
    )
    for version, frame in before.items():
        pd.testing.assert_frame_equal(DeltaTable(root, version=version).to_pandas(), frame)
    text = log_of(root)
    scrub_log(place(root), {first}, {"who"}, {newest})
    assert log_of(root) == text, "done again, it changes nothing"
