"""Days whose SQL compared a column that a footer tells wrongly: NaN that it leaves out, plain text nulls."""

from collections.abc import Iterator

from nightscore.common import Broken
from nightscore.pipeline import in_one_order
from nightscore.review.recheck.columns import KnownFile, nan_rows, plain_null_columns
from nightscore.review.recheck.published_day import Finding, PublishedDay, Sql
from nightscore.store import compared_columns, named_columns

NAN, TEXT, SUMS = "NaN compared", "plain text nulls", "last bits of sums"
NAMED = 3  # files in a sentence
Files = dict[str, KnownFile]


def believed_footers(published: PublishedDay) -> Iterator[Finding]:
    """What SQL compared of the files, and is another thing than their footers say."""
    for sql in published.sql():
        try:
            compared, named = (ask(sql.text, sql.place) for ask in (compared_columns, named_columns))
        except Broken:
            continue  # this version refuses it, which is a finding of its own
        files = _files(published, sql)
        yield from _nans(sql, files, compared)
        if published.receipt.versions.get("duckdb") == "2.0.0":
            yield from _texts(sql, files, named)


def rounded_sums(published: PublishedDay) -> Iterator[str]:
    """SQL whose last bits depended on memory and threads: a note, no fault that can be seen."""
    for sql in (sql for sql in published.sql() if not sql.audit):
        try:
            ordered = in_one_order(published.job, sql.text, sql.place)
        except Broken:
            continue
        if ordered != sql.text:
            yield f"{sql.place}: last bits of sums, and which of rows that tie is taken, depended on memory"


def _nans(sql: Sql, files: Files, compared: frozenset[str]) -> Iterator[Finding]:
    rows: dict[str, dict[str, int]] = {}
    for shown, file in files.items():
        for column, count in nan_rows(file, compared).items() if compared else ():
            rows.setdefault(column, {})[shown] = count
    for column, counts in sorted(rows.items()):
        yield Finding(
            kind=NAN,
            evidence=f"{sql.place} compares {column}, which has {sum(counts.values()):,} NaN in "
            f"{_some(counts)}; bounds in the footers leave NaN out, and were believed",
        )


def _texts(sql: Sql, files: Files, named: frozenset[str]) -> Iterator[Finding]:
    found: dict[str, dict[str, int]] = {}
    for shown, file in files.items():
        for column in plain_null_columns(file, named) if named else ():
            found.setdefault(column, {})[shown] = 1
    for column, shown_files in sorted(found.items()):
        yield Finding(
            kind=TEXT,
            evidence=f"{sql.place} names {column}, which is plain text with nulls and one other value in "
            f"{_some(shown_files)}; DuckDB 2.0.0 took such rows for null",
        )


def _files(published: PublishedDay, sql: Sql) -> Files:
    """The files that a SELECT saw, by the names of receipts, each with what stands for its bytes."""
    files = {
        file.path: KnownFile(published.locate(file.path), file.fingerprint)
        for input_files in published.files.values()
        for file in input_files
    }
    for paths in published.tables.values() if sql.staged else ():
        files |= {published.job.workspace.relative(p): KnownFile(p, p.name) for p in paths}
    return files


def _some(paths: dict[str, int]) -> str:
    named = ", ".join(sorted(paths)[:NAMED])
    return named + (f" and {len(paths) - NAMED} more files" if len(paths) > NAMED else "")
