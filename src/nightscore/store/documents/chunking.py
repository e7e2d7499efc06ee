"""How many rows at once: the rows and the bytes of a chunk, and who may lower them.

A chunk has as many rows as the job says, else as many of the day's files as CHUNK_BYTES hold, up to the
scorers' own batch (`rows_per_chunk`); a quarter of them where that measures faster (`fewer_rows`);
and while it is read at most the bytes that the memory leaves (`chunk_bytes`), by the rows before it
(`rows_after`).
"""

from collections.abc import Sequence
from typing import Literal

from nightscore.scorers import SCORER_BATCH_ROWS
from nightscore.store.documents.plan import InputFile

CHUNK_ROWS, CHUNK_BYTES = SCORER_BATCH_ROWS, 16 << 20  # the most of a chunk, whichever is reached first
DIVISOR = 4  # of the smaller size that is tried
COPIES = 4  # of a chunk, at once: as read, without its nulls, as a matrix, with its outputs


def rows_per_chunk(setting: int | Literal["auto"], row_bytes: float) -> int:
    """Rows per chunk: what the job says, else as many as 16 MiB hold, at most 16,384."""
    if setting != "auto":
        return setting
    return max(1, min(CHUNK_ROWS, int(CHUNK_BYTES / max(row_bytes, 1))))


def bytes_per_row(source: Sequence[InputFile]) -> float:
    """Bytes of a row in its files."""
    return sum(f.bytes for f in source) / max(sum(f.rows for f in source), 1)


def fewer_rows(setting: int | Literal["auto"], rows: int) -> int:
    """Rows of a smaller chunk that may be faster, as it stays in a cache; 0 where the job names the size."""
    return rows // DIVISOR if setting == "auto" else 0


def chunk_bytes(arrow: int) -> int:
    """The most bytes of a chunk where Arrow may use `arrow` bytes for a piece."""
    return min(CHUNK_BYTES, arrow // COPIES)


def rows_within(size: int, rows: int, held: int, most: int) -> int:
    """Rows that `size` bytes hold, where `rows` rows hold `held`: at most `most`, at least one."""
    fit = size * rows // held if held else most
    return max(1, min(most, fit))


def rows_after(rows: int, read: tuple[int, int], most: int, size: int) -> int:
    """Rows to read next, after `rows` were asked for and `read` (rows, bytes) came.

    As many as `size` bytes hold if the next are like these; at most four times as many as before, because
    they may not be; at most `most`; at least one.
    """
    return rows_within(size, *read, min(most, 4 * rows))
