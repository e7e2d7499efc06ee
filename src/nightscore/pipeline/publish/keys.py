"""Is the key of a staged day a key: no null, no key twice? However many rows there are.

Features are staged sorted by key and cut in ranges of rows, and the days of a lake often lie so, too: then
one look at each row beside the one before it answers, in the memory of a batch. What is not sorted is
grouped, some millions of rows at a time.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.common.errors import Broken, key_text
from nightscore.store.engine import Engine, quoted
from nightscore.store.staging import reread

EXAMPLES = 3
BATCH = 65_536  # rows
# Rows that are grouped at once. A share of them by hash, and not spilling: DuckDB 2.0 gives up where the
# groups are many more than its memory holds (20 million int64 keys in 64 MB).
AT_ONCE = 8_000_000

Row = tuple[Any, ...]


def refuse_bad_keys(engine: Engine, files: Sequence[Path], key: Sequence[str], where: str) -> None:
    """Hold the view `scores` of an engine, which shows the staged `files`, to its key.

    Raises:
        Broken: a key is null, or stands twice; with some of them.
    """
    if ascending(files, key):
        return
    names = ", ".join(map(quoted, key))
    nulls = " OR ".join(f"{quoted(c)} IS NULL" for c in key)
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
    """Know that no row was set aside whose key stands among the scores, too, or twice among the rejects.

    Raises:
        Broken: one does; which of the rows is meant, nobody knows.
    """
    names = ", ".join(map(quoted, key))
    known = " AND ".join(f"{quoted(c)} IS NOT NULL" for c in key)
    twice = engine.rows(
        f"SELECT {names}, count(*) AS n FROM (SELECT {names} FROM {quoted(table)} WHERE {known} UNION ALL "
        f"SELECT {names} FROM scores SEMI JOIN {quoted(table)} USING ({names})) "
        f"GROUP BY {names} HAVING count(*) > 1 ORDER BY n DESC, {names} LIMIT {EXAMPLES}"
    )
    if twice:
        raise Broken(f"{where}: the key is not unique within the day, rejects included: {_shown(key, twice)}")


def ascending(files: Sequence[Path], key: Sequence[str]) -> bool:
    """Whether the keys rise strictly within each file, and the files hold ranges that do not overlap.

    Then no key is null, and none stands twice. False only says that it takes another look.
    """
    bounds: list[list[Row]] = []
    for path in files:
        last: pa.RecordBatch | None = None
        for batch in _keys(path, key):
            if any(column.null_count for column in batch.columns) or not _rises(last, batch):
                return False
            if last is None:
                bounds.append([_row(batch, 0)] * 2)
            last = batch
        if last is not None:
            bounds[-1][1] = _row(last, last.num_rows - 1)
    bounds.sort(key=lambda pair: pair[0])
    return all(one[1] < other[0] for one, other in pairwise(bounds))


def _keys(path: Path, key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with reread(path, path.name) as file:
        for batch in file.iter_batches(BATCH, columns=list(key), use_threads=False):
            if batch.num_rows:
                yield batch.select(list(key))


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
