"""Does the job fit together: SQL, inputs, model, tables? Asked before any row is read."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from nightscore.common import Broken
from nightscore.job import (
    CHALLENGERS,
    MADE_BY,
    PART_VARIABLES,
    RESERVED_COLUMNS,
    SCORES,
    Job,
    Misplaced,
    sql_place,
)
from nightscore.pipeline.audits.accounts import bind_accounts
from nightscore.pipeline.audits.kinds import questions
from nightscore.pipeline.context import Day
from nightscore.pipeline.highlights import bind_highlights, check_highlights
from nightscore.pipeline.read import inputs
from nightscore.pipeline.read.days_seen import check_calendar_of
from nightscore.pipeline.read.text import bad_lines
from nightscore.pipeline.read_back import define_stored, refuse_changed_order, refuse_made_later
from nightscore.pipeline.row_order import in_one_order
from nightscore.pipeline.score import rejects
from nightscore.pipeline.score.domains import check_domain
from nightscore.pipeline.score.missing_values import check_policy
from nightscore.scorers import Scorer
from nightscore.store import (
    Engine,
    SqlMistakes,
    delta,
    is_told_by_text,
    quote_identifier,
    read_variables,
    renames,
    repeatable_select,
    table_schema,
)

HARMED = {"UHUGEINT", "BIT"}  # DuckDB 2.0 gives Arrow negative numbers from 2**127 on, and raw bytes
BINDING = "the features"  # a name that no job's SQL can have


@dataclass(frozen=True)
class Bound:
    """The columns of the features, and of each table as it is stored (without the partition `day`)."""

    features: pa.Schema
    stored: Mapping[str, pa.Schema]


LAST: list[tuple[object, Bound]] = []  # what this process bound last, with all that it depends on


def check_sql(job: Job) -> None:
    """Raise `Broken` unless every SQL of a job is one SELECT that gives the same bytes at each run.

    Raises:
        Broken: names the file, or the line of job.yaml.
    """
    if job.features_sql is not None:
        _check_parts(job, job.features_sql)
        repeatable_select(job.features_sql, features_place(job), job.spec.features_variables)
        refuse_made_later(job, SCORES, job.features_sql)
        features_select(job)
    for table, sql in job.decide_sql.items():
        repeatable_select(sql, sql_place(job, job.spec.decide[table]), job.spec.variables)
        refuse_made_later(job, table, sql)
        decide_select(job, table)
    for question in questions(job):
        question.check()
    check_highlights(job)


def _check_parts(job: Job, sql: str) -> None:
    """Raise `Broken` unless there is one way to tell what a part of the features has."""
    features = job.spec.features
    asked = read_variables(sql, features_place(job)) & {*PART_VARIABLES} - job.spec.params.keys()
    if asked and features.split_by is not None:
        job.raise_broken(
            ("features", "split_by"),
            f"{features.sql} reads getvariable('{min(asked)}'), too: a row that one gives to another part "
            "than the other would be in none; leave one of the two out",
        )
    if features.asks_part and asked != {*PART_VARIABLES}:
        missing = min({*PART_VARIABLES} - asked)
        job.raise_broken(
            ("features", "parts"),
            f"{features.sql} does not read getvariable('{missing}'), so each part would have other rows than "
            "its own; add split_by: COLUMN, or let the SQL take the rows of one part",
        )


def check_schedule(job: Job) -> None:
    """Raise `Broken` unless a job's exchanges have calendars, and the closures of calendars.yaml fit them.

    Raises:
        Broken: names the line of job.yaml, or what is wrong in calendars.yaml.
    """
    try:
        job.spec.schedule.check(job.workspace.root)
    except Misplaced as error:
        job.raise_broken(("schedule", *error.at), str(error))
    for name, source in job.spec.inputs.items():
        check_calendar_of(job, name, source)


def bind_job(day: Day, scorer: Scorer) -> Bound:
    """Bind all of a job's SQL against its inputs' columns and the model's outputs.

    Raises:
        Broken: something does not fit; names the file or line, and what is allowed.
    """
    bound = bind_columns(day, scorer)  # kept from the planning; tables may have changed meanwhile
    refuse_other_columns(day.job, bound)
    return bound


def bind_columns(day: Day, scorer: Scorer) -> Bound:
    """The same, whatever columns the published tables have.

    Planning and publishing ask the same: the last answer is kept.
    """
    plan = day.plan
    causes = (day.job, plan.day, plan.params, plan.inputs, plan.known_at, scorer.signature)
    bound = next((bound for known, bound in LAST if known == causes), None) or _bind(day, scorer)
    LAST[:] = [(causes, bound)]
    return bound


def refuse_other_columns(job: Job, bound: Bound) -> None:
    """Raise `Broken` where a table has other columns than the job gives, and they may not change."""
    evolve = job.spec.on_schema_change == "evolve"
    for table, schema in bound.stored.items():
        root = renames.table_home(job.workspace, table)
        delta.check_table_schema(root, schema, evolve=evolve, job=job.name, table=table)


def _as_table_has(job: Job, table: str, schema: pa.Schema) -> pa.Schema:
    """The columns as a table of a job that may evolve stores them."""
    if job.spec.on_schema_change == "fail":
        return schema
    return delta.as_table_has(renames.table_home(job.workspace, table), schema)


def _bind(day: Day, scorer: Scorer) -> Bound:
    job = day.job
    with _hints(day), day.binding_engine() as engine:
        features = _bind_features(engine, job, scorer)
        stored = {job.spec.scores_table: scores_schema(job, features, scorer)}
        refuse_changed_order(job, engine, SCORES, features_select(job))
        _define_scores(engine, job, stored[job.spec.scores_table])
        for table in job.decide_sql:  # each may read those before it
            stored[table] = _decision(job, table, _bind_decision(engine, job, table))
            refuse_changed_order(job, engine, table, decide_select(job, table))
            define_stored(engine, table, stored[table])
        if job.spec.rejecting:
            stored[job.spec.rejects_table] = rejects_schema(job, features)
            define_stored(engine, job.spec.rejects_table, stored[job.spec.rejects_table])
        if job.spec.leaves_lines_out:
            stored[job.spec.bad_lines_table] = bad_lines_schema(job)
            define_stored(engine, job.spec.bad_lines_table, stored[job.spec.bad_lines_table])
        _bind_audits(engine, job)
        bind_highlights(job, engine)
    return Bound(features, stored)


@contextlib.contextmanager
def _hints(day: Day) -> Iterator[None]:
    """A context in which a mistake about a column of an input says what its files have to do with it."""
    try:
        yield
    except Broken as error:
        texts = "\n".join([str(error), day.job.features_sql or "", *day.job.decide_sql.values()])
        hints = [*(_text_columns(day, texts) if "VARCHAR" in str(error) else ()), *_left_out(day, str(error))]
        if not hints:
            raise
        raise Broken("\n".join([str(error), *hints])) from error


def _text_columns(day: Day, texts: str) -> Iterator[str]:
    """Which columns in some texts come from folders and are text, and what to do."""
    for name, source in day.job.spec.inputs.items():
        for file in day.plan.inputs[name][:1]:
            for key, kind in inputs.folder_columns(day.job.workspace, source).types(file.path).items():
                if kind == "VARCHAR" and _stands_in(key, texts):
                    yield (
                        f"column {key!r} of input {name} comes from the names of folders and is text: cast "
                        f"it in SQL ({key}::INTEGER), or give its type in the input's columns"
                    )


def _left_out(day: Day, text: str) -> Iterator[str]:
    """Which columns in a text some files of an input have, and are not read, because not all are alike."""
    for name in day.job.spec.inputs:
        for column in sorted(inputs.left_out(day.job, day.plan.inputs[name])):
            if _stands_in(column, text):
                yield (
                    f"column {column!r} of input {name} is not read: {_why_not(day.job, name)}; name it "
                    "in the input's columns, with its type"
                )


def _why_not(job: Job, name: str) -> str:
    return "its contract has it not" if job.spec.inputs[name].columns else "its files don't have it alike"


def _stands_in(column: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text, re.IGNORECASE))


def features_select(job: Job) -> str:
    """The SELECT that gives a job's rows, before key order; no bytes of it depend on memory or threads.

    Raises:
        Broken: something in it depends on the order of rows, and has no ORDER BY.
    """
    if job.features_sql is None:
        return f"SELECT * FROM {quote_identifier(job.spec.source)}"
    return in_one_order(job, job.features_sql, features_place(job))


def decide_select(job: Job, table: str) -> str:
    """The SELECT that gives a decision table, as `features_select`."""
    return in_one_order(job, job.decide_sql[table], sql_place(job, job.spec.decide[table]))


def features_place(job: Job) -> str:
    """What makes the features, as error messages name it."""
    return sql_place(job, job.spec.source) if job.spec.source.endswith(".sql") else job.shown


def key_order(job: Job) -> str:
    """Sort terms for the features: by key, so that the same rows are the same bytes."""
    return ", ".join(quote_identifier(name) for name in job.spec.key)


def _bind_features(engine: Engine, job: Job, scorer: Scorer) -> pa.Schema:
    where = features_place(job)
    schema = _schema(engine, job.features_sql, features_select(job), where)
    _refuse_twice(schema, where)
    _refuse_harmed(engine, features_select(job), where)
    names = schema.names
    split = job.spec.features.split_by
    asked: dict[tuple[str, ...], list[str]] = {("key",): job.spec.key, ("keep",): job.spec.keep}
    if split is not None:
        asked["features", "split_by"] = [split]
    for at, columns in asked.items():
        for name in columns:
            if name not in names:
                job.raise_broken(
                    at, f"the features have no column {name!r}; their columns: {', '.join(names)}"
                )
    if split is not None and not is_told_by_text(kind := engine.types(features_select(job))[split]):
        job.raise_broken(
            ("features", "split_by"),
            f"{split} is {kind}, of which equal values may have other texts (0.0 and -0.0): rows that belong "
            "together would be in two parts; split by whole numbers, DECIMAL, texts, days or moments",
        )
    misfits = scorer.signature.misfits(schema)
    if misfits:
        job.raise_broken(("model", "path"), "; ".join(misfits))
    check_policy(job, scorer.signature)
    check_domain(job, schema, scorer.signature.outputs)
    engine.define(BINDING, features_select(job))
    return schema


def refuse_unbound(job: Job, table: str, given: pa.Schema, bound: pa.Schema) -> None:
    """Hold what a decision table's SQL gives on the day's rows to what it was bound as: no quiet cast.

    Raises:
        Broken: a column is of another type; names both.
    """
    for now, then in zip(_decision(job, table, given), bound, strict=True):
        if now.type != then.type:
            job.raise_broken(
                ("decide", table), f"column {now.name!r} is {now.type} on the rows of the day, and "
                f"{then.type} without rows; cast it in SQL"
            )  # fmt: skip


def _define_scores(engine: Engine, job: Job, stored: pa.Schema) -> None:
    """The scores as SQL sees them: without challengers, and with them under a name of their own."""
    rivals = job.spec.model.challenger_columns
    define_stored(engine, "scores", pa.schema([f for f in stored if f.name not in rivals]))
    if rivals:
        define_stored(engine, CHALLENGERS, stored)


def _schema(engine: Engine, written: str | None, select: str, where: str) -> pa.Schema:
    """The columns that a SELECT gives. Mistakes are shown in the SQL as it is written."""
    with SqlMistakes(where):
        if written is None or written == select:
            return engine.schema(select)
        schema, ordered = engine.schema(written), engine.schema(select)
    for column, other in zip(schema, ordered, strict=True):
        if column != other:
            raise Broken(f"{where}: column {column.name!r} has no name of its own; give it one by AS")
    return schema


def _bind_decision(engine: Engine, job: Job, table: str) -> pa.Schema:
    where = sql_place(job, job.spec.decide[table])
    sql = decide_select(job, table)
    schema = _schema(engine, job.decide_sql[table], sql, where)
    for name in schema.names:
        if name.lower() in RESERVED_COLUMNS:
            raise Broken(f"{where}: gives a column {name!r}, which the framework sets in every table")
    _refuse_twice(schema, where)
    _refuse_harmed(engine, sql, where)
    return schema


def _refuse_twice(schema: pa.Schema, where: str) -> None:
    seen: set[str] = set()
    for name in schema.names:
        if name.lower() in seen:  # SQL takes ID for id
            raise Broken(f"{where}: gives column {name!r} twice")
        seen.add(name.lower())


def _refuse_harmed(engine: Engine, select: str, where: str) -> None:
    for name, kind in engine.types(select).items():
        if kind in HARMED:
            raise Broken(f"{where}: column {name!r} is {kind}, which does not leave DuckDB unharmed; cast it")


def _bind_audits(engine: Engine, job: Job) -> None:
    bind_accounts(job, engine)
    for question in questions(job):
        with SqlMistakes(question.place):
            question.bind(engine)


def rejects_schema(job: Job, features: pa.Schema) -> pa.Schema:
    """The columns of a file of rejects: key, stage, reason, message, features, `run_id`."""
    key = pa.schema([features.field(name) for name in job.spec.key])
    schema = pa.schema([*key, *((name, pa.string()) for name in rejects.COLUMNS)])
    return _as_table_has(job, job.spec.rejects_table, _stored(job, schema, ("key",)))


def bad_lines_schema(job: Job) -> pa.Schema:
    """The columns of a file of lines that were left out: those of `BadLine`, `run_id`."""
    return _stored(job, bad_lines.COLUMNS, ("inputs",))


def scores_schema(job: Job, features: pa.Schema, scorer: Scorer) -> pa.Schema:
    """The columns of a scores file: key, kept columns, the model's outputs, its challengers', its stamps."""
    kept = [features.field(name) for name in (*job.spec.key, *job.spec.keep)]
    schema = pa.schema([*kept, *scorer.signature.outputs, *_challenger_fields(job, scorer), *_made_by(job)])
    return _as_table_has(job, job.spec.scores_table, _stored(job, schema, ("features",)))


def _challenger_fields(job: Job, scorer: Scorer) -> list[pa.Field]:
    """The challengers' columns, in the types of the champion's, so that one that can't be opened has them."""
    outputs = scorer.signature.outputs
    return [
        table_schema.optional_field(column, outputs.field(output).type)
        for column, (_, output) in job.spec.model.challenger_columns.items()
    ]


def _made_by(job: Job) -> list[pa.Field]:
    """The column that says which rung made a row, where the job has any; days before have it not."""
    return [table_schema.optional_field(MADE_BY, pa.string())] if job.spec.overdue else []


def _decision(job: Job, table: str, given: pa.Schema) -> pa.Schema:
    """The columns of a file of a decision table, whose SQL gives some, `made_by` perhaps among them."""
    if job.spec.overdue and MADE_BY not in given.names:
        given = pa.schema([*given, *_made_by(job)])
    elif job.spec.overdue:
        if not pa.types.is_string(kind := given.field(MADE_BY).type):
            job.raise_broken(
                ("decide", table), f"gives {MADE_BY} as {kind}; it says which rung made a row (overdue): "
                "take that of the scores, or leave it out"
            )  # fmt: skip
        given = given.set(given.get_field_index(MADE_BY), _made_by(job)[0])
    return _as_table_has(job, table, _stored(job, given, ("decide", table)))


def _stored(job: Job, schema: pa.Schema, at: tuple[str, ...]) -> pa.Schema:
    where = f"{job.shown}:{job.lines.get(at, 1)}: {'.'.join(at)}"
    return table_schema.storable_schema(pa.schema([*schema, pa.field("run_id", pa.string())]), where)
