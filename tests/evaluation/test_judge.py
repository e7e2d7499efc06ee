"""A verdict follows from what was published, never from the aggregate alone."""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from scipy.stats import t as student_t
from sklearn.metrics import log_loss, roc_auc_score

from nightscore.common.errors import Broken
from nightscore.evaluation.intervals import (
    METRICS,
    LabelledScores,
    day_metric,
    metric_interval,
    student_t_quantile,
)
from nightscore.evaluation.judge import Judgement, Verdict, judge_challengers
from nightscore.evaluation.verdict import (
    ChallengerEvidence,
    DayMeasure,
    FlipMeasure,
    MetricMeasure,
    reach_verdict,
)
from nightscore.job.loader import load
from nightscore.job.parts.judge import Judge, Labels
from nightscore.pipeline import executors
from nightscore.store import catalog
from tests.pipeline.score.test_challengers import NEXT, contest
from tests.support.workspace import DAYS, JOB, linear_model, make_workspace

ASKED = """judge:
  days: 2
  segments: [region]
  {more}
"""
LABELLED = "labels: {sql: came_true.sql, after_days: 1, cluster: id}"
TEXT = contest(NEXT).replace("features: rows", "features: f.sql").replace("keep: [a]", "keep: [a, region]")
KEPT = tempfile.TemporaryDirectory(prefix="judged-")  # as long as the tests run
FEATURES = """SELECT id, a, b, CASE WHEN id % 2 = 0 THEN 'north' ELSE 'south' END AS region
FROM rows
WHERE day = getvariable('day')
"""


def workspace(root: Path, more: str = "", weights: tuple[float, float] = (3.0, -1.0), days: int = 2) -> Path:
    """The job with a challenger, some published days, and segments north and south.

    A copy of one that was run once: what a verdict asks for is no cause of a day.
    """
    shutil.copytree(published(weights, days), root, dirs_exist_ok=True)
    (root / "jobs/mini/job.yaml").write_text(TEXT + ASKED.format(more=more))
    return root


@functools.cache
def published(weights: tuple[float, float], days: int) -> Path:
    root = Path(tempfile.mkdtemp(dir=KEPT.name))
    make_workspace(root, rows=400, job=TEXT)
    (root / "jobs/mini/f.sql").write_text(FEATURES)
    linear_model(root / NEXT, weights)
    came_true(root, "(a + 0.2 * random_number > 0.6)")
    for day in DAYS[:days]:
        executors.run(load("mini", root), day)
    return root


def came_true(root: Path, label: str) -> None:
    """Labels by an expression of the next day's rows (a, b) and a number that follows from the id."""
    (root / "jobs/mini/came_true.sql").write_text(
        f"SELECT id, ({label})::INT AS label "
        "FROM (SELECT *, (md5_number(id::VARCHAR) % 1000)::DOUBLE / 1000.0 AS random_number FROM rows "
        "WHERE day = getvariable('day') AND getvariable('day') + 1 IN (SELECT day FROM rows))"
    )


def judged(root: Path) -> Judgement:
    return judge_challengers(load("mini", root))


def the_one(root: Path) -> Verdict:
    [one] = judged(root).verdicts
    return one


@pytest.mark.slow
def test_rank_correlations_are_those_of_scipy(tmp_path):
    """Of each day, over its published scores."""
    root = workspace(tmp_path)
    for day in the_one(root).evidence.days:
        rows = catalog.query(f"SELECT score, next__score FROM mini_scores WHERE day = '{day.day}'", root)
        assert day.rank_correlation == pytest.approx(spearmanr(rows["score"], rows["next__score"]).statistic)


@pytest.mark.slow
def test_flips_are_those_of_the_decisions_that_the_challenger_would_make_itself(tmp_path):
    """Held to two workspaces in which each of the models is the champion."""
    root = workspace(tmp_path / "both", "ignore: [rank]")
    other = workspace(tmp_path / "other", "ignore: [rank]")
    linear_model(other / "data/models/linear.onnx", (3.0, -1.0))
    for day in DAYS[:2]:
        executors.run(load("mini", other), day)
    chosen = "SELECT day, id FROM mini_top"
    before, after = (
        {(row["day"], row["id"]) for row in catalog.query(chosen, one).to_pylist()} for one in (root, other)
    )
    flips = {(one.segment, one.value): one for one in the_one(root).evidence.flips}
    assert flips["", ""].flips == len(before - after) > 0
    assert flips["", ""].rows == 20
    north = {row for row in before if row[1] % 2 == 0}, {row for row in after if row[1] % 2 == 0}
    assert flips["region", "north"].flips == max(len(north[0] - north[1]), len(north[1] - north[0]))


@pytest.mark.slow
def test_a_changed_rank_is_a_flip_unless_it_is_ignored_and_a_float_never_is(tmp_path):
    """The same order with other scores flips nothing."""
    root = workspace(tmp_path / "same", weights=(2.0, 4.0))
    assert [one.flips for one in the_one(root).evidence.flips] == [0, 0, 0]
    root = workspace(tmp_path / "other", weights=(1.0, 1.9))
    ranked = the_one(root).evidence.flips[0].flips
    text = (root / "jobs/mini/job.yaml").read_text()
    (root / "jobs/mini/job.yaml").write_text(text + "  ignore: [rank]\n")
    assert the_one(root).evidence.flips[0].flips < ranked


def test_decisions_without_the_key_are_compared_as_a_multiset(tmp_path):
    """Counts by region: a count that differs is a row that flips."""
    root = workspace(tmp_path)
    (root / "jobs/mini/top.sql").write_text(
        "SELECT region, count(*) AS n "
        "FROM (SELECT * FROM scores QUALIFY row_number() OVER (ORDER BY score DESC) <= 10)"
        " GROUP BY region"
    )
    whole = the_one(root).evidence.flips[0]
    assert (whole.rows, whole.flips <= whole.rows) == (4, True)


@pytest.mark.slow
def test_without_labels_flips_have_to_stand_in(tmp_path):
    """And they do only where the job says so."""
    root = workspace(tmp_path, weights=(2.0, 4.0))
    assert (the_one(root).verdict, the_one(root).reasons) == (
        "HOLD", ["neither labels nor max_flips say that it may decide (judge in job.yaml)"],
    )  # fmt: skip
    text = (root / "jobs/mini/job.yaml").read_text()
    (root / "jobs/mini/job.yaml").write_text(text + "  max_flips: 5%\n")
    assert the_one(root).verdict == "PROMOTE"
    (root / "jobs/mini/job.yaml").write_text(text.replace("days: 2", "days: 3") + "  max_flips: 5%\n")
    assert (the_one(root).verdict, the_one(root).reasons) == ("HOLD", ["2 of 3 days are there to judge by"])


def test_other_bytes_under_the_same_name_start_anew(tmp_path):
    """Days that another champion or another file of the challenger has scored say nothing of these."""
    root = workspace(tmp_path, "max_flips: 5%", weights=(2.0, 4.0))
    linear_model(root / NEXT, (2.0, 4.1))
    assert the_one(root).reasons == [
        "0 of 2 days are there to judge by",
        "there are no decisions whose flips could stand in for labels",
    ]


@pytest.mark.slow
def test_labels_decide_and_only_days_whose_labels_are_complete_count(tmp_path):
    """The better ranker is promoted, the worse rejected, the equal held; the third day has no labels yet."""
    root = workspace(tmp_path, LABELLED, weights=(1.0, 0.0), days=3)
    one = the_one(root)
    assert [day.day for day in one.evidence.days] == [DAYS[1], DAYS[0]]
    assert one.verdict == "PROMOTE"
    whole = one.evidence.metrics[0]
    assert (whole.segment, whole.rows, whole.clusters) == ("", 800, 400)
    aucs = []
    for day in DAYS[:2]:
        rows = catalog.query(
            "SELECT score, next__score, "
            "(a + 0.2 * ((md5_number(id::VARCHAR) % 1000)::DOUBLE / 1000.0) > 0.6)::INT AS label "
            f"FROM mini_scores WHERE day = '{day}'", root,
        )  # fmt: skip
        aucs.append([roc_auc_score(rows["label"], rows[c]) for c in ("score", "next__score")])
    assert [whole.champion, whole.challenger] == pytest.approx(np.mean(aucs, axis=0))
    came_true(root, "(b > 0.6)")
    assert the_one(root).verdict == "REJECT"


@pytest.mark.slow
def test_one_segment_that_gets_worse_holds_what_is_better_on_the_whole(tmp_path):
    """In the north b decides, which the challenger does not look at."""
    root = workspace(tmp_path, LABELLED, weights=(1.0, 0.0), days=3)
    came_true(root, "CASE WHEN id % 8 = 0 THEN b > 0.5 ELSE a > 0.5 END")
    assert the_one(root).verdict == "PROMOTE"
    sql = (root / "jobs/mini/f.sql").read_text()
    (root / "jobs/mini/f.sql").write_text(sql.replace("id % 2", "id % 8"))
    for day in DAYS:
        executors.run(load("mini", root), day)
    one = the_one(root)
    assert one.evidence.metrics[0].low > 0
    assert one.verdict == "HOLD"
    assert "auc where region is north is worse" in one.reasons[0]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT id, 2 AS label FROM rows WHERE day = getvariable('day')",
            "gives a label 2; auc takes 0 and 1",
        ),
        ("SELECT id % 2 AS id, 1 AS label FROM rows WHERE day = getvariable('day')", "gives a key twice"),
        ("SELECT id, 1 AS label FROM receipts", "came_true.sql: Catalog Error"),
        ("SELECT id, random() AS label FROM rows", "came_true.sql"),
    ],
)
def test_labels_that_are_none_are_an_error(tmp_path, sql, message):
    root = workspace(tmp_path, LABELLED, days=2)
    (root / "jobs/mini/came_true.sql").write_text(sql)
    with pytest.raises(Broken, match=message):
        judged(root)


@pytest.mark.slow
def test_labels_see_past_the_day_and_runs_do_not(tmp_path):
    """The features of the day are of the day, whatever the labels read."""
    root = workspace(tmp_path, LABELLED, days=3)
    (root / "jobs/mini/came_true.sql").write_text(
        "SELECT id, (a > 0.5)::INT AS label FROM rows WHERE day = getvariable('day') + 1"
    )
    assert the_one(root).evidence.metrics[0].rows == 800


@pytest.mark.slow
def test_rows_that_it_has_not_scored_hold_it(tmp_path):
    root = workspace(tmp_path, "max_flips: 100%", days=1)
    linear_model(root / NEXT, (1.0, 1.0), ("a", "income"))
    executors.run(load("mini", root), DAYS[0])
    assert "400 of 400 rows have no score of it" in the_one(root).reasons


def test_a_job_without_challengers_has_nobody_to_judge(tmp_path):
    root = make_workspace(tmp_path, rows=5)
    with pytest.raises(Broken, match="has no challengers, so there is nobody to judge"):
        judge_challengers(load("mini", root))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "judge: {segments: [nation]}",
            "judge.segments.0: 'nation' is no key or kept column; allowed: id, a",
        ),
        ("judge: {labels: {sql: l.sql, after_days: 1, output: y}}", "'y' is no output; allowed: score"),
        (
            "judge: {labels: {sql: l.sql, after_days: 1}}",
            "judge.labels.sql: l.sql can't be read beside job.yaml",
        ),
        ("judge: {max_flips: 0.05}", "judge.max_flips: 0.05 is not allowed"),
        ("judge: {day: 3}", "unknown key; did you mean days?"),
    ],
)
def test_mistakes_of_the_judge_section_name_their_line(tmp_path, section, message):
    root = make_workspace(tmp_path, rows=5)
    (root / "jobs/mini/job.yaml").write_text(f"{JOB}{section}\n")
    with pytest.raises(Broken) as error:
        load("mini", root)
    assert message in str(error.value)
    assert f"job.yaml:{JOB.count(chr(10)) + 1}: " in str(error.value)


def test_the_judge_section_scores_no_day_again(tmp_path):
    """What a verdict asks for changes nothing that is published."""
    root = workspace(tmp_path, days=1)
    text = (root / "jobs/mini/job.yaml").read_text()
    (root / "jobs/mini/job.yaml").write_text(text.replace("days: 2", "days: 9"))
    assert executors.run(load("mini", root), DAYS[0]).status == "unchanged"


# The statistics


def sample(seed: int, rows: int = 300, clusters: int = 60, skill: float = 1.0) -> LabelledScores:
    """Rows of clusters that share part of what comes true; the challenger sees more of it."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, clusters, rows)
    truth = rng.normal(size=clusters)[group] + rng.normal(size=rows)
    labels = (truth + rng.normal(size=rows) > 0).astype(np.float64)
    scores = (1 / (1 + np.exp(-(s * truth + rng.normal(size=rows)))) for s in (0.5, 0.5 * skill))
    champion, challenger = scores
    return LabelledScores(np.round(champion, 2), challenger, labels, group)


@given(st.integers(0, 10_000))
def test_auc_and_log_loss_are_those_of_scikit_learn(seed):
    """Ties, too; and influences add up to nothing, as deviations do."""
    rows = sample(seed)
    value, influence = METRICS["auc"][0](rows.champion, rows.labels)
    assert value == pytest.approx(roc_auc_score(rows.labels, rows.champion))
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    value, _ = METRICS["log_loss"][0](rows.challenger, rows.labels)
    assert value == pytest.approx(log_loss(rows.labels, rows.challenger))


@pytest.mark.parametrize("metric", ["auc", "log_loss", "squared_error"])
def test_the_interval_is_that_of_a_paired_bootstrap_over_clusters(metric):
    """Whole clusters drawn with replacement, both models on the same draw (Field and Welsh 2007)."""
    rows = sample(7, rows=3_000, clusters=400, skill=2.0)
    found = metric_interval(metric, [day_metric(metric, rows)], 0.95)
    measure, sign = METRICS[metric]
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(rows.clusters == c) for c in np.unique(rows.clusters)]
    differences = []
    for _ in range(600):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        ours, theirs = (measure(s[drawn], rows.labels[drawn])[0] for s in (rows.champion, rows.challenger))
        differences.append(sign * (theirs - ours))
    error = (found.high - found.low) / 2 / student_t_quantile(0.95, found.clusters - 1)
    assert error == pytest.approx(np.std(differences, ddof=1), rel=0.1)
    assert found.better == pytest.approx(np.mean(differences), abs=error / 3)


def test_intervals_hold_what_they_promise_where_models_are_equal():
    """Of 300 pairs of equally good models about 5 % seem to differ at 95 %."""
    seem = 0
    for seed in range(300):
        one = metric_interval(
            "auc", [day_metric("auc", sample(seed)), day_metric("auc", sample(seed + 1_000))], 0.95
        )
        seem += one.low > 0 or one.high < 0
    assert 4 <= seem <= 28  # 15 are expected; chance alone leaves these bounds once in a thousand times


@pytest.mark.parametrize("freedom", [29, 60, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_students_t_is_the_quantile_of_its_distribution(freedom, confidence):
    """As much as is asked for lies between it and its negative."""
    low, high = student_t.cdf(
        [-student_t_quantile(confidence, freedom), student_t_quantile(confidence, freedom)], freedom
    )
    assert high - low == pytest.approx(confidence, rel=1e-9)


def test_few_clusters_or_one_class_of_labels_give_no_interval():
    few = sample(1, rows=100, clusters=5)
    assert metric_interval("auc", [day_metric("auc", few)], 0.95).problem == "fewer than 30 clusters"
    alike = LabelledScores(few.champion, few.challenger, np.ones(100), few.clusters)
    assert day_metric("auc", alike) is None


# The rules


def evidence(
    low: float, high: float, segments: tuple[tuple[float, float], ...] = (), flips: int = 0
) -> ChallengerEvidence:
    def metric(segment: str, bounds: tuple[float, float]) -> MetricMeasure:
        return MetricMeasure(
            segment="s" * bool(segment), value=segment, rows=9, clusters=40, champion=0.5, challenger=0.5,
            better=sum(bounds) / 2, low=bounds[0], high=bounds[1],
        )  # fmt: skip

    days = [DayMeasure(day="2020-01-01", rows=9, unscored=0, rank_correlation=0.5)]
    metrics = [metric("", (low, high)), *(metric(str(i + 1), one) for i, one in enumerate(segments))]
    return ChallengerEvidence(
        days=days, flips=[FlipMeasure(table="t", rows=100, flips=flips)], metrics=metrics
    )


bounds = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).map(tuple)


@given(bounds, st.lists(bounds, max_size=4), st.integers(0, 100), st.sampled_from([0.0, 0.1]))
def test_never_promoted_on_the_aggregate_alone(whole, parts, flips, drop):
    """PROMOTE means: better on the whole beyond chance, nowhere worse beyond chance, and no limit broken.

    With `max_drop` better than that much worse.
    """
    asked = Judge(days=1, labels=Labels(sql="l.sql", after_days=1, max_drop=drop), max_flips="10%")
    word, reasons = reach_verdict(asked, evidence(*whole, tuple(parts), flips))
    better, worse = whole[0] > -drop, any(high < -drop for _, high in parts)
    assert (word == "PROMOTE") == (better and not worse and flips <= 10)
    assert (word == "REJECT") == (whole[1] < -drop or flips > 10)
    assert reasons


def test_limits_reject_and_segments_hold():
    """A limit that all rows break rejects; one that a segment alone breaks holds."""
    asked = Judge(days=1, max_flips="10%", min_rank_correlation=0.6)
    found = evidence(0, 0)
    assert reach_verdict(asked, found)[0] == "REJECT"
    asked = Judge(days=1, max_flips="10%")
    assert reach_verdict(asked, found)[0] == "PROMOTE"
    part = FlipMeasure(table="t", segment="s", value="1", rows=10, flips=9)
    word, reasons = reach_verdict(asked, found.model_copy(update={"flips": [*found.flips, part]}))
    assert (word, reasons) == ("HOLD", ["t where s is 1: 90.00% of the rows flip; allowed: 10.00%"])
