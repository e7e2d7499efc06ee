"""Commands about a job's models: how have its challengers done, and which is the champion from now on?"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nightscore.cli.options import AsJson, JobName, day_of, workspace
from nightscore.cli.output import print_json

if TYPE_CHECKING:
    from nightscore.evaluation.judge import Judgement, Verdict

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
    from nightscore.common.progress import shown
    from nightscore.evaluation.judge import judge as judged
    from nightscore.job.loader import load

    with shown() as report:
        found = judged(load(job, workspace()), day_of(day) if day else None, report)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        for one in found.verdicts:
            _show(found, one)
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
    from nightscore.common.progress import shown
    from nightscore.evaluation.promote import promote as promoted
    from nightscore.job.loader import load

    with shown() as report:
        made = promoted(load(job, workspace()), model, by=by, because=because, force=force, report=report)
    if json:
        print_json(made.model_dump(mode="json"))
    else:
        print(f"{job}: {made}")
    return 0


def _show(found: "Judgement", one: "Verdict") -> None:
    """One verdict, its reasons, and the tables that they follow from."""
    from nightscore.review import text

    out, evidence = text.console(), one.evidence
    out.print(f"[bold]{one.verdict}[/bold] {one.model} (sha256 {one.sha256[:16]}…) beside {found.champion}")
    for reason in one.reasons:
        out.print(f"  {reason}", soft_wrap=True, markup=False)
    days = [(d.day, f"{d.rows:,}", f"{d.unscored:,}", _number(d.rank_correlation)) for d in evidence.days]
    _table(days, ("day", "rows", "unscored", "rank correlation"), 1)
    flips = [
        (f.table, _where(f.segment, f.value), f"{f.rows:,}", f"{f.flips:,}", f"{f.share:.2%}")
        for f in evidence.flips
    ]
    _table(flips, ("decisions", "where", "rows", "flips", "share"), 2)
    metrics = [
        (
            found.metric, _where(m.segment, m.value), f"{m.rows:,}", f"{m.clusters:,}", _number(m.champion),
            _number(m.challenger), _number(m.better), m.problem or f"{_number(m.low)} to {_number(m.high)}",
        )
        for m in evidence.metrics
    ]  # fmt: skip
    columns = ("metric", "where", "rows", "clusters", "champion", "challenger", "better by", "interval")
    _table(metrics, columns, 2)


def _table(rows: Sequence[tuple[str, ...]], columns: tuple[str, ...], numbers: int) -> None:
    from nightscore.review import text

    if rows:
        text.console().print(text.table(rows, columns, columns[numbers:]))


def _where(segment: str, value: str) -> str:
    return f"{segment} = {value}" if segment else "all"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.5g}"
