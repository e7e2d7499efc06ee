"""Canary: a day is scored by the variant of the job's variant.yaml only where it keeps its budget today.

Before it scores the day, rows from all over the day are scored by it and by the reference, the job's own
model. Where the two differ by more than the budget allows, or the variant is stale, the reference scores the
day, by the variant that `nightscore.pipeline.score.autotune` takes, and the receipt says why.
"""

import dataclasses
from collections.abc import Sequence

from nightscore.common import NightscoreError, first_line
from nightscore.job import AccuracyBudget, Job
from nightscore.pipeline.overdue import as_late
from nightscore.pipeline.score.autotune import autotune_variant, chosen
from nightscore.pipeline.score.deviation import Deviation, column_deviation, deviation_from
from nightscore.pipeline.score.first_opening import hold_to_rows
from nightscore.pipeline.score.open_model import open_planned_scorer, reference_scorer
from nightscore.pipeline.score.sample import read_spread_rows
from nightscore.store import (
    Canary,
    InputFile,
    LateVariant,
    Plan,
    VariantFile,
    read_variant,
    run_folder,
    stale_reasons,
    tuned_variant,
)

CANARY_ROWS = 4096
SLACK = 2  # times what the bake-off saw, where the budget has no limit: a sample is noisier than a day


def choose_here(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan with its variant, for a model that gives each row a score of its own; asked on this machine.

    Errors as `hold_to_rows`'s.
    """
    return choose_variant(job, hold_to_rows(job, plan, source), source)


def choose_variant(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan with the variant that scores its rows: the job's, or the one that is the fastest here."""
    picked = read_variant(job) if plan.tuned else None
    if picked is None:
        return with_late_variant(job, chosen(plan, autotune_variant(job, plan, source)), source)
    planned = dataclasses.replace(
        plan, variant=picked.computed, chunk_rows=picked.how.chunk_rows, why=f"bake-off: {picked.variant}"
    )
    try:
        problems = stale_reasons(job, picked, plan)
        if problems:
            return _reference(job, plan, source, f"{picked.variant} is stale: {'; '.join(problems)}")
        canary = _canary(job, planned, source)
    except Exception as error:  # of a variant; it is recorded as a warning, and the run goes on
        reason = first_line(error)
        return _reference(job, plan, source, f"{picked.variant} can't be tried: {reason}")
    if canary is None:
        return planned
    broken = _canary_deviation(canary).breaks(_limits(job, picked))
    planned = dataclasses.replace(planned, canary=canary)
    if broken:
        reason = f"{picked.variant}: of {canary.rows:,} canary rows, {'; '.join(broken)}"
        return dataclasses.replace(_reference(job, plan, source, reason), canary=canary)
    return planned


def with_late_variant(job: Job, plan: Plan, source: Sequence[InputFile]) -> Plan:
    """The plan with the variant of a late night, where its ladder asks for one: a bake-off's, if usable.

    It is held to the model on the rows of the day, as one that scores the day is; one that is not taken is
    said, and the ladder is without it.
    """
    if plan.ladder is None or not plan.ladder.variant_from:
        return plan
    late, problem = None, ""
    try:
        picked = read_variant(job)
        problem = _not_measured(job) if picked is None else "; ".join(stale_reasons(job, picked, plan))
        if picked and not problem:
            late = LateVariant(picked.computed, picked.how.chunk_rows, tuned_variant(picked))
            canary = _canary(job, as_late(_with_late(plan, late)), source)
            problem = "; ".join(_canary_deviation(canary).breaks(_limits(job, picked))) if canary else ""
            problem = f"of the canary rows, {problem}" if problem else ""
            late = dataclasses.replace(late, canary=canary)
    except Exception as error:  # of a variant that may never be needed; it is said, and the run goes on
        problem = first_line(error)
    if problem:
        missing = (f"variant: {problem}", *plan.ladder.missing)
        return dataclasses.replace(plan, ladder=dataclasses.replace(plan.ladder, missing=missing))
    return _with_late(plan, late)


def has_lost_variant(job: Job, plan: Plan) -> bool:
    """Whether a stopped run has pieces by a late night's variant that is not there any more, or another now.

    Nobody can score rows of theirs again, so such a run can't be ended: its day takes another.
    """
    late = plan.ladder.late if plan.ladder else None
    if late is None or not run_folder.folder_of_plan(job.workspace, plan).late.exists():
        return False
    try:
        open_planned_scorer(job, as_late(plan))
    except NightscoreError:
        return True
    return False


def _with_late(plan: Plan, late: LateVariant | None) -> Plan:
    return dataclasses.replace(
        plan, ladder=dataclasses.replace(plan.ladder, late=late) if plan.ladder else None
    )


def _not_measured(job: Job) -> str:
    return (
        f"no bake-off has taken one; `nightscore bakeoff {job.name} --day D --apply` measures them, and "
        "takes the fastest within the budget"
    )


def _reference(job: Job, plan: Plan, source: Sequence[InputFile], why: str) -> Plan:
    plain_plan = dataclasses.replace(plan, tuned=None)
    again = (
        f"the reference scores until `nightscore bakeoff {job.name} --day {plan.day} --apply` is run again"
    )
    return dataclasses.replace(
        chosen(plain_plan, autotune_variant(job, plain_plan, source)), warning=f"{why}; {again}"
    )


def _canary(job: Job, plan: Plan, source: Sequence[InputFile]) -> Canary | None:
    """How far the plan's variant is from the reference; None for a day without rows."""
    rows = read_spread_rows(job, plan, source, CANARY_ROWS)
    if rows is None:
        return None
    reference = reference_scorer(job, plan)
    expected, actual = reference.score(rows), open_planned_scorer(job, plan).score(rows)
    deviation = Deviation()
    for name in expected.schema.names:
        deviation = deviation.worst(column_deviation(actual.column(name), expected.column(name)))
    return Canary(rows.num_rows, deviation.max_abs, deviation.rank_correlation, deviation.cosine)


def _canary_deviation(canary: Canary) -> Deviation:
    return Deviation(max_abs=canary.max_abs, rank_correlation=canary.rank_correlation, cosine=canary.cosine)


def _limits(job: Job, picked: VariantFile) -> AccuracyBudget:
    """The canary's limits: the budget's, or where it has none SLACK times what the bake-off saw."""
    seen = deviation_from(picked.evidence.change).worst(deviation_from(picked.evidence.held_out_change))
    budget = picked.budget
    least = budget.rank_correlation if budget.rank_correlation is not None else seen.rank_correlation
    most = max(SLACK * seen.max_abs, job.spec.scoring.tolerance)
    return AccuracyBudget(
        max_abs=budget.max_abs if budget.max_abs is not None else most,
        rank_correlation=1 - SLACK * (1 - least),
        cosine=budget.cosine if budget.cosine is not None else 1 - SLACK * (1 - seen.cosine),
    )
