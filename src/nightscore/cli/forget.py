"""The command that erases somebody."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, Misuse, open_chosen_workspace, pairs
from nightscore.cli.output import print_json, say

if TYPE_CHECKING:
    from nightscore.lifecycle import Erasure
    from nightscore.store import ErasureRow


def forget(
    *,
    key: Annotated[
        list[str],
        Parameter(negative="", help="COLUMN=VALUE: whom; of a key of several columns once for each."),
    ] = [],
    keys: Annotated[
        Path | None, Parameter(help="A CSV file of keys instead; its header names the key's columns.")
    ] = None,
    column: Annotated[
        list[str],
        Parameter(
            negative="", help="TABLE.COLUMN=KEYCOLUMN: what a table calls it otherwise; may be repeated."
        ),
    ] = [],
    because: Annotated[str, Parameter(help="Why, without the key: erasure request 17.")],
    by: Annotated[str, Parameter(help="Who decides; both stand in the table erasures.")],
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only say where they are. Nothing is written.")
    ] = False,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Erase somebody from everything below data/ but the lake, which is the source.

    Their rows go from every table that has the key's columns, at every version, from rejects, bad lines and
    restated_rows, from the features that runs have kept, from what other engines have left in Delta's logs;
    reports and caches that name them are removed, and a held day that has them is discarded. All other rows
    stay as they are, `verify` holds, and time travel goes on without them. Where they were delivered to is
    sent anew.

    The table `erasures` says what was erased, with the key as a hash that only who has the secret can make:
    set NIGHTSCORE_ERASURE_SECRET, at least 16 characters, for this command and for runs, which say by it when
    a key that was erased is in their rows again: the source has it. Nothing else keeps the key; the command
    itself may stand in your shell's history, which --keys FILE avoids.

    Start with --dry-run. A command that was stopped is ended by the next forget, or by gc.
    """
    from nightscore.lifecycle import forget as erase
    from nightscore.lifecycle import read_keys, send_anew

    workspace = open_chosen_workspace()
    whom = read_keys(_one_key(key), keys, column)
    done = erase(workspace, whom, because=because, by=by, dry_run=dry_run)
    sent = [] if dry_run else send_anew(workspace)
    if json:
        print_json(_document(done, dry_run) | {"deliveries": [str(one) for one in sent]})
    else:
        for line in (*_lines(done, dry_run), *map(str, sent), *_summary(done, dry_run)):
            say(line)
    for one in sent:
        if one.problem:
            raise one.problem
    return 0


def _one_key(texts: list[str]) -> dict[str, str]:
    """The columns of one key. Misuse where one comes twice: only the last of two people would be erased."""
    try:
        return pairs(texts, "--key")
    except Misuse as error:
        raise Misuse(
            f"{error}; --key is one key, --keys FILE gives many (a CSV, its header the columns)"
        ) from error


def _lines(done: "Erasure", dry_run: bool) -> Iterator[str]:
    """Where they were, a line each."""
    go, end = ("would go", "would be ") if dry_run else ("erased", "")
    for where, rows in _counted(done.of_kind("file")).items():
        yield f"{where}: {_rows(rows)} {go}"
    for row in done.of_kind("held", "stopped"):
        of = f"{row.job} {row.erased_day}, run {row.run_id}"
        again = f"; run the day again: nightscore run {row.job} --day {row.erased_day}"
        yield f"{of}: {row.kind}, {end}{'discarded' if row.kind == 'held' else 'removed'}{again}"
    staged: dict[str, int] = {}
    for row in done.of_kind("beside"):
        if row.replaced_by:
            yield f"{row.file}: {_rows(row.rows)} {go}"
        elif row.run_id and not row.file.endswith("report.html"):
            where = f"data/runs/{row.job}/{row.erased_day}/{row.run_id}"
            staged[where] = staged.get(where, 0) + 1
        else:
            yield f"{row.file}: {end}removed"
    yield from (f"{run}: {count} leftovers {end}removed" for run, count in staged.items())
    for row in done.of_kind("delivery"):
        yield f"{row.job} {row.erased_day}: delivered to {row.file}, {row.detail}, by run {row.run_id}"


def _summary(done: "Erasure", dry_run: bool) -> Iterator[str]:
    """What is left as it is, and how much it was in all."""
    yield from (*done.untouched, *done.notes)
    if not done.of_kind("file", "beside", "held", "stopped", "delivery"):
        yield "nobody is found by it; texts are compared letter by letter: 00123 is not 123, nor is ' 00123'"
    files = done.of_kind("file")
    tables = len({row.table_name for row in files})
    total = f"{_rows(sum(row.rows for row in files))} of {tables} table{'' if tables == 1 else 's'}"
    if dry_run:
        yield f"{total} would be erased; nothing is written"
    else:
        yield f"{total} erased; the table `erasures` has it as {done.action}"


def _counted(files: "Iterable[ErasureRow]") -> dict[str, int]:
    from nightscore.store import renames

    found: dict[str, int] = {}
    tables = renames.last_names(open_chosen_workspace()).tables
    for row in sorted(files, key=lambda row: (row.table_name, row.erased_day, row.run_id)):
        where = f"{tables.current(row.table_name)} {row.erased_day}, run {row.run_id}"
        found[where] = found.get(where, 0) + row.rows
    return found


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _document(done: "Erasure", dry_run: bool) -> dict[str, object]:
    from dataclasses import asdict

    rows = [
        {name: value for name, value in asdict(row).items() if value != ""}
        | {"erased_at": row.erased_at.isoformat()}
        for row in done.rows
    ]
    return {
        "action": done.action, "dry_run": dry_run, "rows": rows, "untouched": done.untouched,
        "notes": done.notes,
    }  # fmt: skip
