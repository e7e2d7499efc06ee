"""The kinds of audit as questions: what each is bound to, and how it is answered.

A new kind is a class here with its line in `QUESTIONS`, and what job.yaml says of it in
`nightscore.job.parts.audits`.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from nightscore.common import Broken
from nightscore.job import (
    SCORES,
    Bounds,
    BuiltInAudit,
    Coverage,
    CoverageAudit,
    Drift,
    DriftAudit,
    Job,
    ParityAudit,
    RowsAudit,
    ScoresAudit,
    SqlAudit,
)
from nightscore.pipeline.audits.drift import TEXTS, Moved, measure_drift, numbers_of
from nightscore.pipeline.audits.parity import ParityQuestion
from nightscore.pipeline.audits.question import Answer, Question
from nightscore.pipeline.bounds import exact_limits, holds_any
from nightscore.pipeline.row_order import in_one_order
from nightscore.scorers import read_hardware
from nightscore.store import (
    Engine,
    EngineResources,
    View,
    is_number,
    job_memory_budget,
    quote_identifier,
    repeatable_select,
    storage,
)

NO_DAY_BEFORE = Answer(True, "no day before")
SHOWN = 5  # columns of a drift, the furthest first


class SqlQuestion(Question[SqlAudit]):
    """SQL of the job's own: what gives no row, more than one, or NULL has not passed."""

    def check(self) -> None:
        """Raise `Broken` unless it is one SELECT that gives the same answer at each run."""
        repeatable_select(self.audit.sql, self.place, self.job.spec.variables)
        self._select()

    def _select(self) -> str:
        return in_one_order(self.job, self.audit.sql, self.place)

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless it gives one boolean."""
        schema = engine.schema(self.audit.sql)
        if len(schema) != 1 or not pa.types.is_boolean(schema.field(0).type):
            columns = ", ".join(f"{f.name} {f.type}" for f in schema)
            raise Broken(f"{self.place}: gives ({columns}); an audit is one SELECT of one boolean")

    def answer(self, engine: Engine) -> Answer:
        """Passed with one row that is true; else what there was instead."""
        rows = engine.rows(self._select())
        if rows == [(True,)]:
            return Answer(True, "")
        if len(rows) != 1:
            return Answer(False, f"gives {len(rows) or 'no'} row{'s' if rows else ''}")
        return Answer(False, "gives NULL" if rows[0][0] is None else "gives false")


class RowsQuestion(Question[RowsAudit]):
    """About as many rows as on the day before."""

    def answer(self, engine: Engine) -> Answer:
        """The rows of the day, as a share of the day before's."""
        before = self.previous(engine)
        if before is None:
            return NO_DAY_BEFORE
        [(rows,)] = engine.rows("SELECT count(*) FROM scores")
        low, high = self.audit.rows.between
        if not before.rows:
            return Answer(not rows, f"{rows:,} rows, and none on {before.day}")
        share = rows / before.rows
        return Answer(low <= share <= high, f"{rows:,} rows, {share:.4g} times those of {before.day}")


class DriftQuestion(Question[DriftAudit]):
    """Values that have not moved since the day before, more than a little and more than by chance."""

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless each column holds numbers, texts or booleans."""
        for i, column in enumerate(self.audit.drift.columns):
            self.refuse_type(engine, ("drift", "columns", i), column, TEXTS)

    def answer(self, engine: Engine) -> Answer:
        """How far each column has moved, the furthest first."""
        before = self.previous(engine)
        if before is None:
            return NO_DAY_BEFORE
        if not before.rows:
            return Answer(True, f"no rows on {before.day} to compare with")
        drift = self.audit.drift
        resources = EngineResources(
            read_hardware().cores,
            job_memory_budget(self.job).beside,
            storage.runs(self.job.workspace).scratch(),
        )
        with Engine([View(SCORES, before.files)], resources) as earlier:
            moves = [measure_drift(column, engine, earlier, drift.confidence) for column in drift.columns]
        failed = [move for move in moves if _too_far(move, drift)]
        furthest = sorted(moves, key=lambda move: (move not in failed, -(move.psi or 0)))
        texts = [_drift_text(move, drift) for move in furthest[:SHOWN]]
        more = [f"{len(furthest) - SHOWN} more moved less"] if len(furthest) > SHOWN else []
        return Answer(not failed, f"against {before.day}: " + "; ".join(texts + more))


class ScoresQuestion(Question[ScoresAudit]):
    """A score within its bounds, and not the same everywhere."""

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless the column holds numbers, of which some can lie between the bounds."""
        self.refuse_type(engine, ("scores", "column"), self.audit.scores.column)
        spec, kind = self.audit.scores, self._kind(engine)
        if not holds_any(spec.min, spec.max, kind):
            self.raise_broken(("scores",), f"no value of the column, which is {kind}, is so: {spec}")

    def answer(self, engine: Engine) -> Answer:
        """Between what values the column lies, how many rows are outside, and how many values it has."""
        spec, kind = self.audit.scores, self._kind(engine)
        exact = not pa.types.is_floating(kind)
        limits = _exact_bounds(spec, kind) if exact else (spec.min, spec.max)
        bounds = [(sign, bound) for sign, bound in zip("<>", limits, strict=True) if bound is not None]
        limit = _limit(engine.types("SELECT * FROM scores")[spec.column])
        crossed = [f"x {sign} {limit.format(i)}" for i, (sign, _) in enumerate(bounds, 1)]
        bounded = (spec.min, spec.max) != (None, None)
        outside = " OR ".join(["x IS NULL", *crossed]) if bounded else "false"
        as_they_are = f"SELECT {quote_identifier(spec.column)} AS x FROM scores"
        [(rows, low, high, wrong, values)] = engine.rows(
            f"SELECT count(*), min(x), max(x), count(*) FILTER ({outside}), count(DISTINCT x) "
            f"FROM ({as_they_are if exact else numbers_of(spec.column)})",
            [bound for _, bound in bounds],
        )
        between = "no value" if low is None else f"{low:.6g} to {high:.6g}"
        beyond = f", {wrong:,} of {rows:,} rows outside" if bounded else ""
        several = spec.distinct is None or values >= spec.distinct
        detail = f"{spec.column}: {between}{beyond}, {values:,} different values"
        return Answer(several and not wrong, detail)

    def _kind(self, engine: Engine) -> pa.DataType:
        return engine.schema(f"SELECT {quote_identifier(self.audit.scores.column)} FROM scores").field(0).type


class CoverageQuestion(Question[CoverageAudit]):
    """At least a share of the keys of one table are in another."""

    def bind(self, engine: Engine) -> None:
        """Raise `Broken` unless both tables have the key's columns, in types that can be equal."""
        coverage = self.audit.coverage
        for i, column in enumerate(coverage.key):
            at = ("coverage", "key", i)
            kind, other = (self.type_of(engine, at, table, column) for table in (coverage.of, coverage.in_))
            if kind != other and not (is_number(kind) and is_number(other)):
                self.raise_broken(
                    at,
                    f"{column!r} is {kind} in {coverage.of} and {other} in {coverage.in_}: none is found",
                )

    def answer(self, engine: Engine) -> Answer:
        """How many keys of one table are in the other."""
        coverage = self.audit.coverage
        [(keys, covered)] = engine.rows(_coverage_select(coverage))
        detail = f"{covered:,} of {keys:,} are in {coverage.in_}"
        if not keys:
            return Answer(True, f"{detail}: {coverage.of} has none")
        return Answer(covered / keys >= coverage.at_least, f"{detail}, {_share(covered, keys)}")


QUESTIONS: Mapping[type[SqlAudit | BuiltInAudit], type[Question[Any]]] = {
    SqlAudit: SqlQuestion,
    RowsAudit: RowsQuestion,
    DriftAudit: DriftQuestion,
    ScoresAudit: ScoresQuestion,
    CoverageAudit: CoverageQuestion,
    ParityAudit: ParityQuestion,
}


def questions(job: Job) -> tuple[Question[Any], ...]:
    """The audits of a job, in its order, ready to be asked."""
    return tuple(_question(audit, job, i) for i, audit in enumerate(job.spec.audit))


def _question(audit: SqlAudit | BuiltInAudit, job: Job, index: int) -> Question[Any]:
    if type(audit) not in QUESTIONS:
        job.raise_broken(
            ("audit", index),
            f"{type(audit).__name__} is a kind of audit that nothing asks: it has no line in QUESTIONS of "
            "nightscore.pipeline.audits.kinds",
        )
    return QUESTIONS[type(audit)](audit, job, index)


def _too_far(move: Moved, drift: Drift) -> bool:
    return move.psi is not None and move.chance is not None and move.psi > max(drift.psi, move.chance)


def _drift_text(move: Moved, drift: Drift) -> str:
    if move.psi is None or move.chance is None:
        return f"no rows of {move.column} to compare"
    return (
        f"psi of {move.column} {_short(move.psi)} ({drift.confidence * 100:.6g} % of equal days are below "
        f"{_short(move.chance)}; the limit is {drift.psi:g})"
    )


def _exact_bounds(spec: Bounds, kind: pa.DataType) -> tuple[int | Decimal | None, ...]:
    """The bounds as integers or decimals of the column's type; None where each value is within."""
    return tuple(b if b is None else b.as_py() for b in exact_limits(spec.min, spec.max, kind))


def _limit(kind: str) -> str:
    """A bound in the column's precision: for 32-bit floats, 0.1 means the float nearest to it."""
    if kind not in ("FLOAT", "DOUBLE"):
        return f"CAST(${{0}} AS {kind})"
    exact = "CAST(${0} AS DOUBLE)"
    return f"coalesce(CAST(TRY_CAST(${{0}} AS FLOAT) AS DOUBLE), {exact})" if kind == "FLOAT" else exact


def _coverage_select(coverage: Coverage) -> str:
    """Different keys without null in one table, and those of them that are in the other."""
    key = ", ".join(map(quote_identifier, coverage.key))
    not_null = " AND ".join(f"{quote_identifier(column)} IS NOT NULL" for column in coverage.key)
    keys = f"SELECT DISTINCT {key} FROM {quote_identifier(coverage.of)} WHERE {not_null}"
    both = f"{keys} INTERSECT SELECT {key} FROM {quote_identifier(coverage.in_)}"
    return f"SELECT (SELECT count(*) FROM ({keys})), (SELECT count(*) FROM ({both}))"


def _share(part: int, whole: int) -> str:
    """A share in per cent, cut and not rounded, so that only all of them are 100 %."""
    return f"{math.floor(part / whole * 1e6) / 1e4:g} %"


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    if value < 1e-9:
        return "0"
    return f"{value:.{max(2 - math.floor(math.log10(value)), 0)}f}"
