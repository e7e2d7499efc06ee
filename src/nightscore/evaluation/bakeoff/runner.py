"""A bake-off from its first row to the candidate that is taken.

1. The day's features are made once. The reference scores them: what it stages is the yardstick.
2. Candidates: other engines for the same bytes, then what recipes make. Each scores the day in a process of
   its own, through scan, score and stage. First what it gives is compared, then it gets rows that nobody
   expects, then its speed is measured. What fails is listed with the reason; the bake-off goes on.
3. The fastest that keep the budget run again beside the reference, in turns.
4. The first of them that keeps the budget on the held-out day, too, is taken.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.common import Broken, ProgressCallback, first_line, silent
from nightscore.evaluation.bakeoff import candidates
from nightscore.evaluation.bakeoff.candidates import slug
from nightscore.evaluation.bakeoff.contestants import (
    PATIENCE,
    REFERENCE,
    Contestants,
    choose_winner,
    measure_finalists,
)
from nightscore.evaluation.bakeoff.results import CandidateResult, explain_results
from nightscore.evaluation.bakeoff.worker import Trial, TrialFailed
from nightscore.evaluation.bakeoff.workload import Workload, find_held_out_day, past_days, stage_workload
from nightscore.evaluation.recipes.recipe import Material, NoCandidate, Recipe
from nightscore.job import AccuracyBudget, Job
from nightscore.pipeline import Deviation
from nightscore.scorers import Variant
from nightscore.store import (
    BakeoffEvidence,
    ModelOf,
    VariantFile,
    accuracy_budget_for,
    library_versions,
    machine_facts,
    remove_variant,
    variant_settings,
    write_model,
    write_variant,
)

FIRST_ROWS = 2048  # by which the reference's speed is estimated
WHOLE_SECONDS = 30.0  # a day that the reference scores within this time takes part whole,
LOOP_SECONDS = 10.0  # of a longer one as many rows as it scores in this time
PAST_DAYS = 3  # that recipes learn from
MATERIAL_SECONDS = 20.0  # that the reference takes to score what they learn from, at the most


@dataclass(frozen=True)
class BakeOff:
    """What a bake-off found. `rows` of the day's `day_rows` took part; the first result is the reference's.

    `variant` is what variant.yaml would say, and `model` the bytes of the file that it names, where that is a
    new one; None where the reference is taken.
    """

    job: str
    day: str
    held_out: str | None
    rows: int
    day_rows: int
    budget: AccuracyBudget
    results: tuple[CandidateResult, ...]
    taken: str
    variant: VariantFile | None
    model: bytes = b""


def run_bakeoff(
    job: Job, day: dt.date, *, budget: AccuracyBudget | None = None, rows: int | None = None,
    rounds: int = 5, seconds: float = 1.0, only: Sequence[str] = (), report: ProgressCallback = silent,
) -> BakeOff:  # fmt: skip
    """Make candidates for a job's model, measure them on a day's rows, and take one. Publishes nothing.

    Args:
        job: as `load` gives it.
        day: the day on which candidates are judged; the newest day with data before it is held out.
        budget: what may change, instead of the job's.
        rows: how many of the day's rows take part; default: all, if the reference scores them in half a
            minute, else the first ones, as many as it scores in 10 seconds.
        rounds: how often the fastest run in turns.
        seconds: how long each is measured in a round, at the least.
        only: techniques that take part, besides the reference; default: all.
        report: told how far it is.

    Raises:
        Broken, NotYet: the day can't be scored as it is.
    """
    job.refuse_no_model("computed faster")
    if budget is not None:
        job = dataclasses.replace(job, spec=job.spec.model_copy(update={"budget": budget}))
    held = find_held_out_day(job, day)
    with stage_workload(job, day, report) as whole:
        contestants = _start(whole, rows, seconds)
        if not only or "engine" in only:
            _try_engines(contestants, report)
        _try_recipes(contestants, held, only, report)
        measure_finalists(contestants, rounds, report)
        name = choose_winner(contestants, held, report)
        lines = explain_results(list(contestants.lines.values()), name, contestants.lines[REFERENCE])
        held_out = held.isoformat() if held else None
        variant, model = build_variant_file(contestants, name, held_out, lines)
        return BakeOff(
            job.name, day.isoformat(), held_out, contestants.workload.plan.rows, whole.plan.rows,
            contestants.budget, tuple(lines), name, variant, model,
        )  # fmt: skip


def _start(whole: Workload, rows: int | None, seconds: float) -> Contestants:
    """The reference, measured: what the candidates are held against.

    Raises:
        Broken: it can't be scored itself.
    """
    job = whole.job
    try:
        part = whole.first(rows or _rows_for(whole))
        return Contestants(part, accuracy_budget_for(job), seconds, candidates.reference_candidate(part))
    except TrialFailed as error:
        raise Broken(
            f"job {job.name}: the model itself can't be scored on {whole.plan.day}, "
            f"so there is nothing to hold a candidate to: {error}"
        ) from error


def _rows_for(whole: Workload) -> int:
    few = whole.first(min(FIRST_ROWS, max(whole.plan.rows, 1)))
    plan = dataclasses.replace(few.plan, run_id=f"{few.plan.run_id}-few")
    with Trial(whole.job, plan, PATIENCE * 5) as trial:
        trial.speed(0)
        speed = trial.speed(0.2).rows_per_second
    whole_day = whole.plan.rows <= speed * WHOLE_SECONDS
    return max(1, whole.plan.rows if whole_day else int(speed * LOOP_SECONDS))


def _try_engines(contestants: Contestants, report: ProgressCallback) -> None:
    """Every other way to run the same bytes."""
    for candidate in candidates.engines(contestants.workload):
        report(f"trying {candidate.name}", 0, 0)
        contestants.enter(candidate)
    for candidate in candidates.smaller_chunks(contestants.workload, contestants.best()):
        contestants.enter(candidate)


def _try_recipes(
    contestants: Contestants, held: dt.date | None, only: Sequence[str], report: ProgressCallback
) -> None:
    """What recipes make of the model."""
    recipes = [
        recipe
        for recipe in candidates.all_recipes(contestants.workload)
        if not only or recipe.technique in only
    ]
    try:
        material = _material(contestants, held) if recipes else None
    except NoCandidate as error:
        for recipe in recipes:
            contestants.note(recipe, str(error))
        return
    best = contestants.best().variant
    for done, recipe in enumerate(recipes):
        report(f"trying {recipe.name}", done, len(recipes))
        if material and recipe.ladder in contestants.broken_ladders:
            larger = contestants.broken_ladders[recipe.ladder]
            contestants.note(recipe, f"not tried: {larger}, a larger one, is out already")
        elif material:
            _try(contestants, recipe, material, best)


def _try(contestants: Contestants, recipe: Recipe, material: Material, best: Variant) -> None:
    try:
        candidate = candidates.make_candidate(contestants.workload, recipe, material, best)
    except NoCandidate as error:
        contestants.note(recipe, str(error))
    except Exception as error:  # listed as the recipe's reason; the bake-off goes on
        message = first_line(error)
        contestants.note(recipe, f"{type(error).__name__}: {message}", failed=True)
    else:
        contestants.enter(candidate)


def _material(contestants: Contestants, held: dt.date | None) -> Material:
    """What recipes learn from: the days before the held-out day."""
    days = past_days(contestants.job, held, PAST_DAYS) if held else []
    past = candidates.past_features(contestants.workload, days)
    most = int(contestants.base * MATERIAL_SECONDS)
    return candidates.build_material(contestants.workload, past, most, contestants.keeps)


def apply_bakeoff(job: Job, result: BakeOff) -> str:
    """Write what was taken: its file below data/variants, and variant.yaml in the job's folder.

    Gives the path of variant.yaml; where the reference was taken, it is removed, and the path is empty.
    """
    if result.variant is None:
        remove_variant(job)
        return ""
    if result.model:
        write_model(job, result.variant, result.model)
    return write_variant(job, result.variant)


def build_variant_file(
    contestants: Contestants, taken: str, held_out: str | None, lines: Sequence[CandidateResult]
) -> tuple[VariantFile | None, bytes]:
    """What variant.yaml would say, and the bytes of its model where they are not the reference's."""
    plan, candidate = contestants.workload.plan, contestants.candidates[taken]
    tuned = candidate.plan.tuned
    if tuned is None:  # the reference
        return None, b""
    by_name = {line.name: line for line in lines}
    line, base = by_name[taken], by_name[REFERENCE]
    is_own = tuned.sha256 != plan.model_sha256
    evidence = BakeoffEvidence(
        day=plan.day, held_out=held_out, rows=plan.rows, rows_per_second=round(line.rows_per_second),
        reference_rows_per_second=round(base.rows_per_second),
        change=(line.change or Deviation()).as_dict(),
        held_out_change=(line.held_out or Deviation()).as_dict(),
    )  # fmt: skip
    file = (
        contestants.job.workspace.variants / contestants.job.name / f"{slug(taken)}-{tuned.sha256[:12]}.onnx"
    )
    path = contestants.job.workspace.relative(file) if is_own else tuned.path
    written = VariantFile(
        variant=taken, technique=line.technique, why=line.why,
        model=ModelOf(path=path, sha256=tuned.sha256),
        how=variant_settings(candidate.variant, candidate.plan.chunk_rows),
        reference=ModelOf(path=plan.model_path, sha256=plan.model_sha256), code=plan.code,
        budget=contestants.budget, machine=machine_facts(), versions=library_versions(), evidence=evidence,
    )  # fmt: skip
    return written, contestants.job.workspace.resolve(tuned.path).read_bytes() if is_own else b""
