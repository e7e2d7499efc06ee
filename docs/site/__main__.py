"""Stage the pages of the documentation site in build/docs: `python docs/site`, which `make docs` calls.

The pages are those of docs/, the README as the first one, and whatever they link to in the repository: other
Markdown pages as they are, files as a page that shows them. A line `<!-- made: NAME -->` is replaced by what
`reference.py` makes of the program at hand.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reference import MADE

ROOT = Path(__file__).parents[2]
STAGED = ROOT / "build/docs"
LINK = re.compile(r"(?P<before>\]\(|(?:src|srcset)=\")(?P<path>[^)\s\"#]+)(?P<anchor>#[^)\s\"]*)?(?=[)\"])")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)
LANGUAGES = {".py": "python", ".sql": "sql", ".yaml": "yaml", ".toml": "toml", ".json": "json"}


def place_of(path: str) -> str:
    """Where a file of the repository stands in the site: docs/ at the top, the rest below repository/."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def retarget(text: str, page: str, linked: set[str]) -> str:
    """A page's text with its links as they are in the site; what they lead to is added to `linked`."""

    def replace(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match["path"]):
            return match[0]
        target = os.path.normpath(Path(page).parent / match["path"])
        if not (ROOT / target).exists():  # that is the check's to say
            return match[0]
        if (ROOT / target).is_file():
            linked.add(target)
        else:  # only the decisions are a folder with a page
            target += "/index.md"
        path = os.path.relpath(place_of(target), Path(place_of(page)).parent)
        return f"{match['before']}{path}{match['anchor'] or ''}"

    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in FENCE.split(text))


def shown(path: str) -> str:
    """A file as a page that shows it."""
    fence = f"````{LANGUAGES.get(Path(path).suffix, 'text')}"
    return f"# {path}\n\n{fence}\n{(ROOT / path).read_text(encoding='utf-8').rstrip()}\n````\n"


def page_of(path: str, linked: set[str]) -> str:
    """The text of a page in the site."""
    if not path.endswith(".md"):
        return shown(path)
    text = retarget((ROOT / path).read_text(encoding="utf-8"), path, linked)
    return MARK.sub(lambda mark: MADE[mark[1]](), text)


def decisions() -> str:
    """A page that lists the decision notes."""
    notes = sorted((ROOT / "docs/decisions").glob("*.md"))
    lines = [
        f"- [{note.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}]({note.name})" for note in notes
    ]
    return (
        "# Decisions\n\nWhy it is as it is: a note for each format and protocol.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def staged() -> Iterator[str]:
    """Write each page once, and then those that it links to; gives their paths in the repository."""
    waiting = {"README.md", "SECURITY.md", "CHANGELOG.md"}
    waiting |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    done: set[str] = set()
    while waiting - done:
        path = min(waiting - done)
        done.add(path)
        target = STAGED / place_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("docs/") and not path.endswith(".md"):
            shutil.copyfile(ROOT / path, target)  # pictures and schemas, as they are
        else:
            target.write_text(page_of(path, waiting), encoding="utf-8")
        yield path


def main() -> None:
    """Stage all pages anew."""
    shutil.rmtree(STAGED, ignore_errors=True)
    STAGED.mkdir(parents=True)
    count = sum(1 for _ in staged())
    (STAGED / "decisions/index.md").write_text(decisions(), encoding="utf-8")
    print(f"{count + 1} pages and pictures in {STAGED.relative_to(ROOT)}")  # noqa: T201


if __name__ == "__main__":
    main()
