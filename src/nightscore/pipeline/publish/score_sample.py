"""The score sample: some rows of each night, scored again one by one, and held to what was staged for them.

Keys, counts and sums say that each row is there. That a row has the score of *its* features, and not of the
row beside it, of another model or another day, they don't say. So some rows are read again from where their
features came from, scored alone by the reference, and looked up by their key in the staged files.

Where a share s of the rows is wrong, a sample of r rows that lie anywhere misses them with (1 - s)^r: of 128
rows, lying in fours, 32 places count. What concerns each chunk, a piece or the day is found on each night;
what concerns a tenth of the day's rows in one stretch, in 96 of 100; two rows among millions are not.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightscore.common import Broken, NotYet, first_line, key_text, value_text
from nightscore.pipeline.context import Day
from nightscore.pipeline.overdue import VARIANT, as_late
from nightscore.pipeline.read.inputs import scored_columns
from nightscore.pipeline.read.scan import scan_chunks
from nightscore.pipeline.score.elsewhere import open_to_publish
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.row_distance import column_distances, row_distances, unexplained
from nightscore.scorers import Scorer, plain_variant_of
from nightscore.store import (
    EngineResources,
    Piece,
    Plan,
    RowRange,
    ScoreSample,
    StagedFile,
    job_memory_budget,
    open_staged,
)

ROWS = 128  # of a day
FEWEST = 16
SHARE = 64  # one row in so many, of a small day
TOGETHER = 4  # rows that lie side by side: on both sides of an end of a chunk or a piece
AT_ONCE = 8192  # rows that are decoded at once, on the way to those that are sampled
EACH = 16  # places of a piece that come into question
DEEP = 65_536  # rows that may be read to reach those in the middle of a row group, or DAY of the day's rows
DAY = 20
Rows = npt.NDArray[np.int64]


def prove_sample(day: Day, pieces: Sequence[StagedFile]) -> ScoreSample | None:
    """Score some of the day's rows once more, alone, and hold the staged scores to that.

    None without rows, and of a job without a model. What stands for the model, a bake-off's variant, is held
    to itself; its canary holds it to the model.

    Raises:
        Broken: one is another than it was scored again, or is not there; nothing is published.
        NotYet: the model has changed since the plan was made, or can't be had now.
    """
    ranges = [] if day.job.spec.model.is_none else sampled_ranges(day)
    late = _late_pieces(day, pieces)
    parts = [(day, [part for part in ranges if not _is_among(part, late)])]
    parts.append(
        (dataclasses.replace(day, plan=as_late(day.plan)), [p for p in ranges if _is_among(p, late)])
    )
    samples = [_prove_some(of, pieces, own) for of, own in parts if own]
    if not samples:
        return None
    return ScoreSample(
        rows=sum(one.rows for one in samples), by=" and ".join(one.by for one in samples),
        difference=max(one.difference for one in samples),
    )  # fmt: skip


def _late_pieces(day: Day, files: Sequence[StagedFile]) -> list[Piece]:
    """The pieces that the variant of a late night has made."""
    names = {day.place(file.path).stem for file in files if file.made_by.startswith(VARIANT)}
    return [piece for piece in day.plan.pieces if piece.fingerprint in names]


def _prove_some(day: Day, pieces: Sequence[StagedFile], ranges: Sequence[RowRange]) -> ScoreSample:
    """The same of some rows, of pieces that one model made."""
    plan = day.plan
    scorer, by = _by(day)
    own = _of_ranges(day, pieces, ranges)
    with ThreadPoolExecutor(_readers(day)) as pool:
        sample = _read(day, scorer, ranges, pool)
        places, staged = _staged(day, own, sample, scorer.signature.outputs.names, pool)
    if len(places) < sample.num_rows and not day.job.spec.rejecting:
        raise Broken(
            f"{day}: {sample.num_rows - len(places)} of {sample.num_rows} rows are not staged by their keys"
        )
    if staged is None:
        return ScoreSample(rows=0, by=by)
    rows = sample.take(pa.array(places))
    expected = _alone(day, scorer, rows)
    far = row_distances(staged, expected)
    tolerance = day.job.spec.scoring.tolerance
    wrong = unexplained(far, tolerance, scorer, rows, expected)
    if wrong.any():
        row = int(np.argmax(np.where(wrong, far, -1.0)))
        raise Broken(
            f"{day}: of {len(far)} rows that were scored again one by one, by {by}, {int(wrong.sum())} are "
            f"staged with another score: {_shown(plan, rows, staged, expected, row)} "
            f"(scoring.tolerance is {tolerance:g}): those of other rows, of another model, or of a model "
            "that looks at the rows beside; nothing is published. `nightscore run --force` scores the day "
            "anew; where it stays so, name the way to score (scoring.device, model.kind) instead of auto"
        )
    return ScoreSample(rows=len(far), by=by, difference=float(far.max(initial=0.0)))


def _of_ranges(day: Day, files: Sequence[StagedFile], ranges: Sequence[RowRange]) -> list[StagedFile]:
    """The staged files of the pieces that some rows belong to."""
    names = {p.fingerprint for p in day.plan.pieces if any(_is_among(part, [p]) for part in ranges)}
    return [file for file in files if day.place(file.path).stem in names]


def _is_among(part: RowRange, pieces: Sequence[Piece]) -> bool:
    """Whether rows of a range are those of one of some pieces."""
    return any(
        own.path == part.path and own.start < part.stop and part.start < own.stop
        for piece in pieces
        for own in piece.ranges
    )


def sampled_ranges(day: Day) -> list[RowRange]:
    """Which rows of a plan are looked at again: the same for the same run, others for another.

    The first rows of each piece, then ends of chunks and of pieces as far as they are cheaply read: a row in
    the middle of a row group costs those before it.
    """
    plan = day.plan
    if plan.rows <= FEWEST:
        return [part for piece in plan.pieces for part in piece.ranges if part.stop > part.start]
    most = min(ROWS, max(FEWEST, plan.rows // SHARE), _within_a_chunk(day))
    chance = np.random.default_rng(int(plan.fingerprint[:16] or "0", 16))
    pieces = [piece for piece in plan.pieces if piece.rows]
    pieces = [pieces[i] for i in chance.permutation(len(pieces))]
    firsts = [
        RowRange(r.path, r.start, min(r.start + TOGETHER, r.stop)) for r in (p.ranges[0] for p in pieces)
    ]
    taken = firsts[: most // TOGETHER // 2]
    budget = max(DEEP, plan.rows // DAY)
    candidates = [part for piece in pieces for part in _places(piece, plan.chunk_rows, chance)]
    footers: dict[str, list[int]] = {}
    for i in chance.permutation(len(candidates)):
        part = candidates[i]
        if part.path not in footers:
            footers[part.path] = _group_starts(day, part.path)
        cost = part.stop - max(start for start in footers[part.path] if start <= part.start)
        if cost <= budget and len(taken) < most // TOGETHER:
            budget -= cost
            taken.append(part)
    return _apart(taken)


def _places(piece: Piece, chunk_rows: int, chance: np.random.Generator) -> Iterator[RowRange]:
    """The end of a piece, some ends of its chunks, and places anywhere in it."""
    last = piece.ranges[-1]
    yield RowRange(last.path, max(last.start, last.stop - TOGETHER), last.stop)
    first = piece.ranges[0]
    chunks = (first.stop - first.start) // max(chunk_rows, 1)
    ends = [first.start + (int(i) + 1) * chunk_rows for i in chance.permutation(chunks)[:EACH]]
    yield from (_around(first, end) for end in ends if end < first.stop)
    for i in chance.integers(len(piece.ranges), size=EACH):
        part = piece.ranges[i]
        yield _around(part, int(chance.integers(part.start, part.stop)))


def _around(part: RowRange, row: int) -> RowRange:
    """Rows on both sides of the place before a row."""
    return RowRange(part.path, max(part.start, row - TOGETHER // 2), min(row + TOGETHER // 2, part.stop))


def _group_starts(day: Day, path: str) -> list[int]:
    footer = pq.read_metadata(day.locate(path))
    sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    return [0, *np.cumsum(sizes).tolist()]


def _within_a_chunk(day: Day) -> int:
    """Rows that a chunk has the memory for, by the footer of the day's first file; at least TOGETHER."""
    footer = pq.read_metadata(day.locate(day.plan.pieces[0].ranges[0].path))
    size = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    room = job_memory_budget(day.job).piece.chunk
    return max(TOGETHER, room * int(footer.num_rows) // max(1, int(size)))


def _readers(day: Day) -> int:
    """Threads that read at once: one where rows are so large that few of them fill a chunk."""
    return job_memory_budget(day.job).at_once if _within_a_chunk(day) >= AT_ONCE else 1


def _apart(ranges: Sequence[RowRange]) -> list[RowRange]:
    """Ranges in order, without rows that stand in two of them."""
    apart: list[RowRange] = []
    for part in sorted(ranges, key=lambda r: (r.path, r.start)):
        before = apart[-1] if apart and apart[-1].path == part.path else None
        start = max(part.start, before.stop) if before else part.start
        if start < part.stop:
            apart.append(RowRange(part.path, start, part.stop))
    return apart


def _by(day: Day) -> tuple[Scorer, str]:
    """Who scores again: the reference, or a bake-off's variant; on the CPU, where no device is here."""
    plan = day.plan
    if plan.tuned:
        return open_to_publish(day.job, plan, plan.variant)[0], plan.tuned.name
    plain = plain_variant_of(day.job.spec.model.kind, plan.device)
    scorer, by = open_to_publish(day.job, plan, plain)
    return scorer, str(by)


def _read(day: Day, scorer: Scorer, ranges: Sequence[RowRange], pool: Executor) -> pa.RecordBatch:
    """The sampled rows: key and features. Those of one row group are read at once."""
    columns = list(dict.fromkeys([*day.job.spec.key, *scorer.signature.inputs.names]))
    parts = pool.map(lambda span: _taken(day, columns, *span), _spans(day, ranges))
    held = [batch for part in parts for batch in part]
    return filled(day.job, pa.concat_batches(held), scorer.signature.inputs)


def _taken(day: Day, columns: Sequence[str], span: RowRange, rows: Rows) -> list[pa.RecordBatch]:
    """Some rows of a range, which lie in it in their order."""
    room = job_memory_budget(day.job).piece
    chunks = scan_chunks(
        day.workspace, Piece(0, (span,), ""), columns, AT_ONCE, EngineResources(1, room.duckdb, day.temp),
        size=room.chunk, read=scored_columns(day.job, day.plan.inputs),
    )  # fmt: skip
    held, at = list[pa.RecordBatch](), span.start
    for chunk in chunks:
        own = rows[(rows >= at) & (rows < at + chunk.num_rows)] - at
        if len(own):
            held.append(chunk.take(pa.array(own)))
        at += chunk.num_rows
    return held


def _spans(day: Day, ranges: Sequence[RowRange]) -> Iterator[tuple[RowRange, Rows]]:
    """From the first sampled row of a row group to its last, with all of them, in order."""
    for path, parts in itertools.groupby(ranges, key=lambda part: part.path):
        rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        groups = np.searchsorted(_group_starts(day, path), rows, side="right")
        for group in np.unique(groups):
            own = rows[groups == group]
            yield RowRange(path, int(own[0]), int(own[-1]) + 1), own


def _staged(
    day: Day, pieces: Sequence[StagedFile], sample: pa.RecordBatch, outputs: Sequence[str], pool: Executor
) -> tuple[list[int], pa.RecordBatch | None]:
    """Which of the sampled rows are staged, by their keys, and their scores; the others were rejected."""
    parts = list(pool.map(lambda piece: _staged_in(day, piece, sample, outputs), pieces))
    held = [batch for _, batches in parts for batch in batches]
    return [place for places, _ in parts for place in places], pa.concat_batches(held) if held else None


def _staged_in(
    day: Day, piece: StagedFile, sample: pa.RecordBatch, outputs: Sequence[str]
) -> tuple[list[int], list[pa.RecordBatch]]:
    """The same of one staged file."""
    key, places, held = list(day.job.spec.key), list[int](), list[pa.RecordBatch]()
    with open_staged(day.locate(piece.path), piece.path) as file:
        types = [file.schema_arrow.field(name).type for name in key]
        wanted = [sample.column(name).cast(kind) for name, kind in zip(key, types, strict=True)]
        numbers = {row: i for i, row in enumerate(_rows(wanted))}
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=key, use_threads=False).combine_chunks()
            at = np.flatnonzero(_among([keys[name].combine_chunks() for name in key], wanted))
            found = _rows([keys[name].combine_chunks().take(pa.array(at)) for name in key])
            own = [
                (int(row), numbers[values])
                for row, values in zip(at, found, strict=True)
                if values in numbers
            ]
            if own:
                scores = file.read_row_group(group, columns=list(outputs), use_threads=False)
                places += [number for _, number in own]
                taken = scores.select(list(outputs)).take(pa.array([row for row, _ in own]))
                held += taken.combine_chunks().to_batches()
    return places, held


def _among(columns: Sequence[pa.Array], wanted: Sequence[pa.Array]) -> npt.NDArray[np.bool_]:
    """Rows each of whose values is one of the wanted ones in its column: few more than those looked for."""
    may = np.ones(len(columns[0]), np.bool_)
    for column, values in zip(columns, wanted, strict=True):
        with contextlib.suppress(pa.ArrowNotImplementedError):  # a kind of column that can't be looked up
            may &= np.asarray(pc.is_in(column, value_set=values).to_numpy(zero_copy_only=False))
    return may


def _rows(columns: Sequence[pa.Array]) -> list[tuple[Any, ...]]:
    """Rows as tuples that are found in a dict, a NaN too."""
    values = zip(*(column.to_pylist() for column in columns), strict=True)
    return [tuple("NaN" if value != value else value for value in row) for row in values]  # noqa: PLR0124


def _alone(day: Day, scorer: Scorer, rows: pa.RecordBatch) -> pa.RecordBatch:
    """What each row gets by itself."""
    try:
        return pa.concat_batches([scorer.score(rows[i : i + 1]) for i in range(rows.num_rows)])
    except (OSError, MemoryError) as error:
        raise NotYet(f"{day}: scored rows can't be scored again now: {error}") from error
    except Exception as error:  # other people's scorers; these rows were scored together
        text = first_line(error)
        raise Broken(
            f"{day}: rows that were scored together can't be scored alone: {text}; nothing is published"
        ) from error


def _shown(
    plan: Plan, rows: pa.RecordBatch, staged: pa.RecordBatch, expected: pa.RecordBatch, row: int
) -> str:
    names = expected.schema.names
    apart = [float(column_distances(staged.column(n), expected.column(n))[row]) for n in names]
    column = names[int(np.argmax(apart))]
    key = key_text(plan.key, [rows.column(c)[row].as_py() for c in plan.key])
    was, now = (value_text(batch.column(column)[row].as_py()) for batch in (staged, expected))
    return f"{key} has {column} {was}, and gets {now}"
