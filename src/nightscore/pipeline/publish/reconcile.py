"""Reconciliation: control totals (rows, key hashes) of what was staged, read back, against the source's.

Keys are checked, too: no null, none twice, for any number of rows. Features are staged sorted by key and cut
in ranges of rows, and the days of a lake are often sorted as well. Then each row is compared with the one
before it, in the memory of a batch. What is not sorted is grouped, some millions of rows at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common import Broken, Workspace, key_text
from nightscore.store import (
    AS_THEY_ARE,
    Engine,
    Piece,
    SourceColumns,
    open_staged,
    quote_identifier,
    storage,
)

EXAMPLES = 3
BATCH = 65_536  # rows
# Rows that are grouped at once: a share of the keys by their hash. Spilling would not do: DuckDB 2.0 gives up
# where the groups are many more than its memory holds (20 million int64 keys in 64 MB).
AT_ONCE = 8_000_000
# Rows of a day from which on key hashes are summed by compiled code: compiling it takes 0.15 s, and SQL more.
COMPILED = 300_000
Row = tuple[Any, ...]
Bounds = Sequence[Row]  # the least and the greatest key of a file; () of one without rows

HALVES = ("(h & 18446744073709551615::UHUGEINT)::UBIGINT", "(h >> 64)::UBIGINT")  # of an md5 h, as SQL
NO_ROWS = "0" * 32  # the key hash of no rows


class ControlTotals(NamedTuple):
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


def key_hash_select(source: str, key: Sequence[str]) -> str:
    """A SELECT of the rows of `source` and two sums of the 64-bit halves of their keys' hashes.

    A key's hash is the md5 of its values as text, each with its length; a null has none. A sum does not
    depend on the order of rows, and unlike an exclusive or it is not cancelled by a row that is there twice.
    It finds accidents and proves nothing against intent: a sum of hashes can be met on purpose in seconds.
    md5 is the same in every version of every engine. (md5_number once and its halves by arithmetic: four
    times as fast as md5_number_lower and md5_number_upper, DuckDB 2.0.)
    """
    lower, upper = HALVES
    return (
        f"SELECT count(*), coalesce(sum({lower}), 0), coalesce(sum({upper}), 0) "
        f"FROM (SELECT {key_md5(key)} AS h FROM {source})"
    )


def key_md5(key: Sequence[str]) -> str:
    """The md5 of a row's key, as SQL: of its values as text, each with its length."""
    text = " || ',' || ".join(
        f"coalesce(strlen({quote_identifier(c)}::VARCHAR) || ':' || {quote_identifier(c)}::VARCHAR, '')"
        for c in key
    )
    return f"md5_number({text})"


def read_source_totals(
    engine: Engine, workspace: Workspace, pieces: Iterable[Piece], key: Sequence[str],
    read: SourceColumns = AS_THEY_ARE, *, of: int = 0,
) -> tuple[int, str]:  # fmt: skip
    """Rows and key hash of the rows that were to be scored, from the source itself; the day has `of` rows."""
    rows = lower = upper = 0
    for part in (r for piece in pieces for r in piece.ranges):
        source = (
            f"(SELECT {read.terms(part.path, key)} "
            f"FROM {read.reader('$1', part.path, ', file_row_number = true')} "
            "WHERE file_row_number >= $2 AND file_row_number < $3)"
        )
        values = [str(storage.locate(workspace, part.path)), part.start, part.stop]
        totals = _read_totals(engine, source, key, values, of)
        rows, lower, upper = rows + totals[0], lower + totals[1], upper + totals[2]
    return rows, key_hash_text(lower, upper)


def read_staged_totals(engine: Engine, view: str, key: Sequence[str], of: int = 0) -> tuple[int, str]:
    """Rows and key hash of a view: what was staged, read back; the day has `of` rows."""
    rows, lower, upper = _read_totals(engine, view, key, (), of)
    return rows, key_hash_text(lower, upper)


def _read_totals(
    engine: Engine, source: str, key: Sequence[str], values: Sequence[Any], of: int
) -> tuple[int, int, int]:
    """Rows of `source` and both sums of their key hashes: compiled where there are many, else by SQL."""
    select = f"SELECT {', '.join(map(quote_identifier, key))} FROM {source}"
    if (sums := KeySums.of(key, lambda: engine.schema(select, values), of)) is not None:
        for batch in engine.stream(select, values=values):
            sums.add(batch)
        return sums.rows, sums.lower, sums.upper
    [(rows, lower, upper)] = engine.rows(key_hash_select(source, key), values)
    return rows, int(lower), int(upper)


class KeySums:
    """Rows, and both sums of the hashes of their keys, by compiled code."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = list(key)
        self.rows = self.lower = self.upper = 0

    @classmethod
    def of(cls, key: Sequence[str], schema: Callable[[], pa.Schema], rows: int) -> Self | None:
        """What counts keys of these types; None on a day of few `rows`, or of types that SQL alone hashes."""
        if rows < COMPILED:
            return None
        from nightscore.store import has_hashed_types  # loads LLVM

        kinds = schema()
        return cls(key) if has_hashed_types(pa.schema([kinds.field(name) for name in key])) else None

    def add(self, rows: pa.RecordBatch) -> None:
        """Count rows, which have the key's columns."""
        from nightscore.store import sum_key_hashes

        lower, upper = sum_key_hashes(rows.select(self._key))
        self.rows, self.lower, self.upper = self.rows + rows.num_rows, self.lower + lower, self.upper + upper

    @property
    def text(self) -> str:
        """The key hash, as receipts have it."""
        return key_hash_text(self.lower, self.upper)


def combine_key_hashes(*hashes: str) -> str:
    """The key hash of the rows of some files, from the hash of each."""
    return key_hash_text(sum(int(h[16:], 16) for h in hashes), sum(int(h[:16], 16) for h in hashes))


def read_reject_reasons(engine: Engine, view: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Why rows were set aside: (stage, code) -> rows, and one of the messages; the most frequent first."""
    reasons = engine.rows(
        f"SELECT stage, reason, count(*) AS n, min(message) FROM {quote_identifier(view)} "
        "GROUP BY stage, reason ORDER BY n DESC, stage, reason"
    )
    return {(stage, reason): (rows, message) for stage, reason, rows, message in reasons}


def key_hash_text(lower: int, upper: int) -> str:
    """A key hash as receipts have it: both sums, modulo 2**64."""
    return f"{upper % 2**64:016x}{lower % 2**64:016x}"


def refuse_bad_keys(engine: Engine, files: Sequence[Path], key: Sequence[str], where: str) -> None:
    """Raise `Broken` unless keys are unique and not null in the view `scores` of the staged `files`.

    Raises:
        Broken: a key is null, or there twice; with some of them.
    """
    if keys_ascend(files, key):
        return
    names = ", ".join(map(quote_identifier, key))
    nulls = " OR ".join(f"{quote_identifier(c)} IS NULL" for c in key)
    [(missing, rows)] = engine.rows(f"SELECT count(*) FILTER ({nulls}), count(*) FROM scores")
    if missing:
        raise Broken(f"{where}: {missing} rows have a null in their key ({', '.join(key)})")
    shares = 1 + rows // AT_ONCE
    for share in range(shares):
        twice = engine.rows(
            f"SELECT {names}, count(*) AS n FROM scores WHERE hash({names}) % {shares} = {share} "
            f"GROUP BY {names} HAVING count(*) > 1 ORDER BY n DESC, {names} LIMIT {EXAMPLES}"
        )
        if twice:
            raise Broken(f"{where}: the key is not unique within the day: {_shown(key, twice)}")


def refuse_scored_rejects(engine: Engine, table: str, key: Sequence[str], where: str) -> None:
    """Raise `Broken` where the key of a reject is also among the scores, or twice among the rejects.

    Raises:
        Broken: one is, so the key is ambiguous; with some of them.
    """
    names = ", ".join(map(quote_identifier, key))
    not_null = " AND ".join(f"{quote_identifier(c)} IS NOT NULL" for c in key)
    twice = engine.rows(
        f"SELECT {names}, count(*) AS n FROM ("
        f"SELECT {names} FROM {quote_identifier(table)} WHERE {not_null} UNION ALL "
        f"SELECT {names} FROM scores SEMI JOIN {quote_identifier(table)} USING ({names})) "
        f"GROUP BY {names} HAVING count(*) > 1 ORDER BY n DESC, {names} LIMIT {EXAMPLES}"
    )
    if twice:
        raise Broken(f"{where}: the key is not unique within the day, rejects included: {_shown(key, twice)}")


def keys_ascend(files: Sequence[Path], key: Sequence[str]) -> bool:
    """Whether the keys rise strictly within each file, and the files hold ranges that do not overlap.

    Then no key is null, and none is there twice. False says nothing: the keys have to be grouped.
    """
    bounds = []
    for path in files:
        found = rising_bounds(path, key)
        if found is None:
            return False
        bounds.append(found)
    return lie_apart(bounds)


def rising_bounds(path: Path, key: Sequence[str]) -> Bounds | None:
    """The first and the last key of a file in which they rise strictly; None of any other."""
    order = KeyOrder(key)
    with open_staged(path, path.name) as file:
        for batch in file.iter_batches(BATCH, columns=list(key), use_threads=False):
            if not order.add(batch):
                break
    return order.bounds


class KeyOrder:
    """Whether keys rise strictly, seen row after row: then none is null, and none is there twice."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = list(key)
        self._rises = True
        self._first: Row | None = None
        self._last: pa.RecordBatch | None = None

    def add(self, rows: pa.RecordBatch) -> bool:
        """Look at the next rows, which have the key's columns; whether all rise so far."""
        if rows.num_rows and self._rises:
            keys = rows.select(self._key)
            nulls = any(column.null_count for column in keys.columns)
            self._rises = not nulls and _rises(self._last, keys)
            self._first, self._last = self._first or _row(keys, 0), keys
        return self._rises

    @property
    def bounds(self) -> Bounds | None:
        """The first and the last key; () of no rows, None where they do not rise."""
        if not self._rises:
            return None
        return () if self._last is None else (self._first or (), _row(self._last, self._last.num_rows - 1))


def lie_apart(bounds: Sequence[Bounds]) -> bool:
    """Whether ranges of keys do not overlap."""
    ranges = sorted((pair for pair in bounds if pair), key=lambda pair: pair[0])
    return all(earlier[1] < later[0] for earlier, later in pairwise(ranges))


def _rises(before: pa.RecordBatch | None, batch: pa.RecordBatch) -> bool:
    """Whether each row of a batch is greater than the one before it, the first than the last of `before`."""
    if before is not None and not _row(before, before.num_rows - 1) < _row(batch, 0):
        return False
    columns = [(column[:-1], column[1:]) for column in batch.columns]
    try:
        greater = pc.less(*columns[-1])
        for low, high in reversed(columns[:-1]):
            greater = pc.or_(pc.less(low, high), pc.and_(pc.equal(low, high), greater))
    except pa.ArrowNotImplementedError:  # a kind of column that has no order here
        return False
    return bool(pc.all(greater, min_count=0).as_py())


def _row(batch: pa.RecordBatch, index: int) -> Row:
    return tuple(column[index].as_py() for column in batch.columns)


def _shown(key: Sequence[str], twice: Sequence[Row]) -> str:
    return "; ".join(f"{key_text(key, row[:-1])} ({row[-1]} rows)" for row in twice)
