"""The built-in audits: whole nights that they pass, warn about and stop; and what stands behind `drift`."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from nightscore import load, query, run
from nightscore.cli.main import call
from nightscore.common.errors import Broken
from nightscore.common.units import as_day
from nightscore.pipeline.audits.drift import chance, chi_square, measure_drift, psi
from nightscore.pipeline.audits.question import read_previous_day
from nightscore.pipeline.steps import check_job
from nightscore.review.report.html import report
from nightscore.store.documents.receipt import AuditResult
from nightscore.store.sql.engine import Engine, EngineResources
from nightscore.store.sql.views import View
from tests.behaviour.world import copy, receipts
from tests.support.workspace import JOB, make_workspace

FIRST, DAY, LAST = "2020-01-01", "2020-01-02", "2020-01-03"
ROWS = 2_000

# ruff: noqa: E501 - a row of a table of cases is one line

# A day can be made smaller, moved, and holed, by parameters: the data stay as they are.
FEATURES = """\
SELECT id, a, (b + getvariable('shift'))::FLOAT AS b,
    CASE WHEN a < getvariable('low') THEN 'low' WHEN a < 0.9 THEN 'middle' ELSE 'high' END AS band,
    CASE WHEN a >= getvariable('holes') THEN a END AS holed,
    CASE WHEN a >= getvariable('holes') THEN a ELSE 'nan'::FLOAT END AS spotted,
    (a >= 0.25)::INTEGER * floor(a * 40)::INTEGER AS steps,
    least(a, 0.1::FLOAT) AS clipped, a > 0.5 AS is_high, [a] AS listed,
    9007199254740992 + (id = 7)::BIGINT AS wide
FROM rows WHERE id < getvariable('size') ORDER BY id
"""
PARAMS = """\
  size: {type: integer, default: 2000}
  shift: {type: number, default: 0}
  low: {type: number, default: 0.3}
  holes: {type: number, default: 0}
"""
PLAIN = (
    JOB.partition("audit:")[0]
    .replace("features: rows", "features: features.sql")
    .replace("keep: [a]", "keep: [a, band, holed, spotted, steps, clipped, is_high, listed, wide]")
    .replace("params:\n", "params:\n" + PARAMS)
    + "policy: {empty: publish}\n"
)
LINE = len(PLAIN.splitlines()) + 2  # of job.yaml, where the only audit stands


def audited(root: Path, audit: str) -> Path:
    """The workspace, whose job has this one audit."""
    (root / "jobs/mini/job.yaml").write_text(f"{PLAIN}audit:\n  - {audit}\n")
    return root


def asked(root: Path, audit: str, day: str = DAY, **params: object) -> AuditResult:
    """What a night's receipt says of the audit, which only warns."""
    job = load("mini", audited(root, f"{{{audit}, severity: warn}}"))
    [found] = run(job, day, params=params).audits
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("audits") / "w", ROWS, PLAIN)
    (root / "jobs/mini/features.sql").write_text(FEATURES)
    run(load("mini", root), FIRST)
    return root


@pytest.fixture
def space(template: Path, tmp_path: Path) -> Path:
    """A workspace in which the first day is published, of 2,000 rows."""
    return copy(template, tmp_path / "w")


@dataclasses.dataclass(frozen=True)
class Case:
    """An audit, what is unlike the day before, and what comes of it."""

    audit: str
    passed: bool
    detail: str
    params: dict[str, object] = dataclasses.field(default_factory=dict)


def beside(column: str, index: str) -> str:
    return (
        rf"against 2020-01-01: psi of {column} {index} \(99 % of equal days are below 0\.0\d+; the limit is"
    )


CASES = {
    "as many rows": Case("rows: {between: [0.8, 1.25]}", True, r"2,000 rows, 1 times those of 2020-01-01"),
    "half of the rows": Case(
        "rows: {between: [0.8, 1.25], of: previous}", False, r"1,000 rows, 0\.5 times those of 2020-01-01",
        {"size": 1_000},
    ),
    "a share on the lower bound": Case("rows: {between: [0.07, 1]}", True, r"140 rows, 0\.07 times .*", {"size": 140}),
    "a share above": Case("rows: {between: [0, 0.9]}", False, r"2,000 rows, 1 times .*"),
    "no rows at all": Case("rows: {between: [0.8, 1.25]}", False, r"0 rows, 0 times .*", {"size": 0}),
    "an output like the day before": Case(
        "drift: {columns: [score]}", True, beside("score", r"0\.00\d+") + r" 0\.2\)"
    ),
    "an output that moved": Case(
        "drift: {columns: [score], psi: 0.2}", False, beside("score", r"0\.[2-9]\d+") + r" 0\.2\)", {"shift": 0.25}
    ),
    "more than the limit, by chance": Case(
        "drift: {columns: [score], psi: 0.2}", True,
        r"against 2020-01-01: psi of score 0\.384 \(99 % of equal days are below 0\.552; the limit is 0\.2\)",
        {"size": 40},
    ),
    "above chance, but below the limit": Case(
        "drift: {columns: [score], psi: 0.2}", True, beside("score", r"0\.1\d+") + r" 0\.2\)", {"shift": 0.1}
    ),
    "another confidence": Case("drift: {columns: [score], confidence: 0.999}", True, r".*\(99\.9 % of equal days are .*"),
    "a text that moved, before one that did not": Case(
        "drift: {columns: [a, band]}", False,
        beside("band", r"0\.\d+") + r" 0\.2\); psi of a 0\.0\d+ \(.*\)", {"low": 0.6},
    ),
    "values that are missing now": Case(
        "drift: {columns: [holed]}", False, beside("holed", r"[\d.]+") + r" 0\.2\)", {"holes": 0.5}
    ),
    "truth and whole numbers": Case("drift: {columns: [is_high, steps, clipped]}", True, r".*is_high.*"),
    "many columns": Case(
        "drift: {columns: [a, band, holed, steps, clipped, is_high, score]}", True, r".*; 2 more moved less"
    ),
    "drift of no rows": Case(
        "drift: {columns: [score]}", True, "against 2020-01-01: no rows of score to compare", {"size": 0}
    ),
    "a score within": Case(
        "scores: {column: score, min: 0, max: 3, distinct: 10}", True,
        r"score: 0\.\d+ to 2\.\d+, 0 of 2,000 rows outside, [\d,]+ different values",
    ),
    "a score below": Case(
        "scores: {column: score, min: 1}", False, r"score: 0\.\d+ to 2\.\d+, \d+ of 2,000 rows outside, .*"
    ),
    "a score above": Case("scores: {column: score, max: 2.5}", False, r"score: .* rows outside, .*"),
    "32 bits on their bound": Case("scores: {column: clipped, max: 0.1}", True, r"clipped: .* to 0\.1, 0 of .*"),
    "a bound that 32 bits don't hold": Case("scores: {column: clipped, max: 1.0e+300}", True, r"clipped: .*"),
    "an integer that no double holds": Case(  # 2^53 + 1, beside a bound of 2^53
        "scores: {column: wide, max: 9007199254740992}", False,
        "wide: .*, 1 of 2,000 rows outside, 2 different values",
    ),
    "an integer that no double holds, within": Case(
        "scores: {column: wide, max: 9007199254740993}", True, "wide: .*, 0 of 2,000 rows outside, .*"
    ),
    "too few values": Case(
        "scores: {column: steps, distinct: 100}", False, r"steps: 0 to 39, 31 different values"
    ),
    "enough values": Case("scores: {column: steps, distinct: 31}", True, r"steps: 0 to 39, 31 different values"),
    "a missing value is in no bounds": Case(
        "scores: {column: holed, min: 0}", False, r"holed: 0\.5\d* to 0\.\d+, \d+ of 2,000 rows outside, .*",
        {"holes": 0.5},
    ),
    "NaN is in no bounds": Case(
        "scores: {column: spotted, min: 0}",
        False,
        r"spotted: 0\.5\d* to 0\.\d+, 9\d\d of 2,000 rows outside, .*",
        {"holes": 0.5},
    ),
    "values that are NaN now": Case(
        "drift: {columns: [spotted]}", False, beside("spotted", r"[\d.]+") + r" 0\.2\)", {"holes": 0.5}
    ),
    "a score of no rows": Case(
        "scores: {column: score, min: 0, distinct: 2}", False,
        "score: no value, 0 of 0 rows outside, 0 different values", {"size": 0},
    ),
    "every key": Case(
        "coverage: {of: rows, key: [id], at_least: 1}", True, r"2,000 of 2,000 are in scores, 100 %"
    ),
    "a key in a hundred less": Case(
        "coverage: {of: rows, key: [id], at_least: 0.99, in: scores}", False,
        r"1,979 of 2,000 are in scores, 98\.95 %", {"size": 1_979},
    ),
    "as many keys as asked for": Case(
        "coverage: {of: rows, key: [id], at_least: 0.99}", True, r"1,980 of 2,000 are in scores, 99 %", {"size": 1_980}
    ),
    "keys in a decision": Case(
        "coverage: {of: scores, key: [id], at_least: 0.01, in: mini_top}", False,
        r"10 of 2,000 are in mini_top, 0\.5 %",
    ),
    "a key that is missing is none": Case(
        "coverage: {of: scores, key: [holed], at_least: 1}", True, r"1,022 of 1,022 are in scores, 100 %", {"holes": 0.5}
    ),
    "keys of nothing": Case(
        "coverage: {of: scores, key: [id], at_least: 1}", True, "0 of 0 are in scores: scores has none", {"size": 0}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def measured(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], AuditResult]:
    """What a receipt says of a case's audit. Those that are alike but for the audit share one night."""
    nights: dict[str, dict[str, AuditResult]] = {}

    def of(case: Case) -> AuditResult:
        like = repr(case.params)
        if like not in nights:
            asked = [one.audit for one in CASES.values() if repr(one.params) == like]
            root = copy(template, tmp_path_factory.mktemp("measured") / "w")
            lines = "".join(f"  - {{{audit}, severity: warn}}\n" for audit in asked)
            (root / "jobs/mini/job.yaml").write_text(f"{PLAIN}audit:\n{lines}")
            found = run(load("mini", root), DAY, params=case.params).audits
            nights[like] = dict(zip(asked, found, strict=True))
        return nights[like][case.audit]

    return of


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.sample(8)
def test_what_is_measured_decides(measured: Callable[[Case], AuditResult], case: Case) -> None:
    """Each built-in audit passes and fails where it should; the receipt says what was measured."""
    found = measured(case)
    assert re.fullmatch(case.detail, found.detail), found.detail
    assert (found.passed, found.severity) == (case.passed, "warn")


BETWEEN = "rows: {between: [0.8, 1.25]}"
SENTENCE = "the rows are 0.8 to 1.25 times those of the day before"


def test_a_failed_audit_publishes_nothing_and_says_what_it_measured(space: Path) -> None:
    """Severity `fail` is the default; the message names line, audit and measure; the tables stay."""
    before = receipts(space)
    with pytest.raises(Broken) as caught:
        run(load("mini", audited(space, f"{{{BETWEEN}}}")), DAY, params={"size": 1_000})
    assert str(caught.value) == (
        f"jobs/mini/job.yaml:{LINE}: audit '{SENTENCE}' failed: 1,000 rows, 0.5 times those of {FIRST}\n"
        f"nothing is published; {DAY} is held. See `nightscore held mini`; after a look, `nightscore release "
        f"mini --day {DAY} --by NAME --because TEXT` publishes it, and `nightscore discard mini --day {DAY} "
        "--by NAME --because TEXT` drops it"
    )
    assert receipts(space) == before
    assert run(load("mini", space), DAY).status == "published"


SQL_ANSWERS = {
    "true": ("SELECT true", True, ""),
    "false": ("SELECT false", False, "gives false"),
    "null": ("SELECT NULL::BOOLEAN", False, "gives NULL"),
    "no row": ("SELECT true FROM scores WHERE false", False, "gives no row"),
    "many rows": ("SELECT true FROM scores", False, "gives 2000 rows"),
}


@pytest.mark.parametrize(("sql", "passed", "detail"), SQL_ANSWERS.values(), ids=SQL_ANSWERS.keys())
@pytest.mark.sample(2)
def test_sql_that_has_not_passed_says_why(space: Path, sql: str, passed: bool, detail: str) -> None:
    """An audit of the job's own passes with one row that is true; the receipt says what there was instead."""
    found = asked(space, f'name: mine, sql: "{sql}"')
    assert (found.name, found.passed, found.detail) == ("mine", passed, detail)


@pytest.mark.parametrize("audit", [BETWEEN, "drift: {columns: [score, band]}"])
def test_the_first_day_has_no_day_before(space: Path, audit: str) -> None:
    """Nor has one before all that are published; what is compared with another day passes, and says so."""
    (space / "data/lake/rows/day=2020-01-01").rename(space / "data/lake/rows/day=2019-12-31")
    found = asked(space, audit, "2019-12-31", size=10)
    assert (found.passed, found.detail) == (True, "no day before")


@pytest.mark.slow
def test_the_day_before_is_the_last_one_published_before(space: Path) -> None:
    """Not the next one, not the day itself in another run, and not one that was skipped."""
    assert asked(space, BETWEEN, LAST, size=1_000).detail.endswith(f"0.5 times those of {FIRST}")
    assert asked(space, BETWEEN, DAY, size=500).detail.endswith(f"0.25 times those of {FIRST}")
    assert asked(space, BETWEEN, DAY, size=1_500).detail.endswith(f"0.75 times those of {FIRST}")
    assert asked(space, BETWEEN, LAST, size=750).detail.endswith(f"0.5 times those of {DAY}")
    found = read_previous_day(load("mini", space), as_day(LAST))
    assert found is not None and (found.day, found.rows) == (DAY, 1_500)


@pytest.mark.parametrize(
    ("audit", "size", "passed", "detail"),
    [
        (BETWEEN, 0, True, f"0 rows, and none on {DAY}"),
        (BETWEEN, 5, False, f"5 rows, and none on {DAY}"),
        ("drift: {columns: [score]}", 5, True, f"no rows on {DAY} to compare with"),
    ],
)
@pytest.mark.sample(1)
def test_an_empty_day_before(space: Path, audit: str, size: int, passed: bool, detail: str) -> None:
    """No share of no rows: only another empty day is like it."""
    assert asked(space, BETWEEN, DAY, size=0).passed is False
    found = asked(space, audit, LAST, size=size)
    assert (found.passed, found.detail) == (passed, detail)


@pytest.mark.slow
def test_what_was_measured_is_shown(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `run`, `run --json`, `receipts`, in the table of receipts and on the report, text as text."""
    name = "<b>[/bold] half"
    where = ["--workspace", str(space)]
    audited(space, f'{{name: "{name}", {BETWEEN}, severity: warn}}')
    assert call(["run", "mini", "--day", DAY, "--set", "size=1000", *where]) == 0
    said = f"{name} (1,000 rows, 0.5 times those of {FIRST})"
    assert f"audit     not passed (warn): {said}\n" in capsys.readouterr().out
    assert call(["receipts", "mini", *where]) == 0
    assert "warned:" in capsys.readouterr().out
    assert call(["receipts", "mini", "--day", DAY, "--json", *where]) == 0
    [shown] = json.loads(capsys.readouterr().out)[0]["audits"]
    assert shown == {
        "name": name, "passed": False, "severity": "warn", "detail": f"1,000 rows, 0.5 times those of {FIRST}"
    }  # fmt: skip
    html = report("mini", DAY, space)
    escaped = "&lt;b&gt;[/bold] half"
    assert f"{escaped} (1,000 rows, 0.5 times those of {FIRST})." in html
    assert f'{escaped}<br><span class="muted">1,000 rows, 0.5 times those of {FIRST}</span>' in html
    failed = query("SELECT audits_failed AS n FROM receipts ORDER BY run_number", space)
    assert failed.column("n").to_pylist() == [0, 1]


def test_a_change_of_an_audit_makes_a_new_run(space: Path) -> None:
    """The job's hash has the settings of its audits in it."""
    hashes = {
        load("mini", audited(space, audit)).hash
        for audit in (
            f"{{{BETWEEN}}}", "{rows: {between: [0.8, 1.2]}}", f"{{{BETWEEN}, severity: warn}}",
            "{drift: {columns: [score]}}", "{drift: {columns: [score], confidence: 0.95}}",
        )
    }  # fmt: skip
    assert len(hashes) == 5


MISFITS = {
    "drift of a list": ("drift: {columns: [a, listed]}", "drift.columns.1: 'listed' is FLOAT[]; allowed: a number, BOOLEAN, VARCHAR"),
    "bounds of a text": ("scores: {column: band, min: 0}", "scores.column: 'band' is VARCHAR; allowed: a number"),
    "a key that the input lacks": ("coverage: {of: rows, key: [id, band], at_least: 1}", "coverage.key.1: rows has no column 'band'; its columns: id, a, b, day"),
    "a key that the table lacks": ("coverage: {of: rows, key: [id, b], at_least: 1}", "coverage.key.1: scores has no column 'b'; its columns: id, a, band"),
}  # fmt: skip


@pytest.mark.parametrize(("audit", "says"), MISFITS.values(), ids=MISFITS.keys())
def test_what_does_not_fit_is_found_before_data_is_read(space: Path, audit: str, says: str) -> None:
    """`nightscore check` names the line, the place, the value and what is allowed; so does a run."""
    job = load("mini", audited(space, f"{{{audit}}}"))
    for asks in (lambda: check_job(job), lambda: run(job, DAY)):
        with pytest.raises(Broken) as caught:
            asks()
        assert str(caught.value).startswith(f"jobs/mini/job.yaml:{LINE}: audit.0.{says}")


def test_keys_of_two_types_are_found_before_data_is_read(space: Path) -> None:
    """SQL would compare them as texts, and find none."""
    audited(space, "{coverage: {of: other, key: [id], at_least: 1}}")
    text = (space / "jobs/mini/job.yaml").read_text()
    other = "  other: {table: mini_scores, columns: {id: 'INTEGER[]'}}\n"
    (space / "jobs/mini/job.yaml").write_text(text.replace("features: f", f"{other}features: f"))
    with pytest.raises(Broken) as caught:
        check_job(load("mini", space))
    says = "audit.0.coverage.key.0: 'id' is INTEGER[] in other and BIGINT in scores: none is found"
    assert str(caught.value) == f"jobs/mini/job.yaml:{LINE + 1}: {says}"


# --- what stands behind `drift` -----------------------------------------------------------------------------------

Days = Callable[[pa.Table, pa.Table], tuple[Engine, Engine]]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    """Engines that see two tables as the scores of two days."""
    folder = tmp_path_factory.mktemp("days")

    def opened(now: pa.Table, before: pa.Table) -> tuple[Engine, Engine]:
        engines = []
        for name, table in (("now", now), ("before", before)):
            pq.write_table(table, folder / f"{name}.parquet")
            view = View("scores", (folder / f"{name}.parquet",))
            engines.append(Engine([view], EngineResources(1, 200_000_000, folder)))
        return engines[0], engines[1]

    return opened


def recount(now: np.ndarray, before: np.ndarray) -> tuple[float, int]:
    """The index and the bins that hold rows, by NumPy: cuts at deciles, at both sides of one that repeats."""
    edges = np.quantile(before[~np.isnan(before)], np.arange(1, 10) / 10, method="inverted_cdf")
    once, times = np.unique(edges, return_counts=True)
    cuts = np.sort(np.concatenate([once, np.nextafter(once[times > 1], -np.inf)]))

    def counts(values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        found = np.bincount(np.searchsorted(cuts, values[~missing], side="left"), minlength=len(cuts) + 1)
        return np.append(found, missing.sum())

    these, those = counts(now), counts(before)
    held = (these > 0) | (those > 0)
    p = np.maximum(these[held], 0.5) / len(now)
    q = np.maximum(those[held], 0.5) / len(before)
    return float(np.sum((p - q) * np.log(p / q))), int(held.sum())


def numbers(seed: int, rows: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = {
        "normal": lambda: rng.normal(0.1 * (seed % 3), 1, rows),
        "half are zero": lambda: np.where(rng.random(rows) < 0.5, 0.0, rng.exponential(1, rows)),
        "few values": lambda: rng.binomial(3, 0.3 + 0.1 * (seed % 2), rows).astype(float),
        "one value": lambda: np.full(rows, 5.0 - seed % 2),
        "holes": lambda: np.where(rng.random(rows) < 0.1 * (1 + seed % 2), np.nan, rng.random(rows)),
        "infinite": lambda: np.where(rng.random(rows) < 0.02, np.inf, rng.normal(0, 1, rows)),
    }
    return made[kind]()


KINDS = ("normal", "half are zero", "few values", "one value", "holes", "infinite")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", [pa.float64(), pa.float32()], ids=str)
@pytest.mark.sample(3)
def test_the_index_is_numpys(days: Days, kind: str, of: pa.DataType) -> None:
    """Over values of many shapes, with ties, holes and infinities, the index and its bins are a recount's."""
    for seed in range(4):
        tables = [pa.table({"x": pa.array(numbers(seed + i, 997 + 500 * i, kind), of)}) for i in (0, 1)]
        now, before = days(*tables)
        with now, before:
            found = measure_drift("x", now, before, 0.99)
        values = [table.column("x").to_numpy().astype(float) for table in tables]
        index, bins = recount(*values)
        assert found.psi == pytest.approx(index, rel=1e-9, abs=1e-12)
        assert found.chance == pytest.approx((1 / 997 + 1 / 1497) * chi2.ppf(0.99, bins - 1), rel=0.01)


def test_one_value_that_becomes_another_has_moved(days: Days) -> None:
    """A constant that changes is no tie: all rows leave their bin, on either side."""
    for to in (4.0, 6.0):
        now, before = days(pa.table({"x": [to] * 500}), pa.table({"x": [5.0] * 500}))
        with now, before:
            found = measure_drift("x", now, before, 0.99)
        assert found.psi is not None and found.psi > 5


def test_texts_are_counted_by_value(days: Days) -> None:
    """The 50 most frequent of at least 5 rows by themselves, all others together, missing ones apart."""
    rng = np.random.default_rng(7)
    words = [f"w{int(i)}" for i in rng.zipf(1.3, 4_000)]
    before = [None if i % 50 == 0 else word for i, word in enumerate(words)]
    now = [None if i % 25 == 0 else word for i, word in enumerate(words[::-1])] + ["new"] * 300
    opened = days(pa.table({"x": now}), pa.table({"x": before}))
    with opened[0], opened[1]:
        found = measure_drift("x", *opened, 0.99)
    known = {word: before.count(word) for word in set(before) - {None}}
    own = sorted((w for w in known if known[w] >= 5), key=lambda w: (-known[w], w))[:50]
    sides = []
    for side in (now, before):
        places = [None if v is None else v if v in own else "other" for v in side]
        sides.append([places.count(v) for v in (*own, "other", None)])
    p, q = (np.array(side) / sum(side) for side in sides)
    assert found.psi == pytest.approx(float(np.sum((p - q) * np.log(p / q))), rel=1e-9)
    assert len(own) == 50 and found.chance == pytest.approx(chance(52, len(now), len(before), 0.99))


cells = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30).filter(
    lambda pairs: all(sum(side) > 0 for side in zip(*pairs, strict=True))
)


@given(cells)
def test_the_index_is_never_negative(pairs: list[tuple[int, int]]) -> None:
    """Whatever the bins hold."""
    now, before = zip(*pairs, strict=True)
    assert psi(now, before) >= 0


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any), st.integers(1, 1000))
def test_the_index_of_equal_shares_is_zero(counts: list[int], times: int) -> None:
    """Of a day against itself, exactly; of one several times as large, but for rounding."""
    assert psi(counts, counts) == 0
    assert psi([count * times for count in counts], counts) == pytest.approx(0, abs=1e-12)


@settings(max_examples=25)
@given(st.lists(st.none() | st.floats(width=32), min_size=1, max_size=60))
@pytest.mark.slow
def test_a_column_against_itself_has_not_moved(days: Days, values: list[float | None]) -> None:
    """Whatever numbers it holds."""
    table = pa.table({"x": pa.array(values, pa.float32())})
    now, before = days(table, table)
    with now, before:
        assert measure_drift("x", now, before, 0.99).psi == 0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99, 0.9999])
def test_the_quantiles_are_those_of_the_distribution(confidence: float) -> None:
    """Below each of them lies as much as is asked for."""
    for freedom in range(1, 61):
        assert chi2.cdf(chi_square(confidence, freedom), freedom) == pytest.approx(confidence, rel=1e-9)
    assert chi_square(confidence, 0) == 0


@pytest.mark.parametrize(("n", "m"), [(5_000, 5_000), (1_000, 8_000), (400, 300)])
@pytest.mark.sample(1)
@pytest.mark.slow
def test_of_equal_days_one_in_a_hundred_is_above_chance(n: int, m: int) -> None:
    """4,000 pairs of days from one distribution, in the earlier one's deciles: 0.5 % to 1.5 % are above."""
    rng = np.random.default_rng(20180401)
    limit, above = chance(10, n, m, 0.99), 0
    for _ in range(4_000):
        now, before = rng.random(n), np.sort(rng.random(m))
        edges = before[np.ceil(np.arange(1, 10) / 10 * m - 1e-9).astype(int) - 1]
        these, those = (np.bincount(np.searchsorted(edges, x), minlength=10) for x in (now, before))
        above += psi(these.tolist(), those.tolist()) > limit
    assert 0.005 * 4_000 <= above <= 0.015 * 4_000, above


@pytest.mark.slow
def test_of_equal_days_few_fail_through_the_engine(days: Days) -> None:
    """The same with DuckDB's bins and texts of a few values: 200 pairs, at most 3 % above chance."""
    rng = np.random.default_rng(5)
    above = {"x": 0, "t": 0}
    for _ in range(200):
        tables = [
            pa.table({"x": rng.random(2_000), "t": rng.choice(list("abcdef"), 2_000)})
            for _ in ("now", "before")
        ]
        now, before = days(*tables)
        with now, before:
            for column in above:
                found = measure_drift(column, now, before, 0.99)
                above[column] += found.psi > found.chance  # type: ignore[operator]
    assert all(count <= 6 for count in above.values()), above
