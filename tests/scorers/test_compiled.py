"""What Numba keeps on disk of a compiled function: used again, and of no harm where it is damaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.marks import mostly_slow

CODE = """\
import numpy as np

from nightscore.scorers.compiled import numba_compiled


@numba_compiled
def doubled(values):
    return values * 2.0


print(doubled(np.arange(4.0)).tolist(), sum(doubled.stats.cache_hits.values()))
"""


def ended(folder: Path) -> str:
    """What a process prints that loads the function: its result, and how often the kept code was used."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kept")}
    done = subprocess.run(
        [sys.executable, str(folder / "doubled.py")], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


DAMAGES: dict[str, bytes | None] = {"empty": b"", "other": b"no pickle at all", "cut short": None}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(["*.nbi", "*.nbc", "*.nb?"], {"*.nb?"}))
@pytest.mark.parametrize("how", mostly_slow(DAMAGES, {"cut short"}))
def test_damaged_code_that_was_kept_is_compiled_again(tmp_path: Path, name: str, how: str) -> None:
    """The result is right, and the next process uses what was kept then."""
    (tmp_path / "doubled.py").write_text(CODE)
    assert ended(tmp_path) == "[0.0, 2.0, 4.0, 6.0] 0"
    files = list((tmp_path / "kept").rglob(name))
    assert files
    for file in files:
        half = file.read_bytes()[: file.stat().st_size // 2]
        file.write_bytes(half if DAMAGES[how] is None else DAMAGES[how])
    assert ended(tmp_path) == "[0.0, 2.0, 4.0, 6.0] 0"
    assert ended(tmp_path) == "[0.0, 2.0, 4.0, 6.0] 1"
