"""What was staged, read back and held against the source: counts, keys, values."""

from collections.abc import Iterable, Sequence

from jobs.engine import Engine, quoted
from jobs.plan import Piece, RowRange


def hashed(source: str, key: Sequence[str]) -> str:
    """A SELECT of the rows of `source` and two sums of the 64-bit halves of their keys' hashes.

    A key's hash is the md5 of its values as text, each with its length. A sum does not depend on the
    order of rows, and unlike an exclusive or it is not cancelled by a row that stands twice. md5 is the
    same in every version of every engine. (md5_number once and its halves by arithmetic: four times as
    fast as md5_number_lower and md5_number_upper, DuckDB 2.0.)
    """
    text = " || ',' || ".join(f"strlen({quoted(c)}::VARCHAR) || ':' || {quoted(c)}::VARCHAR" for c in key)
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


def staged_proof(engine: Engine, key: Sequence[str]) -> tuple[int, str]:
    """Rows and key hash of the view `scores`: what was staged, read back."""
    [(rows, lower, upper)] = engine.rows(hashed("scores", key))
    return rows, hex_of(int(lower), int(upper))


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
