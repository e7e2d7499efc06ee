"""Start-up: `nightscore --help`, and `nightscore run` on a day of 1,000 rows; medians of several processes.

python benchmarks/startup.py
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lake import DAY, workspace

NIGHTSCORE = str(Path(sys.executable).with_name("nightscore"))
TIMES = 9


def main() -> None:
    """Measure and print."""
    print("| command | median s | least s | goal s |\n|---|---|---|---|")
    report("nightscore --help", [NIGHTSCORE, "--help"], 0.25)
    for model in ("mlp", "trees"):
        root = workspace(model, 1000)
        for folder in ("tables", "runs"):
            shutil.rmtree(root / "data" / folder, ignore_errors=True)
        command = [NIGHTSCORE, "run", model, "--day", DAY, "--force", "--workspace", str(root)]
        report(f"nightscore run, 1,000 rows, {model}", command, 1.5)


def report(name: str, command: list[str], goal: float) -> None:
    """One line of the table; the first run, which may compile, does not count."""
    seconds = [timed(command) for _ in range(TIMES + 1)][1:]
    print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {goal} |", flush=True)


def timed(command: list[str]) -> float:
    """Seconds of a process."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
