"""What a bake-off found, for a person: the table, the chart of accuracy against speed, and files of both."""

import dataclasses
import json
from typing import Any

from rich.markup import escape

from nightscore.common.errors import Broken
from nightscore.common.files import byte_size, replace_bytes, replace_text
from nightscore.evaluation.bakeoff import BakeOff
from nightscore.evaluation.bakeoff.results import Result
from nightscore.job.loader import Job
from nightscore.pipeline.score.deviation import Change
from nightscore.review import text
from nightscore.review.report import charts
from nightscore.review.report.html import templates

COLUMNS = ("candidate", "rows/s", "times", "CPU s/M", "memory", "model", "max abs", "alike", "flips", "")
NUMBERS = COLUMNS[1:-1]


def table(found: BakeOff, files: list[str], written: str, asked: bool) -> None:
    """The table and a sentence for each candidate, on a terminal."""
    out = text.console()
    rows = (
        f"{found.rows:,} rows"
        if found.rows == found.day_rows
        else f"the first {found.rows:,} of {found.day_rows:,} rows"
    )
    held = f"; held out: {found.held_out}" if found.held_out else "; there is no earlier day to hold out"
    out.print(f"[bold]{found.job}[/bold] {found.day}: {rows}{held}", soft_wrap=True)
    out.print(f"budget    {budget_said(found)}", soft_wrap=True)
    out.print(text.table([cells(one) for one in found.results], COLUMNS, NUMBERS), soft_wrap=True)
    for one in found.results:
        out.print(escape(f"{one.name}: {one.why}"), soft_wrap=True)
    for file in files:
        out.print(f"written   {file}", soft_wrap=True)
    out.print(_next(found, written, asked), soft_wrap=True)


def budget_said(found: BakeOff) -> str:
    """The budget in one line."""
    given = found.budget.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {_plain(value)}" for name, value in given.items())


def cells(one: Result) -> tuple[str, ...]:
    """One row of the table."""
    if not one.rounds:
        return (one.name, *[""] * 8, one.status)
    change = one.change or Change()
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


def save(job: Job, found: BakeOff) -> list[str]:
    """Write bakeoff.json, and with the extra `report` bakeoff.html and bakeoff.png; gives their paths."""
    folder = job.workspace.bakeoffs / found.job / found.day
    replace_text(folder / "bakeoff.json", json.dumps(as_json(found), indent=1, allow_nan=True) + "\n")
    names = ["bakeoff.json"]
    try:
        drawing = charts.pareto([_point(one) for one in found.results if one.rounds])
        html = templates().get_template("bakeoff.html").render(
            found=found, rows=[cells(one) for one in found.results], columns=COLUMNS,
            budget=budget_said(found), chart=charts.svg(drawing),
        )  # fmt: skip
        replace_text(folder / "bakeoff.html", html)
        replace_bytes(folder / "bakeoff.png", charts.png(drawing))
        names += ["bakeoff.html", "bakeoff.png"]
    except Broken:  # without the extra there is the table
        pass
    return [job.workspace.relative(folder / name) for name in names]


def _point(one: Result) -> dict[str, Any]:
    """A candidate as the chart draws it: how fast, and how far from the reference."""
    change = one.change or Change()
    lists = change.cosine < 1
    return {
        "name": one.name, "times": one.times, "technique": one.technique, "status": one.status,
        "loss": max(1 - (change.cosine if lists else change.rank_correlation), charts.LEAST_LOSS),
    }  # fmt: skip


def _alike(change: Change) -> str:
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
