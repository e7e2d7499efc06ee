"""Whether the parts of a job.yaml fit each other: names are told apart, columns and tables are there."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from nightscore.job.fields import Misplaced
from nightscore.job.parts.audits import SCORES, Known
from nightscore.job.parts.deliver import check_deliveries
from nightscore.job.parts.model import CHALLENGERS
from nightscore.job.parts.notify import check_notify
from nightscore.job.parts.overdue import MADE_BY, check_overdue
from nightscore.job.sources.inputs import PathInput, TableInput

if TYPE_CHECKING:
    from nightscore.job.spec import JobSpec

Place = tuple[str | int, ...]

RESERVED_VIEWS = {"scores", "params", "receipts", "restatements", "restated_rows", "removals", "erasures"}
RUN_OPTIONS = (  # what every run can be asked for
    "day", "force", "limit", "device", "model", "known_at", "restate", "because", "by",
)  # fmt: skip
PART_VARIABLES = ("part", "parts")
RESERVED_COLUMNS = {"day", "run_id"}
OF_A_MODEL: tuple[tuple[str, ...], ...] = (  # what says something of a model, or of what it gives
    ("scoring", "device"), ("scoring", "tolerance"), ("scoring", "features_null"), ("scoring", "nan_output"),
    ("policy", "value_lost"), ("budget",), ("judge",),
)  # fmt: skip


def check_consistency(spec: "JobSpec") -> None:
    """Hold the parts of a job to each other. Misplaced says where it is wrong, and what is allowed."""
    for check in CHECKS:
        check(spec)


def _check_names(spec: "JobSpec") -> None:
    reserved = RESERVED_VIEWS | ({CHALLENGERS} if spec.model.rivals else set())
    for name in spec.inputs:
        if name in reserved | set(spec.tables):
            raise Misplaced(("inputs", name), f"{name!r} is a name that SQL already sees; rename it")
    for name in spec.decide:
        if name in reserved | {spec.scores_table, spec.rejects_table, spec.bad_lines_table}:
            raise Misplaced(("decide", name), f"{name!r} is a name of the framework's own; rename it")


def _check_deadline(spec: "JobSpec") -> None:
    at: Place = ("deadline",)
    try:
        if spec.deadline:
            spec.deadline.check(spec.schedule)
        at = ("notify",)
        has_deadline, has_model = spec.deadline is not None, not spec.model.is_none
        check_notify(spec.notify, has_deadline=has_deadline, has_overdue=bool(spec.overdue))
        at = ("overdue",)
        check_overdue(spec.overdue, has_deadline=has_deadline, has_model=has_model)
    except Misplaced as error:
        raise Misplaced((*at, *error.at), str(error)) from error
    if spec.missing != spec.policy.missing and "missing" in spec.policy.model_fields_set:
        raise Misplaced(
            ("policy", "missing"),
            f"{spec.policy.missing!r} leaves nothing to carry forward at the deadline (overdue); "
            "allowed: wait, or leave it out",
        )


def _check_deliver(spec: "JobSpec") -> None:
    try:
        check_deliveries(spec.deliver, spec.tables)
    except Misplaced as error:
        raise Misplaced(("deliver", *error.at), str(error)) from error


def _check_no_model(spec: "JobSpec") -> None:
    for at in OF_A_MODEL if spec.model.is_none else ():
        part: BaseModel = getattr(spec, at[0]) if len(at) > 1 else spec
        if at[-1] in part.model_fields_set:
            raise Misplaced(at, "is about a model, and the job has none (model: none); leave it out")


def _check_retain(spec: "JobSpec") -> None:
    for name in spec.retain.tables if spec.retain else ():
        if name not in spec.tables:
            allowed = ", ".join(spec.tables)
            raise Misplaced(
                ("retain", "tables", name), f"{name!r} is no table of the job; allowed: {allowed}"
            )


def _check_decision_columns(spec: "JobSpec") -> None:
    named = [("budget", name) for name in (spec.budget.decision_columns if spec.budget else ())]
    for part, name in [*named, *(("judge", name) for name in spec.judge.decision_columns)]:
        if name not in spec.decide:
            allowed = ", ".join(spec.decide) or "none"
            raise Misplaced(
                (part, "decision_columns", name), f"{name!r} is no decision table; allowed: {allowed}"
            )


def _check_judge(spec: "JobSpec") -> None:
    allowed, labels = [*spec.key, *spec.keep], spec.judge.labels
    columns: list[tuple[Place, str | None]] = [
        (("segments", i), c) for i, c in enumerate(spec.judge.segments)
    ]
    columns += [(("labels", "cluster"), labels.cluster)] if labels else []
    for at, column in columns:
        if column is not None and column not in allowed:
            raise Misplaced(
                ("judge", *at), f"{column!r} is no key or kept column; allowed: {', '.join(allowed)}"
            )
    if labels and labels.output and labels.output not in spec.model.outputs:
        outputs = ", ".join(spec.model.outputs)
        raise Misplaced(("judge", "labels", "output"), f"{labels.output!r} is no output; allowed: {outputs}")


def _check_rejects(spec: "JobSpec") -> None:
    taken = {"stage", "reason", "message", "features"} if spec.rejecting else set()
    for i, name in enumerate(spec.key):
        if name.lower() in taken:
            raise Misplaced(("key", i), f"{name!r} is a column of the table of rejects; rename it")


def _check_params(spec: "JobSpec") -> None:
    if "day" in spec.params:
        raise Misplaced(("params", "day"), "getvariable('day') is the scored day; choose another name")
    for name in spec.params:
        if spec.features.asks_part and name in PART_VARIABLES:
            raise Misplaced(("params", name), "is what the features read of their parts; choose another name")
        if name in RUN_OPTIONS:
            raise Misplaced(("params", name), f"{name!r} is an option of every run; choose another name")


def _check_audits(spec: "JobSpec") -> None:
    known = Known((*spec.keep, *spec.model.outputs), (SCORES, *spec.decide), tuple(spec.inputs))
    for i, audit in enumerate(spec.audit):
        try:
            audit.check_names(known)
        except Misplaced as error:
            raise Misplaced(("audit", i, *error.at), str(error)) from error


def _check_accounts(spec: "JobSpec") -> None:
    own = [n for n, i in spec.inputs.items() if isinstance(i, TableInput) and i.table in spec.tables]
    made = (SCORES, *spec.decide, *((spec.rejects_table,) if spec.rejecting else ()))
    try:
        if spec.accounts_for:
            spec.accounts_for.check_names(spec.inputs, own, made)
    except Misplaced as error:
        raise Misplaced(("accounts_for", *error.at), str(error)) from error


def _check_checksums(spec: "JobSpec") -> None:
    for name, source in spec.inputs.items():
        has_no_pages = isinstance(source, PathInput) and source.format != "parquet"
        if has_no_pages and spec.verify_inputs == "checksum":
            raise Misplaced(
                ("verify_inputs",),
                f"checksum: the files of input {name} have no pages; allowed: footer, sha256",
            )


def _check_features(spec: "JobSpec") -> None:
    if spec.features.parts is not None and spec.sql != "exact":
        raise Misplaced(
            ("features", "parts"),
            "the rows of a part are held to those of the whole query, value by value, and with sql: "
            "approximate they may differ; say sql: exact, or leave parts out",
        )
    if spec.source.endswith(".sql"):
        return
    source = spec.inputs.get(spec.source)
    if source is None:
        allowed = ", ".join(spec.inputs)
        raise Misplaced(
            ("features",), f"{spec.source!r} is no input; allowed: a .sql file, or one of {allowed}"
        )
    if isinstance(source, TableInput) and source.table in spec.tables:
        raise Misplaced(
            ("features",),
            f"input {spec.source!r} is a table of this job, without rows of the day before its run; "
            "allowed: a .sql file, or an input with a partition of the day",
        )
    if not isinstance(source, TableInput) and not source.has_days:
        raise Misplaced(
            ("features",),
            f"input {spec.source!r} has no partition, so no day to score; "
            f"allowed: a .sql file, or an input with a partition or a day_column",
        )
    if not isinstance(source, TableInput) and source.known_at:
        layout = source.layout if isinstance(source, PathInput) else None
        raise Misplaced(
            ("features",),
            f"input {spec.source!r} has known_at, but what is streamed can't be cut at a time; "
            f"write a .sql file: SELECT * FROM {spec.source} "
            f"WHERE {layout.column if layout else source.partition} = getvariable('day')",
        )


def _check_columns(spec: "JobSpec") -> None:
    reserved = {*RESERVED_COLUMNS, *((MADE_BY,) if spec.overdue else ())}
    seen: set[str] = set(reserved)
    places: list[tuple[Place, str]] = [(("key", i), name) for i, name in enumerate(spec.key)]
    places += [(("keep", i), name) for i, name in enumerate(spec.keep)]
    places += [(("model", "outputs", name), name) for name in spec.model.outputs]
    places += [(("model", CHALLENGERS), name) for name in spec.model.challenger_columns]
    for at, name in places:
        if name.lower() in seen:
            reason = "is set by the framework" if name.lower() in reserved else "stands twice"
            raise Misplaced(at, f"column {name!r} {reason} (the scores table has key, keep and outputs)")
        seen.add(name.lower())


CHECKS = (  # in the order in which a person meets what they say
    _check_no_model, _check_features, _check_columns, _check_names, _check_params, _check_audits,
    _check_accounts, _check_rejects, _check_checksums, _check_judge, _check_decision_columns,
    _check_retain, _check_deliver, _check_deadline,
)  # fmt: skip
