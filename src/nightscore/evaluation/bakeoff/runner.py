"""A bake-off from its first row to the candidate that is taken; a newcomer reads this.

1. The day's features are made once. The reference scores them: what it stages is the yardstick.
2. Candidates: other engines for the same bytes, then what recipes make. Each scores the day in a process of
   its own, through scan, score and stage. First what it gives is compared, then it gets rows that nobody
   expects, then its speed is measured. What fails costs its line.
3. The fastest that keep the budget run again beside the reference, in turns.
4. The first of them that keeps the budget on the held-out day, too, is taken.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.common import ProgressCallback, silent
from nightscore.evaluation.bakeoff import candidates as entrants
from nightscore.evaluation.bakeoff.candidates import slug
from nightscore.evaluation.bakeoff.contestants import (
    PATIENCE,
    REFERENCE,
    Contestants,
    choose_winner,
    measure_finalists,
)
from nightscore.evaluation.bakeoff.results import CandidateResult, explain_results
from nightscore.evaluation.bakeoff.worker import Trial
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

FIRST_ROWS = 2048  # from which the reference's speed is told
WHOLE_SECONDS, LOOP_SECONDS = 30.0, 10.0  # a day that the reference scores in so long takes part whole
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
    if budget is not None:
        job = dataclasses.replace(job, spec=job.spec.model_copy(update={"budget": budget}))
    held = find_held_out_day(job, day)
    with stage_workload(job, day, report) as whole:
        some = whole.first(rows or _rows_for(whole))
        field = Contestants(some, accuracy_budget_for(job), seconds, entrants.reference_candidate(some))
        if not only or "engine" in only:
            _try_engines(field, report)
        _try_recipes(field, held, only, report)
        measure_finalists(field, rounds, report)
        name = choose_winner(field, held, report)
        lines = explain_results(list(field.lines.values()), name, field.lines[REFERENCE])
        held_out = held.isoformat() if held else None
        variant, model = build_variant_file(field, name, held_out, lines)
        return BakeOff(
            job.name, day.isoformat(), held_out, some.plan.rows, whole.plan.rows, field.budget, tuple(lines),
            name, variant, model,
        )  # fmt: skip


def _rows_for(whole: Workload) -> int:
    few = whole.first(min(FIRST_ROWS, max(whole.plan.rows, 1)))
    plan = dataclasses.replace(few.plan, run_id=f"{few.plan.run_id}-few")
    with Trial(whole.job, plan, PATIENCE * 5) as trial:
        trial.speed(0)
        speed = trial.speed(0.2).rows_per_second
    whole_day = whole.plan.rows <= speed * WHOLE_SECONDS
    return max(1, whole.plan.rows if whole_day else int(speed * LOOP_SECONDS))


def _try_engines(field: Contestants, report: ProgressCallback) -> None:
    """Every other way to run the same bytes."""
    for candidate in entrants.engines(field.ground):
        report(f"trying {candidate.name}", 0, 0)
        field.enter(candidate)
    for candidate in entrants.smaller_chunks(field.ground, field.best()):
        field.enter(candidate)


def _try_recipes(
    field: Contestants, held: dt.date | None, only: Sequence[str], report: ProgressCallback
) -> None:
    """What recipes make of the model."""
    wanted = [one for one in entrants.all_recipes(field.ground) if not only or one.technique in only]
    try:
        material = _material(field, held) if wanted else None
    except NoCandidate as error:
        for recipe in wanted:
            field.note(recipe, str(error))
        return
    best = field.best().variant
    for done, recipe in enumerate(wanted):
        report(f"trying {recipe.name}", done, len(wanted))
        if material and recipe.ladder in field.broken_ladders:
            larger = field.broken_ladders[recipe.ladder]
            field.note(recipe, f"not tried: {larger}, a larger one, is out already")
        elif material:
            _try(field, recipe, material, best)


def _try(field: Contestants, recipe: Recipe, material: Material, best: Variant) -> None:
    try:
        candidate = entrants.make_candidate(field.ground, recipe, material, best)
    except NoCandidate as error:
        field.note(recipe, str(error))
    except Exception as error:  # a recipe that fails costs its line
        said = str(error).splitlines()[0] if str(error) else ""
        field.note(recipe, f"{type(error).__name__}: {said}", failed=True)
    else:
        field.enter(candidate)


def _material(field: Contestants, held: dt.date | None) -> Material:
    """What recipes learn from: the days before the held-out day."""
    days = past_days(field.job, held, PAST_DAYS) if held else []
    past, most = entrants.past_features(field.ground, days), int(field.base * MATERIAL_SECONDS)
    return entrants.build_material(field.ground, past, most, field.keeps)


def apply_bakeoff(job: Job, found: BakeOff) -> str:
    """Write what was taken: its file below data/variants, and variant.yaml in the job's folder.

    Gives the path of variant.yaml; where the reference was taken, it is removed, and the path is empty.
    """
    if found.variant is None:
        remove_variant(job)
        return ""
    if found.model:
        write_model(job, found.variant, found.model)
    return write_variant(job, found.variant)


def build_variant_file(
    field: Contestants, taken: str, held_out: str | None, lines: Sequence[CandidateResult]
) -> tuple[VariantFile | None, bytes]:
    """What variant.yaml would say, and the bytes of its model where they are not the reference's."""
    plan, candidate = field.ground.plan, field.candidates[taken]
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
    file = field.job.workspace.variants / field.job.name / f"{slug(taken)}-{tuned.sha256[:12]}.onnx"
    path = field.job.workspace.relative(file) if is_own else tuned.path
    written = VariantFile(
        variant=taken, technique=line.technique, why=line.why,
        model=ModelOf(path=path, sha256=tuned.sha256),
        how=variant_settings(candidate.variant, candidate.plan.chunk_rows),
        reference=ModelOf(path=plan.model_path, sha256=plan.model_sha256), code=plan.code,
        budget=field.budget, machine=machine_facts(), versions=library_versions(), evidence=evidence,
    )  # fmt: skip
    return written, field.job.workspace.resolve(tuned.path).read_bytes() if is_own else b""
