"""Roots: the folders beside a workspace that its jobs may read, by name; who runs it sets them, no job does.

    name: risk                    # of the workspace, where one Airflow has several; default: none
    roots:                        # workspace.yaml, at the top of the workspace
      lake: /mnt/lake             # read only
      crm: {at: /mnt/crm, write: true}
      data: /mnt/night            # where tables, runs and models lie; default: data/

The variable NIGHTSCORE_ROOT_LAKE stands above what the file says of `lake`, so that two environments differ
in it alone. What it says to Airflow (`airflow:`) is read by `nightscore.job.workspace_settings`.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nightscore.common.errors import Broken, clipped
from nightscore.common.strict_yaml import LineNumbers, Path_, read_yaml

WORKSPACE_FILE = "workspace.yaml"
VARIABLE = "NIGHTSCORE_ROOT_"
SCRATCH = "NIGHTSCORE_SCRATCH"
DATA = "data"
ROOT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
PLACE = re.compile(rf"({ROOT_NAME.pattern}):(?!//)(.*)", re.DOTALL)  # lake:transactions, a path in a root
SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
BUCKETS = ("s3", "gs", "az")
BUCKET = re.compile(r"[^/\s]+(/[^/]+)*/?")  # its name, and a prefix
SECRET = set("@?#")  # an address with one of them may hold a password or a signature
REFUSED = set(
    "=?#%*["
)  # = is a hive partition's; DuckDB and deltalake take the others for patterns, addresses
ALLOWED = "allowed: roots: {NAME: FOLDER, NAME: {at: FOLDER, write: true}}"
KEYS = ("name", "airflow", "roots")  # of workspace.yaml
WORKSPACE_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")  # it comes before a dot in DAG ids
NAMED = re.compile(rf"""^name:[ \t]*["']?({WORKSPACE_NAME.pattern})["']?[ \t]*(?:#|$)""", re.MULTILINE)


@dataclass(frozen=True)
class Root:
    """A named place: `at` as it is set, by which `setting`, and whether it may be written."""

    name: str
    at: str
    setting: str
    write: bool = False

    @property
    def is_bucket(self) -> bool:
        """Whether it is an address such as s3://bucket/prefix, and no folder."""
        return SCHEME.match(self.at) is not None

    @property
    def folder(self) -> Path:
        """The folder that it is, links resolved; of a bucket that in which fetched files lie, its mirror."""
        if self.is_bucket:
            mark = hashlib.sha256(self.at.rstrip("/").encode()).hexdigest()[:16]
            return scratch_folder().resolve() / "roots" / mark
        return Path(self.at).resolve()


def scratch_folder() -> Path:
    """The folder of this machine for what is fetched from buckets: NIGHTSCORE_SCRATCH, or a temporary one.

    Raises:
        Broken: its path has a letter that a reader of files would take for something else.
    """
    set_to = os.environ.get(SCRATCH)
    folder = Path(set_to) if set_to else Path(tempfile.gettempdir()) / f"nightscore-{os.getuid()}"
    if REFUSED & set(str(folder.resolve())):
        setting = SCRATCH if set_to else "TMPDIR"
        raise Broken(
            f"{setting}: the path {folder} must not contain any of {' '.join(sorted(REFUSED))}, which "
            f"readers of the files below take for partitions or patterns; set {SCRATCH} to another folder"
        )
    return folder


def read_roots(workspace: Path) -> dict[str, Root]:
    """The roots of a workspace by name, of workspace.yaml and of the environment.

    Raises:
        Broken: workspace.yaml has a mistake, or a variable is no place; names it and what is allowed.
    """
    reader = _open(workspace)
    roots = reader.roots() if reader else {}
    named = {variable_of(name): name for name in (DATA, *roots)}
    for variable, at in sorted(read_root_variables().items()):
        name = named.get(variable) or variable.removeprefix(VARIABLE).lower()
        roots[name] = _from_variable(name, variable, at, roots.get(name))
    return roots


def peek_workspace_name(workspace: Path) -> str:
    """What workspace.yaml calls the workspace; "" where it has no name.

    Also of a file with a mistake, as far as it can be seen: who reads its roots is told what is wrong.
    """
    try:
        reader = _open(workspace)
        return reader.name() if reader else ""
    except Broken:
        try:
            found = NAMED.search((workspace / WORKSPACE_FILE).read_text("utf-8", errors="replace"))
        except OSError:
            return ""
        return found[1] if found else ""


def read_workspace_file(workspace: Path) -> tuple[Mapping[str, Any], LineNumbers]:
    """What workspace.yaml says, with the lines of its values; nothing where there is none.

    Raises:
        Broken: it can't be read, or has an unknown key.
    """
    reader = _open(workspace)
    return (reader.top(), reader.lines) if reader else ({}, {})


def _open(workspace: Path) -> "_Reader | None":
    file = workspace / WORKSPACE_FILE
    return _Reader(workspace, *read_yaml(file, WORKSPACE_FILE)) if file.exists() else None


def _from_variable(name: str, variable: str, at: str, written: Root | None) -> Root:
    if not ROOT_NAME.fullmatch(name):
        raise Broken(f"{variable}: {name!r} is no name of a root; allowed: letters, digits and _")
    if not at:  # the root of the file would be another than whoever set the variable meant
        raise Broken(f"{variable} is set, and empty; name a place, or unset it")
    if problem := _problem(at):
        raise Broken(f"{variable}={_shown(at)}: {problem}")
    if not (SCHEME.match(at) or Path(at).is_absolute()):
        raise Broken(f"{variable}={at}: is no absolute path; write it from / on")
    return Root(name, at, variable, name == DATA or (written is not None and written.write))


def _shown(at: str) -> str:
    """A place for a message, without what may be a secret."""
    return f"{at.partition('://')[0]}://…" if SCHEME.search(at) and set(at) & SECRET else at


def read_root_variables() -> dict[str, str]:
    """What the environment says of roots, by variable: for a process elsewhere that is to see the same."""
    return {name: value for name, value in os.environ.items() if name.startswith(VARIABLE)}


def variable_of(name: str) -> str:
    """The environment variable that sets a root."""
    return VARIABLE + name.upper().replace("-", "_")


def _problem(at: str) -> str:
    """What is wrong with a place; empty where nothing is."""
    scheme = SCHEME.match(at)
    if scheme and scheme[1] not in BUCKETS:
        return f"{scheme[1]}:// is no storage; allowed: a folder, or {', '.join(f'{b}://' for b in BUCKETS)}"
    if scheme and set(at) & SECRET:
        return f"{scheme[1]}:// has no user, password or query: credentials come from the cloud's usual chain"
    if scheme and not BUCKET.fullmatch(at[scheme.end() :]):
        return f"has no bucket, or a part that is empty; write {scheme[0]}BUCKET or {scheme[0]}BUCKET/PREFIX"
    if not scheme and REFUSED & set(at):
        return f"the path of a root must not contain any of {' '.join(sorted(REFUSED))}"
    return ""


@dataclass(frozen=True)
class _Reader:
    """Reads workspace.yaml."""

    workspace: Path
    document: Any
    lines: LineNumbers

    def top(self) -> Mapping[str, Any]:
        document = self.document
        keys = ", ".join(KEYS)
        if not isinstance(document, Mapping):
            self.wrong((), f"a workspace.yaml has the keys {keys}; {ALLOWED}")
        if unknown := sorted(map(str, document.keys() - set(KEYS))):
            self.wrong((unknown[0],), f"unknown key; a workspace.yaml has {keys}; {ALLOWED}")
        return document

    def name(self) -> str:
        name = self.top().get("name", "")
        if not isinstance(name, str) or ("name" in self.top() and not WORKSPACE_NAME.fullmatch(name)):
            self.wrong(
                ("name",),
                f"{clipped(name)} is no name of a workspace; allowed: up to 31 small letters, digits and _, "
                "a letter first",
            )
        return name

    def roots(self) -> dict[str, Root]:
        top = self.top()
        self.name()
        if "roots" not in top:
            return {}
        if not isinstance(top["roots"], Mapping):
            self.wrong(("roots",), f"{clipped(top['roots'])} are no roots; {ALLOWED}")
        roots = {name: self.root(name, value) for name, value in top["roots"].items()}
        for name in roots:
            if other := next((n for n in roots if n < name and variable_of(n) == variable_of(name)), None):
                self.wrong(("roots", name), f"{name!r} and {other!r} have one variable; rename one")
        return roots

    def root(self, name: str, value: Any) -> Root:
        at = ("roots", name)
        if not ROOT_NAME.fullmatch(name) or name in BUCKETS:
            self.wrong(at, f"{clipped(name)} is no name of a root; allowed: small letters, digits, _ and -")
        written = value if isinstance(value, Mapping) else {"at": value}
        place, write = written.get("at"), written.get("write", False)
        if unknown := sorted(map(str, written.keys() - {"at", "write"})):
            self.wrong((*at, unknown[0]), f"unknown key; {ALLOWED}")
        if not isinstance(place, str) or not isinstance(write, bool):
            self.wrong(at, f"{_shown(str(clipped(value)))} is no place; {ALLOWED}")
        if not place or (problem := _problem(place)):
            self.wrong(at, f"{clipped(_shown(place))}: {problem if place else 'is empty'}")
        folder = place if SCHEME.match(place) else str(self.workspace / place)
        return Root(name, folder, f"{WORKSPACE_FILE}:{self.lines[at]}", write or name == DATA)

    def wrong(self, at: Path_, message: str) -> NoReturn:
        raise Broken(
            f"{WORKSPACE_FILE}:{self.lines.get(at, 1)}: {'.'.join(map(str, at)) or 'roots'}: {message}"
        )
