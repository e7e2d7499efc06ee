"""Autotuning: which variant scores a day, measured on its first rows, on this machine.

A variant is taken if its scores on those rows are within the job's tolerance of the plain variant's and it
is at least a tenth faster, with every core busy, because that is how a night runs. Where the plain variant
scores the day in the time that trials would take, nothing is tried.

The choice is kept for the next nights, by the model's hash and everything about the machine that can matter:
once there was the time to try every variant.
"""

import contextlib
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from nightscore.common import TimeOver, call_in_time, first_line
from nightscore.job import Job
from nightscore.pipeline.score.deviation import max_relative
from nightscore.pipeline.score.neighbours import find_sway, largest_sway
from nightscore.pipeline.score.open_model import (
    close_models,
    open_cached_scorer,
    reference_scorer,
    variants_of,
)
from nightscore.pipeline.score.sample import read_first_rows
from nightscore.scorers import (
    ChunkError,
    ContractError,
    ModelError,
    Scorer,
    Variant,
    plain_variant_of,
    read_hardware,
    stop_calls,
)
from nightscore.store import (
    CHUNK_ROWS,
    InputFile,
    Plan,
    TriedVariant,
    bytes_per_row,
    choices,
    fewer_rows,
    job_memory_budget,
    json_digest,
    rows_per_chunk,
)

FIRST_ROWS = 512
SHOWING = 64  # rows that show whether a variant looks at the rows beside
SECONDS = 2.0  # for all trials, or SHARE of the day's scoring time if that is longer
SHARE = 0.02
WORTH_IT = 2.0  # seconds that the plain variant takes for the day, at least: below, nothing is tried
EACH = 0.1  # seconds that a variant is measured
UNTRIED = "not tried: the time for trying was over"
FASTER = 1.1  # times as fast as the plain variant, at least, to be worth scores that differ in bits


@dataclass(frozen=True)
class Choice:
    """The variant, the rows of a chunk, why, and the results of the variants that were tried."""

    variant: Variant
    chunk_rows: int
    why: str
    tried: tuple[TriedVariant, ...] = ()


def autotune_variant(job: Job, plan: Plan, source: Sequence[InputFile]) -> Choice:
    """The variant that scores a plan's rows. What fails when it is tried is a reason not to take it."""
    rows = min(sum(f.rows for f in source), plan.limit or sys.maxsize)
    size = rows_per_chunk(job.spec.scoring.chunk_rows, bytes_per_row(source))
    variants = variants_of(job, plan.device)
    if len(variants) == 1:
        return Choice(variants[0], size, "the only one that the job allows")
    kept = _file(job, plan, variants)
    if (choice := _read(kept)) is not None:
        return dataclasses.replace(choice, chunk_rows=min(choice.chunk_rows, size))
    try:
        trial = _Trial(job, plan, _sample(job, plan, source, size), rows)
    except (ChunkError, ContractError, OSError):  # scoring says so, with the day and what becomes of it
        return Choice(variants[0], size, "the first rows can't be scored")
    if not trial.worth_it:
        return Choice(variants[0], size, f"{rows:,} rows are too few to try others on")
    choice = trial.best(variants, kept, size)
    close_models()
    if UNTRIED not in {result.refused for result in choice.tried}:  # else another night may have the time
        choices.record(kept, json.dumps(dataclasses.asdict(choice), indent=1))
    return choice


def chosen(plan: Plan, choice: Choice) -> Plan:
    """The plan with the variant that scores it."""
    return dataclasses.replace(
        plan, variant=choice.variant, chunk_rows=choice.chunk_rows, why=choice.why, tried=choice.tried
    )


class _Trial:
    """The variants of one day, tried on the same rows."""

    def __init__(self, job: Job, plan: Plan, sample: list[pa.RecordBatch], rows: int) -> None:
        self.job, self.plan = job, plan
        self.plain = plain_variant_of(job.spec.model.kind, plan.device)
        self.cores, self.at_once = read_hardware().cores, job_memory_budget(job).at_once
        scorer = reference_scorer(job, plan)
        first = [chunk.slice(0, FIRST_ROWS) for chunk in sample[:1]]
        warm = sum(scorer.score(chunk).num_rows for chunk in first)
        started = time.perf_counter()
        for chunk in first:
            scorer.score(chunk)
        per_row = (time.perf_counter() - started) / max(warm, 1)
        day = per_row * rows / self.cores
        self.worth_it = day > WORTH_IT and bool(sample)
        self.until = started + max(SECONDS, SHARE * day)
        # One that is being tried, and has to be compiled first, is waited for as long as the plain variant
        # would take for the whole day: that is lost at the most, on however busy a machine.
        self.patience = started + max(SECONDS, day)
        # Fewer rows of a slow model, so that measuring it takes no longer.
        self.sample = [chunk.slice(0, max(FIRST_ROWS, int(EACH / per_row))) for chunk in sample[:1]]
        self.expected = [scorer.score(chunk) for chunk in self.sample] if self.worth_it else []

    def open(self, variant: Variant) -> Scorer:
        return open_cached_scorer(self.job, self.plan.model_path, self.plan.model_sha256, variant)

    def best(self, variants: Sequence[Variant], kept: Path, size: int) -> Choice:
        """The fastest variant within the tolerance, at the better of two sizes of chunk."""
        results = [self.tried(variant, kept) for variant in variants]
        # Measured twice, and the better speed counts: the load of the machine changes.
        results = [self.again(result, variant) for result, variant in zip(results, variants, strict=True)]
        base = results[0].rows_per_second
        right = [i for i, result in enumerate(results) if not result.refused]
        first = max(right, key=lambda i: results[i].rows_per_second, default=0)
        if results[first].rows_per_second < FASTER * base:
            first = 0
        times = results[first].rows_per_second / max(base, 1)
        why = (
            f"{times:.1f} times as fast as {variants[0]}"
            if first
            else "none of the others was a tenth faster"
        )
        return Choice(variants[first], self.size(variants[first], size, results[first]), why, tuple(results))

    def tried(self, variant: Variant, kept: Path) -> TriedVariant:
        """How fast a variant is, and how far its scores are from the plain one's; or why not to take it."""
        if time.perf_counter() > self.until:
            return TriedVariant(str(variant), refused=UNTRIED)
        try:
            with _marked(kept, variant):
                left = self.patience - time.perf_counter()
                far, swayed, speed = call_in_time(lambda: self.measured(variant), left, stop_calls)
        except TimeOver:
            return TriedVariant(str(variant), refused=UNTRIED)
        except Exception as error:  # of a device or its driver; it is recorded, and the run goes on
            return TriedVariant(str(variant), refused=first_line(error))
        limit = self.job.spec.scoring.tolerance
        refused = (
            f"its scores are {far:.2g} away; the job's tolerance is {limit:g}" if far > limit else swayed
        )
        return TriedVariant(str(variant), round(speed), far if np.isfinite(far) else -1.0, refused)

    def measured(self, variant: Variant) -> tuple[float, str, float]:
        """How far a variant's scores are off, whether a row sways another's, and rows per second."""
        scorer = self.open(variant)
        far = max(map(max_relative, map(scorer.score, self.sample), self.expected))
        swayed = self.swayed(scorer) if variant != self.plain else ""
        return far, swayed, self.speed(scorer, variant, self.sample)

    def swayed(self, scorer: Scorer) -> str:
        """Why a variant can't be taken that looks at more than the row; empty if it does not."""
        rows = self.sample[0].slice(0, SHOWING)
        sway = find_sway(scorer, rows, max(self.job.spec.scoring.tolerance, 2 * self.own_sway))
        return f"a row's score depends on the rows beside it: {sway}" if sway else ""

    @cached_property
    def own_sway(self) -> float:
        """How far the plain scorer's own rows move with their company: the same for every variant."""
        return largest_sway(reference_scorer(self.job, self.plan), self.sample[0].slice(0, SHOWING))

    def again(self, measured: TriedVariant, variant: Variant) -> TriedVariant:
        """The variant measured again, with the better of both speeds, if there is time."""
        if measured.refused or time.perf_counter() > self.until:
            return measured
        speed = round(self.speed(self.open(variant), variant, self.sample))
        return dataclasses.replace(measured, rows_per_second=max(measured.rows_per_second, speed))

    def size(self, variant: Variant, size: int, measured: TriedVariant) -> int:
        """The rows of a chunk: fewer where that is a tenth faster, if the job leaves it open."""
        smaller = fewer_rows(self.job.spec.scoring.chunk_rows, size)
        if not smaller or time.perf_counter() > self.until:
            return size
        sample = [
            chunk.slice(at, smaller) for chunk in self.sample for at in range(0, chunk.num_rows, smaller)
        ]
        speed = self.speed(self.open(variant), variant, sample)
        return smaller if speed > FASTER * measured.rows_per_second else size

    def speed(self, scorer: Scorer, variant: Variant, sample: Sequence[pa.RecordBatch]) -> float:
        """Rows per second of as many threads as the variant leaves room for."""
        stop = time.perf_counter() + EACH

        def work() -> int:
            rows = 0
            for chunk in itertools.cycle(sample):
                rows += scorer.score(chunk).num_rows
                if time.perf_counter() > stop:
                    break
            return rows

        started = time.perf_counter()
        workers = min(variant.at_once(self.cores), self.at_once)
        with ThreadPoolExecutor(workers) as pool:
            rows = sum(future.result() for future in [pool.submit(work) for _ in range(workers)])
        return rows / (time.perf_counter() - started)


def _sample(job: Job, plan: Plan, source: Sequence[InputFile], size: int) -> list[pa.RecordBatch]:
    """The day's first chunk."""
    chunk = read_first_rows(job, plan, source, min(size, CHUNK_ROWS))
    return [] if chunk is None else [chunk]


def _file(job: Job, plan: Plan, variants: Sequence[Variant]) -> Path:
    """The file of a choice, named by a hash of all that it depends on."""
    machine, model, scoring = read_hardware(), job.spec.model, job.spec.scoring
    settings = [model.kind, plan.device, scoring.tolerance, scoring.chunk_rows]
    columns = [dict(model.outputs), model.columns]
    causes = [
        settings,
        columns,
        dataclasses.asdict(machine),
        plan.versions,
        [str(variant) for variant in variants],
        *([plan.code] if plan.code else []),
    ]
    return job.workspace.choices / f"{plan.model_sha256[:12]}-{json_digest(causes)[:12]}.json"


def _read(path: Path) -> Choice | None:
    try:
        raw = json.loads(path.read_text())
        tried = tuple(TriedVariant(**result) for result in raw["tried"])
        return Choice(Variant(**raw["variant"]), int(raw["chunk_rows"]), raw["why"], tried)
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def _marked(kept: Path, variant: Variant) -> Iterator[None]:
    """A mark on disk while a device's driver is tried: a variant that ends the process is not tried again.

    Raises:
        ModelError: it ended the process the last time.
    """
    if variant.device == "cpu":
        yield
        return
    mark = kept.with_suffix(f".{variant.device}")
    if mark.exists():
        raise ModelError(f"the process ended when it was tried; remove {mark.name} to try it again")
    with choices.leave_mark(mark):
        yield
