"""A day cut in pieces: ranges of rows, each staged as one file."""

import dataclasses
from collections.abc import Sequence

from nightscore.store.documents.plan import InputFile, Piece, RowRange, json_digest

PIECES = 8  # a day is cut in about this many, as far as a piece stays within these sizes
SMALLEST_PIECE, LARGEST_PIECE = 32_768, 1_000_000  # rows
SMALLEST_PIECE_OF_TEXTS = 1024  # a row of which takes some thousand times as long
LARGEST_PIECE_BYTES = (
    256_000_000  # of the files: what a machine fetches before it scores, and loses with a piece
)


def cut_pieces(
    files: Sequence[InputFile], maker: str, limit: int | None = None,
    smallest: int = SMALLEST_PIECE, rows: int | None = None,
) -> tuple[Piece, ...]:  # fmt: skip
    """The pieces of some files: whole row groups together, up to the size of a piece.

    The size follows from the files alone, not from the machine, so that every machine cuts the same.
    `maker` is what the names of the staged files start from. `limit` keeps the first rows. A piece has about
    `rows` rows, where the job says so; else `smallest` or more.
    """
    total = min(sum(f.rows for f in files), limit if limit is not None else 1 << 62)
    target = rows or _usual_rows(files, total, smallest)
    pieces: list[tuple[RowRange, ...]] = []
    ranges: list[RowRange] = []
    for portion in _portions(files, target, total):
        ranges.append(portion)
        if sum(r.stop - r.start for r in ranges) >= target:
            pieces.append(_joined(ranges))
            ranges = []
    if ranges:
        pieces.append(_joined(ranges))
    if not pieces and files:
        pieces.append((RowRange(files[0].path, 0, 0),))  # an empty day still becomes one file
    return tuple(
        Piece(i, ranges_, json_digest(maker, [dataclasses.astuple(r) for r in ranges_])[:32])
        for i, ranges_ in enumerate(pieces)
    )


def _usual_rows(files: Sequence[InputFile], total: int, smallest: int) -> int:
    """The rows of a piece of which a job says nothing."""
    width = max(1, sum(f.bytes for f in files)) / max(1, sum(f.rows for f in files))
    fitting = max(smallest, int(LARGEST_PIECE_BYTES / width))
    return min(max(total // PIECES, smallest), fitting, LARGEST_PIECE)


def _portions(files: Sequence[InputFile], target: int, left: int) -> list[RowRange]:
    """The row groups in order, those larger than a piece divided, up to `left` rows in all."""
    portions: list[RowRange] = []
    for file in files:
        start = 0
        for group in file.groups:
            end = start + group
            step = group if group <= 2 * target else target  # a small overhang is no piece of its own
            while start < end and left:
                stop = min(start + step, end, start + left)
                portions.append(RowRange(file.path, start, stop))
                left -= stop - start
                start = stop
            start = end
    return portions


def _joined(ranges: Sequence[RowRange]) -> tuple[RowRange, ...]:
    """The same rows with neighbouring ranges of one file made one."""
    joined: list[RowRange] = []
    for rows in ranges:
        if joined and joined[-1].path == rows.path and joined[-1].stop == rows.start:
            joined[-1] = RowRange(rows.path, joined[-1].start, rows.stop)
        else:
            joined.append(rows)
    return tuple(joined)
