"""What was staged, read back and held against the source: counts, keys, values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nightscore.store.engine import Engine, quoted
from nightscore.store.plan import Piece, RowRange

NO_ROWS = "0" * 32  # the key hash of none


class Proof(NamedTuple):
    """The rows that were to be scored, those that were, and those set aside, each with its key hash.

    `reasons` says why rows were set aside: (stage, code) -> rows.
    """

    read: int
    scored: int
    in_: str
    out: str
    rejected: int = 0
    aside: str = NO_ROWS
    reasons: Mapping[tuple[str, str], int] = {}


def hashed(source: str, key: Sequence[str]) -> str:
    """A SELECT of the rows of `source` and two sums of the 64-bit halves of their keys' hashes.

    A key's hash is the md5 of its values as text, each with its length; a null has none. A sum does not
    depend on the order of rows, and unlike an exclusive or it is not cancelled by a row that stands twice.
    md5 is the same in every version of every engine. (md5_number once and its halves by arithmetic: four
    times as fast as md5_number_lower and md5_number_upper, DuckDB 2.0.)
    """
    text = " || ',' || ".join(
        f"coalesce(strlen({quoted(c)}::VARCHAR) || ':' || {quoted(c)}::VARCHAR, '')" for c in key
    )
    return (
        "SELECT count(*), coalesce(sum((h & 18446744073709551615::UHUGEINT)::UBIGINT), 0), "
        f"coalesce(sum((h >> 64)::UBIGINT), 0) FROM (SELECT md5_number({text}) AS h FROM {source})"
    )


def source_proof(engine: Engine, root: str, pieces: Iterable[Piece], key: Sequence[str]) -> tuple[int, str]:
    """Rows and key hash of the rows that were to be scored, from the source itself."""
    rows = lower = upper = 0
    for part in (r for piece in pieces for r in piece.ranges):
        found = _of_range(engine, root, part, key)
        rows, lower, upper = rows + found[0], lower + found[1], upper + found[2]
    return rows, hex_of(lower, upper)


def staged_proof(engine: Engine, view: str, key: Sequence[str]) -> tuple[int, str]:
    """Rows and key hash of a view: what was staged, read back."""
    [(rows, lower, upper)] = engine.rows(hashed(view, key))
    return rows, hex_of(int(lower), int(upper))


def together(one: str, other: str) -> str:
    """The key hash of the rows of two files, from the hash of each."""
    halves = [(int(h[16:], 16), int(h[:16], 16)) for h in (one, other)]
    return hex_of(*(sum(half) for half in zip(*halves, strict=True)))


def reasons(engine: Engine, view: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Why rows were set aside: (stage, code) -> rows, and one of the messages; the most frequent first."""
    found = engine.rows(
        f"SELECT stage, reason, count(*) AS n, min(message) FROM {quoted(view)} "
        "GROUP BY stage, reason ORDER BY n DESC, stage, reason"
    )
    return {(stage, reason): (rows, message) for stage, reason, rows, message in found}


def _of_range(engine: Engine, root: str, part: RowRange, key: Sequence[str]) -> tuple[int, int, int]:
    source = (
        "read_parquet($1, hive_partitioning = false, file_row_number = true) "
        "WHERE file_row_number >= $2 AND file_row_number < $3"
    )
    [found] = engine.rows(hashed(source, key), [f"{root}/{part.path}", part.start, part.stop])
    return found[0], int(found[1]), int(found[2])


def hex_of(lower: int, upper: int) -> str:
    """A key hash as receipts have it: both sums, modulo 2**64."""
    return f"{upper % 2**64:016x}{lower % 2**64:016x}"
