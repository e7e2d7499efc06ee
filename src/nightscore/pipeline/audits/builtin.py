"""The built-in questions of audits: bound before data is read, answered over the staged day.

Each answer says what was measured, whether it passes or not.
"""

import datetime as dt
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nightscore.job.audits import (
    SCORES,
    Bounds,
    BuiltIn,
    Coverage,
    CoverageAudit,
    Drift,
    DriftAudit,
    RowsBetween,
    ScoresAudit,
)
from nightscore.job.loader import Job
from nightscore.pipeline.audits.drift import TEXTS, Moved, moved, numbers_of
from nightscore.scorers.hardware import hardware
from nightscore.store import catalog
from nightscore.store.engine import Engine, Resources, View, is_number, quoted
from nightscore.store.memory_budget import budget

NO_DAY_BEFORE = "no day before"
SHOWN = 5  # columns of a drift, the furthest first


class Answer(NamedTuple):
    """Whether an audit has passed, and what was measured."""

    passed: bool
    detail: str


@dataclass(frozen=True)
class Previous:
    """The job's last published day before the scored one: its rows, and the files of its scores."""

    day: str
    rows: int
    files: tuple[Path, ...]


def bind(audit: BuiltIn, engine: Engine, job: Job, index: int) -> None:
    """Hold a question's columns to what the engine's views have, before there is any data.

    Raises:
        Broken: a column is not there, or holds what the question can't be asked of.
    """
    if isinstance(audit, DriftAudit):
        for i, column in enumerate(audit.drift.columns):
            _refuse_type(engine, job, ("audit", index, "drift", "columns", i), column, TEXTS)
    elif isinstance(audit, ScoresAudit):
        _refuse_type(engine, job, ("audit", index, "scores", "column"), audit.scores.column)
    elif isinstance(audit, CoverageAudit):
        _bind_coverage(audit.coverage, engine, job, index)


def answer(audit: BuiltIn, engine: Engine, job: Job) -> Answer:
    """Answer one question about the day whose staged tables the engine sees."""
    if isinstance(audit, ScoresAudit):
        return _within(audit.scores, engine)
    if isinstance(audit, CoverageAudit):
        return _covered(audit.coverage, engine)
    before = previous(job, engine.rows("SELECT getvariable('day')")[0][0])
    if before is None:
        return Answer(True, NO_DAY_BEFORE)
    if isinstance(audit, DriftAudit):
        return _drifted(audit.drift, engine, before, job)
    return _as_many(audit.rows, engine, before)


def previous(job: Job, day: dt.date) -> Previous | None:
    """The last published day of a job before this one, from the receipts in force; None if there is none."""
    state = catalog.pinned(job.workspace)
    entry = state.previous(job.name, day)
    if entry is None:
        return None
    files = tuple(file.path for file in state.files_of(entry, job.spec.scores_table))
    return Previous(entry.day, entry.receipt().rows.published, files)


def _as_many(asked: RowsBetween, engine: Engine, before: Previous) -> Answer:
    [(rows,)] = engine.rows("SELECT count(*) FROM scores")
    low, high = asked.between
    if not before.rows:
        return Answer(not rows, f"{rows:,} rows, and none on {before.day}")
    share = rows / before.rows
    return Answer(low <= share <= high, f"{rows:,} rows, {share:.4g} times those of {before.day}")


def _drifted(asked: Drift, engine: Engine, before: Previous, job: Job) -> Answer:
    if not before.rows:
        return Answer(True, f"no rows on {before.day} to compare with")
    resources = Resources(hardware().cores, budget(job).beside, job.workspace.runs)
    with Engine([View(SCORES, before.files)], resources) as earlier:
        found = [moved(column, engine, earlier, asked.confidence) for column in asked.columns]
    failed = [one for one in found if _too_far(one, asked)]
    furthest = sorted(found, key=lambda one: (one not in failed, -(one.psi or 0)))
    said = [_said(one, asked) for one in furthest[:SHOWN]]
    more = [f"{len(furthest) - SHOWN} more moved less"] if len(furthest) > SHOWN else []
    return Answer(not failed, f"against {before.day}: " + "; ".join(said + more))


def _too_far(found: Moved, asked: Drift) -> bool:
    return found.psi is not None and found.chance is not None and found.psi > max(asked.psi, found.chance)


def _said(found: Moved, asked: Drift) -> str:
    if found.psi is None or found.chance is None:
        return f"no rows of {found.column} to compare"
    return (
        f"psi of {found.column} {_short(found.psi)} ({asked.confidence * 100:.6g} % of equal days are below "
        f"{_short(found.chance)}; the limit is {asked.psi:g})"
    )


def _within(asked: Bounds, engine: Engine) -> Answer:
    bounds = [(sign, bound) for sign, bound in (("<", asked.min), (">", asked.max)) if bound is not None]
    limit = _limit(engine.types("SELECT * FROM scores")[asked.column])
    crossed = [f"x {sign} {limit.format(i)}" for i, (sign, _) in enumerate(bounds, 1)]
    outside = " OR ".join(["x IS NULL", *crossed]) if bounds else "false"
    [(rows, low, high, wrong, values)] = engine.rows(
        f"SELECT count(*), min(x), max(x), count(*) FILTER ({outside}), count(DISTINCT x) "
        f"FROM ({numbers_of(asked.column)})",
        [bound for _, bound in bounds],
    )
    found = "no value" if low is None else f"{low:.6g} to {high:.6g}"
    said = f", {wrong:,} of {rows:,} rows outside" if bounds else ""
    several = asked.distinct is None or values >= asked.distinct
    return Answer(several and not wrong, f"{asked.column}: {found}{said}, {values:,} different values")


def _limit(kind: str) -> str:
    """A bound as the column has it: of 32-bit floats none is 0.1, but the nearest to it is meant."""
    exact = "CAST(${0} AS DOUBLE)"
    return f"coalesce(CAST(TRY_CAST(${{0}} AS FLOAT) AS DOUBLE), {exact})" if kind == "FLOAT" else exact


def _covered(asked: Coverage, engine: Engine) -> Answer:
    [(wanted, found)] = engine.rows(_coverage_select(asked))
    said = f"{found:,} of {wanted:,} are in {asked.in_}"
    if not wanted:
        return Answer(True, f"{said}: {asked.of} has none")
    return Answer(found / wanted >= asked.at_least, f"{said}, {_share(found, wanted)}")


def _coverage_select(asked: Coverage) -> str:
    """Different keys without null in one table, and those of them that are in the other."""
    key = ", ".join(map(quoted, asked.key))
    known = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in asked.key)
    wanted = f"SELECT DISTINCT {key} FROM {quoted(asked.of)} WHERE {known}"
    both = f"{wanted} INTERSECT SELECT {key} FROM {quoted(asked.in_)}"
    return f"SELECT (SELECT count(*) FROM ({wanted})), (SELECT count(*) FROM ({both}))"


def _bind_coverage(asked: Coverage, engine: Engine, job: Job, index: int) -> None:
    for i, column in enumerate(asked.key):
        at = ("audit", index, "coverage", "key", i)
        wanted, found = (_type(engine, job, at, table, column) for table in (asked.of, asked.in_))
        if wanted != found and not (is_number(wanted) and is_number(found)):
            job.broken(at, f"{column!r} is {wanted} in {asked.of} and {found} in {asked.in_}: none is found")


def _refuse_type(
    engine: Engine, job: Job, at: tuple[str | int, ...], column: str, also: Collection[str] = ()
) -> None:
    """Know that a column of the scores holds numbers, or is of another type that is allowed."""
    kind = _type(engine, job, at, SCORES, column)
    if not (is_number(kind) or kind in also):
        job.broken(
            at, f"{column!r} is {kind}; allowed: a number{''.join(f', {one}' for one in sorted(also))}"
        )


def _type(engine: Engine, job: Job, at: tuple[str | int, ...], table: str, column: str) -> str:
    types = engine.types(f"SELECT * FROM {quoted(table)}")
    if column not in types:
        job.broken(at, f"{table} has no column {column!r}; its columns: {', '.join(types)}")
    return types[column]


def _share(part: int, whole: int) -> str:
    """A share in per cent, cut and not rounded: 100 % is all."""
    return f"{math.floor(part / whole * 1e6) / 1e4:g} %"


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    if value < 1e-9:
        return "0"
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"
