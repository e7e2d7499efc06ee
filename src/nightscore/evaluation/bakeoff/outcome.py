"""What a bake-off found, and what of it the nights use from then on."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.common.files import replace_bytes
from nightscore.evaluation.bakeoff.candidates import slug
from nightscore.evaluation.bakeoff.contestants import REFERENCE, Field
from nightscore.evaluation.bakeoff.results import Result
from nightscore.job.accuracy_budget import AccuracyBudget
from nightscore.job.loader import Job
from nightscore.pipeline.score.deviation import Change
from nightscore.store.variant_file import FILE, Evidence, ModelOf, VariantFile, how, machine, write_variant
from nightscore.store.versions import versions


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
    results: tuple[Result, ...]
    taken: str
    variant: VariantFile | None
    model: bytes = b""


def apply(job: Job, found: BakeOff) -> str:
    """Write what was taken: its file below data/variants, and variant.yaml in the job's folder.

    Gives the path of variant.yaml; where the reference was taken, it is removed, and the path is empty.
    """
    if found.variant is None:
        (job.file.parent / FILE).unlink(missing_ok=True)
        return ""
    if found.model:
        replace_bytes(job.workspace.resolve(found.variant.model.path), found.model)
    return write_variant(job, found.variant)


def variant_of(
    field: Field, taken: str, held_out: str | None, lines: Sequence[Result]
) -> tuple[VariantFile | None, bytes]:
    """What variant.yaml would say, and the bytes of its model where they are not the reference's."""
    plan, candidate = field.ground.plan, field.candidates[taken]
    tuned = candidate.plan.tuned
    if tuned is None:  # the reference
        return None, b""
    by_name = {line.name: line for line in lines}
    line, base = by_name[taken], by_name[REFERENCE]
    is_own = tuned.sha256 != plan.model_sha256
    evidence = Evidence(
        day=plan.day, held_out=held_out, rows=plan.rows, rows_per_second=round(line.rows_per_second),
        reference_rows_per_second=round(base.rows_per_second),
        change=(line.change or Change()).as_dict(), held_out_change=(line.held_out or Change()).as_dict(),
    )  # fmt: skip
    path = f"data/variants/{field.job.name}/{slug(taken)}-{tuned.sha256[:12]}.onnx" if is_own else tuned.path
    written = VariantFile(
        variant=taken, technique=line.technique, why=line.why,
        model=ModelOf(path=path, sha256=tuned.sha256), how=how(candidate.variant, candidate.plan.chunk_rows),
        reference=ModelOf(path=plan.model_path, sha256=plan.model_sha256), budget=field.budget,
        machine=machine(), versions=versions(), evidence=evidence,
    )  # fmt: skip
    return written, field.job.workspace.resolve(tuned.path).read_bytes() if is_own else b""
