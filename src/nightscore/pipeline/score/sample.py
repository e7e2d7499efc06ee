"""Some of a day's rows, as they will be scored: to try variants on."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from nightscore.job import Job
from nightscore.pipeline.read.inputs import scored_columns
from nightscore.pipeline.read.scan import scan_chunks
from nightscore.pipeline.score.batches import needed_columns
from nightscore.pipeline.score.missing_values import filled
from nightscore.pipeline.score.open_model import reference_scorer
from nightscore.pipeline.score.row_checks import drop_faulty_rows
from nightscore.store import EngineResources, InputFile, Piece, Plan, RowRange, job_memory_budget, storage


def read_first_rows(job: Job, plan: Plan, source: Sequence[InputFile], rows: int) -> pa.RecordBatch | None:
    """At most `rows` of the day's first rows, in one chunk; None for a day without rows."""
    first = next((file for file in source if file.rows), None)
    return _read(job, plan, [RowRange(first.path, 0, min(rows, first.rows))], rows) if first else None


def read_spread_rows(
    job: Job, plan: Plan, source: Sequence[InputFile], rows: int, *,
    places: int = 4, columns: Sequence[str] = (),
) -> pa.RecordBatch | None:  # fmt: skip
    """About `rows` rows from `places` places of a day, first to last, in one chunk; None without rows.

    They have the columns that scoring reads, and `columns`.
    """
    each, parts = _spread(source, rows, places)
    if not parts:
        return None
    batches = [_read(job, plan, [part], each, columns=columns, share=places) for part in parts]
    # Where lost values are counted, integers are converted in the places without a null.
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    whole = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    return (whole.to_batches() or batches)[0]


def sampled_files(source: Sequence[InputFile], rows: Iterable[int]) -> set[str]:
    """The files, by path, that the first rows and some numbers of spread rows are read from."""
    first = [file.path for file in source if file.rows][:1]
    return {*first, *(part.path for most in rows for part in _spread(source, most)[1])}


def _spread(source: Sequence[InputFile], rows: int, places: int = 4) -> tuple[int, list[RowRange]]:
    """How many rows of each place, and where they lie; nothing without rows."""
    total = sum(file.rows for file in source)
    each = max(1, min(rows, total) // places)
    starts = sorted({round(at * (total - each) / max(places - 1, 1)) for at in range(places)})
    return each, [part for start in starts for part in _ranges(source, start, each)] if total else []


def _ranges(source: Sequence[InputFile], start: int, rows: int) -> Iterable[RowRange]:
    """The rows from `start` on, counted over all files."""
    for file in source:
        if rows and start < file.rows:
            stop = min(start + rows, file.rows)
            yield RowRange(file.path, start, stop)
            rows -= stop - start
            start = file.rows
        start -= file.rows


def _read(
    job: Job, plan: Plan, ranges: Sequence[RowRange], rows: int, *,
    columns: Sequence[str] = (), share: int = 1,
) -> pa.RecordBatch:  # fmt: skip
    """At most `rows` rows, within one part in `share` of what a chunk may take."""
    scorer = reference_scorer(job, plan)
    room = job_memory_budget(job).piece
    size = room.chunk // share
    resources = EngineResources(1, room.duckdb, storage.runs(job.workspace).scratch())
    named = list(dict.fromkeys([*needed_columns(job, scorer), *columns]))
    chunks = scan_chunks(
        job.workspace, Piece(0, tuple(ranges), ""), named, rows, resources, size=size,
        read=scored_columns(job, plan.inputs),
    )  # fmt: skip
    inputs = scorer.signature.inputs
    return filled(job, drop_faulty_rows(job, _chunk(chunks, rows, size), inputs), inputs)


def _chunk(chunks: Iterable[pa.RecordBatch], rows: int, size: int) -> pa.RecordBatch:
    """One whole chunk: the first ones of a piece with texts are small."""
    held: list[pa.RecordBatch] = []
    for chunk in chunks:
        held.append(chunk)
        if sum(part.num_rows for part in held) >= rows or sum(part.nbytes for part in held) >= size:
            break
    return pa.concat_batches(held)[:rows]
