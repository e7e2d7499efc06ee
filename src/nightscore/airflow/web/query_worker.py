"""The process of a query, a report or checks: a question on standard input, the answer on standard output.

It ends with 65 for a mistake and 75 for what may succeed later, its message on stderr. (Python ends with 1
where something is wrong with this program.)
"""

import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from nightscore.common import Broken, NightscoreError, NotYet
from nightscore.store import Among, EngineResources, QueryLimits, View, run_query

ROWS, MORE = "rows.arrow", b"nightscore.more"  # in the query's folder, and in the schema of the rows
MISTAKE, LATER = 65, 75  # EX_DATAERR, EX_TEMPFAIL
NICE = 10  # of checks, for which nobody waits
OVERHEAD = 1_000_000_000  # bytes of the interpreter, its libraries and their threads' stacks


def main(source: IO[bytes], out: IO[bytes]) -> int:
    """Answer one question; gives the exit code."""
    question = json.loads(source.read())
    try:
        FORMS.get(question["form"], _query)(question, out)
    except MemoryError:
        return _print_error(NotYet("this needs more memory than it may use"))
    except NightscoreError as error:
        return _print_error(error)
    return 0


def _report(question: dict[str, Any], out: IO[bytes]) -> None:
    from nightscore.review import make_kept_report

    asked = ("job", "day", "workspace", "run_id", "mark")
    page = make_kept_report(*(question[name] for name in asked))
    out.write(page.encode())


def _held(question: dict[str, Any], out: IO[bytes]) -> None:
    from nightscore.review import held_report

    asked = ("job", "day", "workspace", "run_id")
    out.write(held_report(*(question[name] for name in asked)).encode())


def _check(question: dict[str, Any], out: IO[bytes]) -> None:
    """What is wrong with each of some jobs, None where nothing is; without those of which that isn't known.

    Without its deliveries: they would need connections, which are secrets that this process doesn't have.
    """
    from nightscore.job import load
    from nightscore.pipeline import check_job, check_schedule

    os.nice(NICE)
    answers: dict[str, str | None] = {}
    for name in question["jobs"]:
        try:
            job = load(name, question["workspace"])
            check_schedule(job)
            check_job(dataclasses.replace(job, spec=job.spec.model_copy(update={"deliver": []})))
            answers[name] = None
        except Broken as error:
            answers[name] = str(error)
        except NotYet:
            continue
    out.write(json.dumps(answers).encode())


def _query(question: dict[str, Any], out: IO[bytes]) -> None:
    _confine(question)
    views = [_view(view) for view in question["views"]]
    memory, limits = question["memory"], QueryLimits(**question["limits"])
    resources = EngineResources(question["threads"], memory, Path(question["folder"]), question["spill"])
    if question["form"] == "csv":
        _write_csv(_all_rows(question["sql"], views, resources, limits), out)
        return
    if question["form"] == "kept":
        _keep_first_rows(question["sql"], views, resources, limits)
        return
    rows = run_query(question["sql"], views, resources, limits=limits)
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows)


def _keep_first_rows(sql: str, views: list[View], resources: EngineResources, limits: QueryLimits) -> None:
    """Write the first rows of a result into the query's folder; says whether there are more."""
    one_more = QueryLimits((limits.rows or 0) + 1, limits.size, limits.seconds)
    rows = run_query(sql, views, resources, limits=one_more)
    more = rows.num_rows > (limits.rows or 0)
    said = {**(rows.schema.metadata or {}), **({MORE: b"1"} if more else {})}
    rows = rows.slice(0, limits.rows).replace_schema_metadata(said)
    part = Path(resources.temp) / f"{ROWS}.part"
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)
    part.replace(part.with_suffix(""))


def _view(asked: dict[str, Any]) -> View:
    same = {name: asked[name] for name in ("name", "partition", "columns", "by_name", "problem")}
    among = Among(asked["among"]["column"], tuple(asked["among"]["values"])) if asked["among"] else None
    return View(files=tuple(map(Path, asked["files"])), among=among, **same)


def _confine(question: dict[str, Any]) -> None:
    """Limits that the kernel holds: memory that DuckDB doesn't count, and time if nobody waits any more."""
    memory = 2 * question["memory"] + OVERHEAD
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    seconds = int(2 * question["limits"]["seconds"] * question["threads"]) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _all_rows(sql: str, views: list[View], resources: EngineResources, limits: QueryLimits) -> pa.Table:
    """All rows, or none.

    Raises:
        Broken: there are more than may be.
    """
    allowed = limits.rows or 0
    rows = run_query(sql, views, resources, limits=QueryLimits(allowed + 1, limits.size, limits.seconds))
    if rows.num_rows > allowed:
        raise Broken(
            f"the result has more than {allowed:,} rows, the limit of a download, and a file without the "
            "rest would look whole; choose fewer rows, or use `nightscore query --format csv`"
        )
    return rows


def _write_csv(rows: pa.Table, out: IO[bytes]) -> None:
    from nightscore.review import write_rows

    try:
        write_rows(rows, "csv", out)
    except pa.ArrowException as error:
        raise Broken(f"CSV has no form for this result: {error}; cast the column to VARCHAR") from error


FORMS = {"report": _report, "held": _held, "check": _check}


def _print_error(error: NightscoreError) -> int:
    sys.stderr.write(str(error))
    return LATER if isinstance(error, NotYet) else MISTAKE


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stdout.buffer))
