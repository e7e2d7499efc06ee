"""A model that other machines score, opened on this one: for names and types, and for a few rows of a proof.

The machine that plans and publishes need not have the device that its cluster has. No piece is scored so: a
device that is named is never replaced where rows are scored.
"""

import contextlib

from nightscore.common import Broken, NotYet
from nightscore.job import Job
from nightscore.pipeline.score.open_model import open_cached_scorer
from nightscore.scorers import ModelChangedError, ModelError, Scorer, Variant
from nightscore.store import Plan


def open_or_on_cpu(job: Job, name: str, sha256: str, variant: Variant, code: str = "") -> Scorer:
    """A model by a variant, or on the CPU where this machine can't open it so.

    Raises:
        ModelChangedError: as `open_cached_scorer`.
        ModelError: it can't be opened on the CPU either.
    """
    try:
        return open_cached_scorer(job, name, sha256, variant, code)
    except ModelChangedError:
        raise
    except ModelError:
        return open_cached_scorer(job, name, sha256, on_cpu(variant), code)


def open_to_publish(job: Job, plan: Plan, variant: Variant) -> tuple[Scorer, Variant]:
    """What scored a plan, opened by a variant where it is published, and by which one it is.

    Of a plan with a bake-off's variant it is that one's file.

    Raises:
        NotYet: the model, or the workspace's file that scores it, has changed since.
        Broken: it can't be opened here, on the CPU either.
    """
    path, sha256 = plan.model_path, plan.model_sha256
    if plan.tuned:
        path, sha256 = plan.tuned.path, plan.tuned.sha256
    try:
        with contextlib.suppress(ModelError):
            return open_cached_scorer(job, path, sha256, variant, plan.code), variant
        return open_cached_scorer(job, path, sha256, on_cpu(variant), plan.code), on_cpu(variant)
    except ModelChangedError as error:
        raise NotYet(str(error)) from error
    except ModelError as error:
        raise Broken(
            f"job {job.name}, day {plan.day}: this machine can't open what scored the day ({variant}), on "
            f"its CPU either: {error}"
        ) from error


def on_cpu(variant: Variant) -> Variant:
    """The same kind of scorer on one thread of the CPU."""
    return Variant(variant.kind)
