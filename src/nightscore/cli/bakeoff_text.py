"""The result of a bake-off for a person: the table, the chart of accuracy against speed, files of both."""

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
from nightscore.review import open_templates, terminal_tables
from nightscore.review.report import charts
from nightscore.store import write_bakeoff

COLUMNS = ("candidate", "rows/s", "times", "CPU s/M", "memory", "model", "max abs", "alike", "flips", "")
NUMBERS = COLUMNS[1:-1]


def print_results(bakeoff: BakeOff, files: list[str], written: str, apply: bool) -> None:
    """The table and a sentence for each candidate, on a terminal."""
    out = terminal_tables.console()
    rows = (
        f"{bakeoff.rows:,} rows"
        if bakeoff.rows == bakeoff.day_rows
        else f"the first {bakeoff.rows:,} of {bakeoff.day_rows:,} rows"
    )
    held = f"; held out: {bakeoff.held_out}" if bakeoff.held_out else "; there is no earlier day to hold out"
    out.print(f"[bold]{bakeoff.job}[/bold] {bakeoff.day}: {rows}{held}", soft_wrap=True)
    out.print(f"budget    {budget_text(bakeoff)}", soft_wrap=True)
    out.print(
        terminal_tables.text_table([cells(result) for result in bakeoff.results], COLUMNS, NUMBERS),
        soft_wrap=True,
    )
    for result in bakeoff.results:
        out.print(escape(f"{result.name}: {result.why}"), soft_wrap=True)
    for file in files:
        out.print(escape(f"written   {file}"), soft_wrap=True)
    out.print(_next_step(bakeoff, written, apply), soft_wrap=True)


def budget_text(bakeoff: BakeOff) -> str:
    """The budget in one line."""
    limits = bakeoff.budget.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {_plain(value)}" for name, value in limits.items())


def cells(result: CandidateResult) -> tuple[str, ...]:
    """One row of the table."""
    if not result.rounds:
        return (result.name, *[""] * 8, result.status)
    change = result.change or Deviation()
    return (
        result.name, f"{result.rows_per_second:,.0f}", f"{result.times:.2f}",
        f"{result.cpu_seconds_per_million_rows:.2f}", byte_size(result.peak_memory), byte_size(result.bytes),
        f"{change.max_abs:.2g}", _alike(change),
        f"{change.flips:,}" if change.decisions else "-", result.status,
    )  # fmt: skip


def as_json(bakeoff: BakeOff) -> dict[str, Any]:
    """The whole of it as plain values."""
    return {
        "job": bakeoff.job, "day": bakeoff.day, "held_out": bakeoff.held_out, "rows": bakeoff.rows,
        "day_rows": bakeoff.day_rows, "taken": bakeoff.taken,
        "budget": bakeoff.budget.model_dump(mode="json", exclude_none=True),
        "results": [{**dataclasses.asdict(result), "times": result.times} for result in bakeoff.results],
    }  # fmt: skip


def write_results(job: Job, bakeoff: BakeOff) -> list[str]:
    """Write bakeoff.json, and with the extra `report` bakeoff.html and bakeoff.png; gives their paths."""
    write = partial(write_bakeoff, job.workspace, bakeoff.job, bakeoff.day)
    document = json.dumps(as_json(bakeoff), indent=1, allow_nan=True) + "\n"
    paths = [write("bakeoff.json", document.encode())]
    try:
        points = [_point(result) for result in bakeoff.results if result.rounds]
        drawing, narrow = (charts.pareto_chart(points, width) for width in (charts.WIDE, charts.PHONE))
        html = open_templates().get_template("bakeoff.html").render(
            bakeoff=bakeoff, rows=[cells(result) for result in bakeoff.results], columns=COLUMNS,
            numbers=NUMBERS,
            budget=budget_text(bakeoff), charts=[charts.render_svg(one) for one in (drawing, narrow)],
        )  # fmt: skip
        paths += [write("bakeoff.html", html.encode()), write("bakeoff.png", charts.render_png(drawing))]
    except Broken:  # without the extra there is the table
        pass
    return paths


def _point(result: CandidateResult) -> dict[str, Any]:
    """A candidate as the chart draws it: how fast, and how far from the reference."""
    change = result.change or Deviation()
    lists = change.cosine < 1
    return {
        "name": result.name, "times": result.times, "technique": result.technique, "status": result.status,
        "loss": max(1 - (change.cosine if lists else change.rank_correlation), charts.LEAST_LOSS),
    }  # fmt: skip


def _alike(change: Deviation) -> str:
    return f"{change.rank_correlation:.5f}" if change.cosine == 1 else f"cos {change.cosine:.4f}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_plain(limit)}" for name, limit in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _next_step(bakeoff: BakeOff, written: str, apply: bool) -> str:
    if written:
        return f"applied   {written}: the next nights score by {bakeoff.taken}"
    if bakeoff.variant is None:
        return (
            "applied   nothing is faster: variant.yaml is not there (any more)"
            if apply
            else "nothing to apply"
        )
    command = f"nightscore bakeoff {bakeoff.job} --day {bakeoff.day} --apply"
    return f"to use {bakeoff.taken} in the next nights: {command}"
