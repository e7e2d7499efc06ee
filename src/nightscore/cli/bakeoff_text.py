"""What a bake-off found, for a person: the table, the chart of accuracy against speed, and files of both."""

import dataclasses
import json
from functools import partial
from typing import Any

from rich.markup import escape

from nightscore.common import Broken, byte_size
from nightscore.evaluation import CandidateResult
from nightscore.evaluation.bakeoff import BakeOff
from nightscore.job import Job
from nightscore.pipeline import Deviation
from nightscore.review import open_templates, text
from nightscore.review.report import charts
from nightscore.store import write_bakeoff

COLUMNS = ("candidate", "rows/s", "times", "CPU s/M", "memory", "model", "max abs", "alike", "flips", "")
NUMBERS = COLUMNS[1:-1]


def print_results(found: BakeOff, files: list[str], written: str, asked: bool) -> None:
    """The table and a sentence for each candidate, on a terminal."""
    out = text.console()
    rows = (
        f"{found.rows:,} rows"
        if found.rows == found.day_rows
        else f"the first {found.rows:,} of {found.day_rows:,} rows"
    )
    held = f"; held out: {found.held_out}" if found.held_out else "; there is no earlier day to hold out"
    out.print(f"[bold]{found.job}[/bold] {found.day}: {rows}{held}", soft_wrap=True)
    out.print(f"budget    {budget_text(found)}", soft_wrap=True)
    out.print(text.text_table([cells(one) for one in found.results], COLUMNS, NUMBERS), soft_wrap=True)
    for one in found.results:
        out.print(escape(f"{one.name}: {one.why}"), soft_wrap=True)
    for file in files:
        out.print(f"written   {file}", soft_wrap=True)
    out.print(_next(found, written, asked), soft_wrap=True)


def budget_text(found: BakeOff) -> str:
    """The budget in one line."""
    given = found.budget.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {_plain(value)}" for name, value in given.items())


def cells(one: CandidateResult) -> tuple[str, ...]:
    """One row of the table."""
    if not one.rounds:
        return (one.name, *[""] * 8, one.status)
    change = one.change or Deviation()
    return (
        one.name, f"{one.rows_per_second:,.0f}", f"{one.times:.2f}",
        f"{one.cpu_seconds_per_million_rows:.2f}", byte_size(one.peak_memory), byte_size(one.bytes),
        f"{change.max_abs:.2g}", _alike(change),
        f"{change.flips:,}" if change.decisions else "-", one.status,
    )  # fmt: skip


def as_json(found: BakeOff) -> dict[str, Any]:
    """The whole of it as plain values."""
    return {
        "job": found.job, "day": found.day, "held_out": found.held_out, "rows": found.rows,
        "day_rows": found.day_rows, "taken": found.taken,
        "budget": found.budget.model_dump(mode="json", exclude_none=True),
        "results": [{**dataclasses.asdict(one), "times": one.times} for one in found.results],
    }  # fmt: skip


def write_results(job: Job, found: BakeOff) -> list[str]:
    """Write bakeoff.json, and with the extra `report` bakeoff.html and bakeoff.png; gives their paths."""
    write = partial(write_bakeoff, job.workspace, found.job, found.day)
    text = json.dumps(as_json(found), indent=1, allow_nan=True) + "\n"
    paths = [write("bakeoff.json", text.encode())]
    try:
        drawing = charts.pareto_chart([_point(one) for one in found.results if one.rounds])
        html = open_templates().get_template("bakeoff.html").render(
            found=found, rows=[cells(one) for one in found.results], columns=COLUMNS,
            budget=budget_text(found), chart=charts.render_svg(drawing),
        )  # fmt: skip
        paths += [write("bakeoff.html", html.encode()), write("bakeoff.png", charts.render_png(drawing))]
    except Broken:  # without the extra there is the table
        pass
    return paths


def _point(one: CandidateResult) -> dict[str, Any]:
    """A candidate as the chart draws it: how fast, and how far from the reference."""
    change = one.change or Deviation()
    lists = change.cosine < 1
    return {
        "name": one.name, "times": one.times, "technique": one.technique, "status": one.status,
        "loss": max(1 - (change.cosine if lists else change.rank_correlation), charts.LEAST_LOSS),
    }  # fmt: skip


def _alike(change: Deviation) -> str:
    return f"{change.rank_correlation:.5f}" if change.cosine == 1 else f"cos {change.cosine:.4f}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_plain(one)}" for name, one in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _next(found: BakeOff, written: str, asked: bool) -> str:
    if written:
        return f"applied   {written}: the next nights score by {found.taken}"
    if found.variant is None:
        return (
            "applied   nothing is faster: variant.yaml is not there (any more)"
            if asked
            else "nothing to apply"
        )
    return (
        f"to use {found.taken} in the next nights: nightscore bakeoff {found.job} --day {found.day} --apply"
    )
