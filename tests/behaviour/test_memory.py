"""A night keeps to its memory: twenty million rows in a real control group, and rows of a megabyte."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore import query
from tests.behaviour.groups import memory_group
from tests.support.workspace import linear_model

pytestmark = pytest.mark.disk_only(reason="memory is this machine's, wherever data/ lies")

DAY = "2020-01-01"
GROUP_LIMIT = 500_000_000
ROWS, GROUP_ROWS = 20_000_000, 250_000
COLUMNS = [f"f{i}" for i in range(16)]
ROOT = Path(__file__).parents[2]

JOB = """\
job: large
about: Rows through a small model
owner: tests
inputs:
  rows: {path: data/lake/rows, partition: day}
features: rows
key: [id]
keep: [shop]
model:
  path: data/models/linear.onnx
  outputs: {score: y}
"""

NIGHT = """\
import json, sys, threading
from pathlib import Path
from nightscore import load, run
from nightscore.scorers.hardware import read_hardware

done, peak = threading.Event(), 0  # bytes that are no file's: what a process without memory is killed for

def watch():
    global peak
    while not done.wait(0.002):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = max(peak, next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))

watcher = threading.Thread(target=watch)
watcher.start()
try:
    receipt = run(load("large", sys.argv[1]), sys.argv[2])
finally:
    done.set()
    watcher.join()
print(json.dumps({"peak": peak * 1024, "rows": receipt.rows.published, "status": receipt.status,
                  "memory": read_hardware().memory, "seconds": dict(receipt.seconds)}))
"""


def workspace(root: Path, job: str = JOB, columns: tuple[str, ...] = tuple(COLUMNS)) -> Path:
    """A workspace with the job `large`, whose model sums its columns, and no data yet."""
    (root / "jobs/large").mkdir(parents=True)
    (root / "jobs/large/job.yaml").write_text(job)
    linear_model(root / "data/models/linear.onnx", (1.0,) * len(columns), columns)
    (root / f"data/lake/rows/day={DAY}").mkdir(parents=True)
    return root


def part(root: Path) -> Path:
    return root / f"data/lake/rows/day={DAY}/part-0.parquet"


def write_rows(path: Path, rows: int) -> None:
    """An int64 key, a text, 16 float32 columns: 18 in all; seeded."""
    rng = np.random.default_rng(0)
    shops = pa.array([f"shop {i}" for i in range(1000)])
    fields = [("id", pa.int64()), ("shop", pa.string()), *((name, pa.float32()) for name in COLUMNS)]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, rows, GROUP_ROWS):
            arrays = [
                pa.array(np.arange(start, start + GROUP_ROWS)), shops.take(rng.integers(0, 1000, GROUP_ROWS)),
                *(pa.array(rng.standard_normal(GROUP_ROWS, dtype=np.float32)) for _ in COLUMNS),
            ]  # fmt: skip
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def night(root: Path, *prefix: str) -> dict[str, Any]:
    """One night of DAY in a process of its own; what it says of itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", NIGHT, str(root), DAY], capture_output=True, text=True,
        env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.rest
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_million_rows_are_scored_in_a_group_of_500_mb(tmp_path: Path) -> None:
    """20 million rows x 18 columns: nothing is killed, and the process keeps to 60 % of the group's memory.

    The group's own peak is no measure: it counts the page cache, which fills whatever there is.
    """
    root = workspace(tmp_path / "w")
    with memory_group(GROUP_LIMIT) as group:
        write_rows(part(root), ROWS)
        ended = group.run([sys.executable, "-c", NIGHT, str(root), DAY], {"PYTHONPATH": str(ROOT)}, 800)
    assert ended.code == 0, ended.err[-2000:]
    found = json.loads(ended.out)
    assert (found["status"], found["rows"]) == ("published", ROWS)
    assert abs(found["memory"] - GROUP_LIMIT) < 2**20, "the group's limit was not seen"
    assert ended.kills == 0
    assert ended.peak <= GROUP_LIMIT
    assert found["peak"] <= 0.6 * GROUP_LIMIT


MEGABYTE = 1_000_000
LONG = 150
WIDE_JOB = JOB.replace("keep: [shop]", "keep: [shop, same]") + "memory: 300MB\n"


def write_long_texts(path: Path, group: int = LONG) -> None:
    """Rows with two texts of a megabyte: one random, in pages of some megabytes; one always the same.

    The footer counts the latter once: it is in a dictionary. All lie in one row group.
    """
    rng = np.random.default_rng(0)
    texts = [base64.b64encode(rng.bytes(MEGABYTE * 3 // 4)).decode() for _ in range(LONG)]
    same = pa.array(["y" * MEGABYTE]).take(pa.array([0] * LONG))
    table = pa.table({"id": range(LONG), "shop": texts, "same": same, "f0": np.ones(LONG, np.float32)})
    pq.write_table(
        table, path, use_dictionary=["same"], compression="none", write_batch_size=4, row_group_size=group
    )


@pytest.mark.slow
def test_texts_of_a_megabyte_go_through_a_night(tmp_path: Path) -> None:
    """300 MB of texts in one row group, within 300 MB, and each is published as it was."""
    root = workspace(tmp_path / "w", WIDE_JOB, ("f0",))
    write_long_texts(part(root))
    found = night(root)
    assert (found["status"], found["rows"]) == ("published", LONG)
    assert found["peak"] <= 300_000_000, found
    sums = "SELECT id, md5(shop) AS shop, md5(same) AS same FROM {} ORDER BY id"
    published = query(sums.format("large_scores"), root)
    with duckdb.connect() as connection:
        source = connection.sql(sums.format(f"read_parquet('{part(root)}')")).to_arrow_table()
    assert published.equals(source)
