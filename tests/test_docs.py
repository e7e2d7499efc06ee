"""The Markdown pages against what is there: links, paths, commands with their options, imports."""

import contextlib
import fnmatch
import functools
import io
import os
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

import nightscore
from nightscore.cli.main import app, call

ROOT = Path(__file__).parents[1]
IGNORED = {
    ".venv",
    ".venv-bench",
    ".venv-docs",
    ".git",
    "node_modules",
    ".hypothesis",
    "wheel",
    "work",
    "build",
    "templates",
}  # those are pages of a new workspace


def find_pages() -> list[str]:
    """All pages, from the root; what is ignored, an environment above all, is not walked through."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in IGNORED]
        found += [Path(folder, name).relative_to(ROOT).as_posix() for name in files if name.endswith(".md")]
    return sorted(found)


PAGES = find_pages()
YOURS = {"scorers/body_mass.py", "model.md", "jobs/job.schema.json"}  # what its reader writes, or has written
# A decision names what was there when it was taken, and other people's folders.
TODAY = [page for page in PAGES if not page.startswith("docs/decisions/")]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
FOLDERS = (
    "src|tests|docs|jobs|data|dags|scorers|benchmarks|requirements|nightscore|nights|behaviour|faults|e2e"
)
PATH = re.compile(rf"(?:\.\./)?(?:(?:{FOLDERS})/[\w./-]*|test_\w+\.py|Makefile|\w+\.(?:md|toml))")
MADE = [  # what a run, a build or a person makes, as .gitignore has it
    line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("/data")
]


def text_of(page: str) -> str:
    """A page as it is."""
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> list[str]:
    """What stands in a page as code: each line of its blocks, and each text in backticks."""
    text = text_of(page)
    blocks = [line for block in FENCE.findall(text) for line in block.splitlines()[1:-1]]
    indented = re.findall(r"^ {4,}(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    return blocks + indented + INLINE.findall(FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(path: str, page: str) -> bool:
    """Whether a path is there, from the root, the page or the tests, in a new workspace, or made by a run."""
    if any(fnmatch.fnmatch(f"{path.rstrip('/')}/", f"{pattern}*") for pattern in MADE):
        return True
    new = (ROOT / "src/nightscore/start/templates").iterdir()
    return any((folder / path).exists() for folder in (ROOT, (ROOT / page).parent, ROOT / "tests", *new))


@functools.cache
def options(command: str) -> set[str]:
    """The options of a command of `nightscore`, as its help lists them."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert call([command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]*", printed.getvalue()))


def words_of(text: str) -> list[str]:
    """A command in words, as a shell would cut it; one that goes on in the next line, by its blanks."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def commands(page: str) -> list[list[str]]:
    """Every call of `nightscore` in a page's code, in words; up to a pipe."""
    found = []
    for line in code_of(page):
        match = re.match(r" *(?:\$ )?nightscore ([a-z-]+\b.*)", line)
        if match:
            found.append(words_of(match[1]))
    return found


def test_the_pages_are_found() -> None:
    """The instrument sees links, paths and commands where there are some."""
    assert {"README.md", "SECURITY.md", "docs/job.md", "data/README.md"} < set(PAGES)
    assert ["run", "retail_recommendations", "--day", "2017-11-02"] in commands("README.md")
    assert exists("docs/job.md", "README.md") and exists("data/lake/rows", "README.md")
    assert not exists("docs/nowhere.md", "README.md") and not exists("data/nowhere", "README.md")
    assert "--day" in options("run") and "--dey" not in options("run")


def test_the_front_page_is_short() -> None:
    """The rest stands in pages of docs/."""
    assert len(text_of("README.md").splitlines()) <= 200


def test_every_page_stands_in_the_contents_of_the_site() -> None:
    """Once, and each entry is a page; decisions have a page of their own, the first is the README."""
    listed = re.findall(r"^ +- [^#\n]*: ([\w/-]+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)
    made = {"index.md", "decisions/index.md", "repository/SECURITY.md", "repository/CHANGELOG.md"}
    assert sorted(made | {path.name for path in (ROOT / "docs").glob("*.md")}) == sorted(listed)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    """To a file that exists, and to a heading of it."""
    for target in (a or b for a, b in LINK.findall(FENCE.sub("", text_of(page)))):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}"


@pytest.mark.parametrize("page", TODAY)
def test_every_path_in_backticks_exists(page: str) -> None:
    """One that begins with a folder of the repository, or names a test."""
    named = {path for path in INLINE.findall(FENCE.sub("", text_of(page))) if PATH.fullmatch(path)}
    assert {path for path in named - YOURS if not exists(path, page)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    """Each `nightscore …`, `make …` and `python -m …` or `python file` that a page names."""
    for name, *words in commands(page):
        assert name in app, f"{page}: nightscore {name}"
        given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert given <= options(name), f"{page}: nightscore {name}"
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code_of(page):
        if make := re.match(r" *make ([a-z0-9-]+)", line):
            assert make[1] in targets, f"{page}: {line}"
        if module := re.search(r"\bpython -m ([\w.]+)", line):
            assert find_spec(module[1]), f"{page}: {line}"
        if program := re.search(r"\bpython ([\w/]+\.py)", line):
            assert (ROOT / program[1]).is_file(), f"{page}: {line}"


@pytest.mark.parametrize("page", TODAY)
def test_every_import_is_possible(page: str) -> None:
    """What a page's Python takes from nightscore is there."""
    for line in code_of(page):
        if match := re.match(r"from (nightscore[\w.]*|jobs[\w.]*|scorers[\w.]*) import ([\w, ]+)", line):
            module = __import__(match[1], fromlist=["*"])
            names = [name.split()[0] for name in match[2].split(",")]
            assert [name for name in names if not hasattr(module, name)] == [], f"{page}: {line}"
            assert module is not nightscore or set(names) <= set(nightscore.__all__), f"{page}: {line}"
