"""The macros that hold scores to labels, each held to scikit-learn and NumPy over rows in any order.

The rows are drawn by Hypothesis (ties, one class, no label), and are real: tumours and diabetes, as
scikit-learn ships them.
"""

import math
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nightscore.job.macros import read_macros
from nightscore.store.sql.checks import repeatable_select
from nightscore.store.sql.order import ordered_select

Numbers = npt.NDArray[np.float64]
CHANCES = """
WITH placed AS (SELECT *, score_place(grp, score, label) AS place FROM rows)
SELECT
    grp, count(*) AS rows, count(label) AS labelled, auc(label, place) AS auc,
    average_precision(label, place) AS average_precision, brier_score(score, label) AS brier_score,
    log_loss(score, label) AS log_loss, calibration_error(score, label, chance_bin(score)) AS by_bin,
    calibration_error(score, label, score_tenth(place)) AS by_tenth, unmeasured(label) AS unmeasured
FROM placed GROUP BY grp
"""
AMOUNTS = """
SELECT
    grp, mean_error(score, label) AS mean_error, mean_absolute_error(score, label) AS mean_absolute_error,
    root_mean_squared_error(score, label) AS root_mean_squared_error
FROM rows GROUP BY grp
"""
CHANCE = st.sampled_from([0.0, -0.0, 0.1, 0.3, 0.5, 0.7, 0.7000000000000001, 1.0]) | st.floats(0, 1)
ROWS = st.lists(st.tuples(st.integers(0, 2), CHANCE, st.sampled_from([None, 0, 1])), max_size=40)


@pytest.fixture(scope="module")
def connection() -> Iterable[duckdb.DuckDBPyConnection]:
    """DuckDB as it comes, with the macros."""
    with duckdb.connect() as opened:
        for statement in read_macros().values():
            opened.execute(statement)
        yield opened


def measured(connection: duckdb.DuckDBPyConnection, table: pa.Table, sql: str) -> dict[int, dict[str, Any]]:
    """Group -> its measures, to the bit the same whether the rows come in this order or in the reverse."""
    repeatable_select(sql, "test")
    answers = []
    for rows in (table, table.take(np.arange(table.num_rows)[::-1].copy())):
        connection.register("rows", rows)
        found = connection.sql(ordered_select(sql, "test")).to_arrow_table().to_pylist()
        answers.append({row.pop("grp"): row for row in found})
    assert repr(sorted(answers[0].items())) == repr(sorted(answers[1].items()))
    return answers[0]


def rows_of(groups: Any, scores: Any, labels: Any) -> pa.Table:
    """The rows as the macros see them."""
    kinds = {"grp": pa.int64(), "score": pa.float64(), "label": pa.float64()}
    columns = zip(kinds.values(), (groups, scores, labels), strict=True)
    return pa.table([pa.array(values, kind) for kind, values in columns], names=list(kinds))


def gap(scores: Numbers, labels: Numbers, bins: npt.NDArray[np.int64]) -> float:
    """The expected calibration error as Guo et al. (2017) write it, equation 3."""
    sides = [(scores[bins == b], labels[bins == b]) for b in np.unique(bins)]
    return sum(len(s) / len(scores) * abs(float(s.mean() - t.mean())) for s, t in sides)


def width_bins(scores: Numbers) -> npt.NDArray[np.int64]:
    """Ten bins of one width, open on the left."""
    return np.clip(np.ceil(10 * scores), 1, 10).astype(np.int64)


def tenths(scores: Numbers) -> npt.NDArray[np.int64]:
    """Tenths from the highest score down: by how many scores are higher."""
    higher = (scores[None, :] > scores[:, None]).sum(axis=1)
    return 1 + 10 * higher // len(scores)


def hold(found: dict[str, Any], scores: Numbers, labels: Numbers) -> None:
    """Hold the measures of one group to scikit-learn's."""
    near: Any = lambda value: pytest.approx(value, rel=1e-9, abs=1e-12)  # noqa: E731
    assert found["labelled"] == len(labels)
    if not len(labels):
        assert found["unmeasured"] == "no label yet"
        assert not [
            found[n] for n in ("auc", "average_precision", "brier_score", "log_loss", "by_bin") if found[n]
        ]
        return
    assert found["brier_score"] == near(metrics.brier_score_loss(labels, scores, pos_label=1))
    assert found["by_bin"] == near(gap(scores, labels, width_bins(scores)))
    assert found["by_tenth"] == near(gap(scores, labels, tenths(scores)))
    truth = np.where(labels == 1, scores, 1 - scores)
    assert (found["log_loss"] is None) == bool((truth == 0).any())
    if found["log_loss"] is not None and truth.min() > 1e-15:  # below it scikit-learn puts its own bound
        assert found["log_loss"] == near(metrics.log_loss(labels, scores, labels=[0, 1]))
    if len(set(labels)) == 1:
        assert (found["auc"], found["unmeasured"]) == (None, f"every label is {labels[0]:.0f}")
    else:
        assert (found["auc"], found["unmeasured"]) == (near(metrics.roc_auc_score(labels, scores)), None)
    if labels.any():
        assert found["average_precision"] == near(metrics.average_precision_score(labels, scores))
    else:
        assert found["average_precision"] is None, "scikit-learn says 0, which nobody has measured"


@settings(deadline=None, max_examples=40)
@given(rows=ROWS)
def test_measures_are_those_of_scikit_learn(connection: duckdb.DuckDBPyConnection, rows: list[Any]) -> None:
    """By group; rows without a label count in nothing; what can't be measured is NULL with a reason."""
    found = measured(connection, rows_of(*zip(*rows, strict=True) if rows else ([], [], [])), CHANCES)
    assert found.keys() == {grp for grp, _, _ in rows}
    for grp, one in found.items():
        own = [(s, t) for g, s, t in rows if g == grp]
        assert one["rows"] == len(own)
        known = np.array([(s, t) for s, t in own if t is not None], np.float64).reshape(-1, 2)
        hold(one, known[:, 0], known[:, 1])


def test_measures_of_a_real_model(connection: duckdb.DuckDBPyConnection) -> None:
    """Tumours scored out of fold, three days of them: as scikit-learn measures them, bins, too."""
    features, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, features, labels, method="predict_proba")[:, 1]
    days = np.arange(len(labels)) % 3
    found = measured(connection, rows_of(days, scores, labels), CHANCES)
    for day in range(3):
        hold(found[day], scores[days == day], labels[days == day].astype(np.float64))
    assert 0.95 < found[0]["auc"] < 1
    sql = (
        "SELECT grp, avg(label) AS share, avg(score) AS mean_chance "
        "FROM (SELECT chance_bin(score) AS grp, label, score FROM rows) GROUP BY grp"
    )
    bins = measured(connection, rows_of(days, scores, labels), sql)
    share, mean = calibration_curve(labels, scores, n_bins=10)
    assert [bins[b]["share"] for b in sorted(bins)] == pytest.approx(list(share), rel=1e-12)
    assert [bins[b]["mean_chance"] for b in sorted(bins)] == pytest.approx(list(mean), rel=1e-12)


def test_errors_of_a_real_regression(connection: duckdb.DuckDBPyConnection) -> None:
    """Diabetes out of fold; a row whose value nobody knows yet counts in nothing."""
    features, values = load_diabetes(return_X_y=True)
    scores = cross_val_predict(LinearRegression(), features, values)
    known = np.arange(len(values)) % 4 > 0
    told = [value if k else None for value, k in zip(values.tolist(), known, strict=True)]
    (found,) = measured(connection, rows_of(np.zeros(len(values)), scores, told), AMOUNTS).values()
    scores, values = scores[known], values[known]
    assert found["mean_error"] == pytest.approx(float(np.mean(scores - values)), rel=1e-9)
    assert found["mean_absolute_error"] == pytest.approx(
        metrics.mean_absolute_error(values, scores), rel=1e-12
    )
    truth = metrics.root_mean_squared_error(values, scores)
    assert found["root_mean_squared_error"] == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("kind", ["BOOLEAN", "TINYINT", "DECIMAL(3, 1)", "FLOAT"])
def test_a_label_may_be_of_any_type(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    connection.register("rows", rows_of([0] * 4, [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]))
    typed = f"SELECT grp, score, CAST(label AS {kind}) AS label FROM rows"
    placed = f"SELECT label, score_place(grp, score, label) AS place FROM ({typed})"
    sql = f"SELECT auc(label, place) FROM ({placed})"
    assert connection.execute(sql).fetchall() == [(0.75,)], "scikit-learn's own example"


@pytest.mark.parametrize(
    ("score", "label", "told"),
    [
        (0.5, 2.0, "a label is 2.0; allowed: 0, 1, and NULL"),
        (0.5, math.nan, "a label is nan; allowed: 0, 1, and NULL"),
        (math.nan, 1.0, "a row with a label has the score nan; allowed: a finite number"),
        (None, 1.0, "a row with a label has the score NULL; allowed: a finite number"),
        (1.5, 1.0, "a row with a label has the chance 1.5; allowed: 0 to 1"),
    ],
)
def test_what_is_no_label_or_no_chance_stops_the_run(
    connection: duckdb.DuckDBPyConnection, score: float | None, label: float, told: str
) -> None:
    connection.register("rows", rows_of([0, 0], [0.5, score], [0.0, label]))
    with pytest.raises(duckdb.Error, match=told):
        connection.execute(CHANCES).fetchall()


@pytest.mark.parametrize(("score", "label"), [(math.inf, 1.0), (1.0, math.nan), (None, 1.0)])
def test_an_error_of_what_is_no_number_stops_the_run(
    connection: duckdb.DuckDBPyConnection, score: float | None, label: float
) -> None:
    connection.register("rows", rows_of([0], [score], [label]))
    with pytest.raises(duckdb.Error, match="allowed: a finite number"):
        connection.execute(AMOUNTS).fetchall()


def test_a_row_without_a_label_may_have_no_score(connection: duckdb.DuckDBPyConnection) -> None:
    found = measured(connection, rows_of([0] * 3, [0.2, 0.9, math.nan], [0, 1, None]), CHANCES)
    assert (found[0]["rows"], found[0]["labelled"], found[0]["auc"]) == (3, 2, 1.0)


@pytest.mark.parametrize("bin_of", ["11", "1 + 9 * score", "NULL"])
def test_a_row_without_a_bin_stops_the_run(connection: duckdb.DuckDBPyConnection, bin_of: str) -> None:
    """A bin between two whole numbers is that of no row, and would leave its rows out of the error."""
    connection.register("rows", rows_of([0, 0], [0.5, 0.2], [0, 1]))
    with pytest.raises(duckdb.Error, match="has no bin, a whole number of 1 to 10"):
        connection.execute(f"SELECT calibration_error(score, label, {bin_of}) FROM rows").fetchall()


@pytest.mark.parametrize("measure", ["auc", "average_precision"])
@pytest.mark.parametrize(
    ("placed", "rest"),
    [
        ("score_place(0, score, label)", "GROUP BY grp"),
        ("score_place(grp, score, label)", ""),
        ("score_place(grp, score, label)", "WHERE score > 0.3 GROUP BY grp"),
        ("score_place(grp, score, label)", "CROSS JOIN range(2) GROUP BY grp"),
        ("score_place(grp, score, label)", "WHERE label = 1 AND grp = 0 OR label = 0 AND grp = 1"),
        ("score_place(grp, score, 1 - label)", "GROUP BY grp"),
        ("score_place(grp, score, nullif(label, 0))", "GROUP BY grp"),
    ],
)
def test_places_among_other_rows_stop_the_run(
    connection: duckdb.DuckDBPyConnection, measure: str, placed: str, rest: str
) -> None:
    """Of another group, of a part, of each row twice, by another label: each gives a number, a wrong one."""
    scores, labels = [0.1, 0.4, 0.35, 0.8, 0.9, 0.6], [0, 0, 1, 1, 1, 0]
    connection.register("rows", rows_of([0, 0, 0, 0, 1, 1], scores, labels))
    sql = f"SELECT {measure}(label, place) FROM (SELECT *, {placed} AS place FROM rows) {rest}"
    with pytest.raises(duckdb.Error, match="rows with a label are measured by places"):
        connection.execute(sql).fetchall()


@pytest.mark.parametrize("kind", ["VARCHAR", "DATE"])
def test_a_label_of_another_type_is_named(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    connection.register("rows", rows_of([0], [0.5], [1.0]))
    sql = f"SELECT label_01(CAST('2020-01-01' AS {kind})) FROM rows"
    with pytest.raises(duckdb.Error, match="a label is 2020-01-01; allowed: 0, 1, and NULL"):
        connection.execute(sql).fetchall()


def test_a_log_loss_of_nothing_has_no_sign(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("rows", rows_of([0, 0], [0.0, 1.0], [0, 1]))
    assert repr(connection.execute("SELECT log_loss(score, label) FROM rows").fetchall()) == "[(0.0,)]"


TOLD = [(1, "2026-03-01"), (0, "2026-03-02"), (None, "2026-03-03"), (1, "2026-03-03"), (0, "2026-03-01")]


@pytest.mark.parametrize(("kind", "python"), [("INTEGER", int), ("BOOLEAN", bool), ("DOUBLE", float)])
def test_a_label_that_was_told_before_its_score_is_none(
    connection: duckdb.DuckDBPyConnection, kind: str, python: type
) -> None:
    """By plain Python: of the day before NULL, of the same day and later itself, in its own type."""
    connection.register(
        "rows", pa.table({"label": [one[0] for one in TOLD], "told": [one[1] for one in TOLD]})
    )
    sql = f"SELECT label_told(CAST(label AS {kind}), CAST(told AS DATE), DATE '2026-03-02') FROM rows"
    truth = [None if label is None or told < "2026-03-02" else python(label) for label, told in TOLD]
    found = [one for (one,) in connection.execute(sql).fetchall()]
    assert found == truth and all(one is None or type(one) is python for one in found)


def test_an_instant_is_of_its_day(connection: duckdb.DuckDBPyConnection) -> None:
    """A label of the day on which its score was made is told in time, at whatever hour either was."""
    day, nine = "DATE '2026-03-02'", "TIMESTAMP '2026-03-02 09:00'"
    terms = ", ".join(f"label_told(1, {told}, {scored})" for told in (day, nine) for scored in (day, nine))
    assert connection.execute(f"SELECT {terms}").fetchall() == [(1, 1, 1, 1)]


@pytest.mark.parametrize(("told", "scored"), [("NULL", "DATE '2026-03-02'"), ("DATE '2026-03-02'", "NULL")])
def test_a_label_without_a_day_stops_the_run(
    connection: duckdb.DuckDBPyConnection, told: str, scored: str
) -> None:
    """It may be told before its score; a row without a label needs none."""
    with pytest.raises(duckdb.Error, match=r"a label of a score of .* was told on .*; allowed: days"):
        connection.execute(f"SELECT label_told(1, {told}, {scored})").fetchall()
    assert connection.execute(f"SELECT label_told(NULL, {told}, {scored})").fetchall() == [(None,)]
