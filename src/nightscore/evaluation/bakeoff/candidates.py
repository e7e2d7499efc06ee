"""What takes part in a bake-off: engines and devices for the model, and what recipes make of it."""

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from nightscore.evaluation.bakeoff.workload import Workload
from nightscore.evaluation.recipes import list_recipes
from nightscore.evaluation.recipes.network import parse_model
from nightscore.evaluation.recipes.recipe import Feeds, Material, NoCandidate, Recipe
from nightscore.job import Job
from nightscore.pipeline import drop_faulty_rows, filled, open_cached_scorer, steps, variants_of
from nightscore.scorers import ModelFile, Options, Technique, Variant, parse_outputs, read_model
from nightscore.store import Plan, TunedVariant, bytes_sha256, fewer_rows, run_folder, trials

MATERIAL_ROWS = 200_000  # rows of past days that recipes learn from
LEAST_ROWS = 2048


@dataclass(frozen=True)
class Candidate:
    """Another way to compute the model: its name, technique, and how it was made, in a sentence.

    `plan` scores the workload's rows by it. `ladder` is shared by those of which each is smaller than the
    last.
    """

    name: str
    technique: Technique
    about: str
    plan: Plan
    bytes: int
    ladder: str = ""

    @property
    def variant(self) -> Variant:
        """The kind, device and threads that score it."""
        return self.plan.variant


def reference_candidate(workload: Workload) -> Candidate:
    """The model itself, by the variant that all others are held to."""
    return Candidate("reference", "engine", "the model as it is", workload.plan, _bytes(workload))


def engines(workload: Workload) -> list[Candidate]:
    """The same bytes by every other kind of scorer, device and number of threads that the job allows here."""
    size = _bytes(workload)
    others = [v for v in variants_of(workload.job, workload.plan.device) if v != workload.plan.variant]
    candidates = []
    for variant in others:
        name = slug(str(variant))
        tuned = TunedVariant(name, "engine", workload.plan.model_path, workload.plan.model_sha256)
        candidates.append(
            Candidate(name, "engine", f"the model by {variant}", _planned(workload, tuned, variant), size)
        )
    return candidates


def smaller_chunks(workload: Workload, best: Candidate) -> list[Candidate]:
    """The best engine with chunks of fewer rows, where the job leaves their size open."""
    rows = fewer_rows(workload.job.spec.scoring.chunk_rows, best.plan.chunk_rows)
    if not rows:
        return []
    name = f"{best.name}-chunks-of-{rows}"
    tuned = TunedVariant(name, "engine", workload.plan.model_path, workload.plan.model_sha256)
    plan = _planned(workload, tuned, best.variant, rows)
    return [Candidate(name, "engine", f"{best.about}, {rows:,} rows at once", plan, best.bytes)]


def make_candidate(workload: Workload, recipe: Recipe, material: Material, variant: Variant) -> Candidate:
    """What a recipe makes, opened by `variant` if it can be, else by the reference's.

    Raises:
        NoCandidate: it has nothing to offer.
    """
    data = recipe.make(material)
    if data == material.model.data:
        raise NoCandidate("what came out is the model, byte for byte")
    return store_candidate(workload, recipe, data, variant)


def store_candidate(workload: Workload, recipe: Recipe, data: bytes, variant: Variant) -> Candidate:
    """A candidate of these bytes; they lie in the workload's run folder."""
    sha256 = bytes_sha256(data)
    run = run_folder.folder_of_plan(workload.job.workspace, workload.plan)
    file = trials.write_candidate(run, f"{slug(recipe.name)}-{sha256[:12]}.onnx", data)
    path = workload.job.workspace.relative(file)
    tuned = TunedVariant(recipe.name, recipe.technique, path, sha256)
    chosen = _first_that_opens(workload, path, sha256, variant)
    return Candidate(
        recipe.name,
        recipe.technique,
        recipe.about,
        _planned(workload, tuned, chosen),
        len(data),
        recipe.ladder,
    )


def all_recipes(workload: Workload) -> list[Recipe]:
    """The recipes for the job's model; none of a model that is no .onnx file."""
    return list_recipes(_model(workload)) if workload.plan.model_path.endswith(".onnx") else []


def build_material(
    workload: Workload, past: list[pa.Table], most: int, keeps: Callable[[bytes], bool]
) -> Material:
    """What recipes work with: at most `most` rows of past days, and what the reference says of them."""
    job, plan = workload.job, workload.plan
    scorer = open_cached_scorer(job, plan.model_path, plan.model_sha256, plan.variant)
    needed = scorer.signature.inputs
    table = (
        pa.concat_tables([_sound(job, day, needed).select(needed.names) for day in past]) if past else None
    )
    if table is None or not table.num_rows:
        raise NoCandidate("there is no day before the held-out day to learn from")
    step = -(-table.num_rows // min(MATERIAL_ROWS, max(most, LEAST_ROWS)))
    table = table.take(pa.array(range(0, table.num_rows, step))).combine_chunks()
    rows = [filled(job, chunk, needed) for chunk in table.to_batches(plan.chunk_rows)]
    scores = [scorer.score(chunk) for chunk in rows]
    model = job.spec.model
    options = Options(
        _graph_outputs(workload), model.columns, plan.variant.device, plan.variant.threads,
        model.columns_override, model.max_length_override, settings=model.settings,
    )  # fmt: skip
    feeds = tuple(_feeds(scorer, rows))
    return Material(
        _model(workload), options, pa.Table.from_batches(rows), pa.Table.from_batches(scores), feeds, keeps
    )


def _graph_outputs(workload: Workload) -> dict[str, str]:
    """The job's outputs that the graph itself gives: a workspace's scorer around it may add others."""
    outputs = workload.job.spec.model.outputs
    in_graph = {output.name for output in parse_model(_model(workload)).graph.output}
    if not workload.job.spec.model.in_workspace:
        return dict(outputs)
    return {
        output.column: outputs[output.column]
        for output in parse_outputs(outputs)
        if output.source in in_graph
    }


def past_features(workload: Workload, days: Sequence[dt.date]) -> list[pa.Table]:
    """The features of past days."""
    return [steps.features(workload.job, day, workload.plan.params) for day in days]


def _sound(job: Job, day: pa.Table, inputs: pa.Schema) -> pa.Table:
    """The rows that a run would score; the others teach nobody anything."""
    return pa.Table.from_batches(
        [drop_faulty_rows(job, batch, inputs) for batch in day.to_batches()], day.schema
    )


def slug(name: str) -> str:
    """A name for files and commands: `onnx on cpu, 2 threads a piece` is onnx-on-cpu-2-threads-a-piece."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _feeds(scorer: object, rows: Sequence[pa.RecordBatch]) -> Iterator[Feeds]:
    give = getattr(scorer, "feeds", None)
    if give is None:
        return
    for chunk in rows:
        yield from give(chunk)


def _planned(
    workload: Workload, tuned: TunedVariant, variant: Variant, chunk_rows: int | None = None
) -> Plan:
    """The workload's plan by a candidate, in a run folder of its own."""
    plan = workload.plan
    label = bytes_sha256(f"{tuned.sha256} {variant} {chunk_rows}".encode())[:8]
    return dataclasses.replace(
        plan, tuned=tuned, variant=variant, chunk_rows=chunk_rows or plan.chunk_rows,
        run_id=f"{plan.run_id}-{label}",
    )  # fmt: skip


def _first_that_opens(workload: Workload, path: str, sha256: str, variant: Variant) -> Variant:
    try:
        open_cached_scorer(workload.job, path, sha256, variant)
    except Exception:  # the reference's kind opens it, or its trial says why not
        return workload.plan.variant
    return variant


def _bytes(workload: Workload) -> int:
    """The bytes of the model's file; 0 of a function of a package."""
    if workload.job.spec.model.kind == "python" and workload.job.spec.model.file is None:
        return 0
    return _model(workload).size


def _model(workload: Workload) -> ModelFile:
    path = workload.job.workspace.resolve(workload.plan.model_path)
    return read_model(Path(path), workload.plan.model_path)
