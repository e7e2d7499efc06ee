"""Commands about the models of a job: a bake-off of variants, judging challengers, promoting one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nightscore.cli.options import (
    AsJson,
    JobName,
    Misuse,
    open_chosen_workspace,
    pairs,
    parse_day_option,
    whole_number,
)
from nightscore.cli.output import print_json, say
from nightscore.scorers import Technique

if TYPE_CHECKING:
    from nightscore.evaluation import Judgement, Verdict

LastDay = Annotated[
    str | None, Parameter(help="The last day that is judged by, YYYY-MM-DD; default: the last published one.")
]
Model = Annotated[
    str, Parameter(help="A challenger, by its path as in job.yaml or by its name in the scores table.")
]
By = Annotated[str, Parameter(help="Who promotes it; it goes into the receipts.")]
Because = Annotated[str, Parameter(help="Why; it goes into the receipts.")]
Force = Annotated[
    bool, Parameter(negative="", help="Promote what is no challenger, or has another verdict than PROMOTE.")
]


def judge(job: JobName, /, *, day: LastDay = None, json: AsJson = False) -> int:
    """Say of each challenger PROMOTE, HOLD or REJECT, by the days that it has scored. Nothing is written.

    What decides stands in job.yaml under `judge`. The exit code is 0 whatever the verdicts are.
    """
    from nightscore.common import show_progress
    from nightscore.evaluation import judge_challengers
    from nightscore.job import load

    last_day = parse_day_option(day) if day else None
    with show_progress() as report:
        judgement = judge_challengers(load(job, open_chosen_workspace()), last_day, report)
    if json:
        print_json(judgement.model_dump(mode="json"))
    else:
        for verdict in judgement.verdicts:
            _print_verdict(judgement, verdict)
    return 0


def promote(
    job: JobName,
    model: Model,
    /,
    *,
    by: By,
    because: Because = "",
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Make a challenger the champion: one line of job.yaml changes, and the next receipts say who did it.

    The verdict of `judge` has to be PROMOTE, or --force and --because TEXT are given.
    """
    from nightscore.common import show_progress
    from nightscore.evaluation import promote_model
    from nightscore.job import load

    with show_progress() as report:
        promotion = promote_model(
            load(job, open_chosen_workspace()), model, by=by, because=because, force=force, report=report
        )
    if json:
        print_json(promotion.model_dump(mode="json"))
    else:
        say(f"{job}: {promotion}")
    return 0


def _print_verdict(judgement: "Judgement", verdict: "Verdict") -> None:
    """One verdict, its reasons, and the tables that they follow from."""
    from rich.markup import escape

    from nightscore.review import terminal_tables

    out, evidence = terminal_tables.console(), verdict.evidence
    model = escape(f"{verdict.model} (sha256 {verdict.sha256[:16]}…) beside {judgement.champion}")
    out.print(f"[bold]{verdict.verdict}[/bold] {model}")
    for reason in verdict.reasons:
        out.print(f"  {reason}", soft_wrap=True, markup=False)
    days = [(d.day, f"{d.rows:,}", f"{d.unscored:,}", _number(d.rank_correlation)) for d in evidence.days]
    _print_table(days, ("day", "rows", "unscored", "rank correlation"), 1)
    flips = [
        (f.table, _where(f.segment, f.value), f"{f.rows:,}", f"{f.flips:,}", f"{f.share:.2%}")
        for f in evidence.flips
    ]
    _print_table(flips, ("decisions", "where", "rows", "flips", "share"), 2)
    metrics = [
        (
            judgement.metric, _where(m.segment, m.value), f"{m.rows:,}", f"{m.clusters:,}",
            _number(m.champion), _number(m.challenger), _number(m.better),
            m.problem or f"{_number(m.low)} to {_number(m.high)}",
        )
        for m in evidence.metrics
    ]  # fmt: skip
    columns = ("metric", "where", "rows", "clusters", "champion", "challenger", "better by", "interval")
    _print_table(metrics, columns, 2)


def _print_table(rows: Sequence[tuple[str, ...]], columns: tuple[str, ...], numbers: int) -> None:
    from nightscore.review import terminal_tables

    if rows:
        terminal_tables.console().print(terminal_tables.text_table(rows, columns, columns[numbers:]))


def _where(segment: str, value: str) -> str:
    return f"{segment} = {value}" if segment else "all"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.5g}"


def bakeoff(
    job: JobName, /, *,
    day: Annotated[str, Parameter(help="The day on whose rows candidates are judged, YYYY-MM-DD.")],
    budget: Annotated[
        list[str],
        Parameter(
            negative="",
            help="NAME=VALUE, instead of the budget in job.yaml: max_abs=1e-4, rank_correlation=0.999, "
            "cosine=0.99, decision_flips=0.1%, totals=0.1%; may be repeated.",
        ),
    ] = [],
    only: Annotated[
        list[Technique], Parameter(negative="", help="Only this technique; may be repeated; default: all.")
    ] = [],
    rows: Annotated[
        int | None,
        Parameter(
            converter=whole_number,
            help="Only the first N rows; default: all that the model scores in half a minute, else as "
            "many as in 10 seconds. Decisions that need all rows of a day are only fair on all of them."
        ),
    ] = None,
    rounds: Annotated[int, Parameter(converter=whole_number, help="How often the fastest run in turns.")] = 5,
    apply: Annotated[
        bool, Parameter(negative="", help="Write what is taken to variant.yaml, for the next nights.")
    ] = False,
    on: Annotated[
        Literal["ray"] | None,
        Parameter(help="Refused: what is fast is measured on one machine; run it on a node, as a Ray job."),
    ] = None,
    json: AsJson = False,
) -> int:  # fmt: skip
    """Make the job's model faster within a budget, by measuring on this machine. Publishes nothing.

    Candidates are other engines and devices for the model, and what graph optimization, quantization,
    pruning and distillation make of it. Each scores the day's own rows through scan, score and stage, in a
    process of its own; its scores and decisions are compared with the model's, on the day and on the newest
    day before it, which is held out. The fastest that keeps the budget is taken; of those as fast, the
    simplest.

    The table, a chart of accuracy against speed (bakeoff.html, bakeoff.png) and bakeoff.json are written
    below data/bakeoffs/JOB/DAY/. With --apply the next nights score by what was taken, as long as model,
    machine, libraries and budget stay as they are, and each night holds a canary sample to the model itself.
    """
    from nightscore.cli import bakeoff_text
    from nightscore.common import show_progress
    from nightscore.evaluation.bakeoff import apply_bakeoff, run_bakeoff
    from nightscore.job import load

    if on:
        raise Misuse(
            f"--on {on}: a bake-off measures how fast one machine is, each candidate alone on it, and what "
            "it takes holds for machines like it; tasks of a cluster share theirs. For a cluster's nodes run "
            "it on one: ray job submit --entrypoint-num-cpus N -- nightscore --workspace PATH bakeoff "
            f"{job} --day {day}"
        )
    loaded = load(job, open_chosen_workspace())
    other_budget = _budget(loaded, budget)
    if apply and other_budget is not None and other_budget != loaded.spec.budget:
        raise Misuse("--apply goes by the budget of job.yaml, for nights hold the variant to it")
    if apply and only:
        raise Misuse("--apply takes all techniques; leave --only out")
    with show_progress() as report:
        result = run_bakeoff(
            loaded,
            parse_day_option(day),
            budget=other_budget,
            rows=rows,
            rounds=max(rounds, 1),
            only=only,
            report=report,
        )
    files = bakeoff_text.write_results(loaded, result)
    written = apply_bakeoff(loaded, result) if apply else ""
    if json:
        print_json({**bakeoff_text.as_json(result), "applied": written})
    else:
        bakeoff_text.print_results(result, files, written, apply)
    return 0


def _budget(job: Any, limits: list[str]) -> Any:
    """The limits of the command line over those of job.yaml; None where there are none."""
    from pydantic import ValidationError

    from nightscore.job import BUDGET_LIMITS, AccuracyBudget

    if not limits:
        return None
    values: dict[str, Any] = {name: _value(text) for name, text in pairs(limits, "--budget").items()}
    base = job.spec.budget.model_dump(exclude_none=True) if job.spec.budget else {}
    try:
        return AccuracyBudget.model_validate({**base, **values})
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise Misuse(f"--budget {at}: {message}; names: {', '.join(BUDGET_LIMITS)}") from None


def _value(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
