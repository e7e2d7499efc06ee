"""The report of a published day: one HTML page that needs nothing beside itself.

No script and no address of another file is in it, and its Content-Security-Policy forbids both, so that
no text in the data can become more than text. It can be opened from disk, mailed, printed, kept.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightscore.common import (
    Broken,
    Workspace,
    as_day,
    byte_size,
    cell_text,
    duration_text,
    format_change,
    format_value,
    is_number,
    number_text,
)
from nightscore.job import load
from nightscore.pipeline import find_held_day
from nightscore.review.report import charts
from nightscore.review.report.data import Facts, gather_facts, gather_held_facts
from nightscore.review.report.lines import draw_line
from nightscore.review.report.profile import LISTED_VALUES, Breakdown, Distribution
from nightscore.store import NOT_HELD, REPORT, library_versions, renames

if TYPE_CHECKING:
    from jinja2 import Environment

SHOWN_INPUTS = 200  # files named on the page
SHOWN_AUDITS = 8  # of those that have passed; the rest is folded
LONGEST = 120  # characters of a value in a chart or a sentence
QUANTILES = ("minimum", "1 %", "median", "99 %", "maximum", "mean")


def report(
    job: str, day: dt.date | str, workspace: Workspace | Path | str | None = None, run_id: str | None = None
) -> str:
    """The report of a published day as one HTML page.

    Of the run in force, or of the run called `run_id`: one that was replaced since is shown as it was,
    and the page says so.

    Raises:
        Broken: there is no such job, or the day or that run of it is not published; or the extra
            `report` is not installed.
    """
    return render_page(gather_facts(load(job, workspace), as_day(day), run_id))


def held_report(
    job: str, day: dt.date | str, workspace: Workspace | Path | str | None = None, run_id: str = ""
) -> str:
    """The report of a held day as one HTML page, from what was staged: what it would be, if it were released.

    Raises:
        Broken: there is no such job, the day, or that run of it, is not held, or what was staged of it can't
            be read; or the extra `report` is not installed.
    """
    found = load(job, workspace)
    held = find_held_day(found.workspace, found.name, as_day(day))
    if held is None or run_id not in ("", held.receipt.run_id):
        raise Broken(f"job {job}: {day} is not held any more; somebody has decided, or it was run again")
    return render_page(gather_held_facts(found, held))


def render_page(facts: Facts, mark: str = "") -> str:
    """The page that shows these facts; `mark` stands in its head.

    Raises:
        Broken: the extra `report` is not installed.
    """
    return open_templates().get_template("report.html").render(mark=mark, **_context(facts))


def report_file(facts: Facts) -> Path:
    """Where the page of a run lies unless another file is named: in the run's folder."""
    receipt = facts.receipt
    runs = renames.runs_home(facts.job.workspace, receipt.job) / receipt.day
    return (runs / receipt.run_id).scratch() / REPORT


def open_templates() -> "Environment":
    """The templates of pages. Broken where the extra `report` is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise Broken(f'a report needs {error.name}: pip install "nightscore[report]"') from error
    environment = Environment(
        loader=PackageLoader("nightscore.review.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        count=_count, number=number_text, size=byte_size, moment=_moment, cell=cell_text, change=_change,
        seconds=duration_text, is_number=is_number, formatted=format_value, changed=format_change,
        line=draw_line,
    )  # fmt: skip
    return environment


def _context(facts: Facts) -> dict[str, Any]:
    """What the template shows."""
    receipt, job = facts.receipt, facts.job
    return {
        "facts": facts,
        "receipt": receipt,
        "spec": job.spec,
        "before": facts.before,
        "weekday": dt.date.fromisoformat(receipt.day).strftime("%A"),
        "held": facts.is_held,
        "warned": [audit for audit in receipt.audits if not audit.passed],
        "checks": _checks(facts),
        "shapes": [_shape(shape, facts) for shape in facts.distributions],
        "breakdowns": [(t.name, *_breakdowns(t.breakdowns)) for t in facts.tables if t.breakdowns],
        "failed_first": sorted(receipt.audits, key=lambda audit: audit.passed),
        "shown_audits": SHOWN_AUDITS,
        "stages": _stages(receipt.seconds),
        "trends": _trends(facts),
        "quantiles": QUANTILES,
        "inputs": receipt.inputs[:SHOWN_INPUTS],
        "more_inputs": len(receipt.inputs) - SHOWN_INPUTS,
        "as_of": _as_of(facts),
        "root": job.workspace.root,
        "not_held": NOT_HELD,
        "version": library_versions()["nightscore"],
        "made": dt.datetime.now(dt.UTC),
    }


def _checks(facts: Facts) -> list[tuple[bool, str]]:
    """The proof, checked again: (whether it holds, in words)."""
    rows, hashes = facts.receipt.rows, facts.receipt.key_hash
    counted = {table.name: table.rows for table in facts.tables}
    recorded = {name: table.rows for name, table in facts.receipt.tables.items() if table.files}
    return [
        (
            rows.read == rows.scored + rows.rejected,
            f"{rows.read:,} read = {rows.scored:,} scored + {rows.rejected:,} rejected",
        ),
        (hashes.in_ == hashes.out != "", f"key hash in {hashes.in_[:12]}… = out {hashes.out[:12]}…"),
        (counted == recorded, _recount(counted, recorded)),
    ]


def _recount(counted: dict[str, int], recorded: dict[str, int]) -> str:
    differ = [
        f"{name} holds {count:,} rows, the receipt says {recorded.get(name, 0):,}"
        for name, count in counted.items()
        if count != recorded.get(name)
    ]
    total = sum(counted.values())
    return "; ".join(differ) or f"{total:,} rows counted again in {len(counted)} tables = the receipt's"


def _shape(distribution: Distribution, facts: Facts) -> dict[str, Any]:
    before = distribution.before.counts if distribution.before else None
    edges, now = distribution.edges, distribution.now.counts
    widths = (charts.WIDE, charts.PHONE) if edges else ()
    drawn = [charts.histogram(edges, now, before, distribution.column, width) for width in widths]
    return {
        "distribution": distribution,
        "charts": drawn,
        "days": [(facts.receipt.day, distribution.now)]
        + ([(facts.before.day, distribution.before)] if facts.before and distribution.before else []),
    }


def _breakdowns(breakdowns: Sequence[Breakdown]) -> tuple[list[tuple[Breakdown, str]], list[str]]:
    """The columns that have something to show, each with its chart, and a sentence on each other.

    There is no chart, "", where all bars were of one length, but sums to be told.
    """
    drawn: list[tuple[Breakdown, str]] = []
    sentences: list[str] = []
    many = [breakdown.column for breakdown in breakdowns if breakdown.counts is None]
    for breakdown in breakdowns:
        if breakdown.counts is None:
            continue
        alike = _alike(breakdown)
        if alike and breakdown.measures and len(breakdown.counts) > 1:
            drawn.append((breakdown, ""))
        elif alike:
            sentences.append(alike)
        else:
            before = [c.before or 0 for c in breakdown.counts]
            has_before = breakdown.counts[0].before is not None
            names = [cell_text(c.value, LONGEST) for c in breakdown.counts]
            now = [c.now for c in breakdown.counts]
            drawn.append((breakdown, charts.by_value(names, now, before if has_before else None)))
    if many:
        sentences.append(f"More than {LISTED_VALUES} values, not drawn: {', '.join(many)}.")
    return drawn, sentences


def _alike(breakdown: Breakdown) -> str:
    """A sentence for a column whose rows a chart would show as bars of one length; '' for any other."""
    counts = breakdown.counts or ()
    if not counts:
        return f"{breakdown.column}: no rows."
    if len({c.now for c in counts}) > 1 or len({c.before for c in counts}) > 1:
        return ""
    if len(counts) == 1:
        days = "" if counts[0].before is None else " of both days"
        return f"{breakdown.column}: “{cell_text(counts[0].value, LONGEST)}” in every row{days}."
    rows = f"{counts[0].now:,} row{'s' if counts[0].now != 1 else ''}"
    return f"{breakdown.column}: {len(counts)} values, {rows} each."


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(stage, wall-clock seconds, its share of the longest in percent), in the order of the work."""
    most = max(seconds.values(), default=0.0) or 1.0
    return [(stage, spent, 100 * spent / most) for stage, spent in seconds.items()]


def _trends(facts: Facts) -> list[tuple[str, str]]:
    """(title, chart) of what changes from run to run; none while there is one run."""
    if len(facts.past) < 2:
        return []
    days = [past.day[5:] for past in facts.past]
    places = [i for i, past in enumerate(facts.past) if past.run_id == facts.receipt.run_id]
    this = places[0] if places else -1
    speed = [past.rows_per_second for past in facts.past]
    rows = [past.rows for past in facts.past]
    return [
        ("Scoring throughput", charts.over_runs(days, speed, this, "rows per second")),
        ("Rows published", charts.over_runs(days, rows, this, "rows")),
    ]


def _as_of(facts: Facts) -> tuple[str, str]:
    """The state that the page shows, as the command line and as Python are told it."""
    if isinstance(facts.as_of, dt.datetime):
        moment = facts.as_of.isoformat()
        return moment, f'datetime.fromisoformat("{moment}")'
    return str(facts.as_of), str(facts.as_of)


def _count(value: float) -> str:
    return f"{value:,}"


def _change(now: int, before: int) -> str:
    difference = now - before
    share = f" ({difference / before:+.2%})" if before else ""
    return f"{difference:+,}{share}" if difference else "no change"


def _moment(value: dt.datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if value else "not recorded"
