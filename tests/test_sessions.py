"""The sessions of the documentation, run from an empty folder: what a page shows is what the commands print.

A block of a page without a language is a session: lines that begin with `$ ` are typed in their order, what
follows is what they print. `…` stands for what is left out, alone in a line for any lines. A run's number, a
moment and a date of today are whatever they are now. A block ```pycon is held by doctest, and one ```sql or
```yaml whose first line names a file (`-- jobs/…`, `# jobs/…`) is written there.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightscore.cli.main import call
from tests.support.s3 import Server, become_client

ROOT = Path(__file__).parents[1]
PAGES = ("first-job", "testing", "from-a-notebook", "backfill", "restate", "erase")
QUICK = ("testing",)  # of the default suite; the others take up to ten seconds each
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:--|#) ((?:jobs|scorers)/\S+\.(?:sql|yaml|py))\n")
NOW = (
    (re.compile(r"\b\d{8}T\d{6}-[0-9a-f]{8}-[0-9a-f]{6}\b"), "RUN"),
    (
        re.compile(r"\b2026-1[12]-\d\d( \d\d:\d\d UTC)?|\b20(2[7-9]|[3-9]\d)-\d\d-\d\d( \d\d:\d\d UTC)?"),
        "NOW",
    ),
    (re.compile(r"\b\d+\.\d s\b"), "SECONDS"),
)
PROGRESS = re.compile(r"[a-z ]+(?: [\d,]+ of [\d,]+.*)?")
NOT_RUN = ("pip install", "nightscore --install-completion")


def steps_of(text: str) -> Iterator[tuple[str, str, str]]:
    """What a page does, in order: ("file" | "python", what, text), or ("type", a command, what it prints)."""
    for language, block in FENCE.findall(text):
        if language == "pycon":
            yield "python", "", block
        elif named := FILE.match(block):
            yield "file", named[1], block
        elif not language and block.startswith("$ "):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                yield "type", command, printed


def plain(text: str) -> list[str]:
    """Lines without what is of this moment, and with single blanks."""
    for pattern, name in NOW:
        text = pattern.sub(name, text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def pattern_of(printed: str) -> str:
    """What a page says is printed, as a pattern over whole lines."""
    parts = []
    for line in plain(printed):
        if line == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append("[^\n]*".join(map(re.escape, line.split("…"))) + "\n")
    return "".join(parts)


def typed(command: str, place: Path) -> tuple[str, Path]:
    """What a command prints, and the folder in which the next one is typed."""
    words = shlex.split(command)
    if words[0] == "cd":
        return "", place / words[1]
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        os.environ[name] = value
        return "", place
    if words[0] != "nightscore":
        done = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, check=False)  # noqa: S602
        return done.stdout + done.stderr, place
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        call(words[1:])
    lines = [line for line in said.getvalue().splitlines() if not PROGRESS.fullmatch(line)]
    return printed.getvalue() + "\n".join(lines), place


def follow(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Do what a page does, in a folder; gives the number of its steps."""
    place, names, done = folder, {}, 0
    for done, (kind, what, text) in enumerate(steps_of((ROOT / page).read_text(encoding="utf-8")), 1):  # noqa: B007
        monkeypatch.chdir(place)
        if kind == "file":
            Path(what).write_text(text, encoding="utf-8")
        elif kind == "python":
            test = doctest.DocTestParser().get_doctest(text, names, page, page, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            assert runner.run(test, clear_globs=False).failed == 0
            names = test.globs
        elif not what.startswith(NOT_RUN):
            printed, place = typed(what, place)
            lines = "".join(f"{line}\n" for line in plain(printed))
            wanted = pattern_of(text)
            assert re.fullmatch(wanted, lines), f"{page}: $ {what}\n{lines}\nis not\n{text}"
    return done


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page exports ends with it; its tables are as wide as they like."""
    before = os.environ.copy()
    for name in [name for name in os.environ if name.startswith("NIGHTSCORE_")]:
        del os.environ[name]
    os.environ["COLUMNS"] = "400"
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def test_the_instrument_tells_what_is_printed_from_what_is_not() -> None:
    """An elision is any text, a run's number any run's; another word is another."""
    shown = "a 1\n…\nrun 20261127T191301-d49cb0ef-2962d4 at 2026-11-27 23:01 UTC\nb … d\n"
    given = "a  1\nx\ny\nrun 20270101T000000-00000000-000000 at 2027-01-01 00:00 UTC\nb c d\n"
    assert re.fullmatch(pattern_of(shown), "".join(f"{line}\n" for line in plain(given)))
    assert not re.fullmatch(
        pattern_of(shown), "".join(f"{line}\n" for line in plain(given.replace("b c", "e c")))
    )
    steps = list(
        steps_of("```\n$ nightscore jobs\na\n$ cd x\n```\n\n```sql\n-- jobs/a/b.sql\nSELECT 1\n```\n")
    )
    assert [kind for kind, _, _ in steps] == ["type", "type", "file"]


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=() if page in QUICK else pytest.mark.slow) for page in PAGES]
)
def test_a_page_prints_what_it_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder, step by step."""
    assert follow(f"docs/{page}.md", tmp_path, monkeypatch) >= 3


@pytest.mark.slow
def test_the_page_about_buckets_prints_what_it_shows(
    s3_server: "Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a real S3 server."""
    become_client(monkeypatch, s3_server.port, tmp_path / "scratch")
    assert follow("docs/to-a-bucket.md", tmp_path, monkeypatch) >= 8
