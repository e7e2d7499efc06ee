"""docs/promises.md says what holds: each promise is there, and each test that it names is one that is run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (P\d+|Known holes)\b.*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
PROMISES = [f"P{i}" for i in range(1, 27)]
FILE_LINE = re.compile(r"^- `(tests/[\w/]+\.py)`: (.*?)(?=^- |^$|\Z)", re.MULTILINE | re.DOTALL)


def named(section: str) -> set[tuple[str, str]]:
    """The tests that a section of the page names: (file, function)."""
    return {
        (file, name) for file, names in FILE_LINE.findall(section) for name in re.findall(r"`(\w+)`", names)
    }


def collected(file: Path) -> dict[str, bool]:
    """The test functions of a file, read and not imported; whether each is expected to fail."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_"))
    return {f.name: any("xfail" in ast.unparse(d) for d in f.decorator_list) for f in functions}


@pytest.fixture(scope="module")
def existing() -> dict[tuple[str, str], bool]:
    """Every test of this repository, and whether it is expected to fail."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {(f.relative_to(ROOT).as_posix(), n): fails for f in files for n, fails in collected(f).items()}


def test_every_promise_is_on_the_page() -> None:
    """P1 to P26, in order, each with tests that hold it and with what is not promised."""
    assert [name for name in SECTIONS if name.startswith("P")] == PROMISES
    for name in PROMISES:
        assert named(SECTIONS[name]), name
        assert "**Not promised.**" in SECTIONS[name], name


@pytest.mark.parametrize("name", PROMISES)
def test_every_test_that_the_page_names_holds(name: str, existing: dict[tuple[str, str], bool]) -> None:
    """It exists under that name in that file, and nobody expects it to fail."""
    wrong = {test for test in named(SECTIONS[name]) if existing.get(test, True)}
    assert wrong == set()


def test_every_known_hole_is_on_the_page(existing: dict[tuple[str, str], bool]) -> None:
    """A test that is expected to fail is a hole that we know: the page names it, and no other."""
    assert named(SECTIONS.get("Known holes", "")) == {test for test, fails in existing.items() if fails}


def test_every_name_on_the_page_is_counted() -> None:
    """No test is named in a form that the tests above would not see."""
    seen = {name for section in SECTIONS.values() for _, name in named(section)}
    assert set(re.findall(r"\btest_\w+\b(?!\.py)", PAGE)) - seen == set()
    assert len(seen) > 50
