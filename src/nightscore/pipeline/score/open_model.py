"""The model of a job, opened from its hashed bytes by one of its variants."""

import functools
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nightscore.common import Broken, NotYet, Workspace
from nightscore.job import MLFLOW, Job
from nightscore.pipeline.score.mlflow_registry import fetch_model
from nightscore.pipeline.score.time_limit import opened_in_time, timed
from nightscore.scorers import (
    NO_MODEL,
    OF_MODEL,
    ChunkError,
    ContractError,
    ModelChangedError,
    ModelError,
    ModelFile,
    Options,
    Scorer,
    ScorerFile,
    ScorerFileError,
    Variant,
    hash_entry,
    hash_package_of_kind,
    is_scorer_file,
    open_scorer,
    plain_variant_of,
    read_model,
    read_model_folder,
    read_python_model,
    read_scorer_file,
    variants_of_kind,
)
from nightscore.store import Plan, fetched, fetched_folder

Opening = Callable[[Job, str, str, Variant, str], Scorer]  # as `open_cached_scorer`


@dataclass(frozen=True)
class OpenModel:
    """A model (its name and hash), the device that was asked for, and the scorer that others are held to.

    `code` is the sha256 of the workspace's file, or of the installed package, that brings the kind of scorer;
    empty for ours. Where a registry named the model, `uri` and `version` are its own.
    """

    name: str
    sha256: str
    device: str
    code: str
    scorer: Scorer
    uri: str = ""
    version: str = ""

    @property
    def libraries(self) -> Mapping[str, str]:
        """Package -> version of what computes this model, where its kind alone does not say it."""
        return _libraries(self.scorer)


def open_job_model(
    job: Job,
    override: str | None = None,
    device: str | None = None,
    pinned: bool = True,
    opening: Opening | None = None,
) -> OpenModel:
    """The job's model on its device, or another file of the workspace, or another device, in their place.

    `opening` opens it; default: `open_cached_scorer`.

    Raises:
        Broken: the file is missing or no model, does not fit the job's columns and outputs, its
            sha256 is not the pinned one, or the device is not there; or a registry has no such model.
        NotYet: the registry that has the model can't be reached.
    """
    device_name = device or job.spec.scoring.device
    if job.spec.model.is_none:
        _refuse_options_of_a_model(job, override, device)
    try:
        named = fetch_model(job.workspace, override or job.spec.model.name, job.spec.model.kind)
        file = ModelSource.of(job, named.path).read()
        pin = job.spec.model.sha256
        if pinned and pin and pin != file.sha256:
            raise ModelError(
                f"{file.name} has sha256 {file.sha256}, but the job pins {pin}; change the pin, or look "
                "at another model without publishing with --limit"
            )
        variant = plain_variant_of(job.spec.model.kind, device_name)
        code = code_of_kind(job)
        scorer = (opening or open_cached_scorer)(job, file.name, file.sha256, variant, code)
    except ScorerFileError as error:
        job.raise_broken(("model", "kind"), str(error))
    except (ModelError, Broken) as error:
        if override:
            raise Broken(f"model {override}: {error}") from error
        job.raise_broken(_to_blame(job, error), f"{error}{_how_to_make(job)}")
    return OpenModel(file.name, file.sha256, device_name, code, scorer, named.uri, named.version)


def _refuse_options_of_a_model(job: Job, override: str | None, device: str | None) -> None:
    """Raise `Broken` where another model or a device is asked for, of a job that has no model."""
    if override not in (None, job.spec.model.name) or device not in (None, job.spec.scoring.device):
        job.raise_broken(
            ("model",), "is none: the job has no model, so none can stand in its place, and no device scores "
            "it; leave both options out"
        )  # fmt: skip


def _to_blame(job: Job, error: Exception) -> tuple[str, str]:
    """Where in job.yaml the mistake stands: at what was asked for, if it is there, else at the model."""
    option = "sha256" if "pins" in str(error) else getattr(error, "option", "")
    if option == "device":
        return ("scoring", "device")
    written = job.spec.model.model_fields_set
    return ("model", option if option in written else job.spec.model.place)


def _how_to_make(job: Job) -> str:
    """What to run where the model file is not there, if the job says it."""
    model = job.spec.model
    file = model.file if model.made_by else None
    missing = (
        file
        and not file.startswith("models:")
        and not fetched(job.workspace, job.workspace.resolve(file)).exists()
    )
    return f"; to make it: {model.made_by}" if missing else ""


def score_nothing(job: Job, opened: OpenModel) -> None:
    """Hold a workspace's scorer to its contract on a chunk without rows, and check the variants it offers.

    Raises:
        Broken: names the line of job.yaml, and that of the scorer's file where the mistake is there.
    """
    variants_of(job, opened.device)
    if not is_scorer_file(job.spec.model.kind):
        return
    nothing = pa.RecordBatch.from_pylist([], opened.scorer.signature.inputs)
    try:
        opened.scorer.score(nothing)
    except (ChunkError, ContractError) as error:
        job.raise_broken(("model", "kind"), f"of a chunk without rows: {error}")


def code_of_kind(job: Job) -> str:
    """The sha256 of the code that scores the job's model: a workspace's file, a package; empty for ours.

    Of a function that is the model itself it is the model's own, and this is empty.
    """
    if entry := ModelSource.of(job, job.spec.model.name).entry:
        return hash_entry(entry)
    file = scorer_file(job)
    return file.sha256 if file else hash_package_of_kind(plain_variant_of(job.spec.model.kind, "cpu").kind)


def scorer_file(job: Job) -> ScorerFile | None:
    """The workspace's file that is the job's kind of scorer, as it is now; None where the kind is a name.

    Raises:
        ScorerFileError: it can't be read, or lies outside the workspace.
    """
    return ModelSource.of(job, job.spec.model.name).scorer()


def variants_of(job: Job, device: str) -> list[Variant]:
    """The ways to compute the job's model on a device (or `auto`); the others are held to the first.

    Raises:
        Broken: what the kind offers is no variant of it, or it can't be loaded any more.
    """
    try:
        return variants_of_kind(job.spec.model.kind, device, scorer_file(job))
    except ModelError as error:
        job.raise_broken(("model", "kind"), str(error))


def open_planned_scorer(job: Job, plan: Plan) -> Scorer:
    """The scorer of a plan, from the very bytes that it was made for, by the variant that it chose.

    Of a plan with a bake-off's variant those bytes are the variant's own.

    Raises:
        NotYet: the model, or the workspace's file that scores it, has changed since; the day has to be
            planned again.
        Broken: the variant, chosen on another machine, can't be run on this one.
    """
    path, sha256 = plan.model_path, plan.model_sha256
    if plan.tuned:
        path, sha256 = plan.tuned.path, plan.tuned.sha256
    try:
        scorer = open_cached_scorer(job, path, sha256, plan.variant, plan.code)
    except ModelChangedError as error:
        raise NotYet(str(error)) from error
    except ModelError as error:
        raise Broken(
            f"job {job.name}, day {plan.day}: this worker can't score as planned ({plan.variant}): {error}"
        ) from error
    _refuse_other_libraries(job, plan, _libraries(scorer))
    return scorer


def _libraries(scorer: Scorer) -> Mapping[str, str]:
    found: Mapping[str, str] = getattr(scorer, "libraries", {})
    return found


def _refuse_other_libraries(job: Job, plan: Plan, here: Mapping[str, str]) -> None:
    """Hold the libraries of a model's own process to those of the plan; this process's are held elsewhere."""
    for name, found in here.items():
        if name.startswith(OF_MODEL) and plan.versions.get(name) != found:
            raise NotYet(
                f"job {job.name}, day {plan.day}: planned with {name.removeprefix(OF_MODEL)} "
                f"{plan.versions.get(name, 'of no version')}, and model.python has {found} here; plan again "
                "here (run the day again), or install the same versions wherever it is run"
            )


def reference_scorer(job: Job, plan: Plan) -> Scorer:
    """The plain scorer of a plan's own model, to which its variants and what a bake-off took are held.

    Raises:
        ModelChangedError, ModelError: as `open_cached_scorer`.
    """
    variant = plain_variant_of(job.spec.model.kind, plan.device)
    return open_cached_scorer(job, plan.model_path, plan.model_sha256, variant, plan.code)


def open_cached_scorer(job: Job, name: str, sha256: str, variant: Variant, code: str = "") -> Scorer:
    """A model by a variant, kept open for the pieces that come after; its calls end after `limits.time`.

    `code` is the sha256 that a workspace's scorer was planned with; empty: whatever it is now.

    Raises:
        ModelChangedError: it, or the scorer, has another hash now.
        ModelError: it can't be opened so, or not within `limits.load`.
    """
    asked = _opening(job, name, sha256, variant, code)

    def once() -> Scorer:
        with _LOCKS.setdefault(asked, threading.Lock()):  # of threads that begin together, one opens it
            return _scorer(*asked)

    return timed(job, opened_in_time(job, name, once))


def open_fresh_scorer(job: Job, name: str, sha256: str, variant: Variant, code: str = "") -> Scorer:
    """The same, opened once more and not kept: it has seen no row. Errors as `open_cached_scorer`'s."""
    asked = _opening(job, name, sha256, variant, code)
    return timed(job, opened_in_time(job, name, lambda: _scorer.__wrapped__(*asked)))


def _opening(
    job: Job, name: str, sha256: str, variant: Variant, code: str
) -> tuple["ModelSource", str, "OutputNames", Variant, str]:
    """What a model is opened with."""
    model, file = job.spec.model, scorer_file(job)
    source = ModelSource.of(job, name)
    now = file.sha256 if file else source.entry and hash_entry(source.entry)
    planned_code = now and (code or now)
    columns = tuple(model.columns) if model.columns else None
    named = OutputNames(
        tuple(model.outputs.items()), columns, model.columns_override, model.max_length_override,
        model.python or "", model.trusted,
        json.dumps(model.settings, sort_keys=True), job.spec.limits.load_seconds,
    )  # fmt: skip
    return source, sha256, named, variant, planned_code


@dataclass(frozen=True)
class ModelSource:
    """Where a model of a kind comes from: a file of a workspace, or a function of an installed package.

    Where a workspace's scorer holds its formula, `name` is its kind, and the model is the scorer's own file.
    `entry` is the function that scores a model file, of kind python.
    """

    workspace: Workspace
    kind: str
    name: str
    entry: str = ""

    @classmethod
    def of(cls, job: Job, name: str) -> "ModelSource":
        """That of a job's model, or of another one of its kind."""
        model = job.spec.model
        entry = model.entry if model.file is not None else None
        return cls(job.workspace, model.kind, name, entry or "")

    def read(self) -> ModelFile:
        """The model as it is now."""
        if self.kind == "python" and not self.entry:
            return read_python_model(self.name)
        if self.kind == NO_MODEL.name:
            return NO_MODEL
        if self.kind == MLFLOW:
            return self._read_folder()
        path = fetched(self.workspace, self.workspace.resolve(self.name))
        return read_model(path, self.workspace.relative(path), functools.partial(fetched, self.workspace))

    def _read_folder(self) -> ModelFile:
        folder = self.workspace.resolve(self.name)
        return read_model_folder(
            folder, self.workspace.relative(folder), fetched_folder(self.workspace, folder)
        )

    def refuse_changed(self, code: str) -> ScorerFile | None:
        """The workspace's file that the kind is, if it is one.

        Raises:
            ModelChangedError: the code that scores has another hash than `code`.
        """
        scorer = self.scorer()
        if scorer and scorer.sha256 != code:
            raise ModelChangedError(_changed(scorer, code))
        if self.entry and (now := hash_entry(self.entry)) != code:
            raise ModelChangedError(
                f"{self.entry}: its package has changed (sha256 {now}, planned {code}); run the day again"
            )
        return scorer

    def scorer(self) -> ScorerFile | None:
        """The workspace's file that the kind is, as it is now; None where the kind is a name."""
        if not is_scorer_file(self.kind):
            return None
        try:
            return read_scorer_file(self.workspace.resolve(self.kind), self.kind)
        except Broken as error:
            raise ScorerFileError(str(error)) from error


@dataclass(frozen=True)
class OutputNames:
    """The names of a model's outputs and of its matrix's columns, and how else job.yaml has it opened.

    `settings` are those of `Options` as JSON.
    """

    outputs: tuple[tuple[str, str], ...]
    columns: tuple[str, ...] | None
    columns_override: bool = False
    max_length_override: bool = False
    python: str = ""
    trusted: str = ""
    settings: str = "{}"
    load_seconds: float | None = None


def close_models() -> None:
    """Close the models that are kept open, and free what their devices hold for them."""
    _scorer.cache_clear()
    _LOCKS.clear()


_LOCKS: dict[tuple[Any, ...], threading.Lock] = {}


@functools.lru_cache(maxsize=8)
def _scorer(source: ModelSource, sha256: str, named: OutputNames, variant: Variant, code: str) -> Scorer:
    # Cached by hash: all pieces of a day share one session, and a model or a scorer that is swapped on disk
    # in the middle of a run changes nothing.
    scorer = source.refuse_changed(code)
    file = source.read()
    if file.sha256 != sha256:
        raise ModelChangedError(_changed(file, sha256))
    options = Options(
        dict(named.outputs), named.columns, variant.device, variant.threads,
        named.columns_override, named.max_length_override, source.entry, named.python, named.trusted,
        json.loads(named.settings), named.load_seconds,
    )  # fmt: skip
    # There is no model file besides the scorer's own.
    is_formula = scorer is not None and source.name == source.kind
    return open_scorer(variant.kind, None if is_formula else file, options, scorer)


def _changed(file: ModelFile | ScorerFile, planned: str) -> str:
    return f"{file.name}: has changed (sha256 {file.sha256}, planned {planned}); run the day again"
