"""The columns of an input whose files are not alike: those that the job uses are one type, or refused.

Others may come and go. What is read does not depend on which file is the first or the last, and no value is
cast to a type that does not hold it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NoReturn

from nightscore.common import Broken
from nightscore.job import CoverageAudit, Job, PathInput, SqlAudit, sql_place
from nightscore.pipeline.read.parquet.types import Inspected, Types, column_types, contract_types, twins
from nightscore.pipeline.read.parquet.widening import widens, widest
from nightscore.store import EVERY, FileColumn, InputFile, SqlMistakes, storage, used_columns

HOLDS = ", which does not hold each value of it; let the contract say the wider type"
WAY = "let the input's columns (its contract) name those that the job reads, or its SQL leave this one out"


def read_as_one(
    job: Job, name: str, source: PathInput, inspected: Inspected, given: Mapping[str, str]
) -> tuple[InputFile, ...]:
    """The files of an input, each with what is read of it; without that where all are alike.

    `given` are the types of the columns that folders give.

    Raises:
        Broken: a column that the job uses is of no type that holds the values of all files, came and went, or
            is not in the newest files; or the files don't keep the input's contract.
    """
    files = tuple(file for file, _ in inspected)
    alike = all(columns == inspected[-1][1] for _, columns in inspected)
    told = inspected[-1:] if alike else inspected
    both = {lower: said for f, columns in told for lower, said in twins(f.path, columns).items()}
    if not files or (alike and source.columns is None and not both):
        return files
    own = [
        column_types(job.workspace, storage.locate(job.workspace, f.path), columns)
        for f, columns in inspected
    ]
    whole = _Whole(job, name, source, files, own, given, both)
    kinds = whole.seen() if source.columns is None else whole.contracted()
    if all(dict(types) == kinds for types in own):
        return files
    columns = [tuple(_column(c, kind, types) for c, kind in kinds.items()) for types in own]
    return tuple(dataclasses.replace(f, columns=c) for f, c in zip(files, columns, strict=True))


def widened(files: Sequence[InputFile]) -> tuple[str, ...]:
    """What was read in another type than a file has, or where a file has it not; a line for each column."""
    lines = []
    for name in dict.fromkeys(column.name for file in files for column in file.columns):
        found = [(file, c) for file in files for c in file.columns if c.name == name and c.value is None]
        own = sorted({c.own for _, c in found if c.inside and c.own != c.kind})
        lacking = [file.path for file, c in found if not c.inside]
        if own:
            lines.append(f"{name}: {', '.join(own)} read as {found[0][1].kind}")
        if lacking:
            more = f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
            lines.append(f"{name}: null in {lacking[-1]}{more}, without that column")
    return tuple(lines)


def _column(name: str, kind: str, own: Types) -> FileColumn:
    return FileColumn(name, kind, name, own[name]) if name in own else FileColumn(name, kind)


@dataclass(frozen=True)
class _Whole:
    """The files of one input together, with the types that each has."""

    job: Job
    name: str
    source: PathInput
    files: Sequence[InputFile]
    own: Sequence[Types]
    given: Mapping[str, str]
    twins: Mapping[str, str]  # columns that one file has twice to SQL, which would read the first of them

    def contracted(self) -> dict[str, str]:
        """The columns of the contract that are in the files, with its types."""
        at = ("inputs", self.name, "columns")
        with SqlMistakes(f"{self.job.shown}:{self.job.lines.get(at, 1)}: {'.'.join(at)}"):
            kinds = dict(contract_types(self.job.workspace, self.source.types))
        for column, kind in self.given.items():
            if (said := kinds.pop(column, kind)) != kind:
                self._refuse_contract(column, f"{kind} in the files of {self.source.path}", said)
        for column, kind in kinds.items():
            if not any(column in types for types in self._newest):
                self._refuse_contract(column, f"absent in the files of {self.source.path}", kind)
            for file, types in zip(self.files, self.own, strict=True):
                if not widens(types.get(column, kind), kind, asked=True):
                    self._refuse_contract(column, f"{types[column]} in {file.path}", kind, HOLDS)
        return kinds

    def seen(self) -> dict[str, str]:
        """The columns that are read where there is no contract, with the type of each."""
        names = dict.fromkeys(
            c for types in reversed(self.own) for c in types if c.lower() not in self._folders
        )
        kinds = {}
        for column in names:
            if twin := self.twins.get(column.lower()):
                self._refuse_used(column, twin)
            if problem := self._problem(column):
                self._refuse_used(column, problem)
            elif self._is_alike(column) or self._may_be_used(column):
                kinds[column] = widest(kind for kind in self._kinds(column) if kind) or ""
        return kinds

    def _is_alike(self, column: str) -> bool:
        return len(self._spellings[column.lower()]) == 1 and len(set(self._kinds(column))) == 1

    def _may_be_used(self, column: str) -> bool:
        """Whether the job reads a column, or may: of what is streamed a model takes what it needs."""
        return self.job.spec.source == self.name or bool(self.used & {column.lower(), EVERY})

    def _problem(self, column: str) -> str:
        """Why a column can't be read of all files as one; else nothing."""
        if self._is_alike(column):
            return ""
        return self._other_spelling(column) or self._coming_and_going(column) or self._other_types(column)

    def _refuse_used(self, column: str, problem: str) -> None:
        """Refuse a column that the job uses: by its name, or by a star while the newest files have it."""
        starred = EVERY in self.used and any(column in types for types in self._newest)
        if starred or column.lower() in self.used:
            raise Broken(f"input {self.name}: {problem}")

    def _kinds(self, column: str) -> list[str]:
        """A column's type in each file, "" where one has it not."""
        return [types.get(column, "") for types in self.own]

    @cached_property
    def used(self) -> frozenset[str]:
        """The columns that the job uses, in lower case; `*` for all of them."""
        spec = self.job.spec
        texts = {spec.source: self.job.features_sql, **self.job.audit_sql}
        texts |= {spec.decide[table]: sql for table, sql in self.job.decide_sql.items()}
        named = [
            used_columns(sql, self.name, sql_place(self.job, file)) for file, sql in texts.items() if sql
        ]
        audits = (audit for audit in spec.audit if isinstance(audit, SqlAudit))
        named += [used_columns(audit.sql, self.name, f"the audit {audit.name!r}") for audit in audits]
        own = [*spec.key, *spec.keep] if spec.source == self.name else []
        own += [c for audit in spec.audit if isinstance(audit, CoverageAudit) for c in audit.coverage.key]
        known = [self.source.known_at] if self.source.known_at else []
        return frozenset().union(*named, map(str.lower, [*own, *known]))

    @cached_property
    def _folders(self) -> frozenset[str]:
        return frozenset(key.lower() for key in self.given)

    @cached_property
    def _newest(self) -> Sequence[Types]:
        """The columns of the files of the newest day; without days, of all."""
        last = self.files[-1].day
        return [types for file, types in zip(self.files, self.own, strict=True) if file.day == last]

    @cached_property
    def _spellings(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, dict[str, None]] = {}
        for column in (column for types in self.own for column in types):
            found.setdefault(column.lower(), {})[column] = None
        return {lower: list(names) for lower, names in found.items()}

    def _other_spelling(self, column: str) -> str:
        one, *others = self._spellings[column.lower()]
        if not others:
            return ""
        return (
            f"{self._with(one).path} has a column {one!r}, {self._with(others[0]).path} has {others[0]!r}, "
            "one name to SQL; rename one"
        )

    def _coming_and_going(self, column: str) -> str:
        """Where files lack a column, but those of days before the first that has it."""
        have = [file for file, kind in zip(self.files, self._kinds(column), strict=True) if kind]
        lack = [file for file, kind in zip(self.files, self._kinds(column), strict=True) if not kind]
        if not lack or max(file.day for file in lack) < min(file.day for file in have):
            return ""
        return (
            f"{have[-1].path} has a column {column!r}, {lack[-1].path} has not, and is of no day before all "
            f"that have it, where it would be null; {WAY}"
        )

    def _other_types(self, column: str) -> str:
        places = {kind: i for i, kind in enumerate(self._kinds(column)) if kind}
        apart = next((pair for pair in combinations(places, 2) if widest(pair) is None), None)
        if apart is None:
            return ""
        one, other = apart
        return (
            f"column {column!r} is {one} in {self.files[places[one]].path} and {other} in "
            f"{self.files[places[other]].path}, of which neither holds all values of the other; {WAY}"
        )

    def _refuse_contract(self, column: str, found: str, kind: str, more: str = "") -> NoReturn:
        self.job.raise_broken(
            ("inputs", self.name, "columns"),
            f"column {column!r} is {found} and {kind} in their contract{more}",
        )

    def _with(self, column: str) -> InputFile:
        return next(file for file, types in zip(self.files, self.own, strict=True) if column in types)
