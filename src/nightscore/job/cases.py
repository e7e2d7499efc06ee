"""Cases of a job: what its SQL, its model and its audits make of a few rows, written down by a person.

A case is a YAML file in the folder `tests` beside job.yaml. `nightscore test` runs it, and no lake is needed.
"""

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from nightscore.common import Broken, LineNumbers, Path_, read_yaml
from nightscore.job.fields import Column, Finite, Misplaced, Name, StrictModel, Text, shaped
from nightscore.job.loader import Job
from nightscore.job.mistakes import explain_mistakes, line_of
from nightscore.job.parts.params import ParamValue
from nightscore.job.sources.input_fields import SqlType

FOLDER, SUFFIXES = "tests", (".yaml", ".yml")
FEATURES, REJECTS = "features", "rejects"
Row = dict[Column, Any]
CsvFile = Annotated[
    str, shaped(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.csv$", "the name of a .csv file beside the case")
]
ALLOWED = "allowed: a list of rows, each {column: value, …}"


def _listed(value: Any) -> Any:
    return {"rows": value} if isinstance(value, list) else value


class Given(StrictModel):
    """The rows of an input: a list of them, or a CSV file beside the case."""

    rows: Annotated[list[Row], Field(description="the rows")] = []
    csv: Annotated[
        CsvFile | None, Field(description="a CSV file with a header, in the folder of the case")
    ] = None

    @model_validator(mode="after")
    def _is_one(self) -> "Given":
        if len(self.model_fields_set) != 1:
            raise ValueError(f"{ALLOWED}, or {{csv: FILE}}")
        return self


class Wanted(StrictModel):
    """The rows of a table: all of them as a list or a CSV file, or some of them, or how many there are."""

    rows: Annotated[list[Row] | None, Field(description="all of its rows")] = None
    csv: Annotated[CsvFile | None, Field(description="all of its rows, as a CSV file beside the case")] = None
    some: Annotated[list[Row] | None, Field(description="rows that are among others")] = None
    count: Annotated[int | None, Field(ge=0, description="how many rows it has")] = None

    @model_validator(mode="after")
    def _says_something(self) -> "Wanted":
        said = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if len(said & {"rows", "csv", "some"}) > 1 or not said:
            raise ValueError(f"{ALLOWED}; or {{some: [row, …]}}, {{count: NUMBER}}, {{csv: FILE}}")
        return self


GivenRows = Annotated[Given, BeforeValidator(_listed, json_schema_input_type=list[Row] | Given)]
WantedRows = Annotated[Wanted, BeforeValidator(_listed, json_schema_input_type=list[Row] | Wanted)]


class CaseSpec(StrictModel):
    """What a case may say."""

    about: Annotated[Text | None, Field(description="what the case shows")] = None
    day: Annotated[dt.date, Field(description="the business date that is scored, such as 2026-01-07")]
    params: Annotated[
        dict[Name, ParamValue], Field(description="parameters that are not at their defaults")
    ] = {}
    types: Annotated[
        dict[Name, dict[Column, SqlType]],
        Field(
            description="input -> column -> DuckDB type, of columns that job.yaml gives no type; default: by "
            "the values: INTEGER (BIGINT beyond it), DOUBLE, BOOLEAN, DATE, TIMESTAMPTZ, VARCHAR, lists"
        ),
    ] = {}
    inputs: Annotated[
        dict[Name, GivenRows], Field(description="the rows of the inputs; one that is left out has none")
    ] = {}
    expect: Annotated[
        dict[Name, WantedRows],
        Field(
            description="features, scores, rejects or a decision table -> its rows; columns that no row "
            "names are not compared"
        ),
    ] = {}
    audits: Annotated[
        dict[str, Literal["passes", "fails", "any"]],
        Field(description="the name of an audit -> what it says; default: passes, and of severity warn any"),
    ] = {}
    error: Annotated[
        Text | None, Field(description="the run ends with a message in which this text stands")
    ] = None
    tolerance: Annotated[
        Finite,
        Field(ge=0, le=0.1, description="how far a float may be off, relative to its size above 1"),
    ] = 1e-6

    @model_validator(mode="after")
    def _expects_something(self) -> "CaseSpec":
        if self.error and self.expect:
            raise Misplaced(("error",), "and expect: a run that ends with an error has no rows; give one")
        if self.error is not None and not self.error.strip():
            raise Misplaced(("error",), "is blank, and stands in each message; give words of the message")
        if not (self.error or self.expect or set(self.audits.values()) - {"any"}):
            raise ValueError("expects nothing; give expect, audits or error")
        return self


@dataclass(frozen=True)
class Case:
    """One case of a job, as its file says it."""

    name: str
    file: Path
    shown: str
    spec: CaseSpec
    lines: LineNumbers = field(repr=False, compare=False)

    def place(self, at: Path_) -> str:
        """File and line of the value at `at`."""
        return f"{self.shown}:{line_of(self.lines, at)}"

    def raise_broken(self, at: Path_, message: str) -> NoReturn:
        """Raise `Broken` with the line on which the value at `at` stands."""
        raise Broken(f"{self.place(at)}: {'.'.join(map(str, at))}: {message}")


def read_cases(job: Job) -> tuple[list[Case], list[Broken]]:
    """The cases of a job that can be read, by their names, and what is wrong with the others."""
    cases: list[Case] = []
    broken: list[Broken] = []
    for file in case_files(job):
        try:
            cases.append(_read_case(job, file))
        except Broken as error:
            broken.append(error)
    return cases, broken


def case_files(job: Job) -> list[Path]:
    """The files of a job's cases, those in folders of the folder, too, sorted."""
    folder = job.file.parent / FOLDER
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _read_case(job: Job, file: Path) -> Case:
    """One case.

    Raises:
        Broken: with file, line, the offending value and what is allowed.
    """
    shown = job.workspace.relative(file)
    job.workspace.resolve(shown)
    document, lines = read_yaml(file, shown)
    if not isinstance(document, dict):
        raise Broken(f"{shown}:1: a case is a mapping that starts with `day: YYYY-MM-DD`")
    try:
        spec = CaseSpec.model_validate(document)
    except ValidationError as error:
        raise Broken(explain_mistakes(error, shown, lines, CaseSpec)) from None
    name = file.relative_to(job.file.parent / FOLDER).with_suffix("").as_posix()
    case = Case(name, file, shown, spec, lines)
    _check_names(job, case)
    _refuse_nothing(case)
    return case


def _check_names(job: Job, case: Case) -> None:
    """Hold the names in a case to those of its job."""
    spec = case.spec
    audits = [str(audit) for audit in job.spec.audit]
    _known(case, "params", spec.params, job.spec.params, "parameter")
    _known(case, "types", spec.types, job.spec.inputs, "input")
    _known(case, "inputs", spec.inputs, job.spec.inputs, "input")
    _known(case, "expect", spec.expect, expected_tables(job), "table")
    _known(case, "audits", spec.audits, audits, "audit")
    for name, value in spec.params.items():
        try:
            job.params({name: value})
        except Broken as error:
            case.raise_broken(("params", name), str(error))


def _refuse_nothing(case: Case) -> None:
    """Raise `Broken` at rows that would be there whatever the job makes."""
    for table, wanted in case.spec.expect.items():
        at = ("expect", table)
        if wanted.some == []:
            case.raise_broken(
                (*at, "some"),
                "has no row, which is so of any table; name rows, or say how many: count: NUMBER",
            )
        for i, row in enumerate(wanted.some or wanted.rows or ()):
            if not row:
                place = next(p for p in ((*at, i), (*at, "some", i), (*at, "rows", i), at) if p in case.lines)
                case.raise_broken(
                    place, "names no column, and any row is alike; name one, or say how many rows there are: "
                    "count: NUMBER"
                )  # fmt: skip


def expected_tables(job: Job) -> Mapping[str, str]:
    """What a case may name of what its job makes -> the table's name; `features` is none."""
    spec = job.spec
    aside = {REJECTS: spec.rejects_table, spec.rejects_table: spec.rejects_table} if spec.rejecting else {}
    own = {FEATURES: "", "scores": spec.scores_table, spec.scores_table: spec.scores_table}
    return {**own, **aside, **{table: table for table in spec.decide}}


def _known(case: Case, at: str, named: Iterable[str], allowed: Iterable[str], what: str) -> None:
    names = list(allowed)
    for name in named:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
            case.raise_broken((at, name), f"the job has no such {what}; {hint}")
