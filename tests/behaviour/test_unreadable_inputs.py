"""What a run's user may not see is missed: the run ends with 1 and publishes nothing, whatever the policy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.support.workspace import JOB, make_workspace, write_day

DAY, BEFORE = "2020-01-03", "2020-01-02"


# Root may read everything: of its rights these two are taken from the process, by util-linux.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def nightly(root: Path) -> subprocess.CompletedProcess[str]:
    """The night as a user to whom a folder can be closed."""
    drop = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: as root, without setpriv, no folder can be closed")
    return subprocess.run(
        [*drop, sys.executable, "-m", "nightscore", "--workspace", root, "run", "mini", "--day", DAY],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


CLOSED = {
    "a part of the day": f"data/lake/rows/day={DAY}/h=2",
    "a day of the lookback": f"data/lake/rows/day={BEFORE}",
    "the lake": "data/lake/rows",
}


@pytest.mark.disk_only(reason="a bucket has no modes")
@pytest.mark.slow
@pytest.mark.parametrize("missing", ["skip", pytest.param("wait", marks=pytest.mark.slow)])
@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED.keys())
def test_a_folder_that_is_closed_to_the_run_is_broken(tmp_path: Path, closed: str, missing: str) -> None:
    """The folder and the reason; a folder that can be read again is read whole."""
    entry = "{path: data/lake/rows, partition: day, lookback: 2}"
    job = JOB.replace("{path: data/lake/rows, partition: day}", entry) + f"policy: {{missing: {missing}}}\n"
    root = make_workspace(tmp_path / "w", 20, job, (BEFORE,))
    write_day(root, DAY, 20, files=2)
    for day in (BEFORE, DAY):
        folder = root / f"data/lake/rows/day={day}"
        for number in (1, 2):
            (folder / f"h={number}").mkdir()
        for i, path in enumerate(sorted(folder.glob("*.parquet"))):
            path.rename(folder / f"h={i + 1}" / path.name)
    (root / closed).chmod(0)
    ended = nightly(root)
    (root / closed).chmod(0o755)
    assert ended.returncode == 1, ended.stderr
    assert f"{closed} can't be listed: Permission denied" in ended.stderr
    assert not (root / "data/tables").exists()
    again = nightly(root)
    assert again.returncode == 0, again.stderr
    table = DeltaTable(str(root / "data/tables/mini_scores")).to_pyarrow_table()
    assert sorted(table["id"].to_pylist()) == list(range(20))
