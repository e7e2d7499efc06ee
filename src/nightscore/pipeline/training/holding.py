"""SQL and model held to what training expects: before a day is planned, at `check`, at a promotion.

The verdict is kept on this machine by the hash of all that it depends on, so that it is asked once.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa

from nightscore.common import NightscoreError, first_line, value_text
from nightscore.job import Expected, Job
from nightscore.pipeline import binding
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.open_model import OpenModel
from nightscore.pipeline.score.row_distance import Numbers, column_distances, row_distances
from nightscore.pipeline.training.cases import Case, read_case
from nightscore.pipeline.training.features import features_apart
from nightscore.pipeline.training.files import ExpectedFiles, read_expected_files
from nightscore.pipeline.training.little import is_all_missing, little_held
from nightscore.pipeline.training.trials import Disagreement, Score, find_cause
from nightscore.scorers import MissingValueError, Scorer, plain_variant_of, read_hardware
from nightscore.store import HeldToTraining, Plan, choices, json_digest, library_versions

FORM = 2  # of the question: a verdict of another is none
CHUNK = 16_384
SHOWN = 3  # rows in a message
NOTHING = "no change that was tried makes the scores right (an order, a unit, a missing-value code, a type)"


def hold_to_training(
    job: Job, opened: OpenModel, files: ExpectedFiles | None = None, *, kept: bool = False
) -> HeldToTraining | None:
    """Hold a job's SQL and an opened model to the files of `model.expected`; None where there are none.

    `files` are those that were read already. `kept`: a verdict that is kept here is taken.

    Raises:
        Broken: a file is not what it has to be, or has no score; or SQL and model do not give what training
            expects: names the rows, how far they are, and the likely cause.
    """
    files, expected = files or read_expected_files(job, opened), job.spec.model.expected
    if files is None or expected is None:
        return None
    cause = files.cause
    versions = {**library_versions(job.spec.model.kind), **opened.libraries}
    path = _verdict_path(job, opened.sha256, [versions, opened.code], opened.device, cause)
    if kept and (verdict := _read_verdict(path, cause)):
        return verdict
    case = read_case(job, expected, files, opened.scorer.signature)
    if is_all_missing(case.scores):
        files.refuse("scores", "has no score: each is null or NaN; give what the training library gives")
    features_apart(job, case, expected.tolerance, files)
    far = _held(job, expected, files, case, opened.scorer)
    little = little_held(case.scores, expected.tolerance)
    return dataclasses.replace(cause, rows=len(far), difference=float(far.max(initial=0.0)), little=little)


def keep_verdict(job: Job, plan: Plan) -> None:
    """Keep that a plan's SQL and model give what training expects, for the next nights on this machine."""
    held = plan.training
    if held is None or not held.rows:
        return
    path = _verdict_path(job, plan.model_sha256, [plan.versions, plan.code], plan.device, held)
    if not path.exists():
        kept = {"rows": held.rows, "difference": held.difference, "little": held.little}
        choices.record(path, json.dumps(kept))


def _read_verdict(path: Path, cause: HeldToTraining) -> HeldToTraining | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return dataclasses.replace(
            cause, rows=int(kept["rows"]), difference=float(kept["difference"]), little=str(kept["little"])
        )
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or none that can be read
        return None


def _verdict_path(
    job: Job, model_sha256: str, code: Sequence[Mapping[str, str] | str], device: str, held: HeldToTraining
) -> Path:
    """The file of a verdict, named by a hash of all that it depends on; `code` are libraries and our own."""
    model, scoring = job.spec.model, job.spec.scoring
    made = (
        [binding.features_select(job), job.macros, job.params()]
        if model.expected and model.expected.inputs
        else []
    )
    causes = [
        FORM, held.sha256, model.expected.tolerance if model.expected else 0,
        [model.kind, str(plain_variant_of(model.kind, device)), dict(model.outputs), model.columns],
        [dict(scoring.features_null), job.spec.policy.value_lost, job.spec.key, made],
        dataclasses.asdict(read_hardware()), code,
    ]  # fmt: skip
    name = f"{model_sha256[:12]}-{json_digest(model_sha256, causes)[:12]}.training"
    return job.workspace.choices / name


def _held(job: Job, expected: Expected, files: ExpectedFiles, case: Case, scorer: Scorer) -> Numbers:
    """How far each row is from what is expected [rows]. Broken where one is too far."""

    def score(rows: pa.RecordBatch) -> pa.RecordBatch:
        chunks = [rows[at : at + CHUNK] for at in range(0, rows.num_rows, CHUNK)]
        return pa.concat_batches([scorer.score(filled(job, c, scorer.signature.inputs)) for c in chunks])

    try:
        actual = score(case.rows)
    except (NightscoreError, MemoryError):
        raise
    except Exception as error:  # of other people's scorers
        _refuse_unscored(job, case, score, error)
    far = row_distances(actual, case.scores)
    limit = expected.tolerance
    if (far > limit).any():
        inputs = scorer.signature.inputs
        _refuse(job, files, case, Disagreement(score, case.rows, inputs, actual, case.scores, far, limit))
    return far


def _refuse(job: Job, files: ExpectedFiles, case: Case, one: Disagreement) -> NoReturn:
    """Raise `Broken`, which names what differs, the rows that differ most, and the likely cause."""
    cause = find_cause(one)
    job.raise_broken(
        ("model", "expected"), f"{files.shown('scores')}: {int(one.wrong.sum()):,} of {len(one.far):,} rows "
        f"are not scored as training expects: {_columns(one)}; furthest {_rows(one, case.names)}. "
        f"{f'Likely cause: {cause}' if cause else f'Cause: {NOTHING}'}; nothing is published"
    )  # fmt: skip


def _refuse_unscored(job: Job, case: Case, score: Score, error: Exception) -> NoReturn:
    """Raise `Broken`, which names the first row that can't be scored."""
    at, reason = "the rows together", error
    for i, name in enumerate(case.names):
        try:
            score(case.rows[i : i + 1])
        except Exception as one:  # of other people's scorers
            at, reason = name, one
            break
    missing = "; scoring.features_null says what stands for a missing value"
    job.raise_broken(
        ("model", "expected"), f"{at} can't be scored, and training expects a score: {first_line(reason)}"
        f"{missing if isinstance(reason, MissingValueError) else ''}; nothing is published"
    )  # fmt: skip


def _columns(one: Disagreement) -> str:
    """Which outputs differ, in how many rows, by how much; those that differ most first."""
    told = []
    for name in one.expected.schema.names:
        apart = column_distances(one.actual.column(name), one.expected.column(name))
        if rows := int((apart > one.tolerance).sum()):
            finite = np.isfinite(apart.max())
            by = f"by up to {apart.max():.2g} (allowed {one.tolerance:g})" if finite else "in value"
            told.append((rows, f"{name} differs in {rows:,}, {by}"))
    return ", ".join(text for _, text in sorted(told, reverse=True))


def _rows(one: Disagreement, names: Sequence[str]) -> str:
    """The rows that are furthest away, with what they got and should have got."""
    told = []
    for i in map(int, np.argsort(-one.far, kind="stable")[:SHOWN]):
        actual, expected = one.actual[i : i + 1], one.expected[i : i + 1]
        apart = {n: float(column_distances(actual[n], expected[n])[0]) for n in expected.schema.names}
        name = max(apart, key=apart.__getitem__)
        got, wanted = (_short(batch[name][0].as_py()) for batch in (actual, expected))
        told.append(f"{names[i]} ({name} {got}, expected {wanted})")
    return ", ".join(told)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value_text(value)
