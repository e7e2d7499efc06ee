"""A job: its spec and its SQL, read from one folder of a workspace."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError

from nightscore.common import (
    MAX_YAML_BYTES,
    Broken,
    LineNumbers,
    Path_,
    Workspace,
    clipped,
    open_workspace,
    read_yaml,
)
from nightscore.job.hashing import hash_job
from nightscore.job.macros import macros_called
from nightscore.job.mistakes import explain_mistakes, line_of
from nightscore.job.parts.audits import ParityAudit, SqlAudit
from nightscore.job.parts.params import ParamValue
from nightscore.job.sources.inputs import TableInput
from nightscore.job.spec import JobSpec

NAMED = re.compile(rb"""^job:[ \t]*["']?([a-z][a-z0-9_]{0,62})["']?[ \t]*\r?(?:#|$)""", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """One job folder, read and checked; nothing of its data or its model is touched yet."""

    spec: JobSpec
    workspace: Workspace
    file: Path
    features_sql: str | None
    decide_sql: Mapping[str, str]
    lines: LineNumbers = field(repr=False, compare=False)
    audit_sql: Mapping[str, str] = field(default_factory=dict)  # of audits that name a .sql file, by its name
    highlight_sql: tuple[str, ...] = ()  # the SELECT of each highlight, in their order
    # The tables that another job names, too, each with that one's job.yaml.
    shared: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The job's name, which is also its DAG's id."""
        return self.spec.job

    @property
    def shown(self) -> str:
        """The job.yaml as error messages name it."""
        return self.workspace.relative(self.file)

    def raise_broken(self, at: Path_, message: str) -> NoReturn:
        """Raise `Broken` with the line of job.yaml on which the value at `at` stands."""
        dotted = ".".join(map(str, at))
        raise Broken(f"{self.shown}:{line_of(self.lines, at)}: {dotted}: {message}")

    def refuse_no_model(self, done: str) -> None:
        """Raise `Broken` unless the job has a model that can be `done`, such as judged or promoted."""
        if self.spec.model.is_none:
            self.raise_broken(("model",), f"is none: the job has no model that could be {done}")

    def params(self, overrides: Mapping[str, Any] | None = None) -> dict[str, ParamValue]:
        """Every parameter's value: the default, or the override (a text is parsed).

        Raises:
            Broken: an override names no parameter of this job or has a value that is not allowed.
        """
        overrides = dict(overrides or {})
        unknown = sorted(overrides.keys() - self.spec.params.keys())
        if unknown:
            names = ", ".join(self.spec.params) or "none"
            raise Broken(f"job {self.name} has no parameter {unknown[0]!r}; its parameters: {names}")
        values: dict[str, ParamValue] = {}
        for name, param in self.spec.params.items():
            value = overrides.get(name, param.default)
            try:
                values[name] = param.parse(value) if isinstance(value, str) else param.check(value)
            except ValueError as error:
                raise Broken(f"parameter {name} of job {self.name}: {error}") from error
        return values

    def own_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some parameters, such as an old receipt's, that the job still has."""
        return {name: value for name, value in values.items() if name in self.spec.params}

    @property
    def hash(self) -> str:
        """sha256 of all in the job folder that can change what is published (not its texts)."""
        return self.hash_as(self.name, {})

    def hash_as(self, name: str, tables: Mapping[str, str]) -> str:
        """The same as if the job were called `name` still, and some tables what they were called first."""
        sql = {
            "features": self.features_sql, "decide": dict(self.decide_sql), "audit": dict(self.audit_sql),
            "macros": self.macros,
        }  # fmt: skip
        return hash_job(self.spec, sql, name, tables)

    @property
    def macros(self) -> dict[str, str]:
        """The macros that what is published depends on: name -> the statement that makes it."""
        return macros_called(*self._sql)

    @property
    def shown_macros(self) -> dict[str, str]:
        """The same, and those that the highlights call."""
        return macros_called(*self._sql, *self.highlight_sql)

    @property
    def _sql(self) -> list[str]:
        audits = [audit.sql for audit in self.spec.audit if isinstance(audit, SqlAudit)]
        return [self.features_sql or "", *self.decide_sql.values(), *self.audit_sql.values(), *audits]


def load(name: str, workspace: Workspace | Path | str | None = None) -> Job:
    """The job called `name` in a workspace (default: $NIGHTSCORE_WORKSPACE, else the current folder).

    Raises:
        Broken: no job has that name, or two have, or its folder has a mistake; the message names file and
            line.
    """
    space = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    peeked = {file: _peek(file, space) for file in space.job_files()}
    called = [file for file, peek in peeked.items() if name in (peek.name, peek.folder)]
    if not called:
        raise Broken(_unknown(name, space, list(peeked.values())))
    file = min(called, key=lambda path: bool(peeked[path].problem))  # of two, the one that can be read
    job = read_job(file, space)
    others = {space.relative(other): peek for other, peek in peeked.items() if other != file}
    job = _beside(job, {shown: (peek.name, peek.tables) for shown, peek in others.items()})
    if not any(peek.problem for peek in peeked.values()):  # else it is not known what is published
        _check_after(job, [table for peek in peeked.values() for table in peek.tables])
    return job


def _unknown(name: str, space: Workspace, peeked: list["_Peek"]) -> str:
    """That no job has a name, which was meant, and what keeps files from being read that may be its own."""
    names = sorted(peek.name for peek in peeked if peek.name)
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"its jobs: {', '.join(names) or 'none'}"
    problems = [f"can't be read, and may be it: {peek.problem}" for peek in peeked if peek.problem]
    return "\n".join((f"workspace {space.root} has no job {name!r}; {hint}", *problems))


def load_all(workspace: Workspace | Path | str | None = None) -> tuple[list[Job], list[Broken]]:
    """Every job of a workspace that can be read, and what is wrong with the others (default: as `load`).

    Raises:
        Broken: the folder is no workspace.
    """
    space = workspace if isinstance(workspace, Workspace) else open_workspace(workspace)
    jobs: list[Job] = []
    broken: list[Broken] = []
    published: list[str] = []
    unread = False
    for file in space.job_files():
        try:
            job = read_job(file, space)
            jobs.append(_beside(job, {other.shown: (other.name, []) for other in jobs}))
            published += job.spec.tables
        except Broken as error:
            broken.append(error)
            peek = _peek(file, space)
            published += peek.tables
            unread = unread or bool(peek.problem)
    named = {job.shown: (job.name, job.spec.tables) for job in jobs}
    jobs = [
        _beside(job, {shown: other for shown, other in named.items() if shown != job.shown}) for job in jobs
    ]
    if unread:  # which tables it publishes is not known, so no schedule can be held against them
        return jobs, broken
    return [job for job in jobs if not _unfulfilled(job, published, broken)], broken


def read_job(file: Path, workspace: Workspace) -> Job:
    """The job of one job.yaml.

    Raises:
        Broken: with file, line, the offending value and what is allowed.
    """
    shown = workspace.relative(file)
    try:
        file.stat()
    except OSError as error:
        raise Broken(f"{shown}: can't be read: {error.strerror}") from error
    workspace.resolve(shown)
    document, lines = read_yaml(file, shown)
    if not isinstance(document, dict):
        raise Broken(f"{shown}:1: a job.yaml is a mapping that starts with `job: name`")
    try:
        spec = JobSpec.model_validate(document)
    except ValidationError as error:
        raise Broken(explain_mistakes(error, shown, lines)) from None
    job = Job(spec, workspace, file, None, {}, lines)
    features = _features_sql(job)
    decide = {name: read_sql(job, ("decide", name), path) for name, path in spec.decide.items()}
    if spec.judge.labels:
        read_sql(job, ("judge", "labels", "sql"), spec.judge.labels.sql)
    parities = [
        (i, audit.parity.full) for i, audit in enumerate(spec.audit) if isinstance(audit, ParityAudit)
    ]
    full = {name: read_sql(job, ("audit", i, "parity", "full"), name) for i, name in parities}
    return Job(spec, workspace, file, features, decide, lines, full, _highlight_sql(job))


def _highlight_sql(job: Job) -> tuple[str, ...]:
    """The SELECT of each highlight of a job."""
    return tuple(
        one.sql or read_sql(job, ("highlights", i, "file"), one.file or "")
        for i, one in enumerate(job.spec.highlights)
    )


def _features_sql(job: Job) -> str | None:
    """The SQL that makes the features; None where the files of an input are streamed as they are."""
    spec = job.spec
    if spec.source.endswith(".sql"):
        return read_sql(job, ("features",), spec.source)
    source = spec.inputs[spec.source]
    return None if isinstance(source, TableInput) else source.day_select(spec.source)


def peek_job_name(file: Path) -> str | None:
    """The name that a job.yaml gives itself, as far as that can be seen where it can't be read as YAML."""
    try:
        with file.open("rb") as raw:
            named = NAMED.search(raw.read(MAX_YAML_BYTES))
    except OSError:
        return None
    return named[1].decode() if named else None


class _Peek(NamedTuple):
    """What a job.yaml says of itself; of one that can't be read its folder's name, too, and the reason."""

    name: str | None
    tables: list[str]
    folder: str | None = None
    problem: str = ""


def _peek(file: Path, workspace: Workspace) -> _Peek:
    """The name and the tables of a job.yaml, without a look at the rest of it."""
    try:
        document, _ = read_yaml(file, workspace.relative(file))
        name, decide = str(document["job"]), document.get("decide")
    except (Broken, KeyError, TypeError):
        return _Peek(peek_job_name(file), [], file.parent.name, _problem(file, workspace))
    parts = [part for at in ("policy", "scoring") if isinstance(part := document.get(at), dict)]
    rejects = [f"{name}_rejects"] if any("reject" in part.values() for part in parts) else []
    return _Peek(name, [f"{name}_scores", *(decide if isinstance(decide, dict) else ()), *rejects])


def _problem(file: Path, workspace: Workspace) -> str:
    """The first thing that is wrong with a job.yaml, in a line, and how many more there are."""
    try:
        read_job(file, workspace)
    except Broken as error:
        first, *more = str(error).splitlines()
        return f"{first} (and {len(more)} more)" if more else first
    return f"{workspace.relative(file)}: changed while it was read"


def _beside(job: Job, others: Mapping[str, tuple[str | None, Sequence[str]]]) -> Job:
    """A job beside others (their job.yaml -> name and tables), with the tables that one of them names, too.

    Whose such a table is, is not for a job.yaml to say; a name of two jobs is refused.
    """
    shared: dict[str, str] = {}
    for shown, (name, tables) in others.items():
        if name == job.name:
            job.raise_broken(
                ("job",), f"job {name} is also the name of {shown}; names are unique: change one"
            )
        shared |= {table: shown for table in tables if table in job.spec.tables}
    return replace(job, shared=shared) if shared else job


def _check_after(job: Job, published: Iterable[str]) -> None:
    """Refuse a job that waits for a table that no job publishes: silently, it would never run."""
    others = sorted(set(published) - set(job.spec.tables))
    for i, name in enumerate(getattr(job.spec.schedule, "after", ())):
        if name not in others:
            near = difflib.get_close_matches(name, others, 1)
            hint = f"did you mean {near[0]}?" if near else f"their tables: {', '.join(others) or 'none'}"
            job.raise_broken(("schedule", "after", i), f"no other job publishes {clipped(name)}; {hint}")


def _unfulfilled(job: Job, published: Iterable[str], broken: list[Broken]) -> bool:
    try:
        _check_after(job, published)
    except Broken as error:
        broken.append(error)
        return True
    return False


def read_sql(job: Job, at: Path_, name: str) -> str:
    """The text of a .sql file of the job's folder, named at `at` in job.yaml. Broken if it can't be read."""
    path = job.file.parent / name
    try:
        inside = job.workspace.resolve(job.workspace.relative(path))
        text = inside.read_text(encoding="utf-8")
    except OSError as error:
        job.raise_broken(at, f"{name} can't be read beside job.yaml: {error.strerror}")
    except UnicodeDecodeError:
        job.raise_broken(at, f"{name} is not UTF-8 text")
    if not text.strip():
        job.raise_broken(at, f"{name} is empty; it holds one SELECT")
    return text
