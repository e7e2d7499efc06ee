"""Real images of handwritten digits as a lake of Parquet files by day.

- ``images/day=D``: 8 x 8 images as 64 bytes each. They lie in ``data/sources/digits.parquet``, which
  ``data/sources/digits.py`` made from scikit-learn; its metadata name version, licence and sha256.
- ``labels/day=D``: the digits that the writers were asked for, which a night would not know.

**The days are made**: the source has none. It is cut in six of 300 images (the last one has 297), in its own
order, in which images of one writer lie together.
"""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.lakes import lake
from nightscore.common.progress import ProgressCallback, silent

LAKE = Path("data/lake/digits")
LAYOUT = "1"  # raise it when a type or an order changes, and every lake is written again
DIGITS = Path(__file__).parents[1] / "sources/digits.parquet"
IMAGES_A_DAY = 300
DAYS = tuple(date(2024, 1, 1) + timedelta(days=number) for number in range(6))


def write_lake(workspace: Path, report: ProgressCallback = silent) -> None:
    """Write the sample under ``workspace/data/lake/digits``, or do nothing where it is complete.

    ``report(stage, done, total)`` is called after each day. A file appears under its name whole or not at
    all, and a lake that was cut short is completed.
    """
    root = workspace / LAKE
    source = json.loads(pq.read_metadata(DIGITS).metadata[b"source"])
    stamp = f"{source['package']} {source['version']}, layout {LAYOUT}".encode()
    if lake.is_complete(root, stamp):
        return
    table = pq.read_table(DIGITS)
    table = table.add_column(0, "image_id", pa.array(np.arange(table.num_rows, dtype=np.int32)))
    for number, day in enumerate(DAYS):
        part = table.slice(number * IMAGES_A_DAY, IMAGES_A_DAY)
        for name, column in (("images", "image"), ("labels", "digit")):
            file = root / name / f"day={day}" / "part-0.parquet"
            lake.write(file, part.select(["image_id", column]), stamp)
        report("images", number + 1, len(DAYS))
    lake.completed(root, stamp)
