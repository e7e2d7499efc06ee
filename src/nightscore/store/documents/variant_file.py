"""variant.yaml in a job's folder: the variant that a bake-off took, and what it was taken for.

A run uses it as long as the model, the machine, the libraries and the budget are those of the bake-off. With
any other it is stale: the reference scores, and the receipt says why.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from nightscore.common import Broken, read_yaml, replace_bytes, replace_text
from nightscore.job import AccuracyBudget, Job, StrictModel
from nightscore.scorers import (
    ModelError,
    Technique,
    Variant,
    find_installed_devices,
    read_hardware,
    read_model,
)
from nightscore.store.documents.plan import Plan, TunedVariant

VARIANT_FILE = "variant.yaml"
HEAD = """\
# The variant that `nightscore bakeoff … --apply` took for this job on this machine. A run uses it as long as
# reference, machine, versions and budget are these; remove the file to be rid of it.
"""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Numbers = dict[str, float | int | None]


class ModelOf(StrictModel):
    """A model file, relative to the workspace, and its sha256."""

    path: str
    sha256: Sha256


class VariantSettings(StrictModel):
    """The kind of scorer, device, threads a piece and rows of a chunk."""

    kind: str
    device: str
    threads: Annotated[int, Field(ge=1)]
    chunk_rows: Annotated[int, Field(ge=1)]


class BakeoffEvidence(StrictModel):
    """What the bake-off measured: on which day, how fast, and how far from the reference."""

    day: str
    held_out: str | None
    rows: int
    rows_per_second: int
    reference_rows_per_second: int
    change: Numbers
    held_out_change: Numbers


class VariantFile(StrictModel):
    """The whole file. `why` is the sentence that the bake-off says of it.

    `code` is the sha256 of what brings the kind of scorer, where it is not ours.
    """

    variant: str
    technique: Technique
    why: str
    model: ModelOf
    how: VariantSettings
    reference: ModelOf
    code: str = ""
    budget: AccuracyBudget
    machine: dict[str, str | int | list[str]]
    versions: dict[str, str]
    evidence: BakeoffEvidence

    @property
    def computed(self) -> Variant:
        """The variant as scorers know it."""
        return Variant(self.how.kind, self.how.device, self.how.threads)

    @property
    def cause(self) -> list[str | int]:
        """What of it can change a prediction."""
        return [self.model.sha256, str(self.computed), self.how.chunk_rows]


def read_variant(job: Job) -> VariantFile | None:
    """What variant.yaml of a job says; None where there is none.

    Raises:
        Broken: the file is none that a bake-off wrote; names it, and what is wrong.
    """
    path = job.file.parent / VARIANT_FILE
    if not path.exists():
        return None
    shown = job.workspace.relative(path)
    document, _ = read_yaml(path, shown)
    try:
        return VariantFile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "the file"
        raise Broken(
            f"{shown}: {at}: {first['msg']}; `nightscore bakeoff {job.name} --day D --apply` writes it "
            "again, and without the file the job's own model scores"
        ) from None


def tuned_variant(file: VariantFile) -> TunedVariant:
    """A variant as plans name it."""
    return TunedVariant(file.variant, file.technique, file.model.path, file.model.sha256)


def write_variant(job: Job, variant: VariantFile) -> str:
    """Write variant.yaml whole, or not at all; gives its path, relative to the workspace."""
    path = job.file.parent / VARIANT_FILE
    text = yaml.safe_dump(variant.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    replace_text(path, HEAD + text)
    return job.workspace.relative(path)


def write_model(job: Job, variant: VariantFile, data: bytes) -> None:
    """Write the model file that a variant names, whole, or not at all."""
    replace_bytes(job.workspace.resolve(variant.model.path), data)


def remove_variant(job: Job) -> None:
    """Remove variant.yaml: the job's own model scores."""
    (job.file.parent / VARIANT_FILE).unlink(missing_ok=True)


def accuracy_budget_for(job: Job) -> AccuracyBudget:
    """A job's budget; without one, scores may move by its tolerance, and no decision may flip."""
    return job.spec.budget or AccuracyBudget(max_abs=job.spec.scoring.tolerance, decision_flips=0)


def machine_facts() -> dict[str, str | int | list[str]]:
    """What of this machine can change which variant is the fastest, or its last bits."""
    here = read_hardware()
    return {
        "processor": here.processor,
        "cores": here.cores,
        "instructions": list(here.instructions),
        "devices": find_installed_devices(),
    }


def stale_reasons(job: Job, file: VariantFile, plan: Plan) -> list[str]:
    """Why a variant can't be used for a plan as it is, a sentence each; empty if it can."""
    reasons = []
    if file.reference.sha256 != plan.model_sha256:
        reasons.append(f"the model is {plan.model_sha256[:12]}…, it was {file.reference.sha256[:12]}…")
    if file.code and file.code != plan.code:  # a file of an older version has none
        reasons.append(f"the scorer's code is {plan.code[:12]}…, it was {file.code[:12]}…")
    reasons += _differences("machine", file.machine, machine_facts())
    reasons += _differences("version", file.versions, plan.versions)
    if file.budget != accuracy_budget_for(job):
        reasons.append("the budget is another one")
    return reasons + _gone(job, file)


def _differences(what: str, then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return [
        f"{what}: {name} is {now.get(name, 'none')}, it was {then.get(name, 'none')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _gone(job: Job, file: VariantFile) -> list[str]:
    """Why the variant's own file can't be used, if it can't."""
    try:
        same = read_model(job.workspace.resolve(file.model.path), file.model.path).sha256 == file.model.sha256
    except (ModelError, Broken):
        return [f"its file {file.model.path} is gone"]
    return [] if same else [f"its file {file.model.path} has another sha256"]


def bytes_sha256(data: bytes) -> str:
    """The sha256 of a model's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def variant_settings(variant: Variant, chunk_rows: int) -> VariantSettings:
    """A variant as the file says it."""
    return VariantSettings(**dataclasses.asdict(variant), chunk_rows=chunk_rows)
