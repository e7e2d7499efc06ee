"""Every kind of audit that there is: asked of a day that passes and of one that does not, recounted by NumPy.

A kind that is new fails here until it has what answers it, and its two days below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from nightscore import load, run
from nightscore.common.errors import Broken
from nightscore.job.parts.audits import KINDS
from nightscore.pipeline.audits.kinds import QUESTIONS
from nightscore.pipeline.audits.question import Question
from nightscore.pipeline.steps import check_job
from tests.behaviour.world import copy, receipts
from tests.faults.marks import mostly_slow
from tests.pipeline.audits.test_kinds import DAY, FEATURES, FIRST, LINE, PLAIN, ROWS, audited
from tests.support.workspace import make_workspace, rows_of

KEPT = "id, a, band, holed, spotted, steps, clipped, is_high, listed, wide"  # with NULL, NaN and a list
UNSHIFTED = FEATURES.replace("getvariable('shift')", "0")
FULL = f"SELECT {KEPT}, (a + 2.0::FLOAT * b)::FLOAT AS score FROM ({UNSHIFTED})"
Columns = Mapping[str, np.ndarray]


def counted(day: str, **params: float) -> Columns:
    """What the job's features and its model make of a day: score = a + 2 (b + shift), of the first `size`."""
    table = rows_of(day, int(params.get("size", ROWS)))
    a, b = (table.column(name).to_numpy() for name in ("a", "b"))
    shifted = (b.astype(np.float64) + params.get("shift", 0.0)).astype(np.float32)
    return {"id": table.column("id").to_numpy(), "score": a + np.float32(2) * shifted}


def has_not_drifted(now: Columns, before: Columns) -> bool:
    """Yurdakul's rule, over ten bins of equally many of the day before's scores."""
    old, new = np.sort(before["score"]), now["score"]
    edges = old[np.ceil(np.arange(1, 10) / 10 * len(old) - 1e-9).astype(int) - 1]
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=10) / len(x) for x in (new, old))
    index = float(((p - q) * np.log(p / q)).sum())
    return index <= max(0.2, (1 / len(new) + 1 / len(old)) * float(chi2.ppf(0.99, 9)))


@dataclass(frozen=True)
class Days:
    """An audit, the parameters of a day that passes and of one that does not, and the question by NumPy."""

    audit: str
    passes: Mapping[str, float]
    fails: Mapping[str, float]
    recount: Callable[[Columns, Columns], bool]


DAYS = {
    "sql": Days(
        'name: many, sql: "SELECT count(*) >= 1500 FROM scores"',
        {"size": 1_500},
        {"size": 1_499},
        lambda now, _: len(now["id"]) >= 1_500,
    ),
    "rows": Days(
        "rows: {between: [0.8, 1.25]}",
        {"size": 1_600},
        {"size": 1_599},
        lambda now, before: 0.8 <= len(now["id"]) / len(before["id"]) <= 1.25,
    ),
    "drift": Days("drift: {columns: [score]}", {"shift": 0.05}, {"shift": 0.25}, has_not_drifted),
    "scores": Days(
        "scores: {column: score, min: 0, max: 3.25}",
        {"shift": 0.1},
        {"shift": 0.2},
        lambda now, _: bool((now["score"] >= 0).all() and (now["score"] <= 3.25).all()),
    ),
    "coverage": Days(
        "coverage: {of: rows, key: [id], at_least: 0.75}",
        {"size": 1_500},
        {"size": 1_499},
        lambda now, _: len(np.intersect1d(now["id"], np.arange(ROWS))) / ROWS >= 0.75,
    ),
    "parity": Days(
        "parity: {full: full.sql, every: 1}",
        {},
        {"shift": 0.25},
        lambda now, _: np.array_equal(now["score"], counted(DAY)["score"]),
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("every") / "w", ROWS, PLAIN)
    (root / "jobs/mini/features.sql").write_text(FEATURES)
    (root / "jobs/mini/full.sql").write_text(FULL)
    run(load("mini", root), FIRST)
    return root


@pytest.fixture
def space(template: Path, tmp_path: Path) -> Path:
    return copy(template, tmp_path / "w")


def test_every_kind_of_audit_has_one_answer() -> None:
    """What job.yaml may say and what answers it are the same kinds, each in one class of its own."""
    assert set(QUESTIONS) == set(KINDS.values()) and set(DAYS) == set(KINDS)
    assert len(set(QUESTIONS.values())) == len(QUESTIONS)
    for question in QUESTIONS.values():
        assert question.__doc__ and question.answer is not Question.answer


@pytest.mark.parametrize("kind", mostly_slow(KINDS, ["sql", "drift"]))
@pytest.mark.sample(1)
def test_a_kind_passes_warns_and_stops_as_numpy_counts(space: Path, kind: str) -> None:
    """A day that passes; one that does not, published with a warning, held where the audit may stop it."""
    days, before = DAYS[kind], counted(FIRST)
    for params in (days.passes, days.fails):
        wanted = days.recount(counted(DAY, **params), before)
        assert wanted == (params is days.passes)
        audited(space, f"{{{days.audit}, severity: warn}}")
        [found] = run(load("mini", space), DAY, params=params).audits
        assert (found.passed, found.severity) == (wanted, "warn"), found
    published = receipts(space)
    audited(space, f"{{{days.audit}}}")
    with pytest.raises(Broken) as caught:
        run(load("mini", space), DAY, params=days.fails)
    first, _, rest = str(caught.value).partition("\n")
    assert first.startswith(f"jobs/mini/job.yaml:{LINE}: audit ") and " failed: " in first
    assert rest.startswith("nothing is published") and receipts(space) == published
    [found] = run(load("mini", space), DAY, params=days.passes).audits
    assert found.passed and found.severity == "fail"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_bound_before_data_is_read(space: Path, kind: str) -> None:
    """`nightscore check` asks it of columns alone, and takes what fits."""
    assert check_job(load("mini", audited(space, f"{{{DAYS[kind].audit}}}")))
