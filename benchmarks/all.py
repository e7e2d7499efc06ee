"""Every benchmark, one after the other; what they print becomes benchmarks/results.md.

make bench                        about an hour on two cores
python benchmarks/all.py --full   also 4 million rows for the trees, and 20 million for memory
"""

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from pathlib import Path

from nightscore.scorers.hardware import read_hardware

HERE = Path(__file__).parent

QUICK = {
    "Whole jobs": ["peers.py"],
    "Memory and time by rows": ["memory.py", "--rows", "1000000", "5000000"],
    "Start-up": ["startup.py"],
    "The tree kernel": ["trees.py"],
    "The kernel for light networks": ["networks.py"],
    "Best items for users": ["topk.py"],
    "Market risk": ["finance.py"],
    "Texts": ["text.py"],
    "Published days": ["published_days.py", "--days", "0", "20", "500"],
}
FULL = {
    **QUICK,
    "Whole jobs": ["peers.py", "--rows", "4000000"],
    "Memory and time by rows": ["memory.py", "--rows", "2000000", "20000000"],
    "Published days": ["published_days.py"],
}


def main() -> None:
    """Run each script, show its output as it comes, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument(
        "--only",
        choices=[
            "peers",
            "memory",
            "startup",
            "trees",
            "networks",
            "topk",
            "finance",
            "text",
            "published_days",
        ],
        nargs="+",
    )
    options = parser.parse_args()
    parts = [head()]
    for title, (script, *arguments) in (FULL if options.full else QUICK).items():
        if not options.only or script.removesuffix(".py") in options.only:
            print(f"\n## {title}\n", flush=True)
            parts += [f"\n## {title}\n", output([sys.executable, str(HERE / script), *arguments])]
    (HERE / "results.md").write_text("\n".join(parts))


def head() -> str:
    """The machine, and when."""
    machine = read_hardware()
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return (
        f"# Measured\n\nBy `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC: "
        f"{machine.processor}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, {system}. "
        f"Load when it began: {os.getloadavg()[0]:.1f}; 0 is an idle machine. Ratios count.\n"
    )


def output(command: list[str]) -> str:
    """What a script prints; tables of plain text in a fence."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    text = "".join(lines)
    failed = f"\n{Path(command[1]).name} ended with {process.returncode}.\n" if process.returncode else ""
    return (text if "|---" in text else f"```\n{text}```\n") + failed


if __name__ == "__main__":
    main()
