"""The command that runs a job's cases."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nightscore.cli.options import AsJson, open_chosen_workspace
from nightscore.cli.output import print_error, print_json, say
from nightscore.common import Broken

if TYPE_CHECKING:
    from nightscore.pipeline import CaseResult


def test(
    job: Annotated[str | None, Parameter(help="One job; default: all that have cases.")] = None, /, *,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Run a job's cases: a few rows through its SQL, model and audits, held to what you expect of them.

    A case is a YAML file in the folder tests/ beside job.yaml: `day`, `inputs` with some rows each, and under
    `expect` the rows of features, scores or a decision table; columns that it does not name are not compared.
    No lake is read and nothing is written: a case takes about a second.
    Exit code 0 if all is so, else 1, also where there is no case.
    """
    from nightscore.job import case_files, load, load_all, read_cases
    from nightscore.pipeline import run_cases

    space = open_chosen_workspace()
    readable, broken = ([load(job, space)], []) if job else load_all(space)
    if not broken and not any(case_files(one) for one in readable):
        folder = space.relative(readable[0].file.parent) if job else "jobs/JOB"
        raise Broken(
            f"{f'job {job}' if job else 'no job'} has {'no' if job else 'a'} case; "
            f"one is a file such as {folder}/tests/new_customer.yaml"
        )
    results: list[CaseResult] = []
    unread: list[Broken] = []
    for one in readable:
        cases, mistakes = read_cases(one)
        unread += mistakes
        for result in run_cases(one, cases):
            results.append(result)
            if not json:
                _print(result)
    broken += unread
    if json:
        print_json({"cases": [_as_json(one) for one in results], "broken": [str(one) for one in broken]})
    else:
        _print_sum(results, len(unread))
    for error in broken:
        print_error("broken", error)
    return 0 if not broken and all(result.passed for result in results) else Broken.exit_code


def _print(result: "CaseResult") -> None:
    """A line of a case, and where it has not passed what differs, as a table."""
    from nightscore.review import terminal_tables

    how = "ok" if result.passed else "FAILED"
    say(f"{how:8}{result.job}  {result.case.name}  {result.seconds:.1f} s")
    if not result.passed:
        say(f"  {result.problem or result.case.shown}")
    if result.differences:
        own = f"{result.case.shown}:"
        rows = [
            (d.place.removeprefix(own), d.table, d.row, d.column, d.expected, d.actual)
            for d in result.differences
        ]
        terminal_tables.console().print(
            terminal_tables.text_table(rows, ("line", "table", "row", "column", "expected", "actual"))
        )


def _print_sum(results: "list[CaseResult]", unread: int) -> None:
    """How many cases there are, those that can't be read included, and what became of them."""
    count, all_of_them = Counter(result.passed for result in results), len(results) + unread
    failed = f", {count[False]} not" if count[False] else ""
    lost = f", {unread} can't be read" if unread else ""
    say(f"{all_of_them} case{'' if all_of_them == 1 else 's'}: {count[True]} as expected{failed}{lost}")


def _as_json(result: "CaseResult") -> dict[str, Any]:
    return {
        "job": result.job, "case": result.case.name, "file": result.case.shown, "passed": result.passed,
        "seconds": round(result.seconds, 3), "problem": result.problem or None,
        "differences": [asdict(difference) for difference in result.differences],
    }  # fmt: skip
