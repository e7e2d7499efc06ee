"""P3: what SQL says of rows never depends on what the footers of their Parquet files say; for longer.

FAULTS_TIMES=20 asks twenty times as much, FAULTS_SEED=… repeats it. See tests/store/test_footers.py.
"""

import os
from pathlib import Path

import pytest

from tests.support.footers import hunt, seeded

pytestmark = pytest.mark.disk_only(reason="no night is run")

SEED = int(os.environ.get("FAULTS_SEED", "303627"))  # `make faults` takes another each time
TIMES = int(os.environ.get("FAULTS_TIMES", "1"))


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4 * TIMES))
def test_answers_depend_on_no_footer(tmp_path: Path, turn: int) -> None:
    """All types by all writers, and rows of several of DuckDB's vectors, too."""
    rows = (1, 12, 40, 5_000)[turn % 4]
    asked, wrong = hunt(seeded(SEED + turn), tmp_path, files=2, rows=rows)
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it where the test fails
    assert not wrong, f"turn {turn}: {len(wrong)} of {asked} answers\n{wrong[0].told(tmp_path)}"
