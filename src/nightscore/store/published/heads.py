"""What a table's head holds, which Spark, Polars and pandas read, beside what the receipts in force say.

Receipts name a version for each of our commits. What lies between those versions is ours, too (a table's
creation, its properties, a run that was not completed), or another's: only where there is one of another's
are the days that it touched compared file by file. So a table that nobody else has written to costs a look
at its newest version, and no data is read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from nightscore.common import Broken, first_line
from nightscore.store import delta
from nightscore.store.published.catalog import Pinned
from nightscore.store.published.receipt_rows import CatalogEntry
from nightscore.store.storage import Place
from nightscore.store.tables.commits import Commit, foreign_commits, read_commit
from nightscore.store.tables.snapshots import LiveFile, Snapshot


@dataclass(frozen=True)
class HeadDifference:
    """How a table's head differs from the receipts in force: for a `day`, or in its columns ("").

    `harmless` says that no reader sees other rows, `gone` that there is no table to be mended. `commits` are
    those of others that may have done it.
    """

    table: str
    day: str
    text: str
    harmless: bool = False
    commits: tuple[Commit, ...] = ()
    gone: bool = False

    def __str__(self) -> str:
        who = f" ({'; '.join(map(str, self.commits))})" if self.commits else ""
        way = "" if self.harmless or self.gone else f"; {mend(self.table, self.day)}"
        where = f" {self.day}" if self.day else ""
        return f"table {self.table}{where}: {self.text}{who}{way}"


def mend(table: str, day: str = "") -> str:
    """How a head that differs is mended, as messages say it."""
    only = f" --day {day}" if day else ""
    return (
        f"`nightscore repair {table}{only} --because TEXT --by NAME` commits what the receipt says anew; "
        "with --accept what is there gets a receipt of its own"
    )


def compare_heads(state: Pinned, tables: Iterable[str]) -> list[HeadDifference]:
    """What differs at the heads of some tables, as far as their logs tell it; no data is read.

    `state` is that of now: of an earlier one, what was published since would be foreign.
    """
    return [one for table in tables if table in state.published for one in _compared(state, table)]


def _compared(state: Pinned, table: str) -> Iterator[HeadDifference]:
    root = state.home(table)
    if not delta.table_exists(root):
        text = f"{root} holds no table any more; the next run of a day makes it anew, with that day"
        yield HeadDifference(table, "", text, gone=True)
        return
    try:
        head = state.snapshot(root)
    except Broken as error:
        yield HeadDifference(table, "", f"its newest version can't be read: {first_line(error)}")
        return
    named = {entry.versions[table] for entry in state.history if table in entry.versions}
    others = foreign_commits(root, named, head.version)
    if others:
        yield from _columns(root, table, head, named, others)
        for day in sorted(frozenset().union(*(one.days for one in others))):
            yield from _day(state, table, head, day, [one for one in others if day in one.days])


def _columns(
    root: Place, table: str, head: Snapshot, named: set[int], others: list[Commit]
) -> Iterator[HeadDifference]:
    blamed = tuple(one for one in others if one.shapes)
    if not blamed:
        return
    if features := sorted({name for one in blamed for name in one.features}):
        text = f"needs of its readers now: {', '.join(features)}, which no commit takes back"
        yield HeadDifference(table, "", text, commits=blamed)
    if (ours := last_shape(root, named, head.version)) is not None:
        before, now = _types(ours), _types(head.schema)
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                text = (
                    f"column {name!r} is {now.get(name, 'absent')} at the head, {before.get(name, 'absent')} "
                )
                yield HeadDifference(table, "", f"{text}by the receipts", commits=blamed)


def last_shape(root: Place, named: Iterable[int], newest: int) -> pa.Schema | None:
    """The columns of a table as our last commit left them; None where no such version can be read."""
    ours = [version for version in named if version <= newest]
    later = range(max(ours, default=-1) + 1, newest + 1)
    ours += [version for version in later if (one := read_commit(root, version)) and one.ours]
    for version in sorted(ours, reverse=True):
        try:
            return delta.read_snapshot(root, version).schema
        except Broken:
            continue
    return None


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema}


def _day(
    state: Pinned, table: str, head: Snapshot, day: str, others: list[Commit]
) -> Iterator[HeadDifference]:
    entry = state.published.get(table, {}).get(day)
    live = head.of_day(day)
    try:
        ours = receipt_files(state, table, entry) if entry else []
    except Broken as error:
        yield HeadDifference(table, day, str(error), commits=tuple(others))
        return
    same = {file.path for file in live} == {file.path for file in ours}
    marked = any(day in one.marks for one in others if not entry or one.version > entry.versions[table])
    if same and not marked:
        return
    blamed = [one for one in others if not entry or one.version > entry.versions[table]] or others
    moved = entry is not None and all(one.moves_only for one in blamed) and _rows(live) == _rows(ours)
    what = f"{_count(live)} at the head (version {head.version})"
    if marked:
        what = f"rows of {_count(live)} are marked as deleted at the head (version {head.version})"
    said = f"{_count(ours)} by the receipt of run {entry.run_id}" if entry else "no receipt names the day"
    note = "; the same rows in other files, by that commit's own word" if moved else ""
    yield HeadDifference(table, day, f"{what}, {said}{note}", moved, tuple(blamed))


def receipt_files(state: Pinned, table: str, entry: CatalogEntry) -> list[LiveFile]:
    """The files of a table's day as the version that its receipt names has them.

    Raises:
        Broken: the log has lost that version.
    """
    root = state.home(table)
    try:
        return state.snapshot(root, entry.versions[table]).of_day(entry.day)
    except Broken:
        return state.files_of(entry, table)


def _rows(files: Iterable[LiveFile]) -> int:
    return sum(file.rows for file in files)


def _count(files: list[LiveFile]) -> str:
    return f"{_rows(files):,} rows in {len(files)} file{'' if len(files) == 1 else 's'}"
