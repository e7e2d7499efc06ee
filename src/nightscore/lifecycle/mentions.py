"""The lines of a workspace that call a job or a table by its old name: job.yaml's, and SQL files'."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightscore.common import Broken, LineNumbers, Path_, Workspace, read_yaml
from nightscore.store import Rename

OWN = (
    "retain",
    "deliver",
    "judge",
    "budget",
    "audit",
    "highlights",
)  # where a job.yaml may name tables of its own


@dataclass(frozen=True)
class Mention:
    """A line that is to be edited: its file in the workspace, its number from 1, and what it is to say."""

    file: str
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old} -> {self.new}"


def find_mentions(workspace: Workspace, rename: Rename) -> list[Mention]:
    """The lines that call what is renamed by its old name. A job.yaml that can't be read has none."""
    found: list[Mention] = []
    for file in workspace.job_files():
        shown = workspace.relative(file)
        try:
            document, lines = read_yaml(file, shown)
        except Broken:
            continue
        own = isinstance(document, dict) and _is_own(document, rename)
        pairs = _in_yaml(document, lines, rename, own)
        found += [Mention(shown, line, old, new) for line, old, new in dict.fromkeys(pairs)]
        found += _in_sql(workspace, file, rename) if own else []
    return found


def _is_own(document: dict[str, Any], rename: Rename) -> bool:
    """Whether a job.yaml is of the job that is renamed, or publishes the table that is."""
    if rename.kind == "job":
        return document.get("job") in (rename.old, rename.new)
    decide = document.get("decide")
    return isinstance(decide, dict) and bool({rename.old, rename.new} & decide.keys())


def _in_yaml(document: Any, lines: LineNumbers, rename: Rename, own: bool) -> Iterator[tuple[int, str, str]]:
    for at, line in lines.items():
        value = _text(document, at)
        if at == ("job",) and own and rename.kind == "job" and value == rename.old:
            yield line, rename.old, rename.new
        for old, new in rename.tables.items():
            if _names(at, value, old, own):
                yield line, old, new


def _names(at: Path_, value: str, table: str, own: bool) -> bool:
    """Whether a value of a job.yaml, or its key, names a table."""
    if (at[:1], at[2:]) == (("inputs",), ("table",)) or at[:2] == ("schedule", "after"):
        return value == table
    if not own or not at:
        return False
    in_section = at[0] in OWN and bool(re.search(rf"\b{table}\b", value))
    return in_section or (at[0] in (*OWN, "decide") and at[-1] == table)


def _text(document: Any, at: Path_) -> str:
    """The text that stands in a document; "" where something else does."""
    for step in at:
        document = document[step]
    return document if isinstance(document, str) else ""


def _in_sql(workspace: Workspace, job: Path, rename: Rename) -> Iterator[Mention]:
    """The lines of a job's SQL files, which see a decision under its table's name."""
    for file in sorted(job.parent.glob("*.sql")):
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            for old, new in rename.tables.items():
                if re.search(rf"\b{old}\b", line):
                    yield Mention(workspace.relative(file), number, old, new)
