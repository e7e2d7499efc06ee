"""Which tests `make test` leaves to `make check`, and which cases that to `make faults`, by their times.

    make test-all PYTEST='--junitxml=all.xml'
    python -m tests.support.tiers all.xml 600 5000

writes tests/long_tests.txt: of the tests that no mark makes slow those that cost most are, until the others
take 600 seconds; each file keeps one at least. And tests/rest_cases.txt: of the cases of slow tests, if they
take two seconds, those that cost most are of the tier `rest`, until all that `make check` runs takes 5,000
seconds; each function keeps one case at least, so that no claim is left out. What costs much depends on what
else there is, so it stands in lists, not in marks.
"""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parents[1]
LONG, REST = HERE / "long_tests.txt", HERE / "rest_cases.txt"
CHEAP = 2.0  # seconds: of a table of such cases all are run
HEAD = {
    LONG: """\
# Tests of the slow tier because they are long: `make check` runs them, `make test` does not.
# Written by tests/support/tiers.py; a new test that is not here is of `make test`, unless it is marked.
""",
    REST: """\
# Cases of slow tests that are long: `make faults` runs them, `make check` runs other cases of the same test.
# Written by tests/support/tiers.py.
""",
}


def read_long_tests() -> frozenset[str]:
    """The node ids of the test functions on the list of `make check`."""
    return _read(LONG)


def read_rest_cases() -> frozenset[str]:
    """The node ids of the cases on the list of `make faults`."""
    return _read(REST)


def _read(path: Path) -> frozenset[str]:
    return frozenset(line for line in path.read_text().splitlines() if line and line[0] != "#")


def _write(path: Path, names: set[str]) -> None:
    path.write_text(HEAD[path] + "".join(f"{name}\n" for name in sorted(names)))


def main(junit: str, quick: float, whole: float) -> None:
    """Write both lists for a run's times and two budgets in seconds, sums of all processes."""
    seconds = dict[str, float]()
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - what our own pytest wrote
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        seconds[name] = seconds.get(name, 0.0) + float(case.get("time", 0))
    unmarked = _collected("long or (not slow and not e2e)")
    functions = Counter[str]()
    for name in unmarked & seconds.keys():
        functions[_function(name)] += seconds[name]
    long = _costliest(functions, quick, lambda function: function.split("::")[0], 0.0)
    _write(LONG, long)
    slow = _collected("slow and not rest and not e2e") & seconds.keys()
    slow = {name for name in slow if name not in unmarked or _function(name) in long}
    budget = whole - sum(seconds[name] for name in unmarked & seconds.keys() if _function(name) not in long)
    rest = _costliest(Counter({name: seconds[name] for name in slow}), budget, _function, CHEAP)
    _write(REST, rest | (read_rest_cases() - seconds.keys()))  # what the run left out stays on the list


def _function(name: str) -> str:
    return name.split("[", maxsplit=1)[0]


def _costliest(seconds: Counter[str], budget: float, group: Callable[[str], str], cheap: float) -> set[str]:
    """Those that cost most, until the others take so many seconds or are cheap; each group keeps one."""
    left, taken = sum(seconds.values()), set[str]()
    kept = Counter(map(group, seconds))
    for name, cost in seconds.most_common():
        if left > budget and cost >= cheap and kept[group(name)] > 1:
            kept[group(name)] -= 1
            taken.add(name)
            left -= cost
    sys.stdout.write(f"{len(seconds)}, {len(taken)} of them left out; {left:.0f} s are left\n")
    return taken


def _collected(marks: str) -> set[str]:
    """The node ids of all tests of some marks."""
    asked = ("-m", marks, "--collect-only", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *asked]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent).stdout
    return {line for line in printed.splitlines() if "::" in line}


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
