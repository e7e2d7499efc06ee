"""Which tests `make test` leaves to `make check`, from how long each took: writes tests/long_tests.txt.

    make test-all PYTEST='--junitxml=all.xml'
    python -m tests.support.tiers all.xml 600

Of the tests that no mark makes slow those that cost most are, until the others take so many seconds; each
file keeps one at least. What is long depends on what else there is, so it stands in one list, not in marks.
"""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parents[1]
LIST = HERE / "long_tests.txt"
HEAD = """\
# Tests of the slow tier because they are long: `make check` runs them, `make test` does not.
# Written by tests/support/tiers.py; a new test that is not here is of `make test`, unless it is marked.
"""


def read_long_tests() -> frozenset[str]:
    """The node ids of the test functions on the list."""
    return frozenset(line for line in LIST.read_text().splitlines() if line and line[0] != "#")


def main(junit: str, budget: float) -> None:
    """Write the list for a run's times and a budget in seconds, the sum of all processes."""
    seconds = Counter[str]()
    unmarked = _unmarked()
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - what our own pytest wrote
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        if name in unmarked:
            seconds[name.split("[", maxsplit=1)[0]] += float(case.get("time", 0))
    files = defaultdict[str, set[str]](set)
    for function in seconds:
        files[function.split("::")[0]].add(function)
    left, long = sum(seconds.values()), set[str]()
    for function, cost in seconds.most_common():
        others = files[function.split("::")[0]]
        if left > budget and len(others) > 1:
            others.remove(function)
            long.add(function)
            left -= cost
    LIST.write_text(HEAD + "".join(f"{function}\n" for function in sorted(long)))
    sys.stdout.write(f"{len(seconds)} functions, {len(long)} of them long; {left:.0f} s are left\n")


def _unmarked() -> set[str]:
    """The node ids of all tests that no mark makes slow."""
    asked = ("-m", "long or (not slow and not e2e)", "--collect-only", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *asked]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent).stdout
    return {line for line in printed.splitlines() if "::" in line}


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
